"""Which rows of a batch come out alike while their tokens are the same, so that those run once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Int
from torch import Tensor

from steerscope.models.lens_model import LensModel
from steerscope.models.plain_pass import Alike, Joined
from steerscope.steering.interventions import Cell, Rows, Steering


def alike(model: LensModel, cells: Sequence[tuple[Cell, Rows]], n_rows: int) -> Alike | None:
    """The rows of each condition that acts in the next pass; None where they may differ.

    What one adds at a position depends on the tokens up to there alone. Whatever reads more of a
    prompt, such as a gate, or is hooked to the model from outside may act otherwise on a part of it.

    Args:
        model: that nothing but these conditions is hooked to.
        cells: every condition with its rows.
        n_rows: of the pass.
    """
    acting = [(cell, rows) for cell, rows in cells if len(rows.index)]
    if not all(_only_adds(cell) for cell, _ in acting):
        return None
    first, order = torch.stack([rows.index[0] for _, rows in acting]).sort()
    acting = [acting[place] for place in order.tolist()]
    condition = torch.empty(n_rows, dtype=torch.long, device=model.device)
    for place, (_, rows) in enumerate(acting):
        condition[rows.index] = place
    places = torch.arange(len(acting), device=first.device)

    @contextmanager
    def first_alone() -> Iterator[Joined]:
        before = [rows.index for _, rows in acting]

        def joined(n_rows: int) -> None:
            for place, (_, rows) in enumerate(acting):
                rows.index = places[place : min(place + 1, n_rows)]

        try:
            yield joined
        finally:
            for index, (_, rows) in zip(before, acting, strict=True):
                rows.index = index

    return Alike(first, condition, first_alone)


def alike_within(cells: Sequence[Cell], n_tokens: int, starts: Int[Tensor, " row"]) -> bool:
    """Whether the scopes of conditions treat the first tokens alike, wherever the prompts end.

    Args:
        cells: the conditions.
        n_tokens: how many tokens.
        starts: where the prompt of each row ends.
    """
    position = torch.arange(n_tokens, device=starts.device)
    scopes = {i.scope for cell in cells for i in cell.interventions if isinstance(i, Steering)}
    if any(scope.reads_tokens for scope in scopes):
        return False
    inside = [torch.as_tensor(s.includes(position, starts[:, None])) for s in scopes]
    return all(bool((x == x[..., :1, :]).all()) for x in inside if x.ndim > 1)


def _only_adds(cell: Cell) -> bool:
    return all(isinstance(i, Steering) and i.only_adds for i in cell.interventions)
