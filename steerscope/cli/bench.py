"""The command that asks a model the questions of benchmarks, plain and steered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from steerscope.cli.cells import NONE, estimate, p_value
from steerscope.cli.options import Loading, Talk, grouped
from steerscope.cli.shared import (
    Json,
    Model,
    ScopeText,
    Seed,
    check_vector,
    finish,
    numbers,
    read_several,
    refuse_unused,
    table,
)
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    import pandas as pd

    from steerscope.models.lens_model import LensModel
    from steerscope.runs.results import Run
    from steerscope.steering.interventions import Cell
    from steerscope.studies.benchmarks.plan import BenchmarkPlan


@dataclass(frozen=True)
class Questions:
    """What is asked, and how."""

    panel: ClassVar[str] = "What is asked"

    data: Annotated[
        list[str] | None,
        typer.Option(help="TASK=FILE: documents of a task, CSV or JSON; again for others"),
    ] = None
    contexts: Annotated[
        str, typer.Option(help="examples before the question, as 0 or 5, and cot, with commas")
    ] = "0"
    limit: Annotated[int | None, typer.Option(help="items of each task; default all")] = None
    max_tokens: Annotated[int | None, typer.Option(help="of a written answer, at most")] = None
    cluster: Annotated[
        str | None, typer.Option(help="field of the documents that says which belong together")
    ] = None
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="let tasks run programs that the model writes")
    ] = False

    def plan(self, tasks: str, seed: int) -> BenchmarkPlan:
        """The same as a plan."""
        from steerscope.studies.benchmarks.plan import BenchmarkPlan, Context

        return BenchmarkPlan(
            tasks=tuple(name.strip() for name in tasks.split(",")),
            data=_documents(self.data or []),
            contexts=tuple(Context.parse(text) for text in self.contexts.split(",")),
            limit=self.limit,
            max_tokens=self.max_tokens,
            cluster=self.cluster,
            confirmed_code=self.unsafe,
            seed=seed,
        )


@dataclass(frozen=True)
class Conditions:
    """What is done to the model."""

    panel: ClassVar[str] = "Conditions"

    vector: Annotated[str | None, typer.Option(help="vector file; none for plain alone")] = None
    site: Annotated[
        list[str] | None,
        typer.Option(help="of the file, also as METHOD@SITE; default all in it"),
    ] = None
    adapter: Annotated[str | None, typer.Option(help="adapter file, instead of a vector")] = None
    doses: Annotated[
        str, typer.Option(help="of the vector or coefficients of the adapter, with commas")
    ] = "1"
    unit: Annotated[
        str | None, typer.Option(help="natural, relative or absolute; default natural")
    ] = None
    scope: ScopeText = "all"
    instruction: Annotated[
        str | None, typer.Option(help="a condition more: this is said before every question")
    ] = None

    def check(self) -> list[float]:
        """The doses, after options that exclude one another and the vector file are looked at."""
        if self.vector is None:
            refuse_unused({"site": self.site, "unit": self.unit}, "no --vector is given")
            scope = None if self.scope == "all" else self.scope
            refuse_unused({"scope": scope}, "no --vector is given")
            doses = None if self.adapter is not None or self.doses == "1" else self.doses
            refuse_unused({"doses": doses}, "neither --vector nor --adapter is given")
        elif self.adapter is not None:
            raise BadValueError("give either --vector or --adapter; combine them in Python.")
        else:
            check_vector(self.vector)
        found = numbers(self.doses, float, "doses")
        if not all(map(math.isfinite, found)):
            raise BadValueError(f"doses {self.doses!r}: give finite numbers.")
        if not any(found):
            raise BadValueError(f"doses {self.doses!r}: give one that is not 0, which is plain.")
        return [dose for dose in found if dose]

    def cells(self, model: LensModel, doses: list[float]) -> dict[str, Cell]:
        """Every condition beside plain, by what it is called."""
        named: dict[str, Cell] = {}
        if self.vector is not None:
            unit = self.unit or "natural"
            named = _steered(model, self.vector, self.site, doses, unit, self.scope)
        elif self.adapter is not None:
            named = _adapted(model, Path(self.adapter), doses)
        if self.instruction is not None:
            named["the instruction"] = _asked(self.instruction)
        return named

    @property
    def source(self) -> str:
        """What the conditions come from."""
        return Path(self.vector or self.adapter or "").stem


@grouped
def bench(
    *,
    tasks: Annotated[
        str,
        typer.Option(help="names of lm-eval, YAML files of it, or files of questions, with commas"),
    ],
    out: Annotated[Path, typer.Option(help="run directory")],
    model: Model = DEFAULT_MODEL,
    conditions: Conditions,
    questions: Questions,
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Ask the questions of benchmarks under steering, and compare with plain item by item.

    Examples:
        steerscope bench --tasks gsm8k --model M --vector v.safetensors --doses 1,2 --out answers
        steerscope bench --tasks mine.csv --contexts 0,5 --limit 100 --out answers
    """
    from steerscope.progress import bar
    from steerscope.runs.results import check_run_folder
    from steerscope.studies.benchmarks.measure import check_installed, check_plan, run_benchmarks

    doses = conditions.check()
    check_installed()
    plan, chat = questions.plan(tasks, seed), talk.asked()
    out = check_run_folder(out)
    check_plan(plan)
    loaded = loading.load(model)
    named = conditions.cells(loaded, doses)
    run = run_benchmarks(
        out,
        loaded,
        list(named.values()),
        plan,
        chat=chat,
        concept=conditions.source,
        loaded={"model": model, **loading.settings()},
        progress=bar,
    )
    names = {cell.key: name for name, cell in named.items()}
    _report(run, names, [str(context) for context in plan.contexts], as_json=as_json)


def _report(run: Run, names: dict[str, str], contexts: list[str], *, as_json: bool) -> None:
    """Print what the rows of a run show, and keep the tables with the run."""
    from steerscope.report import write_tables
    from steerscope.studies.benchmarks.findings import (
        benchmark_items,
        benchmark_table,
        interference,
        overflows,
    )
    from steerscope.studies.benchmarks.wording import interference_sentences, sentences

    items = benchmark_items(run)
    found, apart = benchmark_table(items), interference(items, contexts)
    said = sentences(found, names, overflows(run))
    said += interference_sentences(apart, names, contexts[0])
    result = {
        "run": str(run.path),
        "table": found.to_dict("records"),
        "interference": apart.to_dict("records"),
        "said": said,
    }
    write_tables(run)
    finish(as_json, result, [*_shown(found, names), *said, f"saved: {run.path}"])


def _asked(instruction: str) -> Cell:
    """The condition in which the model is asked in words."""
    from steerscope.steering.interventions import Cell
    from steerscope.steering.prompting import Prompting

    return Cell((Prompting(instruction),))


def _documents(given: list[str]) -> dict[str, str]:
    """The file of documents of each task."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in found:
            raise BadValueError(
                f"cannot read --data {text!r}; write TASK=FILE, once for each task."
            )
        found[name] = path
    return found


def _steered(
    model: LensModel, path: str, site: list[str] | None, doses: list[float], unit: str, scope: str
) -> dict[str, Cell]:
    """The vector at every dose, by what it is called."""
    from steerscope.doses import Dose, check_unit
    from steerscope.steering.control_vectors import along
    from steerscope.steering.interventions import Cell
    from steerscope.steering.scopes import Scope

    kind = check_unit(unit)
    if kind in {"kl", "degrees"}:
        raise BadValueError(f"--unit {unit} is not taken here; use natural, relative or absolute.")
    directions = read_several(path, site, model)
    where = Scope.parse(scope)
    return {
        f"dose {dose:g}": Cell((along(directions, Dose(dose, kind), "add", where),))
        for dose in doses
    }


def _adapted(model: LensModel, path: Path, coefficients: list[float]) -> dict[str, Cell]:
    """The adapter at every coefficient, by what it is called."""
    from steerscope.steering.interventions import Cell
    from steerscope.weights.adapter import Adapted, load_adapter

    found = load_adapter(path, model)
    return {f"c = {c:g}": Cell((Adapted(found, c),)) for c in coefficients}


def _shown(found: pd.DataFrame, names: dict[str, str]) -> list[str]:
    """Every condition on every task as a table."""
    rows: list[list[Any]] = []
    for r in found.itertuples():
        change = (
            "" if r.cell == "plain" else estimate(r.change, r.change_low, r.change_high, "+.3f")
        )
        turned = NONE if math.isnan(r.lost) else f"{r.lost:.0f} / {r.won:.0f}"
        turned = "" if r.cell == "plain" else turned
        p = "" if r.cell == "plain" else p_value(r.p_holm, ".3g")
        level = estimate(r.value, r.low, r.high, ".3f")
        rows.append([r.split, r.metric, names.get(r.cell, r.cell), r.n, level, change, turned, p])
    columns = ("task", "metric", "condition", "items", "value", "change", "lost / won", "p (Holm)")
    return table("answers:", columns, rows)
