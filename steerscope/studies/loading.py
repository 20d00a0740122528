"""How the model of a study is loaded, and one that is asked for again the same way is not loaded again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from steerscope.models.lens_model import LensModel
from steerscope.models.loading import load_model

_LAST: ContextVar[dict[Loading, LensModel] | None] = ContextVar("last model", default=None)


class Named(Protocol):
    """What names a model and how it is loaded, as in `load_model`."""

    @property
    def model(self) -> str:
        """Name or folder."""
        ...

    @property
    def backbone(self) -> str:
        """Of `load_model`, as the next three."""
        ...

    @property
    def dtype(self) -> str:
        """See there."""
        ...

    @property
    def bos(self) -> str:
        """See there."""
        ...

    @property
    def revision(self) -> str | None:
        """See there."""
        ...


@dataclass(frozen=True)
class Loading:
    """How a model is loaded, as in `load_model`."""

    model: str
    backbone: str = "auto"
    dtype: str = "auto"
    device: str | None = None
    memory: str | None = None
    bos: str = "auto"
    revision: str | None = None

    @classmethod
    def of(cls, named: Named, device: str | None, memory: str | None) -> Loading:
        """As a plan says, on a device within so much memory."""
        how = (named.backbone, named.dtype, device, memory, named.bos, named.revision)
        return cls(named.model, *how)

    def load(self) -> LensModel:
        """The model; under `loaded_once` the last one again where it was loaded the same way."""
        last = _LAST.get()
        if last is not None and self in last:
            return last[self]
        if last is not None:
            last.clear()  # two may not fit into the memory
        model = load_model(
            self.model,
            backbone=self.backbone,
            dtype=self.dtype,
            device=self.device,
            memory=self.memory,
            bos=self.bos,
            revision=self.revision,
        )
        if last is not None:
            last[self] = model
        return model

    def anywhere(self) -> Loading:
        """The same from any folder: a path that is one here is made whole."""
        return Loading(**vars(self) | {"model": from_anywhere(self.model)})


@contextmanager
def loaded_once() -> Iterator[None]:
    """While active, a model that is asked for twice in a row the same way is loaded once.

    Its files must not change meanwhile.
    """
    token = _LAST.set({})
    try:
        yield
    finally:
        _LAST.reset(token)


def from_anywhere(name: str) -> str:
    """A name of a model or a file, made whole if it is a path that is there."""
    return str(Path(name).resolve()) if Path(name).exists() else name
