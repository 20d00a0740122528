"""What the endpoints of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from steerscope.models.lens_model import LensModel
from steerscope.serve.judging import Aside, ServedJudge
from steerscope.serve.limits import Access, Limits
from steerscope.serve.rack import Rack
from steerscope.serve.shelf import Shelf
from steerscope.serve.worker import Worker

Result = TypeVar("Result")


@dataclass
class House:
    """What the endpoints share.

    Attributes:
        worker: runs the models.
        shelf: the vectors.
        limits: what a request may cost.
        access: who may ask.
        runs: folder of runs that may be looked at; None for none.
        judge: what reads texts beside the judges that need no setting up; None for none.
        aside: does what uses no model of the worker.
    """

    worker: Worker
    shelf: Shelf
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    runs: Path | None = None
    judge: ServedJudge | None = None
    aside: Aside = field(default_factory=Aside)

    @property
    def rack(self) -> Rack:
        """The models."""
        return self.worker.rack

    async def do(self, model: str, work: Callable[[LensModel], Result]) -> Result:
        """Something done with a model in the thread of the worker, between two tokens.

        Raises:
            Exception: whatever the work raises, or that there is no such model or too much waits.
        """
        return await asyncio.wrap_future(self.worker.do(model, work))
