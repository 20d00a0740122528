"""A request as rows of a batch, once its model is there."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from steerscope.engine.continuous import LiveRow
from steerscope.engine.sampling import check_samples
from steerscope.engine.streaming import live_rows
from steerscope.errors import BadValueError
from steerscope.models.chat_templates import ChatTemplate, ChatText
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.serve.asked import ChatAsked, CompletionAsked
from steerscope.serve.conditions import SteeringAsked, as_list, condition
from steerscope.serve.shelf import Shelf
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import is_prompting, seen_under
from steerscope.steering.template_checks import check_templates
from steerscope.texts.chats import as_conversation

Request = CompletionAsked | ChatAsked


def prompts_of(model: LensModel, asked: Request) -> list[TextOrIds]:
    """What the model is given: the prompts, or the conversation in its chat template.

    Raises:
        TemplateError: the model has no chat template, or it refuses the turns.
        SteerscopeError: a message or a prompt that cannot be read.
    """
    if isinstance(asked, CompletionAsked):
        return asked.prompts()
    turns = as_conversation([message.said() for message in asked.messages])
    return [ChatTemplate(model.tokenizer)(turns)]


def rows_for(
    model: LensModel,
    shelf: Shelf,
    asked: Request,
    steering: Sequence[SteeringAsked],
    limits: tuple[int, int],
) -> tuple[Cell, list[LiveRow], dict[str, Any]]:
    """The condition of a request, its rows, and what is said of them.

    Args:
        model: that is to write.
        shelf: the vectors.
        asked: the request.
        steering: of the name of the model; that of the request comes after it.
        limits: most tokens of a text, and the seed.

    Raises:
        SteerscopeError: whatever cannot be done.
    """
    prompts, (most, seed) = prompts_of(model, asked), limits
    sampler = asked.sampler(seed)
    check_samples(asked.n, sampler)
    texts = [p for p in prompts if isinstance(p, str)]
    cell = condition(model, shelf, [*steering, *as_list(asked.steering)], texts)
    n_new = _n_new(model, asked, [_seen(model, cell, p) for p in prompts], most)
    rows = live_rows(model, prompts, [cell], n_new=n_new, sampler=sampler, samples=asked.n)
    rows.sort(key=lambda row: row.prompt)
    for row in rows:
        row.n_top = asked.n_top or 0
    facts = {
        "seed": seed,
        "steering": cell.key,
        "prompt_tokens": [len(row.ids) for row in rows[:: asked.n]],
        "notes": _notes(cell, prompts),
    }
    return cell, rows, facts


def _seen(model: LensModel, cell: Cell, prompt: TextOrIds) -> int:
    return len(model.tokens(seen_under(cell, prompt) if is_prompting(cell) else prompt))


def _n_new(model: LensModel, asked: Request, lengths: Sequence[int], most: int) -> int:
    """Tokens to write: as asked, or what the context and the server leave."""
    wanted = asked.max_tokens
    if isinstance(asked, ChatAsked):
        wanted = asked.max_completion_tokens or wanted
    if wanted is None:
        return max(1, min(most, model.shape.n_context - max(lengths)))
    if wanted > most:
        raise BadValueError(
            f"max_tokens is {wanted}; this server writes at most {most} tokens a text (--max-tokens)."
        )
    return wanted


def _notes(cell: Cell, prompts: Sequence[TextOrIds]) -> list[str]:
    """What the types warn of: a vector that was found in another chat template."""
    directions = [
        d
        for i in cell.interventions
        for d in getattr(i, "directions", (i.direction,) if hasattr(i, "direction") else ())
    ]
    first = prompts[0]
    template = first.template.name if isinstance(first, ChatText) else ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_templates(directions, template)
    return [str(w.message) for w in caught]
