"""What was written, read again: how likely the plain model finds it, and the KL at each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from steerscope.engine.score import rows_that_fit
from steerscope.metrics import kl_from_log_q
from steerscope.models.lens_model import LensModel
from steerscope.steering.interventions import Cell, Rows, attach_cells
from steerscope.texts.batches import Batch, equal_length_batches


@dataclass(frozen=True, eq=False)
class WrittenScores:
    """Two means over the written tokens of each text; NaN for a text without any.

    Attributes:
        nll: nats per token under the plain model.
        kl: KL(steered || plain) of the distributions that the tokens were drawn from, in nats per
            token; 0 for the plain condition.
    """

    nll: Float[np.ndarray, "cell prompt"]
    kl: Float[np.ndarray, "cell prompt"]


@dataclass(frozen=True)
class _Text:
    """A prompt and what was written after it under a condition."""

    cell: int
    prompt: int
    tokens: tuple[int, ...]
    start: int  # of what was written


@torch.no_grad()
def written_scores(
    model: LensModel,
    prompts: Sequence[Sequence[int]],
    cells: Sequence[Cell],
    written: Sequence[Sequence[Sequence[int]]],
) -> WrittenScores:
    """Scores of what each condition wrote after each prompt, teacher-forced.

    A text is steered as it was while it was written: what is prompt and what is written counts for the
    scope. Every text runs once plain, and under its condition only the blocks from its site upward.

    Args:
        model: the model.
        prompts: tokens of each prompt.
        cells: the conditions.
        written: tokens of each condition after each prompt.

    Raises:
        MemoryBudgetError: not one text fits into the memory.
    """
    shape = (len(cells), len(prompts))
    found = WrittenScores(np.full(shape, np.nan), np.full(shape, np.nan))
    texts = [
        _Text(c, p, (*prompts[p], *tokens), max(1, len(prompts[p])))
        for c, row in enumerate(written)
        for p, tokens in enumerate(row)
        if tokens
    ]
    ids = [list(text.tokens) for text in texts]
    for batch in equal_length_batches(ids, rows_that_fit(model, ids, None), model.device):
        _score_batch(model, cells, [texts[i] for i in batch.indices], batch, found)
    return found


def _score_batch(
    model: LensModel,
    cells: Sequence[Cell],
    texts: Sequence[_Text],
    batch: Batch,
    found: WrittenScores,
) -> None:
    plain = model.plain_pass(batch.tokens)
    n_blocks, length = model.shape.n_layers, batch.tokens.shape[1]
    last = length - min(text.start for text in texts)  # positions that are predicted
    everyone = torch.arange(len(texts), device=batch.tokens.device)
    logits = plain.resume(everyone, n_blocks, last=last + 1)[:, :-1]
    log_q = torch.log_softmax(logits.float(), dim=-1)
    chosen = log_q.gather(-1, batch.tokens[:, -last:, None]).squeeze(-1).cpu()
    groups: dict[int, list[int]] = {}
    for place, text in enumerate(texts):
        skip = text.start - (length - last)
        found.nll[text.cell, text.prompt] = -float(chosen[place, skip:].mean())
        if cells[text.cell].interventions:
            block = plain.first_run(_first_block(cells[text.cell], text.start))
            groups.setdefault(block, []).append(place)
        else:
            found.kl[text.cell, text.prompt] = 0.0
    for block, places in groups.items():
        which = everyone[places]
        with _written_under(model, cells, [texts[place] for place in places]):
            for part, steered in plain.resume_in_parts(which, block, last=last + 1):
                kl = kl_from_log_q(steered[:, :-1], log_q, which[part.to(which.device)]).cpu()
                for row, values in zip(part.tolist(), kl, strict=True):
                    text = texts[places[row]]
                    skip = text.start - (length - last)
                    found.kl[text.cell, text.prompt] = float(values[skip:].mean())


@contextmanager
def _written_under(
    model: LensModel, cells: Sequence[Cell], texts: Sequence[_Text]
) -> Iterator[None]:
    """Each row of the next pass is steered as its text was."""
    rows: dict[int, list[int]] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text.cell, []).append(row)
    acting = [(cells[c], Rows(torch.tensor(r, device=model.device))) for c, r in rows.items()]
    starts = torch.tensor([text.start for text in texts], device=model.device)
    with model.clock.hold(starts), attach_cells(model, acting):
        yield


def _first_block(cell: Cell, prompt_length: int) -> int:
    """The first block that may run otherwise than plain, over a prompt or what is written after it."""
    return min(i.first_block(prompt_length) or 0 for i in cell.interventions)
