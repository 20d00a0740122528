"""Many workers by Ray: actors that keep their model, on one machine or a cluster. The only door to Ray."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from steerscope import errors
from steerscope.errors import BadValueError, RunError, SteerscopeError
from steerscope.models.lens_model import LensModel
from steerscope.studies.bench import Bench, Decoding, Material
from steerscope.studies.equipment import Equipment, Tools
from steerscope.studies.loading import Loading
from steerscope.studies.workers import Block, Measured, Workers

if TYPE_CHECKING:
    from types import ModuleType

AUTO = "auto"
_DEATHS = 40  # of workers under one block; Ray counts one death once or twice
_SECONDS = 10.0  # that a cluster has to answer
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """Which workers there are to be.

    Attributes:
        address: of a cluster of Ray, `auto` for the one that this machine belongs to; None to start
            one here.
        workers: how many; None for one on each GPU, and where there are none, on each machine.
        gpus_per_worker: None for one where there are GPUs, else none; a share such as 0.5 lets
            several workers use one.

    Raises:
        BadValueError: fewer than one worker, or GPUs that are no number of at least 0.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise BadValueError(f"workers is {self.workers}; ask for at least 1.")
        gpus = self.gpus_per_worker
        if gpus is not None and not (0 <= gpus < math.inf and (gpus <= 1 or gpus == int(gpus))):
            raise BadValueError(
                f"gpus_per_worker is {gpus:g}; give 0, a share below 1, or a whole number."
            )


@dataclass(frozen=True)
class Share:
    """How many workers there are, and what each has of its machine."""

    workers: int
    cpus: int
    gpus: float


def share_of(nodes: Sequence[Mapping[str, float]], asked: Cluster) -> Share:
    """What each worker has, so that all of them run at once.

    Args:
        nodes: what each machine has of `CPU` and `GPU`.
        asked: how many workers, with what.

    Raises:
        BadValueError: there is no room for so many.
    """
    n_gpus = sum(node.get("GPU", 0.0) for node in nodes)
    gpus = float(n_gpus > 0) if asked.gpus_per_worker is None else asked.gpus_per_worker

    def room(cpus: int) -> int:
        of = (
            min(node.get("CPU", 0.0) // cpus, _whole(node.get("GPU", 0.0), gpus)) for node in nodes
        )
        return int(sum(of))

    workers = asked.workers
    if workers is None:
        workers = room(1) if gpus else sum(node.get("CPU", 0.0) >= 1 for node in nodes)
    if workers < 1 or room(1) < workers:
        cores = sum(node.get("CPU", 0.0) for node in nodes)
        each = f" and {gpus:g} GPUs" if gpus else ""
        raise BadValueError(
            f"{max(workers, 1)} workers of a core{each} each do not fit: Ray has {len(nodes)} machines "
            f"with {cores:g} cores and {n_gpus:g} GPUs, room for {room(1)}. Ask for fewer, or start "
            "more machines first."
        )
    most = int(max(node.get("CPU", 0.0) for node in nodes))
    return Share(workers, max(c for c in range(1, most + 1) if room(c) >= workers), gpus)


def lacking(free: Mapping[str, float], share: Share) -> str:
    """What of a cluster others use, in words, so that not all workers begin at once; empty for nothing."""
    needed = {"cores": ("CPU", share.cpus), "GPUs": ("GPU", share.gpus)}
    short = (w for w, (name, n) in needed.items() if free.get(name, 0.0) + 1e-9 < share.workers * n)
    return " and ".join(short)


def _whole(there: float, each: float) -> float:
    """How many times a share is there: 1 holds 0.2 five times, though 1.0 // 0.2 is 4."""
    return math.floor(there / each + 1e-9) if each else math.inf


@contextmanager
def on_ray(asked: Cluster | None = None) -> Iterator[Workers]:
    """Workers of a cluster of Ray, which stay, with their models, until the block ends.

    Raises:
        BadValueError: Ray is not installed, or there is no room for so many workers.
        RunError: there is no cluster at the address.
    """
    asked, ray = asked or Cluster(), _ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, asked.address)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = share_of(nodes, asked)
        _log.info(
            "%d workers, each with %d cores and %g GPUs", share.workers, share.cpus, share.gpus
        )
        if taken := lacking(ray.available_resources(), share):
            _log.warning(
                "others use %s of this cluster now; workers begin as they become free", taken
            )
        actor = ray.remote(
            num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=-1, max_task_retries=_DEATHS
        )(_Worker)
        actors = [actor.remote() for _ in range(share.workers)]
        yield _Actors(actors)
        for one in actors:
            ray.kill(one)
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: ModuleType, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone
    try:
        _check_answers(address)
        ray.init(
            address=address, include_dashboard=False if address is None else None,
            log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(
            f"no cluster of Ray at {address} ({errors.reason(error)}); start one by "
            "`ray start --head`, or leave the address out."
        ) from None


def _check_answers(address: str | None) -> None:
    """Refuse an address at which nobody answers, which Ray would go on asking for many minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()


def _ray() -> ModuleType:
    try:
        return import_module("ray")
    except ModuleNotFoundError:
        raise BadValueError(
            "many workers need Ray: pip install 'steerscope[ray]', on every machine of the cluster."
        ) from None


@dataclass(frozen=True)
class _Refusal:
    """An error of a worker that the user can mend, by its class and its words."""

    kind: str
    said: str

    def error(self) -> SteerscopeError:
        found = getattr(errors, self.kind)
        error: SteerscopeError = found.__new__(found)  # some are made of more than their words
        Exception.__init__(error, self.said)
        return error


class _Worker:
    """An actor: what it has loaded stays for the next block."""

    def __init__(self) -> None:
        self._loaded: tuple[tuple[Loading, str], LensModel] | None = None
        self._tools: tuple[str, Tools] | None = None
        self._bench: tuple[str, Bench] | None = None
        self._told: set[str] = set()

    def measure(
        self,
        names: tuple[str, str],
        equipment: Equipment,
        texts: tuple[Material, Decoding],
        block: Block,
    ) -> Measured | _Refusal:
        """Measure a block; `names` tell the equipment, and the texts, from others."""
        try:
            tools = self._with(names[0], equipment)
            if self._bench is None or self._bench[0] != names[1]:
                self._bench = names[1], tools.bench(*texts)
            measured = self._bench[1].work(block)
        except SteerscopeError as error:
            return _Refusal(type(error).__name__, str(error))
        said = {k: v for k, v in tools.judged().items() if k not in self._told}
        self._told |= said.keys()
        return replace(measured, judgements=said)

    def _with(self, name: str, equipment: Equipment) -> Tools:
        if self._tools is None or self._tools[0] != name:
            self._bench = self._tools = None  # what another run needed makes room
            wanted = equipment.loading, equipment.fingerprint
            if self._loaded is None or self._loaded[0] != wanted:
                self._loaded = None
                self._loaded = wanted, equipment.load()
            self._tools = name, equipment.tools(self._loaded[1])
            self._told.clear()
        return self._tools[1]


@dataclass(frozen=True)
class _Actors:
    """Actors, and what they load.

    Attributes:
        actors: their handles.
        equipment: name of what they measure with, and a reference to it.
    """

    actors: Sequence[Any]
    equipment: tuple[str, Any] | None = None

    @property
    def here(self) -> bool:
        """They are elsewhere."""
        return False

    def equipped(self, equipment: Callable[[], Equipment]) -> _Actors:
        """The same, for what they load when they are first asked."""
        reference = _ray().put(equipment())
        return _Actors(self.actors, (reference.hex(), reference))

    def measured(self, bench: Bench, blocks: Sequence[Block]) -> Iterator[Measured]:
        """What comes of each block, in the order in which they are done.

        Raises:
            SteerscopeError: as the bench itself.
            RunError: a block ended its worker again and again.
        """
        assert self.equipment is not None
        ray, (name, equipment) = _ray(), self.equipment
        texts = ray.put((bench.material, bench.decoding))
        pool = import_module("ray.util").ActorPool(self.actors)
        names = (name, texts.hex())
        for block in blocks:
            pool.submit(lambda a, b: a.measure.remote(names, equipment, texts, b), block)
        while pool.has_next():
            try:
                found = pool.get_next_unordered()
            except ray.exceptions.RayActorError as error:
                raise RunError(
                    f"a worker ended again and again under the same block "
                    f"({errors.reason(error)[:120]}); its machine may lack the memory. Ask for fewer "
                    "workers, and give the command again: what was measured stays."
                ) from None
            if isinstance(found, _Refusal):
                raise found.error()
            yield found
