"""Errors as JSON, with the sentences of the command line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from steerscope.errors import JudgeError, QueueFullError, SteerscopeError, UnknownNameError
from steerscope.texts.one_line import one_line

_LACKING = ("unknown model", "unknown vector", "unknown run")
_log = logging.getLogger("steerscope.serve")


def error_body(error: Exception) -> tuple[int, dict[str, Any]]:
    """The status of an error, and what is said of it."""
    if isinstance(error, HTTPException):
        return error.status_code, _said(str(error.detail), "request", error.status_code)
    if isinstance(error, UnknownNameError) and str(error).startswith(_LACKING):
        status = 404
    elif isinstance(error, QueueFullError):
        status = 429
    elif isinstance(error, JudgeError):  # that of the server itself, which no request names
        status = 502
    elif isinstance(error, SteerscopeError):
        status = 400
    else:
        _log.error("a request failed", exc_info=error)
        status = 500
    if status == 500:
        sentence = "the server failed at this request, which is a fault of ours; its log says more."
        return status, _said(sentence, type(error).__name__, status)
    return status, _said(one_line(str(error)), type(error).__name__, status)


def _said(message: str, code: str, status: int) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def refusal(error: Exception) -> JSONResponse:
    """The answer that says what was wrong."""
    status, body = error_body(error)
    headers = {"Retry-After": "1"} if status == 429 else {}
    if isinstance(error, HTTPException) and error.headers:
        headers |= dict(error.headers)
    return JSONResponse(body, status_code=status, headers=headers)


Handlers = dict[Any, Callable[[Request, Any], Coroutine[Any, Any, Response]]]


def error_handlers() -> Handlers:
    """What answers where an endpoint raises."""

    async def answer(_: Request, error: Exception) -> Response:
        return refusal(error)

    return {SteerscopeError: answer, HTTPException: answer, Exception: answer}
