"""Batches of equal token length, so that no row is ever padded."""

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
