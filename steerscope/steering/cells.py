"""Conditions as a user gives them: cells, steerings or directions, one alone or several."""

from __future__ import annotations

from collections.abc import Iterable

from steerscope.directions import Direction
from steerscope.errors import BadValueError
from steerscope.steering.interventions import Cell, Intervention

PLAIN: tuple[Cell, ...] = (Cell(),)
Cells = Cell | Intervention | Direction | Iterable[Cell | Intervention | Direction]


def as_cells(cells: Cells) -> list[Cell]:
    """The conditions; what is no cell yet, one intervention or a direction, is a cell by itself.

    Raises:
        BadValueError: what is given is no condition.
    """
    if cells is None or isinstance(cells, str | bytes):
        raise BadValueError(
            f"cannot read conditions from {type(cells).__name__} {cells!r:.60}; give a list such as "
            "[Cell(), Steering(direction, 2.0)], where Cell() is the plain model."
        )
    if isinstance(cells, Cell):
        return [cells]
    if isinstance(cells, Intervention | Direction) or not isinstance(cells, Iterable):
        return [Cell(cells)]
    return [cell if isinstance(cell, Cell) else Cell(cell) for cell in cells]
