"""The main job: where, how hard and whether a model can be steered along one contrast set.

Directions come from the fit split, the layer and dose from the select split, and what is stated
from the test split, with random and label-shuffled directions beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from steerscope.diagnostics.gradients import preference_gradients
from steerscope.diagnostics.lens import RESIDUAL_STREAMS, direction_lens, top_tokens
from steerscope.directions import Direction, find_direction, save_directions
from steerscope.doses import Dose, check_unit
from steerscope.extraction.activations import Contrast
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, in_steps, silent
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run, measuring
from steerscope.runs.whole_files import write_json
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import Material, dose_cells
from steerscope.studies.steering.asking import asking_of
from steerscope.studies.steering.beside import measure_eigengaps, measure_noise, measure_sinks
from steerscope.studies.steering.choice import sweet_spot
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.nulls import (
    NULL,
    SCREEN,
    best_cells,
    best_layers,
    few_pairs,
    few_prompts,
    first_order_layers,
    layer_cells,
    most_dose,
    most_kl,
    null_costs,
    null_families,
    still_near,
)
from steerscope.studies.steering.plan import GRID, RACE, StudyPlan, SweepPlan, smallest_effect
from steerscope.studies.steering.prepare import Prepared, prepare
from steerscope.studies.steering.responses import summarise
from steerscope.studies.steering.search import (
    BESIDE,
    looks_of,
    rounds_of,
    run_race,
    texts_of_race,
    tried_in,
)
from steerscope.studies.steering.several_layers import best_together, several_cells
from steerscope.studies.steering.stated import Stated
from steerscope.studies.workers import HERE, Workers

LENS_TOKENS = 12
_log = logging.getLogger(__name__)


def run_study(
    plan: StudyPlan,
    out: str | Path,
    *,
    device: str | None = None,
    memory: str | None = None,
    progress: Track = silent,
    workers: Workers = HERE,
) -> Run:
    """Measure everything that the report shows; a second start finishes what is missing.

    Args:
        plan: what decides the numbers.
        out: the run directory.
        device: as in `load_model`.
        memory: as in `load_model`; the bytes of weights and work are logged before it starts.
        progress: shows the loops.
        workers: who measures; default this process.

    Raises:
        SteerscopeError: any of the input errors; nothing is written before the input is checked.
    """
    with measuring(out):
        steps = ("select", "test", *((SCREEN, NULL) if plan.nulls else ()))
        bound = prepare(plan, out, (device, memory), in_steps(progress, steps), workers)
        plan = replace(plan, search=bound.search)
        n_layers, race = len(bound.directions), plan.search == RACE
        _log.info("nulls: %s", null_costs(plan.nulls, n_layers, len(plan.doses), race=race))
        scope = Scope.parse(plan.scope)
        signed = [Dose(sign * d) for d in sorted(plan.doses) for sign in (1, -1)]
        controls = _sweep_controls(bound)
        every = [*bound.directions.values()] if plan.all_layers else []
        asking = asking_of(plan, bound)
        bound.measure("select", asking, BESIDE if race else None)
        bound = bound.with_asked(asking)
        _measure_select(bound, plan, controls, several_cells(every, signed, scope))
        table, groups = bound.run.table(), groups_of(bound.run)
        tried = tried_in(plan, table)
        chosen = sweet_spot(table, bound.judge.effect, plan.method, groups=groups, tried=tried)
        direction = bound.directions[chosen.layer]
        dose = Dose(min(plan.doses, key=lambda d: abs(d - chosen.dose_natural)))
        test_controls = _test_controls(plan, bound.found[direction.site])
        _measure_test(bound, plan, (direction, dose), test_controls, asking)
        if len(every) > 1:
            bound.measure("test", best_together(bound.run, bound.judge.effect, every, scope))
        _measure_nulls(bound, plan, scope, dose_cells([direction], [dose], scope)[0])
        _measure_beside(bound)
        _write_lens(bound.run, bound.model, direction)
        everything = [*bound.directions.values(), *controls, *test_controls]
        save_directions(bound.run.path / "directions.safetensors", everything, force=True)
        bound.run.seal()
        return bound.run


def _measure_select(
    bound: Prepared,
    plan: StudyPlan,
    controls: Sequence[Direction],
    together: Sequence[Cell],
) -> None:
    """Measure what the layer and dose are chosen by: the whole grid, or a race."""
    scope, directions = Scope.parse(plan.scope), bound.directions
    at_reference = dose_cells(controls, [Dose(plan.reference_dose)], scope)
    if plan.search == GRID:
        signed = [Dose(sign * d) for d in sorted(plan.doses) for sign in (1, -1)]
        grid = dose_cells(directions.values(), signed, scope)
        bound.measure("select", [*grid, *at_reference, *together])
        return
    n_prompts = len(bound.texts.prompts.select.prompts) // plan.samples
    rounds = rounds_of(len(directions), len(plan.doses), n_prompts)
    n_texts = plan.samples * texts_of_race(rounds)
    _log.info("search: %d texts at most in %d rounds", n_texts, len(rounds))

    def measure(cells: Sequence[Cell], first: int) -> None:
        bound.measure("select", cells, first)

    run_race(plan, directions, rounds, (bound.run, bound.judge.effect), measure)
    measure(at_reference, rounds[0].prompts)
    if together:
        bound.measure("select", together)


def _measure_test(
    bound: Prepared,
    plan: StudyPlan,
    chosen: tuple[Direction, Dose],
    controls: Sequence[Direction],
    asking: Sequence[Cell],
) -> None:
    """Measure what is stated: after a race, what is beside the chosen condition on few prompts."""
    scope, (direction, dose) = Scope.parse(plan.scope), chosen
    signed = [Dose(sign * d) for d in sorted(plan.doses) for sign in (1, -1)]
    if plan.search == GRID:
        steered = dose_cells([direction, *controls], signed, scope)
        bound.measure("test", [*steered, *asking])
        return
    at_chosen = dose_cells([direction], [dose, Dose(-dose.value)], scope)
    at_chosen += dose_cells(controls, [dose], scope)
    bound.measure("test", [*at_chosen, *asking])
    bound.measure("test", dose_cells([direction], signed, scope), BESIDE)


def run_sweep(
    plan: SweepPlan,
    out: str | Path,
    *,
    device: str | None = None,
    memory: str | None = None,
    progress: Track = silent,
    workers: Workers = HERE,
) -> Run:
    """Measure a grid of layers and doses on the select split; a second start finishes what is missing.

    Args:
        plan: what decides the numbers.
        out: the run directory.
        device: as in `load_model`.
        memory: as in `load_model`; the bytes of weights and work are logged before it starts.
        progress: shows the loop.
        workers: who measures; default this process.

    Raises:
        SteerscopeError: any of the input errors; nothing is written before the input is checked.
    """
    with measuring(out):
        doses = [Dose(value, check_unit(plan.unit)) for value in plan.doses]
        bound = prepare(plan, out, (device, memory), progress, workers)
        controls = _sweep_controls(bound)
        scope = Scope.parse(plan.scope)
        cells = dose_cells([*bound.directions.values(), *controls], doses, scope)
        if plan.all_layers:
            cells += several_cells([*bound.directions.values()], doses, scope)
        bound.measure("select", cells)
        _measure_beside(bound)
        everything = [*bound.directions.values(), *controls]
        save_directions(bound.run.path / "directions.safetensors", everything, force=True)
        bound.run.seal()
        return bound.run


def _sweep_controls(bound: Prepared) -> list[Direction]:
    """Random directions at every layer, for the null line of the layer sweep."""
    return [
        find_direction("random", contrast, seed=1000 * (bound.plan.seed + 1) + number)
        for contrast in bound.found.values()
        for number in range(bound.plan.n_sweep_controls)
    ]


def _test_controls(plan: StudyPlan, contrast: Contrast) -> list[Direction]:
    """Random, label-shuffled and other-concept directions, other seeds than the sweep's."""
    seeded = [
        find_direction(control, contrast, seed=1000 * (plan.seed + 1) + 500 + number)
        for control in ("random", "label_shuffled")
        for number in range(plan.n_controls)
    ]
    return [*seeded, *([find_direction("other_concept", contrast)] if plan.other else [])]


def _measure_nulls(bound: Prepared, plan: StudyPlan, scope: Scope, chosen: Cell) -> None:
    """Choose a layer and dose for every null, and state it where the chosen condition is stated."""
    families = null_families(bound.found, plan.nulls, plan.seed)
    if not families:
        return
    run, prompts, pairs = bound.run, bound.texts.prompts, bound.texts.pairs
    effect, race = bound.judge.effect, plan.search == RACE
    few = few_pairs(pairs.select, race=race)
    screen = bound.bench(Material(SCREEN, few_prompts(prompts.select, race=race), few))
    if race:
        texts = [(pair.positive, pair.negative) for pair in few.pairs]
        sites = sorted({d.site for f in families for d in f.values()}, key=lambda s: s.layer)
        gradients = preference_gradients(bound.model, texts, sites, scope=scope, written=True)
        best = first_order_layers(families, gradients)
    else:
        at_reference = layer_cells(families, plan.reference_dose, scope)
        screen.measure_pairs(at_reference, progress=bound.progress)
        best = best_layers(families, run.table())
    at_best = dose_cells(best, [Dose(d) for d in sorted(plan.doses)], scope)
    screen.measure_pairs(at_best, progress=bound.progress)
    summary = summarise(run.table(), effect, "select", groups=groups_of(run))
    at_chosen = float(chosen.interventions[0].labels()["dose_natural"])
    kl, most = most_kl(summary, plan.method), max(at_chosen, most_dose(summary, plan.method))
    cells = best_cells(families, run.table(), kl, scope, most)
    if not effect.is_share:
        bound.bench(Material(NULL, prompts.test, pairs.test)).measure_pairs(
            cells, progress=bound.progress
        )
        return
    _state_nulls(bound, plan, cells, chosen.key)


def _state_nulls(bound: Prepared, plan: StudyPlan, nulls: Sequence[Cell], chosen: str) -> None:
    """State each null on the test prompts: after a race only until it is clearly behind the method.

    Where the method's own gain is too little for a Yes, the nulls decide nothing and stay on the first prompts.
    """
    if plan.search == RACE:
        run, effect, groups = bound.run, bound.judge.effect, groups_of(bound.run)
        as_read = Stated(run.table(), effect, "test", groups).gain(chosen)
        corrected = find(run).gain  # for the errors of the judge
        smallest = smallest_effect(plan, effect)
        enough = any(g is not None and g.low > smallest for g in (as_read, corrected))
        n_prompts = len(bound.texts.prompts.test.prompts) // plan.samples
        for first in looks_of(n_prompts):
            bound.measure(NULL, nulls, first)
            if not enough:
                return
            nulls = still_near(run.table(), effect, chosen, nulls, groups)
    bound.measure(NULL, nulls)


def _measure_beside(bound: Prepared) -> None:
    """Store what the layers and directions are like, whatever they do to a text."""
    run, model = bound.run, bound.model
    prompts = list(dict.fromkeys(p.text for p in bound.texts.prompts.select.prompts))
    measure_eigengaps(run, model, prompts, bound.progress)
    measure_sinks(run, model, prompts, list(bound.directions.values()))
    measure_noise(run, bound.found)


def _write_lens(run: Run, model: LensModel, direction: Direction) -> None:
    """The tokens that one natural unit of the chosen direction speaks for and against."""
    found: dict[str, Any] = {"site": str(direction.site), "place": direction.site.words}
    if direction.site.stream in RESIDUAL_STREAMS:
        most, least = top_tokens(model, direction_lens(model, direction), LENS_TOKENS)
        found |= {"for": [asdict(t) for t in most], "against": [asdict(t) for t in least]}
    write_json(run.path / "lens.json", found, indent=2)
