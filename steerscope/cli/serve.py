"""The command that serves steered models: an API that chat clients speak, and a page."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from steerscope.cli.options import Judged, Loading, Vectors, grouped
from steerscope.cli.shared import refuse_unused, say
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from steerscope.serve.house import House

_KEY = "STEERSCOPE_API_KEY"
_SECONDS = 5  # that open answers get when the server is stopped
# That a connection stays open between two requests: on a busy machine uvicorn's own 5 would close some
# just as their next request comes.
_KEPT_SECONDS = 120


@dataclass(frozen=True)
class Bounds:
    """What a server takes on at most."""

    panel: ClassVar[str] = "Limits"
    models_memory: Annotated[
        str | None,
        typer.Option(help="for the weights of several models, such as 8GiB; default one at a time"),
    ] = None
    rows: Annotated[int, typer.Option(min=1, help="texts written at once")] = 64
    max_tokens: Annotated[int, typer.Option(min=1, help="of one text, at most")] = 1024
    waiting: Annotated[int, typer.Option(min=1, help="open requests, at most")] = 256

    @property
    def budget(self) -> int | None:
        """Bytes for the weights of all models; None for one model at a time."""
        from steerscope.models.memory import parse_bytes

        return None if self.models_memory is None else parse_bytes(self.models_memory)


@dataclass(frozen=True)
class JudgedTexts(Judged):
    """What reads the texts that are shown."""

    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            "-j",
            help="reads what is written, beside the oracle of the bundled world and VADER: words:FILE, "
            "length, regex:PATTERN, json:FILE, classifier[:FILE], sentiment, language:CODE, hf:MODEL, lm:self, "
            "lm:MODEL or python:module:function; default none",
        ),
    ] = None
    judge_contrasts: Annotated[
        str | None,
        typer.Option(
            help="contrast set that says what the judge is to tell; default that of the first --find"
        ),
    ] = None


@grouped
def serve(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(help="bundled name, folder or hub name; again for several that take turns"),
    ] = None,
    sae: Annotated[
        str | None,
        typer.Option(help="autoencoder whose features may be steered; default the model's own"),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="folder of runs that the page shows; default none")
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen at")] = 8017,
    api_key: Annotated[
        str | None,
        typer.Option(help=f"secret of requests, or in {_KEY}; needed where others reach the host"),
    ] = None,
    bounds: Bounds,
    vectors: Vectors,
    judged: JudgedTexts,
    loading: Loading,
) -> None:
    """Serve steered models: an OpenAI-compatible API, and a page to talk to them at /.

    Examples:
        steerscope serve --find joyful=mood@resid_post.5
        steerscope serve --model ./my-model --vector mine=mine.safetensors --port 8080
        steerscope serve --judge lm:my-grader --judge-url http://localhost:8000/v1
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise BadValueError("serving needs FastAPI and uvicorn; pip install 'steerscope[serve]'.")
    if judged.judge is None:
        refuse_unused({"judge_contrasts": judged.judge_contrasts}, "--judge names no judge")
    from steerscope.serve.house import House
    from steerscope.serve.judging import served_judge
    from steerscope.serve.limits import Access, Limits
    from steerscope.serve.rack import Rack
    from steerscope.serve.shelf import Shelf
    from steerscope.serve.starting import (
        add_autoencoder,
        loaders,
        named_models,
        told_by,
    )
    from steerscope.serve.worker import Worker

    access = Access(host, api_key or os.environ.get(_KEY))
    limits = Limits(tokens=bounds.max_tokens, rows=bounds.rows, waiting=bounds.waiting)
    budget = bounds.budget
    models = named_models(model or [DEFAULT_MODEL])
    first = next(iter(models))
    ready, shelf = {first: loading.load(models[first])}, Shelf()
    found = told_by(vectors.put(shelf, ready[first], first))
    what = judged.judge_contrasts or found
    add_autoencoder(shelf, ready[first], sae, first)
    judge = served_judge(asdict(judged), what, ready[first], list(models))
    rack = Rack(loaders(models, loading.load, ready), budget=budget, max_rows=bounds.rows)
    worker = Worker(rack, max_waiting=limits.waiting)
    _run(House(worker, shelf, limits, access, runs, judge), port)


def _run(house: House, port: int) -> None:
    import uvicorn

    from steerscope.serve.app import make_app

    access, names = house.access, [v.name for v in house.shelf]
    shown = f"[{access.host}]" if ":" in access.host else access.host
    say(f"serving {', '.join(house.rack.names)} with {', '.join(names) or 'no vector'}")
    if house.judge is not None:
        say(house.judge.facts()["card"])
    say(f"page: http://{shown}:{port}/  API: http://{shown}:{port}/v1")
    uvicorn.run(
        make_app(house),
        host=access.host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS,
        timeout_keep_alive=_KEPT_SECONDS,
    )
