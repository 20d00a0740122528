"""Batches of equal token length, so that no row is padded, or of nearly equal length, filled up at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Token sequences of one length; row r of `tokens` is sequence `indices[r]`."""

    indices: tuple[int, ...]
    tokens: Int[Tensor, "batch pos"]


def equal_length_batches(
    sequences: Sequence[Sequence[int]], batch_size: int, device: torch.device
) -> list[Batch]:
    """Group sequences by length, shortest first, into batches of at most `batch_size` rows."""
    lengths: dict[int, list[int]] = {}
    for index, sequence in enumerate(sequences):
        lengths.setdefault(len(sequence), []).append(index)
    batches = []
    for _, members in sorted(lengths.items()):
        for start in range(0, len(members), batch_size):
            rows = members[start : start + batch_size]
            tokens = torch.tensor([list(sequences[i]) for i in rows], device=device)
            batches.append(Batch(tuple(rows), tokens))
    return batches


def near_length_batches(
    sequences: Sequence[Sequence[int]], batch_size: int, device: torch.device
) -> list[Batch]:
    """Sequences of nearly the same length, shortest first, the short ones filled up at the end.

    What fills up is the last token again. No row is longer than another by more than a quarter and 8.
    """
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    parts: list[list[int]] = []
    for index in order:
        longest = len(sequences[index])
        if (
            not parts
            or len(parts[-1]) == batch_size
            or longest > 8 + 1.25 * len(sequences[parts[-1][0]])
        ):
            parts.append([])
        parts[-1].append(index)
    batches = []
    for part in parts:
        rows = filled_up([sequences[i] for i in part])
        batches.append(Batch(tuple(part), torch.tensor(rows, device=device)))
    return batches


def filled_up(sequences: Sequence[Sequence[int]]) -> list[list[int]]:
    """Sequences as long as the longest of them: what a short one lacks is its last token, again and again."""
    longest = max(map(len, sequences))
    return [[*row, *[row[-1]] * (longest - len(row))] for row in sequences]
