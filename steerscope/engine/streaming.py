"""Tokens as they come: many prompts and conditions in one batch, each token told at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from steerscope.engine.continuous import ContinuousBatch, LiveRow
from steerscope.engine.generation import not_finite, rows_of
from steerscope.engine.sampling import Greedy, Sampler, check_samples
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.models.prompts import Prompts, as_prompts
from steerscope.steering.cells import PLAIN, Cells, as_cells
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import on_activations

Finish = Literal["", "ended", "length"]
_BROKEN = "\ufffd"  # how a letter reads of which a part of the bytes is still to come


@dataclass(frozen=True)
class Token:
    """One token that was written.

    Attributes:
        cell: number of the condition.
        prompt: number of the prompt.
        sample: number of the text of that prompt.
        id: the token; None in the last of each text, which only says that it is over.
        text: what it adds to the text. It may be empty where a letter is of several tokens.
        log_prob: in nats, as the model has it before any sampler; NaN in the last.
        finish: empty while the text goes on; `ended` by the model, or `length` for n_new tokens.
    """

    cell: int
    prompt: int
    sample: int
    id: int | None
    text: str
    log_prob: float
    finish: Finish = ""


def stream(
    model: LensModel,
    prompts: Prompts,
    cells: Cells = PLAIN,
    *,
    n_new: int,
    sampler: Sampler | None = None,
    bos: str | None = None,
    samples: int = 1,
    max_rows: int = 64,
) -> Iterator[Token]:
    """Continue every prompt under every condition, and tell each token as it comes.

    The tokens are those of `generate`, those of all texts by turns. The model is free between two of
    them, and a stream that is closed leaves nothing behind.

    Args:
        model: the model.
        prompts: texts or token ids; a text alone is one prompt.
        cells: the conditions, a steering or a direction alone being one; default plain alone.
        n_new: tokens to add at most.
        sampler: default `Greedy()`.
        bos: how texts begin: `auto`, `always` or `never`; default as the model's do.
        samples: texts for each prompt, each with random numbers of its own.
        max_rows: texts that are written at once.

    Raises:
        BadValueError: several samples of a sampler that always says the same, or no token to add.
        PromptTooLongError: a prompt and its continuation do not fit into the context.
        MemoryBudgetError: not one row fits into the memory.
        NotFiniteError: the logits are not finite; the message names the condition.
    """
    asked, conditions = as_prompts(prompts), as_cells(cells)
    if bos is not None:
        asked = [model.tokens(p, bos=bos) for p in asked]
    check_samples(samples, sampler)
    if max_rows < 1:
        raise BadValueError(f"max_rows is {max_rows}; at least 1 text must be written at once.")
    rows = live_rows(model, asked, conditions, n_new=n_new, sampler=sampler, samples=samples)
    batch = ContinuousBatch(model, max_rows=max_rows)
    for row in rows:
        batch.add(row)
    return _told(batch, conditions, samples)


def live_rows(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    *,
    n_new: int,
    sampler: Sampler | None = None,
    samples: int = 1,
) -> list[LiveRow]:
    """The rows of a batch, one for each sample of each prompt under each condition, as `generate` has them.

    Raises:
        PromptTooLongError: a prompt and its continuation do not fit into the context.
        BadValueError: no token to add.
    """
    if n_new < 1:
        raise BadValueError(f"n_new is {n_new}; ask for at least 1 token.")
    repeated = [p for p in prompts for _ in range(samples)]
    numbers = [i % samples for i in range(len(repeated))]
    found = rows_of(model, repeated, cells, (n_new, sampler or Greedy()), numbers)
    acting = [on_activations(cell) for cell in cells]
    made = [
        LiveRow(
            r.cell, r.prompt, r.seen, r.ids, r.key, r.n_new, r.sampler, condition=acting[r.cell]
        )
        for r in found
    ]
    return sorted(made, key=lambda row: (row.prompt, row.cell))


def _told(batch: ContinuousBatch, cells: Sequence[Cell], samples: int) -> Iterator[Token]:
    numbers = {
        id(row): row.cell for row in batch.waiting
    }  # the batch counts conditions its own way
    readers = {id(row): Reader(batch.model, row) for row in batch.waiting}
    while not batch.is_idle:
        for row in batch.step():
            cell, reader = numbers[id(row)], readers[id(row)]
            place = (cell, *divmod(row.prompt, samples))
            check(row, batch.model, cells[cell])
            for token, text in reader.news():
                yield Token(*place, token, text, row.log_probs[reader.n_read - 1])
            if not row.goes_on:
                finish: Finish = "ended" if row.ended else "length"
                yield Token(*place, None, reader.rest(), float("nan"), finish)


def check(row: LiveRow, model: LensModel, cell: Cell) -> None:
    """Say what stopped a row, if anything did.

    Raises:
        NotFiniteError: the logits are not finite.
        SteerscopeError: what went wrong in its pass.
    """
    if row.failure is not None:
        raise row.failure
    if not row.finite:
        raise not_finite(model, cell)


class Reader:
    """Reads the text of a row as it grows; the pieces together are the text of the whole."""

    def __init__(self, model: LensModel, row: LiveRow) -> None:
        self._model, self._row = model, row
        self.n_read, self.text, self.is_over = 0, "", False

    def news(self) -> Iterator[tuple[int, str]]:
        """The tokens that were not read yet, each with what it adds to the text."""
        row = self._row
        while self.n_read < len(row.written):
            self.n_read += 1
            whole = self._model.text(row.written[: self.n_read], after=row.ids)
            yield row.written[self.n_read - 1], self._added(whole.rstrip(_BROKEN))

    def rest(self) -> str:
        """What was held back at the end."""
        whole = self._model.text(self._row.written, after=self._row.ids)
        return self._added(whole)

    def _added(self, ready: str) -> str:
        if not ready.startswith(self.text):  # what is told cannot be taken back
            return ""
        added, self.text = ready[len(self.text) :], ready
        return added
