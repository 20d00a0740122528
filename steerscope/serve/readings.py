"""Endpoints that the page reads by: a model's facts, what each token tells, how vectors lie, what doses do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import Any

import numpy as np
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from steerscope.directions import Direction
from steerscope.doses import LENGTHS, Dose, check_unit
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import attempt
from steerscope.engine.sampling import Sample
from steerscope.engine.score import kl_from_plain
from steerscope.engine.token_readings import token_readings
from steerscope.errors import BadValueError, TemplateError
from steerscope.metrics import MIN_TOKENS, is_degenerate
from steerscope.models.chat_templates import ChatTemplate
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.serve.asked import MessageAsked, read_request
from steerscope.serve.conditions import SteeringList, Strict, as_list, condition, read_alias
from steerscope.serve.house import House
from steerscope.serve.judging import judges_for, read_texts
from steerscope.serve.shelf import Shelf
from steerscope.steering.interventions import Cell, Steering
from steerscope.texts.chats import as_conversation

_MOST_TEXTS_OF_DOSES, _MOST_TOKENS, _MOST_DIRECTIONS, _MOST_TEXTS = 1600, 4096, 400, 64


class Prompted(Strict):
    """What a model is given: a text, or a conversation."""

    model: str
    prompt: str | None = None
    messages: list[MessageAsked] | None = None

    def given(self, model: LensModel) -> TextOrIds:
        """The prompt of the model.

        Raises:
            BadValueError: both are given, or neither.
        """
        if (self.prompt is None) == (self.messages is None):
            raise BadValueError("give either a prompt or messages.")
        if self.messages is not None:
            turns = as_conversation([message.said() for message in self.messages])
            return ChatTemplate(model.tokenizer)(turns)
        return self.prompt or ""


class ReadingAsked(Prompted):
    """`POST /v1/readings`: what the tokens of a text tell."""

    token_ids: list[int] = Field(min_length=1, max_length=_MOST_TOKENS)
    steering: SteeringList = None
    vector: str | None = None
    site: str | None = None


class ResponseAsked(Prompted):
    """`POST /v1/response`: what doses of a vector do at each of its sites after one prompt."""

    vector: str
    doses: list[float] = Field(min_length=1, max_length=64)
    unit: str = "natural"
    scope: str = "all"
    n_new: int = Field(default=24, ge=8, le=128)
    samples: int = Field(default=4, ge=0, le=16)


class GeometryAsked(Strict):
    """`POST /v1/geometry`: how vectors lie to each other."""

    vectors: list[str] = Field(min_length=1, max_length=64)
    stream: str = "resid_post"


class JudgingAsked(Strict):
    """`POST /v1/judge`: what texts show."""

    model: str
    prompt: str = ""
    texts: list[str] = Field(min_length=1, max_length=_MOST_TEXTS)


def reading_routes(house: House) -> APIRouter:
    """The endpoints."""
    routes = APIRouter()

    @routes.get("/v1/steerscope")
    async def about() -> dict[str, Any]:
        return {
            "version": version("steerscope"),
            "models": house.rack.names,
            "max_tokens": house.limits.tokens,
            "has_runs": house.runs is not None,
            "autoencoder": _autoencoder(house.shelf),
        }

    @routes.get("/v1/facts/{name}")
    async def facts(name: str) -> dict[str, Any]:
        judge = None if house.judge is None else house.judge.facts()
        return await house.do(name, lambda model: _facts(name, model)) | {"judge": judge}

    @routes.post("/v1/readings")
    async def readings(request: Request) -> dict[str, Any]:
        asked = read_request(ReadingAsked, await request.body())
        name, before = read_alias(asked.model, house.rack.names)
        return await house.do(name, lambda model: _readings(model, house.shelf, asked, before))

    @routes.post("/v1/response")
    async def response(request: Request) -> dict[str, Any]:
        asked = read_request(ResponseAsked, await request.body())
        return await house.do(asked.model, lambda model: _response(model, house.shelf, asked))

    @routes.post("/v1/geometry")
    async def geometry(request: Request) -> dict[str, Any]:
        asked = read_request(GeometryAsked, await request.body())
        return _geometry(_directions(house.shelf, asked))

    @routes.post("/v1/judge")
    async def judge(request: Request) -> dict[str, Any]:
        asked = read_request(JudgingAsked, await request.body())
        house.rack.check(asked.model)
        read = partial(read_texts, asked.model, asked.prompt, asked.texts)
        data = await house.aside.do(read)
        if house.judge is not None:
            more = partial(house.judge.read, asked.prompt, asked.texts)
            by_model = house.judge.by_model
            scores = (
                await house.do(asked.model, lambda _: more())
                if by_model
                else await house.aside.do(more)
            )
            data = [entry | score for entry, score in zip(data, scores, strict=True)]
        return {"object": "list", "data": data}

    return routes


def _autoencoder(shelf: Shelf) -> dict[str, Any] | None:
    if shelf.autoencoder is None:
        return None
    name, found = shelf.autoencoder
    return {"id": name, "site": str(found.site), "n_features": found.n_features}


def _facts(name: str, model: LensModel) -> dict[str, Any]:
    s = model.shape
    try:
        has_chat = bool(ChatTemplate(model.tokenizer).source)
    except TemplateError:
        has_chat = False
    return {
        "id": name,
        "backbone": model.backbone,
        "dtype": model.dtype_name,
        "n_layers": s.n_layers,
        "d_model": s.d_model,
        "n_context": s.n_context,
        "fingerprint": model.fingerprint,
        "has_chat": has_chat,
        "judges": judges_for(name),
    }


def _readings(
    model: LensModel, shelf: Shelf, asked: ReadingAsked, before: Sequence[Any]
) -> dict[str, Any]:
    given = asked.given(model)
    texts = [given] if isinstance(given, str) else []
    cell = condition(model, shelf, [*before, *as_list(asked.steering)], texts)
    direction = None
    if asked.vector is not None:
        direction = shelf.get(asked.vector).at(None if asked.site is None else [asked.site])[0]
    found = token_readings(model, given, asked.token_ids, cell, direction)
    columns = zip(asked.token_ids, found.kl, found.nll, found.projection, strict=True)
    return {
        "site": None if direction is None else str(direction.site),
        "tokens": [
            {"token": model.token_label(token), "kl": _or_none(kl), "nll": _or_none(nll),
             "projection": _or_none(projection)}
            for token, kl, nll, projection in columns
        ],
    }  # fmt: skip


def _response(model: LensModel, shelf: Shelf, asked: ResponseAsked) -> dict[str, Any]:
    """KL over the prompt, and how many of a few sampled texts fall into repetition, by site and dose.

    The plain model is asked for as many: where its own texts repeat, those of a dose tell nothing. The
    share is of those texts that it can be told of, null for none; those whose logits overflowed are
    counted apart.
    """
    given, vector = asked.given(model), shelf.get(asked.vector)
    unit = check_unit(asked.unit)
    if unit not in LENGTHS:
        raise BadValueError(f"doses are compared in {', '.join(LENGTHS)}, not in {unit}.")
    places = list(product(vector.directions.values(), asked.doses))
    if len(places) * asked.samples > _MOST_TEXTS_OF_DOSES:
        raise BadValueError(
            f"{len(places)} sites and doses of {asked.samples} texts each are too many; at most "
            f"{_MOST_TEXTS_OF_DOSES} texts are written."
        )
    doses = [Dose(dose, unit) for _, dose in places]
    cells = [
        Cell(Steering(d, dose, "add", asked.scope))
        for (d, _), dose in zip(places, doses, strict=True)
    ]
    written = _written(model, given, [Cell(), *cells], asked)
    kl = kl_from_plain(model, [given], cells)[:, 0].tolist()
    rows = [
        {
            "site": str(d.site),
            "layer": d.site.layer,
            "dose": dose.value,
            "natural": dose.to("natural", d.scale).value,
            "kl": _or_none(nats),
            "repeating": _repeating(texts),
            "overflowed": sum(not t.finite for t in texts),
            "text": texts[0].text if texts else "",
        }
        for (d, _), dose, nats, texts in zip(places, doses, kl, written[1:], strict=True)
    ]
    return {
        "vector": vector.name,
        "unit": unit,
        "samples": asked.samples,
        "plain_repeating": _repeating(written[0]),
        "rows": rows,
    }


def _written(
    model: LensModel, given: TextOrIds, cells: Sequence[Cell], asked: ResponseAsked
) -> list[list[Continuation]]:
    """A few sampled texts of each condition, as long as the context leaves room for.

    Raises:
        PromptTooLongError: it leaves none.
    """
    if asked.samples == 0:
        return [[] for _ in cells]
    room = model.shape.n_context - len(model.tokens(given, room=1))
    return attempt(
        model, [given] * asked.samples, cells, n_new=min(asked.n_new, room), sampler=Sample(1.0),
        numbers=range(asked.samples),
    )  # fmt: skip


def _repeating(texts: Sequence[Continuation]) -> float | None:
    """The share of texts that repeat themselves, of those that it can be told of; None for none."""
    told = [is_degenerate(t.tokens) for t in texts if t.finite and len(t.tokens) >= MIN_TOKENS]
    return sum(told) / len(told) if told else None


def _directions(shelf: Shelf, asked: GeometryAsked) -> list[tuple[str, Direction]]:
    found = [
        (name, d)
        for name in dict.fromkeys(asked.vectors)
        for site, d in shelf.get(name).directions.items()
        if site.stream == asked.stream
    ]
    if not found:
        raise BadValueError(f"none of these vectors is at {asked.stream}.")
    if len(found) > _MOST_DIRECTIONS:
        raise BadValueError(f"{len(found)} directions are too many; at most {_MOST_DIRECTIONS}.")
    if len({len(d.unit) for _, d in found}) > 1:
        raise BadValueError("these vectors are of models of different width; compare those of one.")
    return found


def _geometry(found: Sequence[tuple[str, Direction]]) -> dict[str, Any]:
    """Cosines of all pairs, and the two axes along which the units differ most."""
    units = np.stack([d.unit.double().cpu().numpy() for _, d in found])
    centred = units - units.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    places = centred @ axes[:2].T
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    total = float((sizes**2).sum())
    shares = [float(s**2) / total if total > 0 else 0.0 for s in (*sizes[:2], 0.0, 0.0)][:2]
    return {
        "labels": [
            {"vector": name, "site": str(d.site), "layer": d.site.layer} for name, d in found
        ],
        "cosines": np.clip(units @ units.T, -1, 1).round(6).tolist(),
        "places": places.round(6).tolist(),
        "shares": shares,
    }


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
