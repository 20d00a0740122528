"""Decode continuations: many conditions and prompts as the rows of one cached batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerscope.engine.continuations import Continuation, Continuations
from steerscope.engine.decoding import Decoder, Row, States
from steerscope.engine.sampling import Greedy, Sampler, check_samples, rows_at_once, work_bytes
from steerscope.errors import BadValueError, NotFiniteError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.models.memory import (
    MemoryPlan,
    cache_bytes,
    fit,
    pass_bytes,
    room,
    tokens_in_cache,
)
from steerscope.models.prompts import Prompts, as_prompts
from steerscope.progress import Track, silent
from steerscope.steering.cells import PLAIN, Cells, as_cells
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import is_prompting, on_activations, seen_under

_ROWS_AT_ONCE = 1024


@torch.no_grad()
def generate(  # noqa: PLR0913 - each is a choice of its own
    model: LensModel,
    prompts: Prompts,
    cells: Cells = PLAIN,
    *,
    n_new: int = 48,
    sampler: Sampler | None = None,
    batch_size: int | None = None,
    use_cache: bool = True,
    bos: str | None = None,
    samples: int = 1,
    progress: Track = silent,
) -> Continuations:
    """Continue every prompt under every condition; `result[c][p]` is prompt p under cell c.

    The result is a list of lists that shows itself as texts side by side; `result.table()` is one
    row a text.

    With several samples of each prompt, those of prompt p are `result[c][p * samples:][:samples]`.

    A row is one prompt under one condition. Rows run together whenever they are equally long: longer
    ones join when the others have grown, those that end leave. So no row is ever padded.

    Args:
        model: the model; it may be under `steer` already, which then holds for every row.
        prompts: texts or token ids; a text alone is one prompt.
        cells: the conditions, a steering or a direction alone being one; default plain alone.
        n_new: tokens to add at most.
        sampler: default `Greedy()`.
        batch_size: most rows at once; default as many as the memory holds, up to 1,024.
        use_cache: whether keys and values are kept between steps; the tokens are the same.
        bos: how texts begin: `auto`, `always` or `never`; default as the model's do.
        samples: texts for each prompt, each with random numbers of its own.
        progress: shows the loop over groups of rows.

    Raises:
        BadValueError: several samples of a sampler that always says the same.
        PromptTooLongError: a prompt and its continuation do not fit into the context.
        MemoryBudgetError: not one row fits into the memory.
        NotFiniteError: the logits are not finite; the message names the condition.
    """
    asked, cells = as_prompts(prompts), as_cells(cells)
    if bos is not None:
        asked = [model.tokens(p, bos=bos) for p in asked]
    repeated = [p for p in asked for _ in range(check_samples(samples, sampler))]
    found = attempt(
        model, repeated, cells, n_new=n_new, sampler=sampler, batch_size=batch_size,
        use_cache=use_cache, numbers=[i % samples for i in range(len(repeated))],
        progress=progress,
    )  # fmt: skip
    broken = [c for c, row in zip(cells, found, strict=True) if not all(r.finite for r in row)]
    if broken:
        more = f" and {len(broken) - 1} others" if len(broken) > 1 else ""
        raise not_finite(model, broken[0], more)
    said = [p if isinstance(p, str) else model.text(p) for p in repeated]
    return Continuations(found, said, cells)


@torch.no_grad()
def attempt(  # noqa: PLR0913 - each is a choice of its own
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell] = (Cell(),),
    *,
    n_new: int,
    sampler: Sampler | None = None,
    batch_size: int | None = None,
    use_cache: bool = True,
    numbers: Sequence[int] | None = None,
    until: Sequence[str] = (),
    states: States | None = None,
    progress: Track = silent,
) -> list[list[Continuation]]:
    """`generate`, but where logits are not finite the row ends, marked as not finite: for sweeps.

    A prompt may stand several times among the prompts; `numbers` then tells its samples apart, each
    with random numbers of its own. A row ends as soon as its text holds one of the strings `until`.
    `states`, if any are given, are filled with what the last block gave where each token was drawn.

    Raises:
        PromptTooLongError: a prompt and its continuation do not fit into the context.
        MemoryBudgetError: not one row fits into the memory.
    """
    if n_new < 1:
        raise BadValueError(f"n_new is {n_new}; ask for at least 1 token.")
    drawn = (n_new, sampler or Greedy())
    rows = rows_of(model, prompts, cells, drawn, numbers or [0] * len(prompts))
    for row in rows:
        row.until = tuple(until)
    longest = max((len(row.ids) for row in rows), default=0)
    plan, tokens_at_once = generation_plan(
        model, longest, n_new, batch_size or _ROWS_AT_ONCE, drawn[1]
    )
    acting = [on_activations(cell) for cell in cells]
    decoder = Decoder(model, acting, use_cache, tokens_at_once, states)
    groups = [rows[start : start + plan.rows] for start in range(0, len(rows), plan.rows)]
    with model.turn.using(), decoder.attached():
        for group in progress(groups, "generating"):
            decoder.run(group)
    results: list[list[Continuation]] = [[] for _ in cells]
    for row in sorted(rows, key=lambda r: (r.cell, r.prompt)):
        results[row.cell].append(
            Continuation(
                tuple(row.written),
                model.text(row.written, after=row.ids),
                row.ended,
                row.finite,
            )
        )
    return results


def not_finite(model: LensModel, cell: Cell, more: str = "") -> NotFiniteError:
    """What is said of logits that are not finite."""
    return NotFiniteError(
        f"the logits of {model.name} are not finite under the condition "
        f"{cell.key}{more}; lower the dose, use a wider number format, or check the weights."
    )


def generation_plan(
    model: LensModel,
    prompt_tokens: int,
    n_new: int,
    batch_size: int = _ROWS_AT_ONCE,
    sampler: Sampler | None = None,
) -> tuple[MemoryPlan, int]:
    """Memory for continuing prompts of at most so many tokens, and prompt tokens in one pass.

    Shared by all rows is one pass over prompts, which gets at most half of the memory, and what choosing
    takes where rows choose one after the other; a row costs its keys and values, one token's
    activations, its logits, and what choosing among them takes where all rows choose together.

    Raises:
        MemoryBudgetError: not one row fits.
    """
    # a prompt passes twice: plain, with the input of every block kept, and under its condition
    token = 2 * cache_bytes(model) + pass_bytes(model)
    token += model.shape.n_layers * model.shape.d_model * model.dtype.itemsize
    tokens = max(prompt_tokens, min(tokens_in_cache(model), room(model) // 2 // token))
    n_vocab = model.shape.n_vocab
    row = (prompt_tokens + n_new) * cache_bytes(model) + pass_bytes(model)
    row += n_vocab * model.dtype.itemsize
    shared, choosing = tokens * token, n_vocab * work_bytes(sampler)
    at_once = rows_at_once(model.device, n_vocab, batch_size)
    if at_once == batch_size:
        row += choosing
    else:
        shared += at_once * choosing
    work = f"a continuation of {n_new} tokens after {prompt_tokens}"
    return fit(model, work, shared=shared, row=row, at_most=batch_size), tokens


def rows_of(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    drawn: tuple[int, Sampler],
    numbers: Sequence[int],
) -> list[Row]:
    """Every prompt as it is seen under every condition, the shortest first.

    The first of several samples has the key of a single one, so that it is the same text.

    Args:
        model: the model.
        prompts: of which one may stand several times.
        cells: the conditions.
        drawn: how many tokens at most, and how each is chosen.
        numbers: of the sample that each prompt is for.
    """
    n_new, sampler = drawn
    known: dict[tuple[int, ...], int] = {}
    rows = []
    for p, prompt in enumerate(prompts):
        ids = model.tokens(prompt, room=n_new)
        key = ",".join(map(str, ids)) + (f"#{numbers[p]}" if numbers[p] else "")
        for c, cell in enumerate(cells):
            seen = ids
            if is_prompting(cell):
                seen = model.tokens(seen_under(cell, prompt), room=n_new)
            number = known.setdefault(tuple(seen), len(known))
            rows.append(Row(c, p, number, seen, key, n_new, sampler))
    return sorted(rows, key=lambda row: (len(row.ids), row.seen))
