"""How likely given answers are after what is asked, under many conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerscope.engine.score import rows_that_fit
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell, Rows, attach_cells
from steerscope.texts.batches import Batch, equal_length_batches


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
    only from the first block that it changes.

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
    batches = equal_length_batches(read, at_most, model.device)
    for batch in progress(batches, "scoring answers"):
        _score(model, [answers[i] for i in batch.indices], batch, cells, at_most, found)
    return found


def _score(
    model: LensModel,
    answers: Sequence[tuple[Sequence[int], Sequence[int]]],
    batch: Batch,
    cells: Sequence[Cell],
    at_most: int,
    found: AnswerScores,
) -> None:
    """Score the answers of one batch under every condition."""
    plain, (n, length) = model.plain_pass(batch.tokens), batch.tokens.shape
    sizes = [len(answer) for _, answer in answers]
    starts = torch.tensor([length + 1 - size for size in sizes], device=model.device)
    last = max(sizes)
    ends = [[*asked, *answer][-last:] for asked, answer in answers]
    targets = torch.tensor(ends, device=model.device)
    everyone = torch.arange(n, device=model.device)
    at_once = max(1, at_most // n)
    for block, numbers in _by_block(plain.first_run, cells, starts, model.shape.n_layers).items():
        for first in range(0, len(numbers), at_once):
            part = numbers[first : first + at_once]
            which = everyone.repeat(len(part))
            rows_of = [Rows(r) for r in torch.arange(len(which), device=model.device).split(n)]
            acting = [(cells[c], rows) for c, rows in zip(part, rows_of, strict=True)]
            with model.clock.hold(starts[which]), attach_cells(model, acting):
                for rows, logits in plain.resume_in_parts(which, block, last=last):
                    chosen, greedy = _of_targets(logits, targets[which[rows.to(which.device)]])
                    for place, row in enumerate(rows.tolist()):
                        c, text = part[row // n], row % n
                        skip = last - sizes[text]
                        into = c, batch.indices[text]
                        found.log_likelihood[into] = float(chosen[place, skip:].double().sum())
                        found.greedy[into] = bool(greedy[place, skip:].all())


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
        # A block is None where only what is generated changes: the answer then is, from any block on.
        blocks = [i.first_block(shortest) or 0 for i in cell.interventions if _acts(i)]
        groups.setdefault(first_run(min(blocks, default=n_blocks)), []).append(number)
    return groups


def _acts(intervention: object) -> bool:
    """Whether an intervention changes anything: an adapter at coefficient 0 has nothing to attach."""
    return getattr(intervention, "coefficient", 1.0) != 0


def _of_targets(
    logits: Float[Tensor, "row pos vocab"], targets: Int[Tensor, "row pos"]
) -> tuple[Float[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    """Log-probability of each target, and whether it is the likeliest token."""
    logits = logits.float()
    chosen = logits.gather(-1, targets[..., None]).squeeze(-1) - logits.logsumexp(dim=-1)
    return chosen.cpu(), (logits.argmax(dim=-1) == targets).cpu()
