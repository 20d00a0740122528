"""What was written, read again: how likely the plain model finds it, and the KL at each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.engine.decoding import States, plain_pass
from steerscope.engine.score import rows_that_fit
from steerscope.metrics import divergences_from_log_q
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.models.plain_pass import PlainPass
from steerscope.steering.interventions import Cell, Rows
from steerscope.steering.one_batch import attach_cells
from steerscope.steering.prompting import is_prompting, on_activations, seen_under
from steerscope.texts.batches import equal_length_batches, filled_up


@dataclass(frozen=True, eq=False)
class WrittenScores:
    """Means over the written tokens of each text; NaN for a text without any.

    Attributes:
        nll: nats per token under the plain model.
        kl: KL(steered || plain) of the distributions that the tokens were drawn from, in nats per
            token; 0 for the plain condition.
        kl_reverse: KL(plain || steered) of the same.
        js: their Jensen-Shannon divergence, at most log 2.
    """

    nll: Float[np.ndarray, "cell prompt"]
    kl: Float[np.ndarray, "cell prompt"]
    kl_reverse: Float[np.ndarray, "cell prompt"]
    js: Float[np.ndarray, "cell prompt"]

    def keep(self, text: _Text, divergences: Sequence[Float[Tensor, " pos"]]) -> None:
        """Store the means of one text."""
        for into, values in zip((self.kl, self.kl_reverse, self.js), divergences, strict=True):
            into[text.cell, text.prompt] = float(values.mean())


@dataclass(frozen=True)
class _Text:
    """A prompt and what was written after it under a condition.

    Attributes:
        cell: number of the condition.
        prompt: number of the prompt.
        tokens: of the prompt and of what was written.
        start: where what was written begins.
        seen: tokens of the prompt as the condition shows it; None for the prompt itself.
    """

    cell: int
    prompt: int
    tokens: tuple[int, ...]
    start: int
    seen: tuple[int, ...] | None = None

    @property
    def n_written(self) -> int:
        """Tokens that were written."""
        return len(self.tokens) - self.start

    def as_seen(self) -> _Text:
        """What is written after the prompt as it is seen."""
        if self.seen is None:
            return self
        tokens = (*self.seen, *self.tokens[self.start :])
        return replace(self, tokens=tokens, start=len(self.seen), seen=None)


@torch.no_grad()
def written_scores(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    written: Sequence[Sequence[Sequence[int]]],
    states: States | None = None,
) -> WrittenScores:
    """Scores of what each condition wrote after each prompt, teacher-forced.

    A text is steered as it was while it was written: what is prompt and what is written counts for the
    scope. Every prompt and what was written after it runs once plain, and under its condition only the
    blocks from its site upward.
    Plain is always after the prompt itself: what a prompting says is part of its condition, and its KL
    is that of the tokens with those words before the prompt from the tokens without them.

    Args:
        model: the model.
        prompts: texts, or token ids where no condition says anything.
        cells: the conditions.
        written: tokens of each condition after each prompt.
        states: what was kept while they were drawn; a text of which nothing was kept runs again under its
            condition.

    Raises:
        MemoryBudgetError: not one text fits into the memory.
    """
    shape = (len(cells), len(prompts))
    found = WrittenScores(*(np.full(shape, np.nan) for _ in range(4)))
    given = [model.tokens(p) for p in prompts]
    texts = [
        _Text(c, p, (*given[p], *tokens), len(given[p]), _seen(model, cells[c], prompts[p]))
        for c, row in enumerate(written)
        for p, tokens in enumerate(row)
        if tokens
    ]
    acting = [on_activations(cell) for cell in cells]
    ids = [list(t) for text in texts for t in (text.tokens, text.as_seen().tokens)]
    at_most = rows_that_fit(model, ids, None)
    for batch in equal_length_batches(given, at_most, model.device):
        place = {prompt: row for row, prompt in enumerate(batch.indices)}
        mine = [text for text in texts if text.prompt in place]
        # whatever acts from outside takes the prompts to end where they do
        with model.clock.hold(batch.tokens.shape[1]):
            plain = plain_pass(model, batch.tokens, states)
            for start in range(0, len(mine), at_most):
                part = mine[start : start + at_most]
                which = [place[text.prompt] for text in part]
                rows = [list(text.tokens[text.start :]) for text in part]
                pair = (
                    torch.tensor(which, device=model.device),
                    torch.tensor(filled_up(rows), device=model.device),
                )
                kept = [
                    None if states is None else states.get((text.cell, text.prompt))
                    for text in part
                ]
                _score_batch(model, acting, part, plain.continued(*pair), kept, found)
    return found


def _seen(model: LensModel, cell: Cell, prompt: TextOrIds) -> tuple[int, ...] | None:
    return tuple(model.tokens(seen_under(cell, prompt))) if is_prompting(cell) else None


def _score_batch(
    model: LensModel,
    cells: Sequence[Cell],
    texts: Sequence[_Text],
    plain: PlainPass,
    states: Sequence[Float[Tensor, "_ d"] | None],
    found: WrittenScores,
) -> None:
    """Score texts after prompts of one length; `plain` holds them, the short ones filled up at the end."""
    n_blocks, length = model.shape.n_layers, plain.tokens.shape[1]
    last = length - texts[0].start  # positions that are predicted
    everyone = torch.arange(len(texts), device=plain.tokens.device)
    logits = plain.resume(everyone, n_blocks, last=last + 1)[:, :-1]
    log_q = torch.log_softmax(logits.float(), dim=-1)
    chosen = log_q.gather(-1, plain.tokens[:, -last:, None]).squeeze(-1).cpu()
    groups: dict[int, list[int]] = {}
    said: dict[int, list[int]] = {}
    for place, text in enumerate(texts):
        found.nll[text.cell, text.prompt] = -float(chosen[place, : text.n_written].mean())
        state = states[place]
        if state is not None:
            q = log_q[place : place + 1, : text.n_written]
            _keep_divergences(text, model.unembed(state)[None], q, found)
        elif text.seen is not None:
            said.setdefault(len(text.as_seen().tokens), []).append(place)
        elif cells[text.cell].interventions:
            block = plain.first_run(_first_block(cells[text.cell], text.start))
            groups.setdefault(block, []).append(place)
        else:
            found.keep(text, [torch.zeros(1)] * 3)
    for places in said.values():
        _score_said(model, cells, [texts[place] for place in places], log_q[places], found)
    for block, places in groups.items():
        which = everyone[places]
        with _written_under(model, cells, [texts[place] for place in places]):
            for part, steered in plain.resume_in_parts(which, block, last=last + 1):
                mine = which[part.to(which.device)]
                apart = [d.cpu() for d in divergences_from_log_q(steered[:, :-1], log_q, mine)]
                for place, row in enumerate(part.tolist()):
                    text = texts[places[row]]
                    found.keep(text, [values[place, : text.n_written] for values in apart])


def _score_said(
    model: LensModel,
    cells: Sequence[Cell],
    texts: Sequence[_Text],
    log_q: Float[Tensor, "text pos vocab"],
    found: WrittenScores,
) -> None:
    """The divergences of what was drawn after prompts that say more from what the plain model draws without.

    Args:
        model: the model.
        cells: what acts within the model under each condition.
        texts: of which all that is seen is equally long.
        log_q: log-probabilities of the plain model, from the first token that is written.
        found: where the KL goes.
    """
    last = max(text.n_written for text in texts)
    seen = [t.as_seen() for t in texts]
    tokens = torch.tensor([t.tokens for t in seen], device=model.device)
    with _written_under(model, cells, seen):
        logits = model.forward(tokens, last=last + 1)[:, :-1]
    for place, text in enumerate(texts):
        n = text.n_written
        _keep_divergences(text, logits[place : place + 1, -n:], log_q[place : place + 1, :n], found)


def _keep_divergences(
    text: _Text,
    steered: Float[Tensor, "1 token vocab"],
    log_q: Float[Tensor, "1 token vocab"],
    found: WrittenScores,
) -> None:
    """The divergences of one text from plain, into what is found."""
    itself = torch.zeros(1, dtype=torch.long, device=log_q.device)
    found.keep(text, [d[0].cpu() for d in divergences_from_log_q(steered, log_q, itself)])


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
