"""Conditions that act together in one batch, each on its own rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.models.lens_model import HookFunction, LensModel
from steerscope.sites import Site
from steerscope.steering.interventions import (
    Cell,
    Rows,
    Steering,
    check_direction,
    check_scope,
    inside_scope,
)
from steerscope.steering.operators import find_operator
from steerscope.steering.scopes import Scope


@contextmanager
def attach_cells(model: LensModel, cells: Sequence[tuple[Cell, Rows]]) -> Iterator[None]:
    """While active, every condition acts on its own rows, which no two share.

    Plain additions at one site and scope, such as the doses of a sweep, are made in one step.
    """
    with model.turn.using(), model.apart(), ExitStack() as stack:
        for place in range(max((len(cell.interventions) for cell, _ in cells), default=0)):
            together: dict[tuple[Site, Scope], list[tuple[Steering, Rows]]] = {}
            for cell, rows in cells:
                for mine in cell.interventions[place : place + 1]:
                    if isinstance(mine, Steering) and mine.only_adds:
                        key = mine.direction.site, mine.scope
                        together.setdefault(key, []).append((mine, rows))
                    else:
                        stack.enter_context(mine.attach(model, rows))
            for (site, scope), members in together.items():
                hook = _additions(model, scope, members)
                stack.enter_context(model.hook(site, hook))
        yield


def _additions(
    model: LensModel, scope: Scope, members: Sequence[tuple[Steering, Rows]]
) -> HookFunction:
    """A hook that adds to every member's rows its own vector."""
    check_scope(scope, model)
    vectors = []
    for steering, _ in members:
        allowed = steering.allow_other_weights
        check_direction(steering.direction, model, allow_other_weights=allowed)
        length = find_operator("add").amount(steering.dose, steering.direction.scale)
        vectors.append(length * steering.direction.unit.to(model.dtype))

    mine: list[Int[Tensor, " row"]] = []  # the rows of each member when they were last told
    index = torch.empty(0, dtype=torch.long)
    added = index[:, None]

    def gather(device: torch.device) -> None:
        """All members' rows and what is added to each, put together anew only for other rows."""
        nonlocal index, added
        now = [rows.index for _, rows in members]
        if len(mine) < len(now) or any(a is not b for a, b in zip(mine, now, strict=True)):
            vectors[:] = [v.to(device) for v in vectors]  # the site's own: there may be several
            index = torch.cat(now).to(device)
            added = torch.cat([v.expand(len(at), -1) for v, at in zip(vectors, now, strict=True)])
            mine[:] = now  # last, so that what fails before is done anew

    def move(x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"] | None:
        gather(x.device)
        if not len(index):
            return None
        part, clock = x[index], model.clock
        moved = part + added[:, None]
        if not (isinstance(clock.start, int) and scope.includes_all_from(clock.start)):
            inside = inside_scope(scope, clock, x, index)
            if not bool(inside.any()):
                return None
            if not bool(inside.all()):
                moved = torch.where(inside[..., None], moved, part)
        return x.index_copy(0, index, moved)

    return move
