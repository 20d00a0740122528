"""The command that has the texts of a run read by another judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steerscope.cli.shared import Json, JudgeLabels, JudgeUrl, finish
from steerscope.texts.showing import counted


def rejudge(
    run_dir: Annotated[
        Path, typer.Argument(help="a comparison of methods, or a trial of features")
    ],
    judge: Annotated[str, typer.Option("--judge", "-j", help="the other judge, as in report")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder of the new run")],
    judge_labels: JudgeLabels = None,
    judge_url: JudgeUrl = None,
    as_json: Json = False,
) -> None:
    """Read every text of a run by another judge; nothing is written anew.

    Examples:
        steerscope rejudge runs/mine --judge sentiment --out runs/mine-again
    """
    from steerscope.judges.effects import SHOWN
    from steerscope.runs.results import Run
    from steerscope.studies.rejudging import rejudge as read_again

    run = Run.open(run_dir)
    again = read_again(run, judge, out, labels=judge_labels, url=judge_url)
    key = ["split", "cell", "prompt"]
    before, now = (
        r.table()[lambda t: t.metric == SHOWN].set_index(key).value.dropna() for r in (run, again)
    )
    both = before.index.intersection(now.index)  # that both judges could read
    before, now = before[both], now[both]
    differ = int((before != now).sum())
    counts = {"texts": len(both), "differ": differ, "before": before.mean(), "now": now.mean()}
    lines = [
        f"{counted(len(both), 'text')}, {differ} of them read otherwise: {100 * before.mean():.1f} % were counted as "
        f"showing the concept by {run.configuration['judge']}, {100 * now.mean():.1f} % are by {judge}",
        f"run: {again.path}",
    ]
    finish(as_json, {"run": str(again.path), **counts}, lines)
