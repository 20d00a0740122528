"""What a benchmark of a steered model is asked to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from steerscope.errors import BadValueError

_CONTEXT = re.compile(r"([0-9]{1,3})?(\+?cot)?")


@dataclass(frozen=True, order=True)
class Context:
    """What stands before a question, and whether the model is asked to think first.

    Attributes:
        shots: solved examples before the question.
        think: whether "Let's think step by step." ends the question (Kojima et al. 2022).
    """

    shots: int = 0
    think: bool = False

    @classmethod
    def parse(cls, text: str) -> Context:
        """A context as it is written: `0`, `5`, `cot` or `5+cot`.

        Raises:
            BadValueError: it is none of these.
        """
        found = _CONTEXT.fullmatch(text.strip())
        if not text.strip() or found is None or (found[1] and found[2] == "cot"):
            raise BadValueError(
                f"cannot read the context {text!r}; write a number of examples such as 0 or 5, cot for "
                "thinking first, or both as 5+cot."
            )
        return cls(int(found[1] or 0), bool(found[2]))

    def __str__(self) -> str:
        return f"{self.shots}-shot" + ", chain of thought" * self.think


@dataclass(frozen=True, kw_only=True)
class BenchmarkPlan:
    """What is measured.

    Attributes:
        tasks: names of lm-eval, its YAML files, or files of items.
        data: files that stand for the documents of a task, by its name.
        contexts: each task is asked in each of these.
        limit: items of each task, from the first on; None for all.
        max_tokens: of a written answer, at most; None for what the task says.
        cluster: field of the documents whose equal values belong together; None for each alone.
        confirmed_code: whether tasks may run what the model writes as a program.
        seed: of the examples and of sampling.

    Raises:
        BadValueError: no task, one twice, data of a task that is not asked, or a number below 1.
    """

    tasks: tuple[str, ...]
    data: Mapping[str, str] = field(default_factory=dict)
    contexts: tuple[Context, ...] = (Context(),)
    limit: int | None = None
    max_tokens: int | None = None
    cluster: str | None = None
    confirmed_code: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for what, given in (("task", self.tasks), ("context", self.contexts)):
            if not given or len(set(given)) < len(given):
                raise BadValueError(f"a benchmark needs at least one {what}, each named once.")
        for name in sorted(set(self.data) - set(self.tasks)):
            raise BadValueError(
                f"there is data for the task {name!r}, which is not among the tasks."
            )
        for name in ("limit", "max_tokens"):
            if (n := getattr(self, name)) is not None and n < 1:
                raise BadValueError(f"{name} is {n}; it must be at least 1.")
