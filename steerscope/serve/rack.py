"""The models that a server has by name, of which those in use are in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path

from steerscope.engine.continuous import ContinuousBatch
from steerscope.errors import UnknownNameError
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import LensModel
from steerscope.models.memory import weights_bytes


class Rack:
    """Models by name, loaded when they are asked for; those that are idle make room.

    Without a budget one model is in memory at a time. With one, as many as fit; how large a model is
    is known once it was loaded, and the first time it is loaded alone.

    Args:
        loaders: what loads each model.
        budget: bytes for the weights of all; None for one model at a time.
        max_rows: texts that a model writes at once.
    """

    def __init__(
        self,
        loaders: Mapping[str, Callable[[], LensModel]],
        *,
        budget: int | None = None,
        max_rows: int = 64,
    ) -> None:
        self._loaders, self._budget, self._max_rows = dict(loaders), budget, max_rows
        self._sizes: dict[str, int] = {}
        self._fingerprints: dict[str, str] = {}  # of those that were loaded before
        self.batches: dict[str, ContinuousBatch] = {}  # the one used last at the end

    @property
    def names(self) -> list[str]:
        """All models, the first being the usual one."""
        return list(self._loaders)

    def check(self, name: str) -> str:
        """The name itself.

        Raises:
            UnknownNameError: there is no such model.
        """
        if name not in self._loaders:
            raise UnknownNameError("model", name, self._loaders)
        return name

    def model_of(self, fingerprint: str, called: str = "") -> str:
        """The model with these weights; the first where none that was loaded has them.

        Args:
            fingerprint: of the weights.
            called: what a model was called elsewhere, for those that were not loaded yet.
        """
        loaded = self._fingerprints.copy()
        for name, known in loaded.items():
            if same_weights(fingerprint, known):
                return name
        others = [name for name in self.names if name not in loaded]
        return next((n for n in others if n in {called, Path(called).name}), self.names[0])

    def batch(self, name: str) -> ContinuousBatch | None:
        """The batch of a model, loaded if need be; None while models in use leave no room for it.

        Raises:
            UnknownNameError: there is no such model.
            SteerscopeError: it cannot be loaded.
        """
        self.check(name)
        if name not in self.batches:
            if not self._make_room(name):
                return None
            model = self._loaders[name]()
            self._sizes[name] = weights_bytes(model)
            self._fingerprints[name] = model.fingerprint
            self.batches[name] = ContinuousBatch(model, max_rows=self._max_rows)
        self.batches[name] = self.batches.pop(name)
        return self.batches[name]

    def _make_room(self, name: str) -> bool:
        """Let go of idle models, those longest unused first, until there is room; whether there is."""
        while self.batches and not self._fits(name):
            idle = [n for n, batch in self.batches.items() if batch.is_idle]
            if not idle:
                return False
            del self.batches[idle[0]]
            gc.collect()  # models hold themselves in circles
        return True

    def _fits(self, name: str) -> bool:
        if self._budget is None or name not in self._sizes:
            return False
        return sum(self._sizes[n] for n in (*self.batches, name)) <= self._budget
