"""From a model and conditions to rows: every item of every task, in every context."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track, silent
from steerscope.runs.parts import parts_in
from steerscope.runs.results import NOT_FINITE, Row, Run, measuring
from steerscope.steering.interventions import Cell
from steerscope.steering.template_checks import check_templates, directions_of
from steerscope.studies.benchmarks.plan import BenchmarkPlan, Context
from steerscope.studies.rows import cell_row
from steerscope.texts.chats import Chat

if TYPE_CHECKING:
    from steerscope.studies.benchmarks.tasks import Item

KIND = "BenchmarkPlan"


def run_benchmarks(
    path: str | Path,
    model: LensModel,
    cells: Sequence[Cell],
    plan: BenchmarkPlan,
    *,
    chat: Chat | None = None,
    concept: str = "",
    loaded: Mapping[str, Any] | None = None,
    progress: Track = silent,
) -> Run:
    """Answer every task in every context under every condition, the plain one first, into a run.

    A run that was stopped goes on with the tasks that it lacks.

    Args:
        path: the run's folder.
        model: the model.
        cells: the conditions beside plain.
        plan: what is asked.
        chat: asks in the chat template; None for plain text.
        concept: what the conditions steer towards, for the rows.
        loaded: how the model was loaded, its name and what else `load_model` takes; the run says it, so
            that the model can be had again.
        progress: shows the loops.

    Raises:
        BadValueError: lm-eval is not installed, or a task cannot be had or asked so.
        RunError: the folder holds another run, or something else.
    """
    check_installed()
    from steerscope.models.chat_templates import ChatTemplate
    from steerscope.studies.benchmarks.steered_model import SteeredModel
    from steerscope.studies.benchmarks.tasks import Tasks, answers, ask

    conditions = list(dict.fromkeys([Cell(), *cells]))
    template = None if chat is None else ChatTemplate(model.tokenizer, chat).name
    check_templates(directions_of(conditions), template or "")
    configuration = {
        "kind": KIND,
        "model": model.name,
        "concept": concept,
        "conditions": [cell.key for cell in conditions],
        "template": template,
        **_settings(plan),
        **(loaded or {}),
    }
    tasks = Tasks(plan).load()
    asked = [(t, c) for several in tasks.values() for t in several for c in plan.contexts]
    with measuring(path):
        run = Run.start(path, configuration, provenance=provenance_of(model))
        done = _answered(run)
        lm = SteeredModel(model, conditions, chat=chat, seed=plan.seed, progress=progress)
        for task, context in progress(asked, "answering tasks"):
            where = split_of(task.config.task, context)
            if where in done:
                continue
            ask(task, context, plan)
            found: tuple[list[Row], list[dict[str, Any]]] = ([], [])
            for lm.answering, cell in enumerate(conditions):
                for item in answers(lm, task, plan):
                    found[0].extend(_rows(cell, concept, where, item))
                    found[1].append(_text(cell, where, item))
            run.append(*found)
            lm.forget()
        run.seal()
    return run


def check_installed() -> None:
    """Refuse to go on without lm-eval.

    Raises:
        BadValueError: it is not installed.
    """
    from importlib.util import find_spec

    if find_spec("lm_eval") is None:
        raise BadValueError("benchmarks need lm-eval: pip install steerscope[bench].")


def check_plan(plan: BenchmarkPlan) -> None:
    """Refuse tasks and files that are wrong in themselves; see `check_tasks`."""
    from steerscope.studies.benchmarks.tasks import check_tasks

    check_tasks(plan)


def split_of(task: str, context: Context) -> str:
    """What rows call a task in a context."""
    return f"{task}, {context}"


def _settings(plan: BenchmarkPlan) -> dict[str, Any]:
    """The plan as a run keeps it, with what the files held."""
    files = [name for name in plan.tasks if Path(name).is_file()] + list(plan.data.values())
    kept = asdict(plan) | {"tasks": list(plan.tasks), "contexts": [str(c) for c in plan.contexts]}
    return kept | {"files": {f: hashlib.sha256(Path(f).read_bytes()).hexdigest() for f in files}}


def _answered(run: Run) -> set[str]:
    """The tasks in their contexts of which a run has the rows, which are stored together."""
    return set(run.table().split) if parts_in(run.path, "rows") else set()


def _rows(cell: Cell, concept: str, where: str, item: Item) -> list[Row]:
    status = "ok" if item.finite else NOT_FINITE
    return [
        cell_row(
            cell, concept, where, (metric, unit_of(metric), item.number),
            value if item.finite else math.nan, status=status,
        )
        for metric, value in item.values.items()
    ]  # fmt: skip


def unit_of(metric: str) -> str:
    """The unit of a metric of the harness, by its name."""
    if metric.startswith("bits_"):
        return "bits"
    return "nats" if metric.startswith(("nats_", "perplexity")) else "share"


def _text(cell: Cell, where: str, item: Item) -> dict[str, Any]:
    return {
        "cell": cell.key,
        "prompt": item.number,
        "split": where,
        "given": item.asked,
        "written": item.said,
        "cluster": item.cluster,
    }
