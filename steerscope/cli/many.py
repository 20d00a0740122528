"""Options of many workers, and of a place for a run that is not a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from steerscope.cli.shared import refuse_unused
from steerscope.errors import check_name

if TYPE_CHECKING:
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

    @contextmanager
    def hired(self) -> Iterator[Workers]:
        """Who measures, until the block ends.

        Raises:
            UnknownNameError: no such engine.
            BadValueError: options of Ray for the local engine, no Ray, or no room.
        """
        if check_name("engine", self.engine, ENGINES) == LOCAL:
            given = {
                "address": self.address,
                "workers": self.workers,
                "gpus_per_worker": self.gpus_per_worker,
            }
            refuse_unused(given, "the engine is local; give --engine ray")
            from steerscope.studies.workers import HERE

            yield HERE
            return
        from steerscope.studies.many_workers import Cluster, on_ray

        with on_ray(Cluster(self.address, self.workers, self.gpus_per_worker)) as workers:
            yield workers
