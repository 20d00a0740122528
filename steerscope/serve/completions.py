"""`/v1/models`, `/v1/completions` and `/v1/chat/completions`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from steerscope.serve.answers import Answer
from steerscope.serve.asked import ChatAsked, CompletionAsked, read_request
from steerscope.serve.conditions import read_alias
from steerscope.serve.errors import error_body
from steerscope.serve.house import House
from steerscope.serve.listening import Begun, ClientGoneError, Listener, unless_gone
from steerscope.serve.writing import Request as Asked

_GONE = 499  # what nginx says of a client that left; nobody reads it


def completion_routes(house: House) -> APIRouter:
    """OpenAI's endpoints."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(house, name) for name in house.rack.names]}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        base, _ = read_alias(name, house.rack.names)
        return _model(house, base) | {"id": name}

    @routes.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await _respond(house, request, read_request(CompletionAsked, await request.body()))

    @routes.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await _respond(house, request, read_request(ChatAsked, await request.body()))

    return routes


def _model(house: House, name: str) -> dict[str, Any]:
    facts = {"id": name, "object": "model", "created": 0, "owned_by": "steerscope"}
    return facts | {"loaded": name in house.rack.batches}


async def _respond(house: House, request: Request, asked: Asked) -> Response:
    """The answer at once, or a stream of it; what is wrong with a request is said before a stream begins."""
    listener = Listener(house, asked)
    answer = Answer(asked.model, isinstance(asked, ChatAsked), asked.n_top is not None)
    try:
        begun = await unless_gone(request, listener.begun())
        answer.facts, answer.n_prompt = begun.facts, begun.n_prompt
        if asked.stream:
            options = asked.stream_options
            usage = options is not None and options.include_usage
            events = _events(listener, answer, begun, usage=usage)
            return StreamingResponse(events, media_type="text/event-stream")
        await unless_gone(request, _hear(listener, answer, begun))
    except ClientGoneError:
        listener.leave()
        return Response(status_code=_GONE)
    except asyncio.CancelledError:
        listener.leave()
        raise
    return JSONResponse(answer.whole())


async def _hear(listener: Listener, answer: Answer, begun: Begun) -> None:
    async for news in listener.news(begun.n_texts):
        answer.take(news)


async def _events(
    listener: Listener, answer: Answer, begun: Begun, *, usage: bool
) -> AsyncIterator[str]:
    """Server-sent events: a chunk for whatever is new, and the word DONE at the end."""
    try:
        for chunk in answer.begun(begun.n_texts):
            yield _event(chunk)
        async for news in listener.news(begun.n_texts):
            answer.take(news)
            for chunk in answer.chunks(news):
                yield _event(chunk)
        if usage:
            yield _event(answer.ended())
        yield "data: [DONE]\n\n"
    except Exception as error:  # noqa: BLE001 - the status is sent already, so it is said in the stream
        yield _event(error_body(error)[1])
    finally:
        listener.leave()


def _event(what: dict[str, Any]) -> str:
    return f"data: {json.dumps(what, allow_nan=False)}\n\n"
