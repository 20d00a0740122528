"""The sweep of weight edits: target, capability and perplexity, with controls, on two splits.

The select split measures every edit and chooses; the test split states the chosen ones, what is on
the front, their controls, and steering along the mean difference at the KL of the chosen edit.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import torch

from steerscope.activations import extract, package_versions
from steerscope.backbones import load_model
from steerscope.backbones.matrices import WEIGHTS, check_weight
from steerscope.bundled import bundled_prompts
from steerscope.contrasts import (
    ContrastSet,
    PromptSet,
    Split,
    load_contrasts,
    load_prompts,
    opening_prompts,
)
from steerscope.directions import Direction, find_direction
from steerscope.doses import Dose
from steerscope.errors import (
    BadValueError,
    DegenerateSpectrumError,
    PureGainWarning,
    RestorationError,
    UnsupportedWeightError,
)
from steerscope.evals import MicroworldJudge, choose_judge
from steerscope.evals.perplexity import text_nats
from steerscope.fronts import (
    CAPABILITY,
    CONTROL,
    EDIT,
    ELSEWHERE,
    NATS,
    ROLES,
    STEERING,
    TOKENS,
    choose,
    front_table,
)
from steerscope.generation import Greedy, Sample
from steerscope.interventions import Cell, Steering
from steerscope.matched_kl import KL, matched_doses
from steerscope.microworld.oracle import sample_story
from steerscope.model import LensModel
from steerscope.progress import Track, silent
from steerscope.results import Row, Run
from steerscope.score import preferences
from steerscope.sites import Site
from steerscope.steerability import Matching
from steerscope.sweeps import Bench, Decoding, Material, cell_row
from steerscope.weights.controls import CONTROLS, control_of, elsewhere
from steerscope.weights.descriptions import describe_edit
from steerscope.weights.edits import find_edit, needs_pairs, output_site
from steerscope.weights.judged import TargetJudge
from steerscope.weights.kept import kept_weight
from steerscope.weights.places import Place, parse_places
from steerscope.weights.plan import WeightSweepPlan
from steerscope.weights.weight_edit import WeightEdit
from steerscope.whole_files import write_whole

_KL_PROMPTS = 12
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Bound:
    """A plan with everything it names loaded and checked, and the run started."""

    plan: WeightSweepPlan
    model: LensModel
    pairs: Split[ContrastSet]
    prompts: Split[PromptSet]
    capability: Split[ContrastSet] | None
    texts: Split[tuple[str, ...]]
    judge: TargetJudge
    run: Run
    progress: Track

    def measure(self, split: str, cells: Sequence[Cell]) -> None:
        """Measure conditions on one split: continuations, capability and perplexity."""
        plan = self.plan
        sampler = Sample(plan.temperature, plan.seed) if plan.temperature else Greedy()
        pairs, prompts = getattr(self.pairs, split), getattr(self.prompts, split)
        material = Material(split, prompts, pairs)
        bench = Bench(self.model, self.judge, material, self.run, Decoding(plan.n_new, sampler))
        bench.measure(cells, progress=self.progress)
        wanted = [c for c in (Cell(), *cells) if not self.run.has([(c.key, 0, split, TOKENS)])]
        if not wanted:
            return
        texts: tuple[str, ...] = getattr(self.texts, split)
        found = text_nats(self.model, texts, wanted, progress=self.progress)
        self.run.append(
            [
                cell_row(cell, pairs.concept, split, (metric, unit, i), float(value))
                for number, cell in enumerate(wanted)
                for metric, unit, values in (
                    (NATS, "nats", found.nats[number]),
                    (TOKENS, "tokens", found.tokens),
                )
                for i, value in enumerate(values)
            ]
            + self._capability_rows(split, wanted)
        )

    def _capability_rows(self, split: str, cells: Sequence[Cell]) -> list[Row]:
        if self.capability is None:
            return []
        pairs: ContrastSet = getattr(self.capability, split)
        texts = [(p.positive, p.negative) for p in pairs.pairs]
        margins = preferences(self.model, texts, cells, progress=self.progress)
        concept = getattr(self.pairs, split).concept
        return [
            cell_row(cell, concept, split, (CAPABILITY, "share", i), float(margin > 0))
            for cell, row in zip(cells, margins, strict=True)
            for i, margin in enumerate(row)
        ]


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
    bound, edits = _bind(plan, out, (device, memory), progress)
    places = dict.fromkeys(place for edit in edits for place, _ in edit.parts)
    before = {p: kept_weight(bound.model, p).matrix.checksum for p in places}
    cells = {cell.key: cell for cell in (Cell((edit,)) for edit in edits)}
    bound.measure("select", list(cells.values()))
    effect = bound.judge.effect
    table = front_table(bound.run.table(), effect, "select")
    rows = table[table.cell.isin(cells)]
    chosen = choose(rows, plan.limits)
    _write_descriptions(bound, edits)
    roles: list[dict[str, str]] = []
    stated = [cells[cell] for cell in {*chosen.cell, *rows[rows.front].cell}]
    for target, mine in chosen.groupby("target"):
        best = mine.loc[mine.effect.idxmax()]
        for role, cell in _company(bound, cells[best.cell], float(best.kl_nats), str(target)):
            roles.append({"cell": cell.key, "target": str(target), "role": role})
            stated.append(cell)
    bound.measure("test", list({cell.key: cell for cell in stated}.values()))
    write_whole(bound.run.path / ROLES, json.dumps(roles, indent=1) + "\n")
    changed = [str(p) for p in places if kept_weight(bound.model, p).matrix.checksum != before[p]]
    if changed:
        raise RestorationError(f"weights {', '.join(changed)} are not as before the sweep.")
    return bound.run


def _write_descriptions(bound: _Bound, edits: Sequence[WeightEdit]) -> None:
    """What every edit does to its weights in numbers, `descriptions.json` beside the rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PureGainWarning)  # said before
        found = [asdict(d) | {"cell": str(e)} for e in edits for d in describe_edit(bound.model, e)]
    write_whole(bound.run.path / "descriptions.json", json.dumps(found, indent=1) + "\n")


def _company(bound: _Bound, cell: Cell, kl: float, target: str) -> Iterator[tuple[str, Cell]]:
    """The chosen edit with its controls and the steering that it is measured against."""
    (edit,) = cell.interventions
    assert isinstance(edit, WeightEdit)
    yield EDIT, cell
    for kind in CONTROLS:
        seeds = range(2) if kind == "gain" else range(bound.plan.n_controls)
        for seed in seeds:
            control = control_of(edit, kind, seed=seed)
            if _is_possible(bound.model, control) and str(control) != str(edit):
                yield CONTROL, Cell((control,))
    if len(edit.parts) == 1:
        for moved in _moved(bound.model, edit):
            yield ELSEWHERE, Cell((moved,))
    steering = _steering(bound, kl, target)
    if steering is not None:
        yield STEERING, steering


def _moved(model: LensModel, edit: WeightEdit) -> Iterator[WeightEdit]:
    """The edit of one place at the same weight of other layers, and at other weights of its layer."""
    ((place, _),) = edit.parts
    others = [Place(place.name, i) for i in range(model.shape.n_layers)]
    others += [Place(name, place.layer) for name in WEIGHTS]
    for other in others:
        moved = elsewhere(edit, other)
        if other != place and _is_possible(model, moved):
            yield moved


def _is_possible(model: LensModel, edit: WeightEdit) -> bool:
    """Whether the model has the weight and does not undo the edit."""
    try:
        edit.changes(model)
    except (UnsupportedWeightError, DegenerateSpectrumError, BadValueError) as error:
        _log.info("no control: %s", error)
        return False
    return True


def _steering(bound: _Bound, kl: float, target: str) -> Cell | None:
    """The mean difference towards a target, at the layer that the select split chooses at this KL."""
    sites = [Site("resid_post", i) for i in range(bound.model.shape.n_layers)]
    found = extract(bound.model, bound.pairs.fit, sites, progress=bound.progress)
    directions = [find_direction("mean_diff", contrast) for contrast in found.values()]
    asked = [p.text for p in bound.prompts.select.prompts[:_KL_PROMPTS]]
    matching = Matching((0.02, 0.1, 0.4, 1.2, 4.0), relative=0.4, kl=kl)
    doses = matched_doses(bound.model, directions, asked, matching, progress=bound.progress)
    reached = doses[(doses.matching == KL) & doses.dose_relative.notna()]
    sign = 1 if target == bound.judge.effect.positive else -1
    cells = {
        cell.key: cell
        for cell in (
            _steered(directions[row.direction], sign * row.dose_relative)
            for row in reached.itertuples()
        )
    }
    if not cells:
        return None
    bound.measure("select", list(cells.values()))
    rows = front_table(bound.run.table(), bound.judge.effect, "select")
    mine = rows[rows.cell.isin(cells) & (rows.target == target)]
    return cells[mine.loc[mine.effect.idxmax()].cell]


def _steered(direction: Direction, relative: float) -> Cell:
    return Cell((Steering(direction, Dose(relative, "relative")),))


def _bind(
    plan: WeightSweepPlan, out: str | Path, machine: tuple[str | None, str | None], progress: Track
) -> tuple[_Bound, list[WeightEdit]]:
    contrasts = load_contrasts(plan.contrasts)
    pairs = contrasts.split(plan.seed)
    prompts = _prompts(plan, contrasts, pairs)
    device, memory = machine
    model = load_model(
        plan.model, backbone=plan.backbone, dtype=plan.dtype, device=device, memory=memory
    )
    asked = (*prompts.select.prompts, *prompts.test.prompts)
    judge = TargetJudge(choose_judge(contrasts, asked))
    has_oracle = isinstance(judge.judge, MicroworldJudge)
    if plan.capability is None and not has_oracle:
        raise BadValueError(
            f"no oracle reads what {contrasts.name} leaves alone; name a contrast set whose positive "
            "text a capable model prefers as capability."
        )
    capability = None if has_oracle else load_contrasts(str(plan.capability)).split(plan.seed)
    texts = _texts(plan, pairs, has_oracle)
    edits = _edits(plan, model, pairs.fit, progress)
    _check(model, edits)
    run = Run.start(
        out,
        {
            "kind": type(plan).__name__,
            **asdict(plan),
            "contrasts_sha256": contrasts.sha256,
            "prompts_sha256": [prompts.select.sha256, prompts.test.sha256],
            "effect": asdict(judge.effect),
        },
        provenance={
            "fingerprint": model.fingerprint,
            "backbone": model.backbone,
            "shape": asdict(model.shape),
            "device": model.device.type,
            "threads": torch.get_num_threads(),
            "versions": package_versions(),
        },
    )
    return _Bound(plan, model, pairs, prompts, capability, texts, judge, run, progress), edits


def _check(model: LensModel, edits: Sequence[WeightEdit]) -> None:
    """Refuse what some weight refuses, and say which edits change no spectrum."""
    gains = {
        part.name
        for edit in edits
        for (_, part), (_, change) in zip(edit.parts, edit.changes(model), strict=True)
        if change.is_gain
    }
    if gains:
        warnings.warn(
            f"{', '.join(sorted(gains))} multiplies every weight by one number: it changes no "
            "spectrum, and is swept as the control that it is.",
            PureGainWarning,
            stacklevel=4,
        )


def _edits(
    plan: WeightSweepPlan, model: LensModel, fit: ContrastSet, progress: Track
) -> list[WeightEdit]:
    """Every edit by every amount at every place."""
    layers = plan.layers or range(model.shape.n_layers)
    places = [Place(check_weight(name), i) for name in plan.weights for i in layers]
    everywhere = [*places, *(p for text in plan.together for p, _ in parse_places(text))]
    contrasts = {}
    if any(map(needs_pairs, plan.edits)):
        sites = [
            s for p in everywhere for g in (True, False) if model.has(s := output_site(p, gated=g))
        ]
        contrasts = extract(model, fit, list(dict.fromkeys(sites)), progress=progress)
    single = [
        WeightEdit(((place, find_edit(name, amount, contrasts=contrasts)),))
        for name in plan.edits
        for place in places
        for amount in plan.amounts
        if amount
    ]
    together = [
        WeightEdit.parse(name, text, contrasts=contrasts)
        for name in plan.edits
        for text in plan.together
    ]
    return [*single, *together]


def _prompts(
    plan: WeightSweepPlan, contrasts: ContrastSet, pairs: Split[ContrastSet]
) -> Split[PromptSet]:
    if plan.prompts is not None or contrasts.name in bundled_prompts():
        found = load_prompts(plan.prompts or contrasts.name).split(plan.seed)
    else:
        parts = (pairs.fit, pairs.select, pairs.test)
        found = Split(*(opening_prompts(part.name, part.pairs) for part in parts))
    return Split(
        found.fit,
        replace(found.select, prompts=found.select.prompts[: plan.max_select]),
        replace(found.test, prompts=found.test.prompts[: plan.max_test]),
    )


def _texts(
    plan: WeightSweepPlan, pairs: Split[ContrastSet], has_oracle: bool
) -> Split[tuple[str, ...]]:
    """Texts for perplexity, other ones on each split."""
    if plan.texts is not None:
        texts = tuple(p.text for p in load_prompts(plan.texts).prompts)[: 2 * plan.n_texts]
        if len(texts) < 2:
            raise BadValueError(f"{plan.texts} has fewer than 2 texts; each split needs its own.")
        return Split((), texts[0::2], texts[1::2])
    if has_oracle:
        rng = Random(f"perplexity {plan.seed}")
        stories = tuple(sample_story(rng).text for _ in range(2 * plan.n_texts))
        return Split((), stories[0::2], stories[1::2])
    sides = pairs.map(lambda part: tuple(t for p in part.pairs for t in (p.positive, p.negative)))
    return sides.map(lambda texts: texts[: plan.n_texts])
