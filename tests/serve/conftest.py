"""A server with the bundled model, and clients of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import uvicorn

from steerscope.directions.finding import find_directions
from steerscope.engine.gathering import gather
from steerscope.models.lens_model import LensModel
from steerscope.serve.app import make_app
from steerscope.serve.house import House
from steerscope.serve.limits import Access, Limits
from steerscope.serve.rack import Rack
from steerscope.serve.shelf import Shelf
from steerscope.serve.worker import Worker
from steerscope.sites import Site
from steerscope.texts.contrasts import ContrastSet, load_contrasts

KEY = "a-long-secret"


@dataclass
class Served:
    """A server that runs, and what is behind it."""

    url: str
    house: House
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> LensModel:
        return next(iter(self.house.rack.batches.values())).model

    def post(self, path: str, **body) -> httpx.Response:
        return httpx.post(self.url + path, json=body, headers=self.headers, timeout=60)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self.headers, timeout=60)

    def settle(self) -> None:
        """Wait until no text is being written."""
        end = time.monotonic() + 20
        while self.house.worker.n_rows or self.house.worker.n_open:
            assert time.monotonic() < end, "a row stays in the batch"
            time.sleep(0.02)


@contextmanager
def serving(house: House) -> Iterator[Served]:
    """A server on a free port while active."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = uvicorn.Config(make_app(house), port=port, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Served(f"http://127.0.0.1:{port}", house)
    finally:
        server.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="package")
def shelf(microworld: LensModel) -> Shelf:
    """The joyful vector, found from a few pairs."""
    few = ContrastSet("mood", load_contrasts("mood").pairs[:12])
    sites = [Site("resid_post", layer) for layer in range(microworld.shape.n_layers)]
    found = find_directions("mean_diff", gather(microworld, few, sites, "mean_diff"))
    shelf = Shelf()
    shelf.put("joyful", [*found.values()], [sites[3]])
    return shelf


@pytest.fixture(scope="package")
def served(microworld: LensModel, shelf: Shelf) -> Iterator[Served]:
    rack = Rack({"microworld": lambda: microworld})
    limits = Limits(tokens=200, body=2**18, waiting=100)
    with serving(House(Worker(rack, max_waiting=100), shelf, limits, Access())) as found:
        yield found
        found.settle()
