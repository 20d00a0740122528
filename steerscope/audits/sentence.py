"""The sentence of a run with everything that its rule asks for, the errors of the audit too."""

from __future__ import annotations

from steerscope.runs.results import Run
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.wording import verdict

# What is wrong with the page or with a neighbour is not wrong with the numbers of this run.
BESIDE = ("report_disagrees", "baseline_differs")


def sentence(run: Run) -> str:
    """The verdict on a study or sweep.

    Raises:
        RunError: the run has no rows yet, or is of another kind.
    """
    from steerscope.audits import audit  # one of its checks asks for this sentence

    found = audit(run, leave_out=BESIDE)
    return verdict(find(run), [f.what for f in found if f.severity == "error"])
