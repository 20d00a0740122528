"""Directions of several kinds at one site, at a matched KL: what they change and what they break."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import attempt
from steerscope.engine.matched_kl import KL, Matching, matched_doses
from steerscope.engine.sampling import sampler_at
from steerscope.engine.score import mean_kl
from steerscope.engine.searches import first_crossing
from steerscope.errors import BadValueError, NotFiniteError
from steerscope.judges import Judge
from steerscope.judges.effects import Effect
from steerscope.judges.judges import read_all, scored, shows_nothing, signs_read
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.results import NOT_FINITE
from steerscope.steering.interventions import Cell, Intervention, Steering
from steerscope.studies.damage import add_damage
from steerscope.studies.features.plan import TrialPlan
from steerscope.studies.rows import overflowed
from steerscope.texts.contrasts import Prompt
from steerscope.texts.groups import distinct_prompts

_log = logging.getLogger(__name__)
_DOSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
_SIZES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_TOLERANCE = 0.02  # of the KL: this near counts as reached

_On = tuple[Sequence[str], Sequence[int]]  # prompts and the signs of a dose, to match a KL on

Edit = Callable[[int, float], Intervention]
"""What is done for a sign (towards or away from the positive class) at a size."""


def run_trials(
    model: LensModel,
    directions: Mapping[str, Direction],
    judge: Judge,
    select: Sequence[Prompt],
    test: Sequence[Prompt],
    *,
    edits: Mapping[str, Edit] | None = None,
    plan: TrialPlan | None = None,
    progress: Track = silent,
) -> pd.DataFrame:
    """Continuations of held-out prompts under every direction and edit, at every matched KL.

    Both signs are written, or the positive one alone by a judge that gives scores. A dose or size is found on the
    select prompts, the same for the signs that are written, so that the mean KL of the
    two is the one asked for. Each test prompt is steered away from the value that it shows; where the judge
    gives scores, towards the positive class.

    Args:
        model: the model.
        directions: by name.
        judge: reads effect and damage.
        select: prompts that match the doses.
        test: prompts that are continued.
        edits: changes that are no directions, by name, such as `clamped` features.
        plan: how.
        progress: shows the loops.

    Returns:
        One row per KL, method and prompt, and one per prompt for `plain`: kl (asked for), method,
        prompt, group (of prompts that say the same), status, given and written (the texts), dose_natural (NaN for an edit), kl_nats (on the
        select prompts), then what the judge reads; a blank text shows nothing and has kept nothing. Of a judge that gives
        scores, also `undamaged` (within the spread of the plain texts) and `shown_undamaged`. A method that does not reach a KL has no row
        there; one whose logits overflow has the status `not_finite`, no number, and is logged.

    Raises:
        BadValueError: nothing reaches any KL.
        NotFiniteError: the logits are not finite without any steering.
    """
    plan = plan or TrialPlan()
    texts = [p.text for p in select[: plan.n_select]]
    asked = list(test[: plan.n_test])
    signs = signs_read(judge)
    conditions = [_Condition(math.nan, "plain", 0.0, 0.0, lambda _: Cell())]
    for kl in plan.kls:
        conditions += _at_kl(model, directions, edits or {}, (texts, signs), kl, progress)
    if len(conditions) == 1:
        raise BadValueError(f"nothing reaches a KL of {plan.kls}; ask for less.")
    rows, groups = [], distinct_prompts([p.text for p in test])
    for sign in progress(signs, "continuing"):
        mine = [i for i, p in enumerate(asked) if judge.applies(p, sign)]
        written = attempt(
            model,
            [asked[i].text for i in mine],
            [c.cell(sign) for c in conditions],
            n_new=plan.n_new,
            sampler=sampler_at(plan.temperature, plan.seed),
        )
        by_name = dict(zip((c.name(sign) for c in conditions), written, strict=True))
        lost = overflowed(by_name)
        readings = _readings(model, judge, [asked[i] for i in mine], by_name)
        for condition, texts_of in zip(conditions, written, strict=True):
            name = condition.name(sign)
            status = NOT_FINITE if name in lost else "ok"
            for i, text, read in zip(mine, texts_of, readings[name], strict=True):
                said = {"given": asked[i].text, "written": text.text, "status": status}
                if name in lost:
                    read = dict.fromkeys(read, math.nan)
                rows.append({**condition.labels(), "prompt": i, "group": groups[i], **said, **read})
    return pd.DataFrame(rows)


def _at_kl(
    model: LensModel,
    directions: Mapping[str, Direction],
    edits: Mapping[str, Edit],
    on: _On,
    kl: float,
    progress: Track,
) -> list[_Condition]:
    """The directions and edits that reach a KL; what does not is logged."""
    found = _along(model, directions, on, kl, progress)
    tried = (_edited(model, name, edit, on, kl) for name, edit in edits.items())
    found += [condition for condition in tried if condition is not None]
    for name in sorted({*directions, *edits} - {condition.method for condition in found}):
        _log.warning("%s does not reach %g nats and is left out there", name, kl)
    return found


def _readings(
    model: LensModel,
    judge: Judge,
    prompts: Sequence[Prompt],
    written: Mapping[str, Sequence[Continuation]],
) -> dict[str, list[dict[str, float]]]:
    """What the judge reads in the texts of each condition and, where it gives scores, which are undamaged."""
    found = {name: read_all(judge, prompts, texts) for name, texts in written.items()}
    if scored(judge):
        add_damage(model, [p.text for p in prompts], written, found, judge.effect)
        return found
    return {
        name: [_counted(judge.effect, *both) for both in zip(written[name], reads, strict=True)]
        for name, reads in found.items()
    }


def _counted(effect: Effect, written: Continuation, read: dict[str, float]) -> dict[str, float]:
    """What is read in a text; a blank one shows nothing and has kept nothing."""
    none = {effect.metric, *(limit.metric for limit in effect.kept)}
    if not shows_nothing(effect, written):
        return read
    return {metric: 0.0 if metric in none else value for metric, value in read.items()}


@dataclass(frozen=True)
class _Condition:
    """A method at the dose or size of one KL."""

    kl: float
    method: str
    kl_nats: float
    dose_natural: float
    cell: Callable[[int], Cell]

    def name(self, sign: int) -> str:
        """The condition in words."""
        if math.isnan(self.kl):
            return self.method
        return f"{self.method} {'towards' if sign > 0 else 'away'} at {self.kl:g} nats"

    def labels(self) -> dict[str, float | str]:
        return {
            "kl": self.kl,
            "method": self.method,
            "kl_nats": self.kl_nats,
            "dose_natural": self.dose_natural,
        }


def _along(
    model: LensModel,
    directions: Mapping[str, Direction],
    on: _On,
    kl: float,
    progress: Track,
) -> list[_Condition]:
    """The directions that reach a KL, at the dose that does."""
    matching, (texts, signs) = Matching(_DOSES, relative=_DOSES[0], kl=kl), on
    table = matched_doses(
        model, list(directions.values()), texts, matching, signs=signs, progress=progress
    )
    reached = table[table.matching == KL].dropna(subset="dose_relative")
    found = []
    for row in reached.itertuples():
        name, direction = list(directions.items())[row.direction]
        natural = row.dose_relative * direction.scale.relative / direction.scale.natural

        def cell(
            sign: int, direction: Direction = direction, dose: float = row.dose_relative
        ) -> Cell:
            return Cell((Steering(direction, Dose(sign * dose, "relative")),))

        found.append(_Condition(kl, name, row.kl_nats, natural, cell))
    return found


def _edited(model: LensModel, name: str, edit: Edit, on: _On, kl: float) -> _Condition | None:
    """An edit at the size that reaches a KL, if one does."""
    texts, signs = on

    def measure(sizes: Sequence[float]) -> list[float]:
        cells = [Cell((edit(sign, size),)) for size in sizes for sign in signs]
        return mean_kl(model, texts, cells).reshape(-1, len(signs)).mean(dim=1).tolist()

    try:
        found = first_crossing(measure, _SIZES, kl, _TOLERANCE)
    except NotFiniteError as error:
        _log.warning("%s: %s", name, error)
        return None
    if found.above is None or not found.is_close:
        return None
    size = found.above
    return _Condition(kl, name, found.curve[size], math.nan, lambda sign: Cell((edit(sign, size),)))
