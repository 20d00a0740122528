"""How likely given answers are after what is asked, under many conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os.path import commonprefix

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerscope.engine.alike import alike, alike_within
from steerscope.engine.score import first_block_after, rows_that_fit
from steerscope.models.lens_model import LensModel
from steerscope.models.plain_pass import PlainPass
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell, Rows
from steerscope.steering.one_batch import attach_cells
from steerscope.texts.batches import equal_length_batches, near_length_batches

_WORTH = 32  # tokens that all questions begin with, fewer of which are run with the rest


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """What each condition makes of each answer.

    Attributes:
        log_likelihood: of all tokens of the answer together, in nats; NaN where logits overflow.
        greedy: whether each of its tokens is the likeliest one where it stands.
    """

    log_likelihood: Float[np.ndarray, "cell answer"]
    greedy: Bool[np.ndarray, "cell answer"]


@torch.no_grad()
def answer_scores(
    model: LensModel,
    answers: Sequence[tuple[Sequence[int], Sequence[int]]],
    cells: Sequence[Cell],
    *,
    progress: Track = silent,
) -> AnswerScores:
    """Log-likelihood of every answer after its question, under every condition.

    For the scope of a steering the question is the prompt and the answer what is generated. The last
    token of an answer is predicted and never read. Every text runs once plain, and under a condition
    only from the first block that it changes; what all questions begin with, as solved examples, runs
    once for all of them, and once for each batch under a condition that adds the same to all of them.

    Args:
        model: the model.
        answers: token ids of what is asked and of the answer, each at least one.
        cells: the conditions; what a prompting says is for the caller to put into the question.
        progress: shows the loop.

    Raises:
        PromptTooLongError: question and answer do not fit into the context.
        MemoryBudgetError: not one text fits into the memory.
    """
    shape = (len(cells), len(answers))
    found = AnswerScores(np.full(shape, np.nan), np.zeros(shape, dtype=bool))
    read = [model.tokens([*asked, *answer[:-1]]) for asked, answer in answers]
    at_most = rows_that_fit(model, read, None)
    hooked, shortest = model.is_hooked, min((len(asked) for asked, _ in answers), default=0)
    begun = None if hooked else _begun(model, read, shortest)
    batches = (
        equal_length_batches(read, at_most, model.device)
        if begun is None
        else near_length_batches(
            [ids[begun.tokens.shape[1] :] for ids in read], at_most, model.device
        )
    )
    for batch in progress(batches, "scoring answers"):
        if begun is None:
            ends = [len(answers[i][0]) for i in batch.indices]
            with model.clock.hold(batch.tokens.new_tensor(ends)):
                plain = model.plain_pass(batch.tokens)
        else:
            plain = begun.continued(torch.zeros_like(batch.tokens[:, 0]), batch.tokens)
        _score([answers[i] for i in batch.indices], batch.indices, plain, cells, at_most, found)
    return found


def _begun(model: LensModel, read: Sequence[list[int]], shortest: int) -> PlainPass | None:
    """A pass over what all questions begin with; None where that saves nothing."""
    room = min(shortest, min(map(len, read), default=1) - 1)
    common = commonprefix(read)[:room] if len(read) > 1 else []
    if len(common) < _WORTH:
        return None
    plain = model.plain_pass(torch.tensor([common], device=model.device))
    return plain if plain.first_run(1) else None


def _score(
    answers: Sequence[tuple[Sequence[int], Sequence[int]]],
    numbers_of: Sequence[int],
    plain: PlainPass,
    cells: Sequence[Cell],
    at_most: int,
    found: AnswerScores,
) -> None:
    """Score the answers of one batch under every condition; short texts are filled up at the end."""
    model: LensModel = plain.model
    n, length = plain.tokens.shape
    begin, sizes = [len(asked) for asked, _ in answers], [len(answer) for _, answer in answers]
    earliest = min(begin)
    last = length - earliest + 1
    targets = torch.zeros(n, last, dtype=torch.long)
    for row, (asked, answer) in enumerate(answers):
        targets[row, len(asked) - earliest :][: len(answer)] = torch.tensor(answer)
    targets, starts = targets.to(model.device), torch.tensor(begin, device=model.device)
    hooked = model.is_hooked
    everyone = torch.arange(n, device=model.device)
    at_once = max(1, at_most // n)
    for block, numbers in _by_block(plain.first_run, cells, starts, model.shape.n_layers).items():
        for first in range(0, len(numbers), at_once):
            part = numbers[first : first + at_once]
            which = everyone.repeat(len(part))
            rows_of = [Rows(r) for r in torch.arange(len(which), device=model.device).split(n)]
            acting = [(cells[c], rows) for c, rows in zip(part, rows_of, strict=True)]
            same = None
            if not hooked and alike_within([cells[c] for c in part], plain.n_alike, starts):
                same = alike(model, acting, len(which))
            with model.clock.hold(starts[which]), attach_cells(model, acting):
                for rows, logits in plain.resume_in_parts(which, block, last=last, alike=same):
                    chosen, greedy = _of_targets(logits, targets[which[rows.to(which.device)]])
                    for place, row in enumerate(rows.tolist()):
                        c, text = part[row // n], row % n
                        at = slice(begin[text] - earliest, begin[text] - earliest + sizes[text])
                        into = c, numbers_of[text]
                        found.log_likelihood[into] = float(chosen[place, at].double().sum())
                        found.greedy[into] = bool(greedy[place, at].all())


def _by_block(
    first_run: Callable[[int], int],
    cells: Sequence[Cell],
    starts: Int[Tensor, " text"],
    n_blocks: int,
) -> dict[int, list[int]]:
    """The conditions by the first block that any of them changes in a question or an answer."""
    shortest = int(starts.min())
    groups: dict[int, list[int]] = {}
    for number, cell in enumerate(cells):
        block = first_run(first_block_after(cell, shortest, n_blocks))
        groups.setdefault(block, []).append(number)
    return groups


def _of_targets(
    logits: Float[Tensor, "row pos vocab"], targets: Int[Tensor, "row pos"]
) -> tuple[Float[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    """Log-probability of each target, and whether it is the likeliest token."""
    logits = logits.float()
    chosen = logits.gather(-1, targets[..., None]).squeeze(-1) - logits.logsumexp(dim=-1)
    return chosen.cpu(), (logits.argmax(dim=-1) == targets).cpu()
