"""From claims and runs to verdicts: nothing here is decided by hand."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from steerscope.claims.claim import Claim, Test, claims_folder
from steerscope.claims.measures import Measured, check_measure
from steerscope.errors import RunError, SteerscopeError
from steerscope.experiments import bundled_experiments, load_experiment, open_experiment
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.identity import find_runs
from steerscope.experiments.jobs import find_job
from steerscope.experiments.running import FILE, PRINTED, runs_of
from steerscope.judges.effects import SHOWN_UNDAMAGED
from steerscope.runs.outputs import check_folder, files_in
from steerscope.runs.ownership import LOCK
from steerscope.runs.records import check_records
from steerscope.runs.results import COLUMNS, Row, Run
from steerscope.runs.seals import MANIFEST
from steerscope.runs.whole_files import whole_folder, write_whole
from steerscope.statistics import holm, power_of
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.weights.findings import ROLES, towards

_EVIDENCE = re.compile(r"experiment\.json|runs/[^/]+/(\w+\.json|(seals/)?rows/[^/]+|\.lock)")
OPEN, SUPPORTED, REFUTED, INCONCLUSIVE = VERDICTS = ("open", "supported", "refuted", "inconclusive")
UNUSABLE = "evidence that cannot be used"
_TENTH = 0.1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """A claim and what the evidence says of it.

    Attributes:
        claim: what is claimed.
        verdict: one of `VERDICTS`.
        measured: the number that decided; None while open.
        evidence: where the rows lie, or why there is no verdict.
        models: what the runs measured that gave the number, the only ones that the verdict is about.
        concepts: the contrast sets of these runs.
    """

    claim: Claim
    verdict: str
    measured: Measured | None
    evidence: str
    models: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()

    @property
    def is_unusable(self) -> bool:
        """Whether there is evidence, of which nothing can be told: unfinished or damaged runs."""
        return self.measured is None and self.evidence.startswith(f"{UNUSABLE}: ")

    @property
    def p(self) -> float:
        """Of the number being no further than the threshold that the test states; NaN while open."""
        if self.measured is None or self.claim.test is None:
            return math.nan
        return _p_of(self.claim.test, self.measured)

    @property
    def words(self) -> str:
        """The claim, bounded to what was run."""
        return f"{self.claim.words} ({self.measured_on})" if self.models else self.claim.words

    @property
    def measured_on(self) -> str:
        """The models and the concepts that the number is about, and the runs that it is not about."""
        on = f"{', '.join(self.models)}: {', '.join(self.concepts)}"
        return f"{on}; nothing known of {', '.join(self.unknown)}" if self.unknown else on

    @property
    def unknown(self) -> tuple[str, ...]:
        """The runs, or parts of them, that gave nothing to the number."""
        return self.measured.unknown if self.measured else ()


def check_claims(
    claims: Sequence[Claim],
    runs: str | Path,
    *,
    make: Callable[[Experiment, Path], object] | None = None,
) -> list[Judged]:
    """The verdict on each claim, computed from the rows that are there.

    Args:
        claims: to be judged.
        runs: folder with a folder for each experiment; where one is missing, the evidence that
            travels with the package is read.
        make: makes the runs of an experiment that nobody has run yet, or not to the end; None leaves the
            claim open.

    Returns:
        One for each claim; it is open where its runs are unfinished or damaged, and `is_unusable` then.

    Raises:
        ExperimentError: the file of an experiment that a claim names cannot be used.
    """
    return [_judge(claim, Path(runs), make) for claim in claims]


def decide(test: Test, found: Measured) -> str:
    """Supported, refuted or inconclusive: the number against the threshold that was stated.

    By the interval, what the p value beside it does not bear out is inconclusive too: in few items
    the two may part. So is what has no p value; by p there need be no interval.
    """
    edge = test.threshold
    if test.by == "p":
        if not math.isfinite(found.value) or not _p_of(test, found) < test.level:
            return INCONCLUSIVE
        if test.direction == "within":
            return SUPPORTED
        return SUPPORTED if (found.value > edge) == (test.direction == "above") else REFUTED
    if not all(map(math.isfinite, (found.value, found.low, found.high))):
        return INCONCLUSIVE
    holds, fails = {
        "above": (found.low > edge, found.high < edge),
        "below": (found.high < edge, found.low > edge),
        "within": (-edge < found.low and found.high < edge, found.low > edge or found.high < -edge),
    }[test.direction]
    borne_out = test.direction == "within" and fails or _p_of(test, found) < test.level
    if not borne_out:
        return INCONCLUSIVE
    return SUPPORTED if holds else REFUTED if fails else INCONCLUSIVE


def _p_of(test: Test, found: Measured) -> float:
    within = test.direction == "within"
    return found.p_outside(test.threshold) if within else found.p_at(test.threshold)


def _judge(claim: Claim, runs: Path, make: Callable[[Experiment, Path], object] | None) -> Judged:
    if claim.test is None:
        return Judged(claim, OPEN, None, f"waits for {claim.waits_for}")
    named = claim.test.experiment
    if named not in bundled_experiments() and not Path(named).is_file():
        return Judged(claim, OPEN, None, f"there is no experiment {named} yet")
    experiment = load_experiment(named)
    name = experiment.name
    try:
        folder = find_evidence(experiment, runs)
    except RunError as error:
        return Judged(claim, OPEN, None, f"{UNUSABLE}: {error}")
    if make is not None and (folder is None or _is_to_go_on(experiment, folder)):
        make(experiment, runs / name)
        folder = runs / name
    if folder is None:
        return Judged(
            claim, OPEN, None, f"not measured yet; `steerscope run {named}` makes its runs"
        )
    try:
        found = measured(claim.test, experiment, folder)
        runs_there = runs_of(experiment, folder)
        counted = [run for run in runs_there if run.path.name not in found.unknown]
        models, concepts = _measured_on(counted or runs_there)
    except SteerscopeError as error:
        return Judged(claim, OPEN, None, f"{UNUSABLE}: {error}")
    is_bundled = folder.is_relative_to(claims_folder())
    where = f"stored evidence of {name}" if is_bundled else str(folder)
    return Judged(claim, decide(claim.test, found), found, where, models, concepts)


def _measured_on(runs: Sequence[Run]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models and the contrast sets of some runs, each once."""
    found = ([r.configuration.get(k) for r in runs] for k in ("model", "contrasts"))
    models, concepts = (tuple(dict.fromkeys(str(v) for v in part if v)) for part in found)
    return models, concepts


def measured(test: Test, experiment: Experiment, folder: Path) -> Measured:
    """The number that a test asks for.

    Raises:
        RunError: a run is missing or unfinished, or its rows are not as they were measured.
    """
    runs = measured_runs(experiment, folder)
    return check_measure(test.measure, test.settings)(runs, **test.settings)


def measured_runs(experiment: Experiment, folder: Path) -> list[Run]:
    """The runs of an experiment, each as it was measured.

    Raises:
        RunError: one is missing, or unfinished, or not as it was measured.
    """
    runs = runs_of(experiment, folder)
    for run in runs:
        if not (run.path / MANIFEST).is_file():
            raise RunError(f"{run.path} is not finished; {run.command} goes on with it.")
        altered = check_records(run).differences
        if altered:
            raise RunError(str(altered[0]))
    return runs


def find_evidence(experiment: Experiment, runs: Path) -> Path | None:
    """The folder with runs of just this experiment: the user's own, finished or not, else the bundled.

    Raises:
        RunError: a folder of its name does not say which experiment it is of.
    """
    for folder in (runs / experiment.name, claims_folder() / "evidence" / experiment.name):
        if not (folder / FILE).is_file():
            continue
        there = open_experiment(folder)
        there = there.model_copy(update={k: getattr(experiment, k) for k in PRINTED})
        if there != experiment:
            fields = Experiment.model_fields
            other = ", ".join(k for k in fields if getattr(there, k) != getattr(experiment, k))
            _say_that_not_read(folder, experiment.name, other)
        else:
            return folder
    return None


@cache
def _say_that_not_read(folder: Path, name: str, other: str) -> None:
    """Once, however many claims ask for it."""
    _log.warning(
        "%s is not read: it is of another experiment than %s, by its %s; a claims file may name the file "
        "of that experiment",
        folder, name, other,
    )  # fmt: skip


def _is_to_go_on(experiment: Experiment, folder: Path) -> bool:
    """Whether a run of the user's own is missing or was not measured to its end, and none is damaged."""
    try:
        found = find_runs(find_job(experiment.job).steps(experiment), folder).runs
    except RunError:
        return False
    return not all(run is not None and (run.path / MANIFEST).is_file() for run in found)


def store_evidence(experiment: Experiment, folder: Path, out: Path) -> None:
    """Copy of the runs what decides claims, and nothing of the texts, whole or not at all.

    Args:
        experiment: whose runs they are.
        folder: that holds them.
        out: to be written; evidence that is there is replaced, and nothing else.

    Raises:
        OutputError: `out` is or holds the runs, or is a folder of something else.
        RunError: a run is missing, or not as it was measured.
    """
    check_folder(out, own=_is_evidence, inputs=[folder])
    runs = measured_runs(experiment, folder)
    with whole_folder(out) as unfinished:
        for run in runs:
            _store_run(experiment, run, unfinished / "runs" / run.path.name)
        write_whole(unfinished / FILE, (folder / FILE).read_text(encoding="utf-8"))


def _store_run(experiment: Experiment, run: Run, path: Path) -> None:
    table = _decisive(run)
    description = run.description | {"command": ["steerscope", "run", experiment.name]}
    write_whole(path / "run.json", json.dumps(description, indent=2) + "\n")
    kept = Run.open(path)
    records = table[list(COLUMNS)].to_dict("records")
    kept.append([Row(**{str(k): v for k, v in r.items()}) for r in records])
    if (run.path / ROLES).is_file():
        write_whole(path / ROLES, (run.path / ROLES).read_text(encoding="utf-8"))
    kept.seal()
    (path / LOCK).unlink(missing_ok=True)  # nobody will write there


def _is_evidence(folder: Path) -> bool:
    """Whether a folder is what `store_evidence` wrote, and not an experiment with all it measured."""
    if not all(_EVIDENCE.fullmatch(name) for name in files_in(folder)):
        return False
    try:
        commands = [Run.open(path).description["command"] for path in (folder / "runs").iterdir()]
    except (RunError, KeyError, OSError):
        return False
    return bool(commands) and all(command[:2] == ["steerscope", "run"] for command in commands)


def _decisive(run: Run) -> pd.DataFrame:
    """The rows that a claim may ask for: those of the effect, or all where a run measures none."""
    table = run.table()
    if "effect" not in run.configuration:
        return table
    effect = effect_of(run)
    if (run.path / ROLES).is_file():
        told = {towards(effect, target) for target in (effect.positive, effect.negative)}
        if effect.metric == SHOWN_UNDAMAGED:
            told |= {limit.metric for limit in effect.held_to}
        return table[table.metric.isin(told) & (table.split == "test")]
    return table[table.metric == effect.metric]


def board(judged: Sequence[Judged]) -> pd.DataFrame:
    """One row per claim: what is claimed, of what, the verdict, the number that decided it, its test.

    p is of the number against the threshold of the test, and p_holm the same corrected for the number
    of claims that have one. detectable is the distance from the threshold that so many items show in 4
    of 5 cases, and power the chance that they show a distance of 0.1 of a share.
    """
    corrected = holm(np.array([j.p for j in judged], dtype=float))
    nothing = Judged(Claim(name="none", words="", source="", waits_for=""), OPEN, None, "")
    rows = [_row(j, float(p)) for j, p in zip(judged, corrected, strict=True)]
    return pd.DataFrame(rows, columns=list(_row(nothing, 1.0)))


def _row(j: Judged, p_holm: float) -> dict[str, object]:
    m = j.measured or Measured(math.nan, math.nan, math.nan, math.nan, 0, "", "")
    test = j.claim.test
    return {
        "claim": j.claim.name,
        "words": j.claim.words,
        "source": j.claim.source,
        "model": ", ".join(j.models),
        "concept": ", ".join(j.concepts),
        "unknown": ", ".join(j.unknown),
        "verdict": j.verdict,
        "value": m.value,
        "low": m.low,
        "high": m.high,
        "p": j.p,
        "p_holm": p_holm,
        "n": m.n,
        "items": m.items,
        "unit": m.unit,
        "detectable": m.detectable,
        "power": _power(m),
        "direction": test.direction if test else "",
        "threshold": test.threshold if test else math.nan,
        "test": str(test or ""),
        "test_written": "before its runs" if j.claim.tested_first else "",
        "evidence": j.evidence,
    }


def _power(m: Measured) -> float:
    """Chance that the items show a distance of a tenth; NaN where no share was measured."""
    return power_of(_TENTH, m.spread, m.n) if m.spread and m.unit == "share" else math.nan
