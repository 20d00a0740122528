"""The sweep of weight edits: target, capability and perplexity, with controls, on two splits.

The select split screens every edit, teacher-forced, and lets the best few of each kind write; the
test split states the chosen ones, their controls, and steering along the mean difference at the KL
of the chosen edit.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from steerscope.directions import Direction, find_direction
from steerscope.doses import Dose
from steerscope.engine.calibration import calibrate
from steerscope.engine.score import mean_kl, with_kl
from steerscope.engine.searches import sizes_at_kl
from steerscope.errors import (
    BadValueError,
    DegenerateDirectionError,
    DegenerateSpectrumError,
    MissingEvidenceError,
    PureGainWarning,
    RestorationError,
    UnsupportedWeightError,
)
from steerscope.extraction.activations import extract
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import WEIGHTS
from steerscope.progress import Track, silent
from steerscope.runs.results import Run, measuring
from steerscope.runs.whole_files import write_json
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.studies.weights.bench import WeightBench, bind, output_contrasts
from steerscope.studies.weights.findings import CONTROL, EDIT, ELSEWHERE, ROLES, STEERING, choose
from steerscope.studies.weights.one_kl import controls_at_kl
from steerscope.studies.weights.plan import WeightSweepPlan
from steerscope.weights.controls import CONTROLS, control_of, elsewhere, same_change
from steerscope.weights.descriptions import describe_edit
from steerscope.weights.edits import find_edit, needs_pairs
from steerscope.weights.kept import kept_weight
from steerscope.weights.places import Place
from steerscope.weights.weight_edit import WeightEdit

_LAYER_PROMPTS = 16  # on which the layer of the steering is chosen; its dose is matched on all
OTHER_LAYERS = 8  # at which the chosen edit is made as well
_DOSE, _FARTHEST = 0.4, 16.0  # relative, tried first at every layer, and how far from it
_log = logging.getLogger(__name__)


def run_weight_sweep(
    plan: WeightSweepPlan,
    out: str | Path,
    *,
    device: str | None = None,
    memory: str | None = None,
    progress: Track = silent,
) -> Run:
    """Measure a sweep of weight edits; a second start finishes what is missing.

    Args:
        plan: what decides the numbers.
        out: the run directory.
        device: as in `load_model`.
        memory: as in `load_model`.
        progress: shows the loops.

    Raises:
        SteerscopeError: any of the input errors; nothing is measured before all edits are checked.
        RestorationError: a weight is not as it was before the sweep.
    """
    with measuring(out):
        bench, edits = bind(plan, out, (device, memory), progress)
        places = dict.fromkeys(place for edit in edits for place, _ in edit.parts)
        before = {p: kept_weight(bench.model, p).matrix.checksum for p in places}
        cells = {cell.key: cell for cell in (Cell((edit,)) for edit in edits)}
        bench.screen(list(cells.values()))
        _write_descriptions(bench, edits)
        shortlist = choose(bench.leanings(cells), plan.limits, count=plan.shortlist)
        bench.measure("select", [cells[cell] for cell in dict.fromkeys(shortlist.cell)])
        stated = {cell: cells[cell] for cell in dict.fromkeys(shortlist.cell)}
        rows = bench.leanings(stated)
        directions = _mean_differences(bench) if stated else []
        roles: list[dict[str, str]] = []
        for target, mine in choose(rows, plan.limits).groupby("target") if stated else ():
            best = mine.loc[mine.effect.idxmax()]
            for role, cell in _company(bench, directions, cells[best.cell], str(target)):
                roles.append({"cell": cell.key, "target": str(target), "role": role})
                stated[cell.key] = cell
        bench.measure("test", list(stated.values()))
        write_json(bench.run.path / ROLES, roles)
        changed = [
            str(p) for p in places if kept_weight(bench.model, p).matrix.checksum != before[p]
        ]
        if changed:
            raise RestorationError(f"weights {', '.join(changed)} are not as before the sweep.")
        bench.run.seal()
        return bench.run


def _write_descriptions(bench: WeightBench, edits: Sequence[WeightEdit]) -> None:
    """What every edit does to its weights in numbers, `descriptions.json` beside the rows; null for what is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PureGainWarning)  # said before
        found = [asdict(d) | {"cell": str(e)} for e in edits for d in describe_edit(bench.model, e)]
    write_json(bench.run.path / "descriptions.json", found)


def _company(
    bench: WeightBench, directions: Sequence[Direction], cell: Cell, target: str
) -> Iterator[tuple[str, Cell]]:
    """The chosen edit with its controls and the steering that it is measured against."""
    (edit,) = cell.interventions
    assert isinstance(edit, WeightEdit)
    sign = 1 if target == bench.judge.effect.positive else -1
    asked = [p.text for p in bench.prompts.select.prompts if bench.judge.applies(p, sign)]
    yield EDIT, cell
    controls = [
        control
        for kind in CONTROLS
        for seed in (range(2) if kind == "gain" else range(bench.plan.n_controls))
        if _is_possible(bench.model, control := control_of(edit, kind, seed=seed))
        and not same_change(bench.model, control, edit)
    ]
    for control in (*controls, *controls_at_kl(bench.model, controls, edit, asked)):
        yield CONTROL, Cell((control,))
    if len(edit.parts) == 1:
        for moved in _moved(bench, edit):
            yield ELSEWHERE, Cell((moved,))
    steering = _steering(bench, directions, cell, target)
    if steering is not None:
        yield STEERING, steering


def _moved(bench: WeightBench, edit: WeightEdit) -> Iterator[WeightEdit]:
    """The edit of one place at the same weight of other layers, and at other weights of its layer.

    Of more than eight other layers eight, from the first to the last. An edit that looks at the pairs looks at
    them at each of these places.
    """
    model = bench.model
    ((place, part),) = edit.parts
    layers = [i for i in range(model.shape.n_layers) if i != place.layer]
    spread = np.linspace(0, len(layers) - 1, min(OTHER_LAYERS, len(layers))).round().astype(int)
    others = [Place(place.name, layers[i]) for i in spread]
    others += [Place(name, place.layer) for name in WEIGHTS if name != place.name]
    if needs_pairs(part.name):
        read = output_contrasts(model, bench.pairs.fit, others, bench.progress)
        edit = WeightEdit(((place, find_edit(part.name, part.amount, contrasts=read)),))
    for other in others:
        moved = elsewhere(edit, other)
        if _is_possible(model, moved):
            yield moved


def _is_possible(model: LensModel, edit: WeightEdit) -> bool:
    """Whether the model has the weight, and what the edit asks of it, and does not undo the edit."""
    try:
        edit.changes(model)
    except (
        UnsupportedWeightError,
        DegenerateSpectrumError,
        DegenerateDirectionError,
        MissingEvidenceError,
        BadValueError,
    ) as error:
        _log.info("no control: %s", error)
        return False
    return True


def _mean_differences(bench: WeightBench) -> list[Direction]:
    """The mean difference at the output of every block."""
    sites = [Site("resid_post", i) for i in range(bench.model.shape.n_layers)]
    found = extract(bench.model, bench.pairs.fit, sites, progress=bench.progress)
    return [find_direction("mean_diff", contrast) for contrast in found.values()]


def _steering(
    bench: WeightBench, directions: Sequence[Direction], edit: Cell, target: str
) -> Cell | None:
    """The direction towards a target at the KL of an edit, on the prompts that can go there.

    The layer is the one that leans most towards the target; None where no layer reaches the KL.
    """
    sign = 1 if target == bench.judge.effect.positive else -1
    texts = [p.text for p in bench.prompts.select.prompts if bench.judge.applies(p, sign)]
    asked = with_kl(bench.model, texts)
    if not asked:
        return None
    kl = float(mean_kl(bench.model, asked, [edit]))

    def at(layer: int, relative: float) -> Cell:
        return Cell((Steering(directions[layer], Dose(sign * relative, "relative")),))

    def nats(wanted: Sequence[tuple[int, float]]) -> list[float]:
        cells = [at(layer, relative) for layer, relative in wanted]
        return mean_kl(bench.model, few, cells, progress=bench.progress).tolist()

    few = asked[:_LAYER_PROMPTS]
    doses = sizes_at_kl(nats, [_DOSE] * len(directions), kl, tolerance=0.05, farthest=_FARTHEST)
    ways = {at(i, dose): directions[i] for i, dose in enumerate(doses) if math.isfinite(dose)}
    if not ways:
        return None
    bench.screen(list(ways))
    by_key = {cell.key: direction for cell, direction in ways.items()}
    rows = bench.leanings(by_key)
    mine = rows[rows.target == target]
    # where all overflow any will do: that nothing is known of it is said where it is stated
    leans_most = mine.loc[mine.effect.idxmax()].cell if len(mine) else next(iter(by_key))
    best = by_key[leans_most]
    exact = calibrate(bench.model, best if sign > 0 else -best, kl, asked)
    if not exact.reached:
        return None
    return Cell((Steering(best, Dose(sign * exact.relative, "relative")),))
