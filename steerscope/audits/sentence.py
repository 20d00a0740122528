"""The sentence of a run with everything that its rule asks for, the errors of the audit too."""

from __future__ import annotations

from collections.abc import Sequence

from steerscope.audits.finding import Finding
from steerscope.runs.results import Run
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.wording import verdict

# What is wrong with the page or with a neighbour is not wrong with the numbers of this run.
BESIDE = ("report_disagrees", "baseline_differs")


def errors_of(found: Sequence[Finding]) -> list[str]:
    """What the audit calls an error of the run itself, in its words."""
    return [f.what for f in found if f.severity == "error" and f.check not in BESIDE]


def sentence(run: Run) -> str:
    """The verdict on a study or sweep.

    Raises:
        RunError: the run has no rows yet, or is of another kind.
    """
    from steerscope.audits import audit  # one of its checks asks for this sentence

    return verdict(find(run), errors_of(audit(run, leave_out=BESIDE)))
