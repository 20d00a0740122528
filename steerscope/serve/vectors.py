"""Endpoints of the vectors: listed, uploaded, found from pairs, looked at, fetched and removed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steerscope.diagnostics.lens import direction_lens, top_tokens
from steerscope.directions import export_gguf, fits_gguf, import_directions, save_directions
from steerscope.directions.choosing import of_method
from steerscope.directions.direction import Direction
from steerscope.directions.finding import find_directions
from steerscope.doses import Dose
from steerscope.engine.gathering import gather
from steerscope.errors import RequestError, SteerscopeError, UnknownNameError, check_name
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.serve.asked import read_request
from steerscope.serve.conditions import Strict
from steerscope.serve.house import House
from steerscope.serve.shelf import Shelf, check_vector_name
from steerscope.sites import Site
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import ContrastSet

SUFFIXES = (".gguf", ".json", ".pt", ".pth", ".safetensors", ".svec")
FORMATS = ("safetensors", "gguf")
_MOST_PAIRS, _MOST_SITES, _MOST_TOP = 2000, 256, 50


class Pair(Strict):
    """A contrast pair."""

    positive: str = Field(max_length=100_000)
    negative: str = Field(max_length=100_000)


class PairsAsked(Strict):
    """`POST /v1/vectors/pairs`: find a vector from pairs."""

    name: str
    model: str
    pairs: list[Pair] = Field(min_length=2, max_length=_MOST_PAIRS)
    sites: list[str] = Field(min_length=1, max_length=_MOST_SITES)
    default: list[str] | None = None
    method: str = "mean_diff"
    read: str = "last"
    chat: bool = False
    seed: int = Field(default=0, ge=0)


def vector_routes(house: House) -> APIRouter:
    """The endpoints."""
    routes, shelf = APIRouter(), house.shelf

    @routes.get("/v1/vectors")
    async def vectors() -> dict[str, Any]:
        return {"object": "list", "data": [vector.facts() for vector in shelf]}

    @routes.get("/v1/vectors/{name}")
    async def vector(name: str) -> dict[str, Any]:
        return shelf.get(name).facts()

    @routes.delete("/v1/vectors/{name}")
    async def remove(name: str) -> dict[str, Any]:
        shelf.remove(name)
        return {"id": name, "object": "vector", "deleted": True}

    @routes.post("/v1/vectors/pairs")
    async def find(request: Request) -> dict[str, Any]:
        asked = read_request(PairsAsked, await request.body())
        check_vector_name(asked.name)
        directions = await house.do(asked.model, lambda model: _found(model, asked))
        default = None if asked.default is None else [Site.parse(s) for s in asked.default]
        return _put(shelf, asked.name, directions, default)

    @routes.post("/v1/vectors/file")
    async def upload(request: Request) -> dict[str, Any]:
        query = request.query_params
        name = check_vector_name(query.get("name", ""))
        suffix = query.get("suffix", ".safetensors")
        if suffix not in SUFFIXES:
            raise UnknownNameError("suffix of a vector file", suffix, SUFFIXES)
        body = await request.body()
        of, method = query.get("model", house.rack.names[0]), query.get("method")
        directions = await house.do(of, lambda model: _imported(model, body, name + suffix))
        return _put(shelf, name, of_method(directions, method) if method else directions, None)

    @routes.get("/v1/vectors/{name}/file")
    async def fetch(name: str, format: str = "safetensors") -> Response:  # noqa: A002
        check_name("format of a vector file", format, FORMATS)
        directions = [*shelf.get(name).directions.values()]
        content = _written(directions, name, format)
        headers = {"Content-Disposition": f'attachment; filename="{name}.{format}"'}
        return Response(content, media_type="application/octet-stream", headers=headers)

    _lens_route(house, routes)
    return routes


def _lens_route(house: House, routes: APIRouter) -> None:
    """The endpoint that says what a vector speaks for."""

    @routes.get("/v1/vectors/{name}/lens")
    async def lens(
        name: str, site: str | None = None, top: int = 8, model: str | None = None
    ) -> dict[str, Any]:
        [direction, *_] = house.shelf.get(name).at(None if site is None else [site])
        if not 1 <= top <= _MOST_TOP:
            raise RequestError(f"top is {top}; give 1 to {_MOST_TOP}.")
        origin = direction.provenance
        of = model or house.rack.model_of(origin.fingerprint, origin.model)
        most, least = await house.do(of, lambda m: top_tokens(m, direction_lens(m, direction), top))
        return {
            "site": str(direction.site),
            "for": [{"token": t.token, "logit": t.logit} for t in most],
            "against": [{"token": t.token, "logit": t.logit} for t in least],
        }


def _put(
    shelf: Shelf, name: str, directions: Sequence[Direction], default: Sequence[Site] | None
) -> dict[str, Any]:
    found = {d.site for d in directions}
    for site in default or ():
        if site not in found:
            raise UnknownNameError("default site", site, map(str, found))
    return shelf.put(name, directions, default).facts()


def _found(model: LensModel, asked: PairsAsked) -> list[Direction]:
    pairs = ContrastSet.from_pairs(
        [(p.positive, p.negative) for p in asked.pairs], name=asked.name, concept=asked.name
    )
    pairs = in_chat(model, pairs, Chat() if asked.chat else None)
    sites = [Site.parse(site) for site in asked.sites]
    gathered = gather(model, pairs, sites, [asked.method], read=asked.read)
    return [*find_directions(asked.method, gathered, seed=asked.seed, every=True).values()]


def _imported(model: LensModel, content: bytes, name: str) -> list[Direction]:
    """The directions of an uploaded file, which lies in a folder of its own while it is read."""
    with tempfile.TemporaryDirectory(prefix="steerscope-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            return import_directions(path, model)
        except SteerscopeError as error:
            error.args = (str(error).replace(f"{folder}/", ""),)
            raise


def _written(directions: Sequence[Direction], name: str, kind: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="steerscope-") as folder:
        path = Path(folder) / f"{name}.{kind}"
        if kind == "gguf":
            fitting = [d for d in directions if fits_gguf(d)]
            export_gguf(path, fitting or directions, dose=Dose(1.0))
        else:
            save_directions(path, directions)
        return path.read_bytes()
