"""Keep a measured transfer as a run, from which its page and figures are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from steerscope.judges.effects import UNITS, is_share
from steerscope.models.lens_model import LensModel
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track, silent
from steerscope.runs.begun import begun_with, without_newer
from steerscope.runs.distinct import GROUPS
from steerscope.runs.results import Row, Run, measuring
from steerscope.studies.inputs import stated_inputs
from steerscope.studies.judging import Judging, Question, find_judge
from steerscope.studies.transfer.findings import PLAIN, operator_of
from steerscope.studies.transfer.measure import held_out_groups, transfer_with_texts
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.transfer.techniques import EVERY, Technique
from steerscope.studies.written import Unjudged
from steerscope.texts.contrasts import ContrastSet, PromptSet

_OLD_PLAIN = "plain 0"


def run_transfer(  # noqa: PLR0913 - each is a thing of its own
    model: LensModel,
    techniques: Sequence[Technique],
    asked: tuple[ContrastSet, PromptSet],
    plan: TransferPlan,
    question: Question,
    out: Path | None = None,
    progress: Track = silent,
) -> tuple[pd.DataFrame, Judging, Run | None]:
    """Measure techniques by a judge, and keep them as a run where there is a folder for it.

    Args:
        model: the model.
        techniques: trained and chosen on the fit and select splits.
        asked: contrast set and prompts, whole.
        plan: what is measured.
        question: what the judge is to tell, and by what.
        out: the folder of the run; None for no run.
        progress: shows the loop.

    Returns:
        What `transfer` returns, the judge, and the run.
    """
    contrasts = asked[0]
    with TemporaryDirectory() as nowhere, measuring(out or Path(nowhere) / "run") as place:
        judging = find_judge(question, model, place)
        if out is not None:
            groups = held_out_groups(asked, plan)
            start_transfer(out, techniques, model, contrasts, plan, judging, groups)
        rows, written = transfer_with_texts(
            model, techniques, asked, plan, judge=judging.judge, out=out, progress=progress
        )
        if out is None:
            return rows, judging, None
        run = store_transfer(
            out, rows, techniques, model, contrasts, plan, judging=judging, written=written
        )
    return rows, judging, run


def store_transfer(
    path: str | Path,
    rows: pd.DataFrame,
    techniques: Sequence[Technique],
    model: LensModel,
    contrasts: ContrastSet,
    plan: TransferPlan,
    *,
    judging: Judging | None = None,
    written: Sequence[Mapping[str, Any]] = (),
) -> Run:
    """A run with every measured item, every text, and what the techniques are.

    Args:
        path: of the run.
        rows: as `transfer` returns them.
        techniques: that were measured.
        model: the model.
        contrasts: the contrast set.
        plan: what was measured.
        judging: the judge that was named; None for the usual one.
        written: the texts as `transfer` adds them.

    Raises:
        RunError: the directory holds another run, or something else.
        RunConflictError: it holds the same measurements with other values.
    """
    with measuring(path):
        groups = _groups_in(rows)
        run = start_transfer(path, techniques, model, contrasts, plan, judging, groups)
        plain = _name_of_plain(run)
        items = _rows(rows, contrasts.concept, plan.seed)
        found = [replace(r, cell=plain) if r.method == PLAIN else r for r in items]
        run.append(found, _texts(written, plain))
        Unjudged(run.path).clear()
        run.seal()
    return run


def start_transfer(  # noqa: PLR0913 - each is a thing of its own
    path: str | Path,
    techniques: Sequence[Technique],
    model: LensModel,
    contrasts: ContrastSet,
    plan: TransferPlan,
    judging: Judging | None = None,
    groups: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Run:
    """The run of a transfer, new or as it was left; the arguments are those of `store_transfer`.

    What is distinct of the held-out items is kept as `Groups` has it.

    Raises:
        RunError: the directory holds another run, or something else.
    """
    configuration = {
        "kind": "TransferPlan",
        "model": model.name,
        "contrasts": contrasts.name,
        "contrasts_sha256": contrasts.sha256,
        "techniques": _told(path, techniques),
        **_settings(plan),
        **_judged_by(judging),
    }
    said = provenance_of(model) | stated_inputs(plan.named) | {GROUPS: groups or {}}
    wanted = without_newer(configuration, path, {"judge_labels"})
    run = Run.start(path, wanted, provenance=said)
    if judging is not None:
        judging.keep(run)
    return run


def _told(path: str | Path, techniques: Sequence[Technique]) -> list[dict[str, Any]]:
    """What a run says of its techniques; one from before many weights were named keeps its own words."""
    told = [{"name": t.name, "where": t.where, "parameters": t.n_parameters} for t in techniques]
    kept = begun_with(path).get("techniques", [])
    older = [t | {"where": EVERY} for t in told]
    if len(kept) != len(told):
        return told
    return [o if o == k else t for t, o, k in zip(told, older, kept, strict=True)]


def _groups_in(rows: pd.DataFrame) -> dict[str, dict[str, list[int]]]:
    """What of the items the rows call distinct."""
    if "group" not in rows:
        return {}
    items = rows.drop_duplicates(["kind", "item"]).sort_values("item").groupby("kind").group
    return {"test": {f"{kind}s": mine.astype(int).tolist() for kind, mine in items}}


def _settings(plan: TransferPlan) -> dict[str, Any]:
    """What a run says of its plan."""
    settings = asdict(plan)
    del settings["named"]
    return settings | settings.pop("about")


def _judged_by(judging: Judging | None) -> dict[str, Any]:
    """What a run says of a judge that was named."""
    if judging is None or judging.known is None:
        return {}
    effect = asdict(judging.judge.effect)
    return {"judge": judging.known.judge.name, "effect": effect, **judging.settings}


def _name_of_plain(run: Run) -> str:
    """What the plain model is called in a run; in those from before it had a coefficient."""
    return _OLD_PLAIN if run.has([(_OLD_PLAIN, 0, "test", "kl")]) else PLAIN


def _texts(written: Sequence[Mapping[str, Any]], plain: str) -> list[dict[str, Any]]:
    return [
        {
            "cell": plain
            if t["technique"] == PLAIN
            else _cell(t["technique"], t["coefficient"], t["matched"]),
            "prompt": t["item"],
            "split": "test",
            "given": t["given"],
            "seen": t["seen"],
            "written": t["written"],
        }
        for t in written
    ]


def _cell(technique: str, c: float, matched: bool) -> str:
    return f"{technique} {c:.9g}" + " matched" * matched


def _rows(rows: pd.DataFrame, concept: str, seed: int) -> list[Row]:
    kl = rows[rows.metric == "kl"].groupby(["technique", "coefficient", "matched"]).value.mean()
    found = []
    for row in rows.itertuples():
        key = (row.technique, row.coefficient, row.matched)
        found.append(_row(row, concept, float(kl.loc[key]), seed))
    return found


def _row(row: object, concept: str, kl: float, seed: int) -> Row:
    """One item as a row of results."""
    values = row._asdict()  # type: ignore[attr-defined]
    technique, c, matched = values["technique"], values["coefficient"], bool(values["matched"])
    metric = str(values["metric"])
    return Row(
        cell=_cell(technique, c, matched),
        concept=concept,
        method=technique,
        stream="",
        layer=-1,
        head=-1,
        operator=operator_of(matched),
        scope="all",
        dose_absolute=math.nan,
        dose_relative=math.nan,
        dose_natural=c,
        kl_nats=kl,
        prompt=int(values["item"]),
        split="test",
        seed=seed,
        metric=metric,
        unit=UNITS.get(metric, "share" if is_share(metric) else "nats"),
        value=float(values["value"]),
        status=values.get("status", "ok"),
    )
