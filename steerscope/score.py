"""Forward-only measurements: likelihoods of texts, and KL of a steered from the plain model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.batches import Batch, equal_length_batches
from steerscope.interventions import Cell, Rows, steer
from steerscope.metrics import kl_divergence
from steerscope.model import LensModel, PlainPass, TextOrIds
from steerscope.progress import Track, silent


@torch.no_grad()
def kl_from_plain(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    *,
    batch_size: int = 64,
    progress: Track = silent,
) -> Float[Tensor, "cell prompt"]:
    """KL(steered || plain) of the next-token distributions, in nats, mean over the positions.

    Every prompt is teacher-forced; position 0 is left out of the mean. Conditions and prompts of one
    length are the rows of one batch, and a condition runs only the blocks from its site upward.
    """
    ids = [model.tokens(p) for p in prompts]
    result = torch.full((len(cells), len(ids)), torch.nan)
    batches = equal_length_batches(ids, batch_size, model.device)
    for batch in progress(batches, "measuring KL"):
        for part, steered, plain in _under_each(model, batch, cells, batch_size):
            kl = kl_divergence(steered[:, 1:], plain[:, 1:]).mean(dim=1)
            rows = torch.tensor(part)[:, None]
            result[rows, torch.tensor(batch.indices)] = kl.reshape(len(part), -1).cpu()
    return result


def _under_each(
    model: LensModel, batch: Batch, cells: Sequence[Cell], batch_size: int
) -> Iterator[tuple[list[int], Float[Tensor, "row pos vocab"], Float[Tensor, "row pos vocab"]]]:
    """Some conditions by number, and for each of them all prompts' logits, steered and plain."""
    n, length = batch.tokens.shape
    plain = model.plain_pass(batch.tokens)
    logits = model.forward(batch.tokens) if plain is None else plain.logits
    at_once = max(1, batch_size // n)
    for block, numbers in _by_first_block(model, cells, length, plain).items():
        for start in range(0, len(numbers), at_once):
            part = numbers[start : start + at_once]
            which = torch.arange(n, device=model.device).repeat(len(part))
            with _each_on_its_rows(model, [cells[i] for i in part], n):
                if plain is None:
                    steered = model.forward(batch.tokens[which])
                else:
                    steered = model.resume(plain, which, block)
            yield part, steered, logits[which]


def _by_first_block(
    model: LensModel, cells: Sequence[Cell], length: int, plain: PlainPass | None
) -> dict[int, list[int]]:
    """Numbers of the conditions by the first block that they change; all at 0 without a pass."""
    groups: dict[int, list[int]] = {}
    for number, cell in enumerate(cells):
        block = 0 if plain is None else cell.first_block(length, model.shape.n_layers)
        groups.setdefault(block, []).append(number)
    return groups


@contextmanager
def _each_on_its_rows(model: LensModel, cells: Sequence[Cell], n: int) -> Iterator[None]:
    """Condition i acts on rows i n to (i + 1) n."""
    with ExitStack() as stack:
        for place, cell in enumerate(cells):
            rows = Rows(torch.arange(place * n, (place + 1) * n, device=model.device))
            for intervention in cell.interventions:
                stack.enter_context(intervention.attach(model, rows))
        yield


@torch.no_grad()
def log_likelihoods(
    model: LensModel,
    texts: Sequence[TextOrIds],
    cell: Cell | None = None,
    *,
    after: Sequence[int] | None = None,
    batch_size: int = 64,
) -> list[Float[Tensor, " token"]]:
    """Natural log-probability of each token of each text, given those before it.

    Args:
        model: the model.
        texts: texts or token ids.
        cell: condition under which they are scored; default plain.
        after: number of leading tokens of each text to leave out, such as the prompt's length;
            default 1, the first token, which nothing predicts.
        batch_size: texts in one pass.
    """
    ids = [model.tokens(t) for t in texts]
    starts = [1] * len(ids) if after is None else [max(1, n) for n in after]
    result: list[Tensor] = [torch.empty(0)] * len(ids)
    with steer(model, *(cell.interventions if cell else ())):
        for batch in equal_length_batches(ids, batch_size, model.device):
            n = batch.tokens.shape[1]
            wanted = n - min(starts[i] for i in batch.indices)  # tokens at the end to be scored
            if wanted < 1:
                continue
            logits = model.forward(batch.tokens, last=wanted + 1)
            scores = _token_scores(logits, batch.tokens[:, -wanted - 1 :]).cpu()
            for index, row in zip(batch.indices, scores, strict=True):
                result[index] = row[wanted - (n - starts[index]) :]
    return result


def _token_scores(
    logits: Float[Tensor, "batch pos vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch next"]:
    logp = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    return logp.gather(-1, tokens[:, 1:, None]).squeeze(-1)


def preference(
    model: LensModel, pairs: Sequence[tuple[str, str]], cell: Cell, *, batch_size: int = 64
) -> Float[Tensor, " pair"]:
    """Log P(positive) - log P(negative) for each pair of texts, in nats; what they share cancels."""
    texts = [text for pair in pairs for text in pair]
    sums = torch.tensor(
        [float(s.sum()) for s in log_likelihoods(model, texts, cell, batch_size=batch_size)]
    )
    return sums[0::2] - sums[1::2]


@torch.no_grad()
def preferences(
    model: LensModel,
    pairs: Sequence[tuple[str, str]],
    cells: Sequence[Cell],
    *,
    batch_size: int = 64,
    progress: Track = silent,
) -> Float[Tensor, "cell pair"]:
    """The preference of every pair under each of many conditions, in nats.

    Conditions and texts of one length are the rows of one batch, as for the KL.
    """
    ids = [model.tokens(text) for pair in pairs for text in pair]
    sums = torch.zeros(len(cells), len(ids))
    batches = equal_length_batches(ids, batch_size, model.device)
    for batch in progress(batches, "measuring preferences"):
        for part, steered, _ in _under_each(model, batch, cells, batch_size):
            scores = _token_scores(steered, batch.tokens.repeat(len(part), 1)).sum(dim=1)
            rows = torch.tensor(part)[:, None]
            sums[rows, torch.tensor(batch.indices)] = scores.reshape(len(part), -1).cpu()
    return sums[:, 0::2] - sums[:, 1::2]
