"""The main job: where, how hard and whether a model can be steered along one contrast set.

Directions come from the fit split, the layer and dose from the select split, and what is stated
from the test split, with random and label-shuffled directions beside it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from steerscope.diagnostics.lens import RESIDUAL_STREAMS, direction_lens, top_tokens
from steerscope.directions import METHODS, Direction, find_direction, save_directions
from steerscope.directions.finding import find_directions
from steerscope.doses import Dose, check_unit
from steerscope.engine.gathering import gather
from steerscope.engine.generation import generation_plan
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.activations import Contrast
from steerscope.extraction.reading import ReadToken
from steerscope.judges import Judge
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.models.loading import load_model
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track, silent
from steerscope.runs.results import Run, check_run_folder, measuring
from steerscope.runs.whole_files import write_whole
from steerscope.sites import Site, check_stream
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import Bench, Decoding, Material, dose_cells
from steerscope.studies.judging import Question, find_judge
from steerscope.studies.steering.asking import asking_cells
from steerscope.studies.steering.beside import measure_eigengaps, measure_noise, measure_sinks
from steerscope.studies.steering.choice import sweet_spot
from steerscope.studies.steering.nulls import (
    NULL,
    SCREEN,
    best_cells,
    dose_cells_at_best_layer,
    few_pairs,
    few_prompts,
    layer_cells,
    most_kl,
    null_costs,
    null_families,
)
from steerscope.studies.steering.plan import GRID, Plan, StudyPlan, SweepPlan, groups_of
from steerscope.studies.steering.responses import summarise
from steerscope.studies.steering.search import (
    resolved,
    rounds_of,
    run_race,
    texts_of_race,
    tried_in,
)
from steerscope.studies.steering.several_layers import best_together, several_cells
from steerscope.studies.steering.texts import Texts, load_texts, most_texts
from steerscope.texts.chats import as_chat
from steerscope.texts.contrasts import ContrastSet, load_contrasts

LENS_TOKENS = 12
_UNSEEN = (
    "prompt",
    "generated",
    "steps",
    "last",
)  # scopes by where a prompt ends and writing begins
_SAMPLING = ("samples", "top_k", "top_p", "min_p", "repetition_penalty")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Bound:
    """A plan with everything it names loaded and checked, directions found, the run started."""

    plan: Plan
    model: LensModel
    texts: Texts
    judge: Judge
    found: dict[Site, Contrast]
    directions: dict[int, Direction]
    run: Run
    progress: Track

    @property
    def search(self) -> str:
        """How the layer and dose are searched for."""
        return self.plan.search if isinstance(self.plan, StudyPlan) else GRID

    def measure(self, split: str, cells: Sequence[Cell], first: int | None = None) -> None:
        """Measure conditions on one split, or on its first so many prompts."""
        prompts, pairs = (getattr(part, split) for part in (self.texts.prompts, self.texts.pairs))
        bench = self.bench(Material(split, prompts, pairs, first))
        bench.measure(cells, progress=self.progress)

    def bench(self, material: Material) -> Bench:
        """What measures conditions on these texts, into the run."""
        plan = self.plan
        decoding = Decoding(plan.n_new, plan.sampler, plan.samples)
        return Bench(self.model, self.judge, material, self.run, decoding)


def run_study(
    plan: StudyPlan,
    out: str | Path,
    *,
    device: str | None = None,
    memory: str | None = None,
    progress: Track = silent,
) -> Run:
    """Measure everything that the report shows; a second start finishes what is missing.

    Args:
        plan: what decides the numbers.
        out: the run directory.
        device: as in `load_model`.
        memory: as in `load_model`; the bytes of weights and work are logged before it starts.
        progress: shows the loops.

    Raises:
        SteerscopeError: any of the input errors; nothing is written before the input is checked.
    """
    with measuring(out):
        bound = _bind(plan, out, (device, memory), progress)
        plan = replace(plan, search=bound.search)
        _log.info("nulls: %s", null_costs(plan.nulls, len(bound.directions), len(plan.doses)))
        scope = Scope.parse(plan.scope)
        signed = [Dose(sign * d) for d in sorted(plan.doses) for sign in (1, -1)]
        controls = _sweep_controls(bound)
        every = [*bound.directions.values()] if plan.all_layers else []
        asking = asking_cells(plan, bound.model, bound.texts, judged=bound.judge.effect.is_share)
        _measure_select(bound, plan, controls, [*several_cells(every, signed, scope), *asking])
        table, groups = bound.run.table(), groups_of(bound.run)
        tried = tried_in(plan, table)
        chosen = sweet_spot(table, bound.judge.effect, plan.method, groups=groups, tried=tried)
        direction = bound.directions[chosen.layer]
        test_controls = _test_controls(plan, bound.found[direction.site])
        steered = dose_cells([direction, *test_controls], signed, scope)
        bound.measure("test", [*steered, *asking])
        if len(every) > 1:
            bound.measure("test", [best_together(bound.run, bound.judge.effect, every, scope)])
        _measure_nulls(bound, plan, scope)
        _measure_beside(bound)
        _write_lens(bound.run, bound.model, direction)
        everything = [*bound.directions.values(), *controls, *test_controls]
        save_directions(bound.run.path / "directions.safetensors", everything, force=True)
        bound.run.seal()
        return bound.run


def _measure_select(
    bound: _Bound, plan: StudyPlan, controls: Sequence[Direction], together: Sequence[Cell]
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
    bound.measure("select", together)


def run_sweep(
    plan: SweepPlan,
    out: str | Path,
    *,
    device: str | None = None,
    memory: str | None = None,
    progress: Track = silent,
) -> Run:
    """Measure a grid of layers and doses on the select split; a second start finishes what is missing.

    Args:
        plan: what decides the numbers.
        out: the run directory.
        device: as in `load_model`.
        memory: as in `load_model`; the bytes of weights and work are logged before it starts.
        progress: shows the loop.

    Raises:
        SteerscopeError: any of the input errors; nothing is written before the input is checked.
    """
    with measuring(out):
        doses = [Dose(value, check_unit(plan.unit)) for value in plan.doses]
        bound = _bind(plan, out, (device, memory), progress)
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


def _bind(
    plan: Plan, out: str | Path, machine: tuple[str | None, str | None], progress: Track
) -> _Bound:
    if plan.method not in METHODS:
        raise UnknownNameError("method", plan.method, METHODS)
    read = ReadToken.parse(plan.read)
    check_run_folder(out)
    texts = load_texts(plan)
    device, memory = machine
    model = load_model(
        plan.model,
        backbone=plan.backbone,
        dtype=plan.dtype,
        device=device,
        memory=memory,
        bos=plan.bos,
        revision=plan.revision,
    )
    plan = replace(plan, dtype=model.dtype_name)
    source = texts.contrasts.sha256
    texts = texts.in_chat(model, plan.chat).repeated(plan.samples)
    sites = sites_at(model, plan.stream, plan.layers)
    plan = _with_search(plan, len(sites), len(texts.prompts.select.prompts))
    judging = find_judge(question_of(plan, texts, len(sites)), model, out)
    judge = judging.judge
    _check_scope(plan, judge)
    _log.info("memory: %s", generation_plan(model, texts.longest(model, plan.n_new), plan.n_new)[0])
    other = _other_pairs(plan, model)
    methods = [plan.method, *(["other_concept"] if other else [])]
    found = gather(
        model, texts.pairs.fit, sites, methods, read=read, other=other, progress=progress
    )
    there = find_directions(plan.method, found, seed=plan.seed, every=plan.layers is not None)
    found = {site: found[site] for site in there}
    directions = {site.layer: direction for site, direction in there.items()}
    parts = ("fit", "select", "test")
    run = Run.start(
        out,
        {
            "kind": type(plan).__name__,
            **_settings(plan),
            "contrasts_sha256": texts.contrasts.sha256,
            "prompts_sha256": [texts.prompts.select.sha256, texts.prompts.test.sha256],
            "effect": asdict(judge.effect),
            **judging.settings,
        },
        provenance=provenance_of(model)
        | {
            "n_pairs": {part: len(getattr(texts.pairs, part)) for part in parts},
            "n_prompts": {part: len(getattr(texts.prompts, part)) for part in parts[1:]},
            "groups": {
                part: {
                    "pairs": getattr(texts.pairs, part).groups,
                    "prompts": getattr(texts.prompts, part).groups,
                }
                for part in parts[1:]
            },
            "contrasts_source_sha256": source,
        },
    )
    judging.keep(run)
    return _Bound(plan, model, texts, judge, found, directions, run, progress)


def _with_search(plan: Plan, n_layers: int, n_prompts: int) -> Plan:
    """The plan with the search that it comes to, which is a part of what a run is."""
    if not isinstance(plan, StudyPlan):
        return plan
    return replace(plan, search=resolved(plan.search, n_layers, len(plan.doses), n_prompts))


def question_of(plan: Plan, texts: Texts, n_layers: int) -> Question:
    """What a judge is to tell."""
    return Question(
        plan.judge,
        plan.judge_labels,
        texts.contrasts,
        texts.pairs,
        texts.all_prompts,
        plan.n_new,
        plan.seed,
        plan.judge_url,
        most_texts(plan, texts, n_layers),
    )


def _check_scope(plan: Plan, judge: Judge) -> None:
    """Refuse a scope at which texts that are given, and not written, are not steered as a text is."""
    blind = [kind for kind in _UNSEEN if kind in plan.scope]
    if blind and not judge.effect.is_share:
        raise BadValueError(
            f"scope {plan.scope}: without a judge of text the effect is read off pairs that are given "
            f"and not written, where {blind[0]!r} means something else; use the scope all, or a "
            "contrast set that a judge can read."
        )


def _other_pairs(plan: Plan, model: LensModel) -> ContrastSet | None:
    """The fit pairs of another concept, if the plan names one."""
    if not isinstance(plan, StudyPlan) or plan.other is None:
        return None
    pairs = load_contrasts(plan.other).split(plan.seed, plan.grouping).fit
    return in_chat(model, pairs, plan.chat)


def _settings(plan: Plan) -> dict[str, Any]:
    """The plan without what is not asked for, so that runs from before it could be asked continue."""
    usual: dict[str, Any] = {"chat": None, "bos": "auto", "revision": None, "all_layers": False}
    usual |= {"judge": None, "judge_labels": None, "instruction": None}
    usual |= {"examples": StudyPlan.examples}
    usual |= {name: getattr(Plan, name) for name in _SAMPLING}
    usual |= {"search": GRID}
    chat = as_chat(plan.chat)
    settings = asdict(plan) | {"chat": None if chat is None else chat.stored()}
    del settings["judge_url"]  # where the judge is asked, not what it says
    return {k: v for k, v in settings.items() if k not in usual or v != usual[k]}


def sites_at(model: LensModel, stream: str, layers: Sequence[int] | None) -> list[Site]:
    """Sites of one stream at the given layers; None for every layer that has it.

    Raises:
        UnknownNameError: no such stream.
        UnsupportedSiteError: a layer is out of range, or no layer has the stream.
    """
    name = check_stream(stream)
    sites = [Site(name, layer) for layer in layers or range(model.shape.n_layers)]
    if layers is None:
        sites = [s for s in sites if model.has(s)] or sites[:1]
    for site in sites:
        model.check(site)
    return sites


def _sweep_controls(bound: _Bound) -> list[Direction]:
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


def _measure_nulls(bound: _Bound, plan: StudyPlan, scope: Scope) -> None:
    """Choose a layer and dose for every null, and state it where the method is stated."""
    families = null_families(bound.found, plan.nulls, plan.seed)
    if not families:
        return
    run, prompts, pairs = bound.run, bound.texts.prompts, bound.texts.pairs
    screen = bound.bench(Material(SCREEN, few_prompts(prompts.select), few_pairs(pairs.select)))
    screen.measure_pairs(layer_cells(families, plan.reference_dose, scope), progress=bound.progress)
    at_best = dose_cells_at_best_layer(families, run.table(), plan.doses, scope)
    screen.measure_pairs(at_best, progress=bound.progress)
    summary = summarise(run.table(), bound.judge.effect, "select", groups=groups_of(run))
    cells = best_cells(families, run.table(), most_kl(summary, plan.method), scope)
    stated = bound.bench(Material(NULL, prompts.test, pairs.test))
    measure = stated.measure if bound.judge.effect.is_share else stated.measure_pairs
    measure(cells, progress=bound.progress)


def _measure_beside(bound: _Bound) -> None:
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
    write_whole(run.path / "lens.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
