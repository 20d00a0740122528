"""Checks of a run against itself, its page and its neighbours."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pandas as pd

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding
from steerscope.audits.sentence import sentence
from steerscope.errors import RunError
from steerscope.judges.effects import IMPLAUSIBLE_WHEN_ASKED, UNITS
from steerscope.models.fingerprints import same_weights
from steerscope.runs.records import altered
from steerscope.runs.results import STATUSES, Run
from steerscope.studies.steering.nulls import SCREEN
from steerscope.studies.steering.responses import PLAIN
from steerscope.studies.steering.wording import answer

_ANSWER = re.compile(r'<section class="answer">(.*?)</section>', re.DOTALL)
# What two runs must share for their plain rows to be the same numbers.
_SHARED = (
    "model", "dtype", "backbone", "bos", "n_new", "temperature", "top_k", "top_p", "min_p",
    "repetition_penalty", "samples", "seed", "prompts_sha256",
)  # fmt: skip
_CONCEPT = (
    "contrasts_sha256", "grouping", "effect", "judge", "judge_labels", "judge_sha256", "second_model"
)  # fmt: skip
_OF_PAIRS_OR_JUDGE = ("preference", "judge_score")
_OF_ANY_TEXT = (*(name for name in UNITS if name not in _OF_PAIRS_OR_JUDGE), "nll_plain")
_AFTER_WORDS = IMPLAUSIBLE_WHEN_ASKED.metric  # of the words as much as of the plain model
_SAME = 1e-6


def altered_records(run: Run) -> list[Finding]:
    """Rows, texts or files are not as they were measured."""
    return [
        Finding(
            "error",
            f"{d.what} is {d.stored}, expected {d.expected}",
            d.where,
            "See `steerscope verify`; nothing else of this run is looked at",
            check="altered_records",
        )
        for d in altered(run)
    ]


def report_disagrees(evidence: Evidence) -> list[Finding]:
    """The page says something else than the rows."""
    path = evidence.run.path / "report.html"
    if not path.is_file():
        return []
    answers = "\n".join(_ANSWER.findall(path.read_text(encoding="utf-8")))
    shown = html.unescape(re.sub(r"<[^>]*>", "", answers))
    f = evidence.findings
    missing = [line for line in (sentence(evidence.run), *answer(f)) if line not in shown]
    if not missing:
        return []
    return [
        Finding(
            "error",
            f"{len(missing)} sentences that the rows give are not on the page, the first: {missing[0]}",
            "report.html",
            "Draw it again with `steerscope figures`",
            {"sentences": len(missing)},
        )
    ]


def status_disagrees(evidence: Evidence) -> list[Finding]:
    """A row's status is unknown, or says ok of a text that collapsed."""
    table = evidence.table
    unknown = table[~table.status.isin(STATUSES)]
    collapsed = table[(table.metric == "degenerate") & (table.value == 1) & (table.status == "ok")]
    found = []
    for rows, words in (
        (unknown, "rows have a status that is not one of " + ", ".join(STATUSES)),
        (collapsed, "texts collapsed into repetition and have the status ok"),
    ):
        if len(rows):
            found.append(
                Finding(
                    "error",
                    f"{len(rows)} {words}",
                    f"rows, first in {rows.iloc[0].cell}",
                    "Measure them again with this steerscope",
                    {"rows": len(rows)},
                )
            )
    return found


def baseline_differs(evidence: Evidence) -> list[Finding]:
    """The plain model scores otherwise than in a run beside this one that shares all settings.

    Beside a run about another concept or by another judge only what is read of any text is compared: a flip,
    a topic kept, a score or a preference is another number there, though the text is the same. What nulls are
    looked for by is left out: a race numbers its few pairs otherwise than a grid.
    """
    found = []
    for other in _neighbours(evidence.run):
        same = all(_of_concept(other, k) == _of_concept(evidence.run, k) for k in _CONCEPT)
        mine, theirs = (_plain(t, any_metric=same) for t in (evidence.table, other.table()))
        both = pd.concat([mine, theirs], axis=1, join="inner", keys=["a", "b"])
        differing = both[(both.a - both.b).abs() > _SAME]
        if len(differing):
            metric = differing.index[0][0]
            means = both.loc[metric].mean()
            found.append(
                Finding(
                    "error",
                    f"{len(differing)} numbers of the plain model differ from those of {other.path.name}, "
                    f"which has the same settings; {metric} is {means.a:.3g} here and {means.b:.3g} there",
                    f"plain rows, beside {other.path.name}",
                    "Compare the provenance of both runs, and do not compare their effects",
                    {"numbers": len(differing), "here": float(means.a), "there": float(means.b)},
                )
            )
    return found


def _of_concept(run: Run, name: str) -> object:
    return run.configuration.get(name)


def _plain(table: pd.DataFrame, *, any_metric: bool) -> pd.Series:
    """Numbers of the plain model: all, or those that are read of a text whatever it is about."""
    mine = (table.cell == PLAIN) & (table.split != SCREEN) & (table.metric != _AFTER_WORDS)
    rows = table[mine & table.value.notna()]
    if not any_metric:
        rows = rows[rows.metric.isin(_OF_ANY_TEXT)]
    return rows.set_index(["metric", "split", "prompt"]).value


def _neighbours(run: Run) -> Iterator[Run]:
    """Finished runs in the same folder whose plain model, prompts and decoding are the same."""
    for path in sorted(run.path.resolve().parent.glob("*/run.json")):
        if path.parent == run.path.resolve():
            continue
        try:
            other = Run.open(path.parent)
            same = all(
                other.configuration.get(k) == run.configuration.get(k) for k in _SHARED
            ) and same_weights(_fingerprint(other), _fingerprint(run))
            if same:
                other.table()
                yield other
        except (RunError, KeyError):
            continue


def _fingerprint(run: Run) -> str | None:
    return run.description["provenance"].get("fingerprint")
