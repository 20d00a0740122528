"""What a run would take, printed: `--dry-run` of report and sweep."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli.shared import finish, say_aside, table
from steerscope.texts.showing import counted

if TYPE_CHECKING:
    from steerscope.cli.options import Loading
    from steerscope.studies.steering.plan import Plan, StudyPlan

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="print the steps with an estimate of each, measure nothing"),
]


def tell_forecast(plan: Plan, loading: Loading, as_json: bool) -> None:
    """Print what a study or a sweep would take."""
    from steerscope.models.memory import shown
    from steerscope.progress import bar
    from steerscope.studies.steering.forecast import forecast_study

    found = forecast_study(plan, **loading.machine(), progress=bar)
    columns = ("step", "conditions", "texts", "prompts read", "pairs", "time")
    rows = [
        (
            s.words,
            f"{s.conditions:,}",
            *(f"{round(n):,}" for n in (s.texts, s.read, s.pairs)),
            in_words(t),
        )
        for s, t in found.steps
    ]
    rows.append(("model and directions", "", "", "", "", in_words(found.start)))
    rows.append(("spectra of the keys", "", "", "", "", in_words(found.beside)))
    lines = table(f"{plan.model}, {plan.contrasts}:", columns, rows)
    lines.append(
        f"{counted(found.texts, 'text')} of about {found.pace.tokens:.0f} tokens, {counted(found.tokens, 'token')} in all; "
        f"{shown(found.memory.total)} of memory"
    )
    lines.append(
        f"about {in_words(found.seconds)} in one process, told from a short piece of the same work on "
        "this machine now; the page comes on top."
    )
    if found.more:
        lines.append(f"up to {in_words(found.more)} more where {' and '.join(found.why_more)}.")
    result = {
        "seconds": found.seconds,
        "more_seconds": found.more,
        "texts": found.texts,
        "tokens": found.tokens,
        "memory_bytes": found.memory.total,
        "start_seconds": found.start,
        "beside_seconds": found.beside,
        "pace": asdict(found.pace),
        "steps": [asdict(s) | {"seconds": t} for s, t in found.steps],
    }
    finish(as_json, result, lines)


def within_budget(plan: StudyPlan, budget: str | None, folder: Path, loading: Loading) -> StudyPlan:
    """The plan within a budget, which is said before anything is measured; a run goes on as it was begun."""
    if budget is None:
        return plan
    from steerscope.progress import bar
    from steerscope.studies.steering.budget import Budget, as_it_was, plan_within

    allowed = Budget.parse(budget)
    begun = as_it_was(plan, folder)
    if begun is not None:
        say_aside("budget: this run was begun, and goes on with the prompts that it has")
        return begun
    found = plan_within(plan, allowed, **loading.machine(), progress=bar)
    say_aside(str(found))
    return found.plan


def in_words(seconds: float | None) -> str:
    """Seconds as a person says them, or a dash."""
    from steerscope.progress import duration

    return "-" if seconds is None else duration(seconds)
