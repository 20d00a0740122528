"""The audit of a run: everything in it that may deceive its reader, with evidence and remedy.

Each check is a function from the evidence of a run to findings, none if there is nothing to say.
It reads rows, texts, directions and the page of the run; no model is needed. `lint` looks at the
texts of contrast pairs alone, before there is a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from steerscope.audits.choice import (
    edge_of_grid,
    missing_conditions,
    one_prompt_decides,
    uncorrected_choice,
    unstable_layer,
)
from steerscope.audits.comparisons import (
    idle_gate,
    position_zero,
    unmatched_doses,
    unpredictive_diagnostic,
)
from steerscope.audits.damage import (
    collapsed_texts_counted,
    damage,
    dropped_values,
    missing_rows,
    overflow,
)
from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import SEVERITIES, Finding, tally
from steerscope.audits.nulls import (
    both_signs_alike,
    few_nulls,
    inside_null_band,
    interval_holds_zero,
    no_null,
    null_not_beaten,
    signs_disagree,
    wrong_sign,
)
from steerscope.audits.records import (
    altered_records,
    baseline_differs,
    report_disagrees,
    status_disagrees,
)
from steerscope.audits.sentence import errors_of, sentence
from steerscope.audits.splits import (
    few_prompts,
    prompts_in_fit_texts,
    shared_prompts,
    stated_where_chosen,
    template_mismatch,
    underpowered,
)
from steerscope.audits.texts import (
    class_lengths,
    repeated_pairs,
    repeated_prompts,
    text_confounds,
)
from steerscope.audits.vectors import (
    noisy_difference,
    one_vector_many_layers,
    same_vector,
    sink_alignment,
)
from steerscope.audits.weights import edit_findings, transfer_findings
from steerscope.errors import NotCheckedError, UnknownNameError
from steerscope.runs.results import Run

Check = Callable[[Evidence], list[Finding]]

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        stated_where_chosen,
        shared_prompts,
        prompts_in_fit_texts,
        few_prompts,
        underpowered,
        class_lengths,
        template_mismatch,
        text_confounds,
        repeated_pairs,
        repeated_prompts,
        no_null,
        few_nulls,
        null_not_beaten,
        inside_null_band,
        interval_holds_zero,
        wrong_sign,
        signs_disagree,
        both_signs_alike,
        damage,
        collapsed_texts_counted,
        overflow,
        dropped_values,
        missing_rows,
        uncorrected_choice,
        edge_of_grid,
        unstable_layer,
        one_prompt_decides,
        missing_conditions,
        unmatched_doses,
        position_zero,
        unpredictive_diagnostic,
        idle_gate,
        same_vector,
        one_vector_many_layers,
        sink_alignment,
        noisy_difference,
        report_disagrees,
        status_disagrees,
        baseline_differs,
    )
}


# Sweeps of weight edits and adapters have their own, beside those that any rows allow.
OF_WEIGHTS: dict[str, Callable[[Run], list[Finding]]] = {
    "WeightSweepPlan": edit_findings,
    "TransferPlan": transfer_findings,
}
_OF_ANY_RUN = ("status_disagrees",)


def audit(run: Run, *, leave_out: Sequence[str] = ()) -> list[Finding]:
    """Everything in a run that may deceive its reader, the worst first.

    Its seals come first: a run that is not as it was measured is not judged any further. A check
    that lacks what it would look at gives a note that says so.

    Args:
        run: a study, a sweep, a sweep of weight edits, or adapters beside other techniques.
        leave_out: names of checks not to make.

    Raises:
        RunError: the run has no rows yet, or is of a kind that cannot be audited.
        UnknownNameError: no such check.
    """
    return altered_records(run) or audit_rows(run, leave_out=leave_out)


def audit_rows(run: Run, *, leave_out: Sequence[str] = ()) -> list[Finding]:
    """What the rows of a run may deceive its reader with, whatever became of them since.

    Raises:
        RunError: the run has no rows yet, or is of a kind that cannot be audited.
        UnknownNameError: no such check.
    """
    for name in leave_out:
        if name not in CHECKS:
            raise UnknownNameError("check", name, CHECKS)
    evidence = Evidence(run)
    found: list[Finding] = []
    of_weights = OF_WEIGHTS.get(run.configuration.get("kind", ""))
    if of_weights is not None:
        found += [*(f for f in of_weights(run) if f.check not in leave_out)]
    for name, check in CHECKS.items():
        if name not in leave_out and (of_weights is None or name in _OF_ANY_RUN):
            found += [_signed(f, name) for f in _made(check, evidence)]
    return sorted(found, key=lambda f: SEVERITIES.index(f.severity))


def _signed(finding: Finding, check: str) -> Finding:
    """The finding with the name of its check, its numbers as plain floats."""
    numbers = {name: float(value) for name, value in finding.numbers.items()}
    return replace(finding, check=check, numbers=numbers)


def _made(check: Check, evidence: Evidence) -> list[Finding]:
    try:
        return check(evidence)
    except NotCheckedError as error:
        reason = str(error).rstrip(".")
        return [Finding("note", f"not checked: {reason}", "audit", "Check it by hand")]


__all__ = [
    "CHECKS",
    "SEVERITIES",
    "Check",
    "Evidence",
    "Finding",
    "audit",
    "audit_rows",
    "errors_of",
    "sentence",
    "tally",
]
