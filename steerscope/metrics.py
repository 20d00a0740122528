"""Numbers from logits and texts; nothing here runs a model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

DEGENERATE_REPEAT = 0.5  # share of repeated 4-grams from which a text counts as degenerate
_LOGITS_IN_CACHE = 2**20  # numbers that are worked on together
MIN_TOKENS = 8  # shorter texts cannot be judged for repetition


def kl_divergence(
    steered: Float[Tensor, "*batch vocab"], plain: Float[Tensor, "*batch vocab"]
) -> Float[Tensor, "*batch"]:
    """KL(steered || plain) of two next-token distributions given as logits, in nats.

    Σ_v p(v) (log p(v) - log q(v)), computed from log-softmax in float32.
    """
    rows = steered.reshape(-1, 1, steered.shape[-1])
    log_q = torch.log_softmax(plain.float(), dim=-1).reshape(rows.shape)
    found = kl_from_log_q(rows, log_q, torch.arange(len(rows), device=rows.device))
    return found.reshape(steered.shape[:-1])


def kl_from_log_q(
    steered: Float[Tensor, "row pos vocab"],
    log_q: Float[Tensor, "prompt pos vocab"],
    which: Int[Tensor, " row"],
) -> Float[Tensor, "row pos"]:
    """`kl_divergence` of rows from prompts whose plain log-probabilities are known already.

    Args:
        steered: logits.
        log_q: log-probabilities of the plain model.
        which: the prompt of each row.
    """
    found = steered.new_empty(steered.shape[:-1], dtype=torch.float32)
    for rows, positions in _parts(steered.shape):
        log_p = torch.log_softmax(steered[rows, positions].float(), dim=-1)
        gap = log_p - log_q[which[rows], positions]
        found[rows, positions] = torch.linalg.vecdot(log_p.exp_(), gap)
    return found.clamp_min_(0.0)


def _parts(shape: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Rows, or positions of one row, so few at a time that their logits stay in a processor's cache."""
    n_rows, n_pos, n_vocab = shape
    rows = max(1, _LOGITS_IN_CACHE // max(1, n_pos * n_vocab))
    positions = n_pos if rows > 1 else max(1, _LOGITS_IN_CACHE // n_vocab)
    for row in range(0, n_rows, rows):
        for position in range(0, n_pos, positions):
            yield slice(row, row + rows), slice(position, position + positions)


def divergences_from_log_q(
    steered: Float[Tensor, "row pos vocab"],
    log_q: Float[Tensor, "prompt pos vocab"],
    which: Int[Tensor, " row"],
) -> tuple[Float[Tensor, "row pos"], Float[Tensor, "row pos"], Float[Tensor, "row pos"]]:
    """KL(steered || plain), KL(plain || steered) and the Jensen-Shannon divergence, in nats.

    JS = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2; it is at most log 2 and the same both ways.

    Args:
        steered: logits.
        log_q: log-probabilities of the plain model.
        which: the prompt of each row.

    Source: Lin 1991, for Jensen-Shannon.
    """
    shape = steered.shape[:-1]
    kl, reverse, js = (steered.new_empty(shape, dtype=torch.float32) for _ in range(3))
    for rows, positions in _parts(steered.shape):
        part = rows, positions
        log_p = torch.log_softmax(steered[part].float(), dim=-1)
        plain = log_q[which[rows], positions]
        gap = log_p - plain
        p, q = log_p.exp_(), plain.exp_()
        kl[part] = torch.linalg.vecdot(p, gap)
        reverse[part] = -torch.linalg.vecdot(q, gap)
        # log p - log m = log 2 - log(1 + q / p) = log 2 - softplus(-gap), and softplus(-gap) = softplus(gap) - gap
        both = torch.linalg.vecdot(p.add_(q), torch.nn.functional.softplus(gap))
        js[part] = math.log(2) - 0.5 * (both - kl[part])
    return kl.clamp_min_(0.0), reverse.clamp_min_(0.0), js.clamp_(0.0, math.log(2))


def change_rate(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> float:
    """Share of continuations that differ in at least one token; NaN for none."""
    changed = [list(a) != list(b) for a, b in zip(before, after, strict=True)]
    return sum(changed) / len(changed) if changed else math.nan


def distinct_n(tokens: Sequence[int], n: int) -> float:
    """Number of different n-grams over number of n-grams; NaN if there are none.

    Source: Li et al. 2016 (arXiv:1510.03055).
    """
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan


def distinct_across(texts: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over n-grams of several texts together; NaN if there are none.

    Source: Li et al. 2016 (arXiv:1510.03055).
    """
    grams = [gram for tokens in texts for gram in _grams(tokens, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def self_bleu(texts: Sequence[Sequence[int]], longest: int = 4) -> float:
    """Mean BLEU of each text against the others: 1 where all are the same, near 0 where they share nothing.

    Geometric mean of the clipped precisions of 1- to 4-grams, a precision of 0 counted as 0.1 matches,
    times the penalty of texts shorter than the nearest other. NaN for fewer than two texts with a token.

    Source: Zhu et al. 2018 (arXiv:1802.01886), with the smoothing 1 of Chen & Cherry 2014.
    """
    there = [tuple(t) for t in texts if t]
    if len(there) < 2:
        return math.nan
    scores = [_bleu(t, [*there[:i], *there[i + 1 :]], longest) for i, t in enumerate(there)]
    return sum(scores) / len(scores)


def _bleu(text: Sequence[int], others: Sequence[Sequence[int]], longest: int) -> float:
    logs = []
    for n in range(1, min(longest, len(text)) + 1):
        counts = Counter(_grams(text, n))
        most: Counter[tuple[int, ...]] = Counter()
        for other in others:
            most |= Counter(_grams(other, n))
        matches = sum((counts & most).values())
        logs.append(math.log((matches or 0.1) / counts.total()))
    nearest = min((len(o) for o in others), key=lambda size: (abs(size - len(text)), size))
    brevity = min(0.0, 1 - nearest / len(text))
    return math.exp(brevity + sum(logs) / len(logs))


def _grams(tokens: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def repetition(tokens: Sequence[int], n: int = 4) -> float:
    """Share of n-grams that have occurred before in the same text; NaN if there are none."""
    return 1.0 - distinct_n(tokens, n)


def longest_run(tokens: Sequence[int], longest_period: int = 3) -> int:
    """Length in tokens of the longest stretch that repeats a unit of at most `longest_period`."""
    best = 1 if tokens else 0
    for period in range(1, longest_period + 1):
        run = 0
        for i in range(period, len(tokens)):
            run = run + 1 if tokens[i] == tokens[i - period] else 0
            if run:
                best = max(best, run + period)
    return best


def is_degenerate(tokens: Sequence[int]) -> bool:
    """Whether a continuation has collapsed into repetition.

    At least half of its 4-grams have occurred before in it, or one unit of up to three tokens fills
    a stretch of at least 12. Fewer than 8 tokens are too few to say so.
    """
    if len(tokens) < MIN_TOKENS:
        return False
    return repetition(tokens) >= DEGENERATE_REPEAT or longest_run(tokens) >= 12


def token_entropy(tokens: Sequence[int]) -> float:
    """Entropy of the token counts of one text, in nats; NaN for an empty text."""
    if not tokens:
        return math.nan
    shares = [c / len(tokens) for c in Counter(tokens).values()]
    return -sum(p * math.log(p) for p in shares)
