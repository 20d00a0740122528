"""Who measures: blocks of conditions go to this process, or to many workers elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pandas as pd

from steerscope.runs.mirrors import Mirror
from steerscope.steering.interventions import Cell

if TYPE_CHECKING:
    from steerscope.studies.bench import Bench
    from steerscope.studies.equipment import Equipment


@dataclass(frozen=True)
class Block:
    """One task: conditions that are measured together. The same whoever measures, and so its numbers.

    Attributes:
        cells: the conditions.
        prompts: numbers of the prompts that each is measured on; none for pairs alone.
        paired: places among the conditions of those whose pairs are measured as well.
    """

    cells: tuple[Cell, ...]
    prompts: tuple[int, ...]
    paired: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """What came of a block.

    Attributes:
        conditions: how many it was about.
        rows: its numbers, as a run stores them.
        texts: what was written.
        judgements: what a judge that is costly said elsewhere, by content, to be kept with the run.
    """

    conditions: int
    rows: pd.DataFrame
    texts: list[dict[str, Any]] = field(default_factory=list)
    judgements: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Workers(Protocol):
    """Whoever measures blocks."""

    @property
    def here(self) -> bool:
        """Whether it is this process."""
        ...

    def equipped(self, equipment: Callable[[], Equipment]) -> Workers:
        """The same, once they know how to load what they measure with."""
        ...

    def measured(self, bench: Bench, blocks: Sequence[Block]) -> Iterator[Measured]:
        """What comes of each block, in the order in which they are done."""
        ...


@dataclass(frozen=True)
class Here:
    """This process, one block after the other."""

    @property
    def here(self) -> bool:
        """It is."""
        return True

    def equipped(self, equipment: Callable[[], Equipment]) -> Here:  # noqa: ARG002 - it is all here
        """The same."""
        return self

    def measured(self, bench: Bench, blocks: Sequence[Block]) -> Iterator[Measured]:
        """What comes of each block."""
        return map(bench.work, blocks)


HERE = Here()


@dataclass(frozen=True)
class Sending:
    """Others, and after each block its parts go to where the run is kept."""

    workers: Workers
    mirror: Mirror

    @property
    def here(self) -> bool:
        """Whether the others are this process."""
        return self.workers.here

    def equipped(self, equipment: Callable[[], Equipment]) -> Sending:
        """The same, the others equipped."""
        return Sending(self.workers.equipped(equipment), self.mirror)

    def measured(self, bench: Bench, blocks: Sequence[Block]) -> Iterator[Measured]:
        """What comes of each block; the one before was stored when the next is asked for."""
        for found in self.workers.measured(bench, blocks):
            yield found
            self.mirror.push()
