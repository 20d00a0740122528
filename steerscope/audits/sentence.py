"""The sentence of a run with everything that its rule asks for, the errors of the audit too."""

from __future__ import annotations

from steerscope.audits.finding import Finding
from steerscope.runs.results import Run
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.wording import verdict

# What is wrong with the page or with a neighbour is not wrong with the numbers of this run.
BESIDE = ("report_disagrees", "baseline_differs")
# What the rule of the sentence asks for by itself, and would say twice.
OF_THE_RULE = ("uncorrected_choice", "overflow")


def sentence(run: Run) -> str:
    """The verdict on a study or sweep.

    Raises:
        RunError: the run has no rows yet, or is of another kind.
    """
    return verdict(find(run), [finding.what for finding in errors_of(run)])


def errors_of(run: Run) -> list[Finding]:
    """What speaks against the sentence of a run: the errors of its audit.

    Not those of its page, which is made of the sentence, nor those of runs beside it, nor what the rule
    asks for by itself. A check that could not be made is no error.

    Raises:
        RunError: the run has no rows yet, or is of a kind that cannot be audited.
    """
    from steerscope.audits import audit  # one of its checks asks for the sentence

    found = audit(run, leave_out=(*BESIDE, *OF_THE_RULE))
    return [finding for finding in found if finding.severity == "error"]
