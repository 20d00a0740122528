"""Prompts as a user gives them: one text, one list of token ids, or several of either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from steerscope.errors import BadValueError
from steerscope.models.lens_model import TextOrIds
from steerscope.texts.contrasts import Prompt, PromptSet

Prompts = str | Prompt | PromptSet | Sequence[TextOrIds | Prompt] | Iterable[str]
_FIX = 'write a text, or a list of texts such as ["One day", "The sea"]'


def as_prompts(prompts: Prompts) -> list[TextOrIds]:
    """The prompts, each a text or token ids; a text alone is one prompt, and so are ids alone.

    A set of prompts, a tuple, a generator, an array or a column of a data frame are read as well.

    Raises:
        BadValueError: what is given is no prompt; the message says what is.
    """
    if isinstance(prompts, str | Prompt):
        return [_prompt(prompts)]
    if isinstance(prompts, PromptSet):
        return [prompt.text for prompt in prompts.prompts]
    if isinstance(prompts, Mapping | bytes) or not isinstance(prompts, Iterable):
        raise BadValueError(f"cannot read prompts from {_kind(prompts)}; {_FIX}.")
    given = list(prompts)
    if given and all(_is_id(item) for item in given):
        return [[int(cast(int, item)) for item in given]]
    return [_prompt(item) for item in given]


def _prompt(item: Any) -> TextOrIds:
    if isinstance(item, Prompt):
        return item.text
    if isinstance(item, str):
        return item
    if isinstance(item, Iterable) and not isinstance(item, Mapping | bytes):
        ids = list(item)
        if all(_is_id(i) for i in ids):
            return [int(i) for i in ids]
        if all(isinstance(i, Mapping) for i in ids):
            raise BadValueError(
                "a prompt is a list of messages, which goes through the model's chat template "
                "first: write it to a .jsonl file, and give "
                "steerscope.wrapped(model, steerscope.load_prompts(file))."
            )
    raise BadValueError(f"cannot read a prompt from {_kind(item)}; {_FIX}, or token ids.")


def _is_id(item: Any) -> bool:
    """Whether it is a whole number, of Python, numpy or torch."""
    if isinstance(item, bool | float | str | bytes):
        return False
    return hasattr(item, "__index__") and not getattr(item, "shape", ())


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"
