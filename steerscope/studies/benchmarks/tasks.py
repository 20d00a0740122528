"""Tasks of lm-eval, its own and files of questions, answered by a model under conditions."""

from __future__ import annotations

import glob
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval.api.task
import lm_eval.evaluator
import lm_eval.tasks
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from tqdm import tqdm

from steerscope.errors import BadValueError, UnknownNameError, reason
from steerscope.studies.benchmarks.items import (
    is_items_file,
    numbers_of,
    read_documents,
    task_of_items,
)
from steerscope.studies.benchmarks.plan import BenchmarkPlan, Context
from steerscope.studies.benchmarks.steered_model import SteeredModel

THINK = " Let's think step by step."
logging.getLogger("lm_eval").setLevel(logging.ERROR)
# Its bars say how fast answers are looked up that are known by then.
lm_eval.api.task.tqdm = partial(tqdm, disable=True)


@dataclass(frozen=True)
class Item:
    """One document under one condition.

    Attributes:
        number: of the document within its task.
        asked: the whole prompt.
        said: what was written, or the log-likelihood of each choice.
        values: by metric, with the filter of the answer behind a comma where the task has several.
        finite: whether the logits were numbers; else the values mean nothing.
        cluster: what it has in common with others; empty for nothing.
    """

    number: int
    asked: str
    said: str
    values: Mapping[str, float]
    finite: bool
    cluster: str


@dataclass
class Tasks:
    """The tasks of a plan, by the name that the plan gives them.

    lm-eval's list of its own tasks is read only where one of them is named, which takes a while.
    """

    plan: BenchmarkPlan
    found: dict[str, list[Any]] = field(default_factory=dict)
    _manager: TaskManager | None = None

    def load(self) -> dict[str, list[Any]]:
        """Every task, each as the ones that it is made of.

        Raises:
            UnknownNameError: lm-eval has no such task.
            BadValueError: a task cannot be loaded, such as one whose documents are not here.
        """
        for name in self.plan.tasks:
            self.found[name] = list(self._loaded(name, self.plan.data.get(name)).values())
        names = [task.config.task for several in self.found.values() for task in several]
        if len(set(names)) < len(names):
            raise BadValueError(f"two tasks have one name ({', '.join(names)}); rename a file.")
        return self.found

    def _loaded(self, name: str, data: str | None) -> dict[str, Any]:
        spec: Any = name if is_items_file(name) else str(_own_file(name) or name)
        local = Path(spec).is_file()
        manager = TaskManager(include_defaults=False) if local else self._all_tasks()
        if is_items_file(name):
            configuration, documents = task_of_items(name)
            spec = configuration | _reading(documents, ("test",))
        elif not local and name not in manager.all_tasks:
            raise UnknownNameError("task", name, manager.all_tasks)
        elif data is not None:
            path = spec if local else manager.task_index[name].yaml_path
            spec = _with_documents(name, path, read_documents(data))
        try:
            return dict(manager.load([spec])["tasks"])
        except Exception as error:  # noqa: BLE001 - a task is a program, and its data are on a hub
            raise BadValueError(
                f"the task {name} cannot be loaded ({reason(error)[:160]}); give its documents with "
                f"--data {name}=FILE, or load it once while the hub can be reached."
            ) from error

    def _all_tasks(self) -> TaskManager:
        self._manager = self._manager or TaskManager()
        return self._manager


def check_tasks(plan: BenchmarkPlan) -> None:
    """Refuse tasks and files that are wrong in themselves, before a model is loaded.

    Raises:
        UnknownNameError: lm-eval has no such task.
        ContrastError: a file of questions or of documents cannot be read.
    """
    manager = None
    for name in plan.tasks:
        if is_items_file(name):
            task_of_items(name)
        elif _own_file(name) is None:
            manager = manager or TaskManager()
            if name not in manager.all_tasks:
                raise UnknownNameError("task", name, manager.all_tasks)
        if name in plan.data:
            read_documents(plan.data[name])


def _own_file(name: str) -> Path | None:
    """The YAML file of a task: the one that is named, or lm-eval's own of just that name."""
    if Path(name).suffix in {".yaml", ".yml"}:
        return Path(name)
    named = Path(lm_eval.tasks.__file__).parent.rglob(f"{glob.escape(name)}.yaml")
    found = [p for p in named if load_yaml(p, resolve_func=False).get("task") == name]
    return found[0] if len(found) == 1 else None


def _with_documents(name: str, path: Any, documents: list[dict[str, Any]]) -> dict[str, Any]:
    """The configuration of a task with other documents, of which the examples are taken as well."""
    if path is None:
        raise BadValueError(
            f"{name} is several tasks; give --data for each of them by its own name."
        )
    given = dict(load_yaml(Path(path), resolve_func=True))
    used = next(given[k] for k in ("test_split", "validation_split") if given.get(k))
    kept = {k: v for k, v in given.items() if k not in {"tag", "dataset_path", "dataset_name"}}
    # one file: lm-eval leaves the question itself out of the examples only within one split
    return kept | {"training_split": None, "fewshot_split": used} | _reading(documents, (used,))


def _reading(documents: list[dict[str, Any]], splits: Sequence[str]) -> dict[str, Any]:
    """Settings that have a task read these documents."""
    import datasets

    def custom_dataset(**_settings: Any) -> dict[str, Any]:
        return {split: datasets.Dataset.from_list(documents) for split in splits}

    return {"custom_dataset": custom_dataset, "dataset_kwargs": None}


def ask(task: Any, context: Context, plan: BenchmarkPlan) -> None:
    """Have a task ask in a context.

    Raises:
        BadValueError: thinking is asked for where nothing is written.
    """
    task.set_config(key="num_fewshot", value=context.shots)
    task.set_fewshot_seed(seed=plan.seed)
    writes = task.OUTPUT_TYPE == "generate_until"
    if plan.max_tokens is not None and writes:
        task.set_config("generation_kwargs", {"max_gen_toks": plan.max_tokens}, update=True)
    if not hasattr(task, "asks"):
        task.asks = task.config.doc_to_text
    asks = task.asks
    if context.think:
        if not writes:
            raise BadValueError(
                f"{task.config.task} chooses among given answers and writes nothing, so that there is "
                "no thinking first; leave the context cot out for it."
            )
        asks = asks + THINK if isinstance(asks, str) else _thinking(asks)
    task.set_config(key="doc_to_text", value=asks)


def _thinking(asks: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda document: asks(document) + THINK


def answers(lm: SteeredModel, task: Any, plan: BenchmarkPlan) -> list[Item]:
    """Every document of a task as the condition that answers now has it.

    Raises:
        BadValueError: the task runs programs that a model writes, which nobody has confirmed.
    """
    name = task.config.task
    if getattr(task, "UNSAFE_CODE", False) and not plan.confirmed_code:
        raise BadValueError(
            f"{name} runs what the model writes as a program; confirm it with --unsafe."
        )
    task.set_fewshot_seed(seed=plan.seed)
    found: Any = lm_eval.evaluator.evaluate(
        lm, {"tasks": {name: task}, "groups": {}, "group_map": {}},
        limit=plan.limit, bootstrap_iters=0, log_samples=True,
        apply_chat_template=lm.chat is not None, fewshot_as_multiturn=lm.chat is not None,
        confirm_run_unsafe_code=plan.confirmed_code,
    )  # fmt: skip
    samples = found["samples"][name]
    several = len({sample["filter"] for sample in samples}) > 1
    items: dict[int, Item] = {}
    for sample in samples:
        ending = f",{sample['filter']}" if several else ""
        values = numbers_of(sample, ending)
        number = int(sample["doc_id"])
        before = items[number].values if number in items else {}
        items[number] = _item(lm, sample, {**before, **values}, plan.cluster)
    return [items[number] for number in sorted(items)]


def _item(lm: SteeredModel, sample: Any, values: Mapping[str, float], cluster: str | None) -> Item:
    asked = [tuple(arguments) for arguments in sample["arguments"]]
    keys = [
        (a[0], json.dumps(a[1], sort_keys=True)) if len(a) > 1 and isinstance(a[1], dict) else a
        for a in asked
    ]
    said = [response for several in sample["resps"] for response in several]
    document = sample["doc"]
    return Item(
        number=int(sample["doc_id"]),
        asked=str(asked[0][0]),
        said=str(said[0]) if isinstance(said[0], str) else json.dumps(said),
        values=values,
        finite=not any((lm.answering, key) in lm.broken for key in keys),
        cluster="" if cluster is None else str(document.get(cluster, "")),
    )
