"""Options of many workers, and of a place for a run that is not a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from steerscope.cli.shared import refuse_unused
from steerscope.errors import check_name

if TYPE_CHECKING:
    from steerscope.runs.mirrors import Mirror
    from steerscope.studies.workers import Workers

LOCAL, RAY = "local", "ray"
ENGINES = (LOCAL, RAY)


@dataclass(frozen=True)
class Many:
    """Who measures: this process, or many workers."""

    panel: ClassVar[str] = "Many workers"
    engine: Annotated[
        str,
        typer.Option(help="local: this process; ray: many workers, of one machine or a cluster"),
    ] = LOCAL
    address: Annotated[
        str | None, typer.Option(help="of a cluster of Ray, or auto; default one started here")
    ] = None
    workers: Annotated[
        int | None, typer.Option(help="how many; default one on each GPU, else on each machine")
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="such as 1, or 0.5 to share one; default 1 if there are any"),
    ] = None

    def asked(self) -> dict[str, object]:
        """The options of Ray, as far as they were given."""
        return {
            "address": self.address,
            "workers": self.workers,
            "gpus_per_worker": self.gpus_per_worker,
        }

    @contextmanager
    def measuring(self, out: str | Path) -> Iterator[tuple[Mirror, Workers]]:
        """The folder of a run that is kept at `out`, and who measures, until the block ends."""
        from steerscope.runs.mirrors import is_address, mirrored
        from steerscope.studies.workers import Sending

        with self.hired() as workers, mirrored(out) as mirror:
            yield mirror, Sending(workers, mirror) if is_address(str(out)) else workers

    @contextmanager
    def hired(self) -> Iterator[Workers]:
        """Who measures, until the block ends.

        Raises:
            UnknownNameError: no such engine.
            BadValueError: options of Ray for the local engine, no Ray, or no room.
        """
        if check_name("engine", self.engine, ENGINES) == LOCAL:
            refuse_unused(self.asked(), "the engine is local; give --engine ray")
            from steerscope.studies.workers import HERE

            yield HERE
            return
        from steerscope.studies.many_workers import Cluster, on_ray

        with on_ray(Cluster(self.address, self.workers, self.gpus_per_worker)) as workers:
            yield workers


def next_for(place: str, *commands: str) -> tuple[str, ...]:
    """Commands worth typing about a run; none for one at an address, which they do not read."""
    return () if "://" in place else tuple(f"steerscope {c} {quote(place)}" for c in commands)
