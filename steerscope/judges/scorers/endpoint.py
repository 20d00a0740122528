"""A language model behind an OpenAI-compatible endpoint that is asked for answers."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import regex

from steerscope.errors import JudgeError, reason
from steerscope.judges.scorers.language_model import Answer
from steerscope.texts.words import WORD_BEGINS, WORD_ENDS

KEY = "STEERSCOPE_JUDGE_KEY"  # environment: sent as the bearer token, and stored nowhere
_TOP = 20  # most likely tokens that an endpoint may be asked for
_TOKENS = 4  # of an answer; some models begin with a space or a line break
_AT_ONCE = 4
_TRIES = 3
_LONGEST = 1 << 20  # bytes of a reply
_PIECE = 1 << 16
_PATIENCE = 60.0  # seconds that a busy endpoint may ask to be left alone
_PASSING = {408, 429, 500, 502, 503, 504}  # states that may be over soon


class _Stay(HTTPRedirectHandler):
    """Follows no redirection, which would take the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        """None."""


_opener = build_opener(_Stay)


@dataclass(frozen=True)
class Endpoint:
    """Chat completions with the probabilities of the answer's tokens; its words where it gives none.

    Attributes:
        url: such as `http://localhost:8000/v1`.
        model: as the endpoint names it.
        timeout: seconds to wait for a reply.
        pause: seconds before what may be over soon is tried again.
        keeps: whether what was written is kept for another try, which a failure then says.
    """

    url: str
    model: str
    timeout: float = 60.0
    pause: float = 1.0
    keeps: bool = True

    def answers(self, questions: Sequence[str], scale: Sequence[str]) -> list[Answer]:
        """What the model says to each question.

        Raises:
            JudgeError: the endpoint cannot be reached, is too slow, refuses, or talks otherwise.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = [pool.submit(self._answer, question, scale) for question in questions]
            try:
                return [answer.result() for answer in waiting]
            except JudgeError:
                pool.shutdown(cancel_futures=True)
                raise

    def _answer(self, question: str, scale: Sequence[str]) -> Answer:
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": _TOKENS,
            "temperature": 0,
        }
        try:
            body = self._post(asked | {"logprobs": True, "top_logprobs": _TOP})
        except _Refused as refused:
            if "logprob" not in refused.said:
                raise
            body = self._post(asked)  # it gives no probabilities, and does not want to be asked
        try:
            choice = json.loads(body)["choices"][0]
            said = str(choice["message"]["content"] or "")
            tokens = (choice.get("logprobs") or {}).get("content") or []
            return Answer(_by_tokens(tokens, scale) or _by_words(tokens, said, scale), said)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise JudgeError(
                f"{self.url} answered {_shown(body)}, which is no chat completion; check --judge-url."
            ) from None

    def _post(self, asked: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        where = f"{self.url.rstrip('/')}/chat/completions"
        request = Request(where, data=json.dumps(asked).encode(), headers=headers, method="POST")
        said, pause = "", self.pause
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(pause)
            pause = self.pause * (attempt + 2)
            try:
                with _opener.open(request, timeout=self.timeout) as reply:
                    return _read(reply, self.timeout)
            except HTTPError as error:
                body = _body(error)
                said = f"answered {error.code} ({str(error.reason)[:60]})"
                if error.code not in _PASSING:
                    raise _Refused(self._failed(said, _hint(error.code, body)), body) from None
                pause = max(pause, _asked_to_wait(error.headers.get("Retry-After")))
            except TimeoutError:
                said = f"did not answer within {self.timeout:g} seconds"
            except (IncompleteRead, ConnectionResetError):
                said = "broke off in the middle"
            except (URLError, HTTPException, OSError, ValueError) as error:
                if isinstance(getattr(error, "reason", None), TimeoutError):
                    said = f"did not answer within {self.timeout:g} seconds"
                    continue
                said = f"cannot be reached ({reason(error)[:80]})"
                break
        raise JudgeError(self._failed(said))

    def _failed(self, said: str, hint: str = "") -> str:
        after = f"; {hint}" if hint else ""
        kept = "; the texts are kept and judged at the next start" if self.keeps else ""
        return f"the judge at {self.url} {said}{after}{kept}."


class _Refused(JudgeError):
    """An endpoint said no; `said` is what it said, for the program."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


def _read(reply: Any, timeout: float) -> bytes:
    """A reply, up to so many bytes, that has so long to come in whole."""
    until, parts, left = time.monotonic() + timeout, [], _LONGEST
    while left > 0 and (part := reply.read1(min(left, _PIECE))):
        parts.append(part)
        left -= len(part)
        if time.monotonic() > until:
            raise TimeoutError
    stated = str(reply.headers.get("Content-Length") or "")
    if stated.isdecimal() and _LONGEST - left < min(int(stated), _LONGEST):
        raise IncompleteRead(b"")
    return b"".join(parts)


def _body(error: HTTPError) -> str:
    """What an endpoint says with a state that is an error."""
    try:
        return " ".join(error.read(_PIECE).decode("utf-8", "replace").split())
    except (OSError, HTTPException, ValueError):
        return ""


def _hint(state: int, body: str) -> str:
    """What can be done about it."""
    if state in {401, 403}:
        return f"give the key in the environment variable {KEY}"
    if 300 <= state < 400:
        return "it sends on to another address, which is not followed; give that one as --judge-url"
    try:
        found = json.loads(body)
        message = str(found["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        message = body if not body.startswith("<") else ""
    return " ".join(message.split())[:120].rstrip(".")


def _asked_to_wait(header: str | None) -> float:
    """Seconds that an endpoint asks to be left alone, up to a minute; 0 where it does not say."""
    try:
        seconds = float(header or 0)
    except ValueError:  # a date
        return 0.0
    return min(max(seconds, 0.0), _PATIENCE) if math.isfinite(seconds) else 0.0


def _shown(body: bytes) -> str:
    return repr(" ".join(body[:200].decode("utf-8", "replace").split())[:60])


def check_url(url: str) -> None:
    """Refuse what is no address of the web.

    Raises:
        JudgeError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise JudgeError(f"judge_url {url!r} is no address; write http://HOST:PORT/v1.")
    if parts.username or parts.password:
        raise JudgeError(f"judge_url holds a password; give it in the environment as {KEY}.")


def _by_tokens(tokens: Sequence[Mapping[str, Any]], scale: Sequence[str]) -> dict[str, float]:
    """The chance of each answer at the first token at which one of them was said."""
    names = {name.lower(): name for name in scale}
    for token in tokens:
        if str(token["token"]).strip().lower() not in names:
            continue
        chances: dict[str, float] = {}
        for tried in token.get("top_logprobs") or [token]:
            name, logprob = names.get(str(tried["token"]).strip().lower()), float(tried["logprob"])
            if name is not None and not math.isnan(logprob):
                chances[name] = chances.get(name, 0.0) + math.exp(min(0.0, logprob))
        return chances
    return {}


def _by_words(
    tokens: Sequence[Mapping[str, Any]], said: str, scale: Sequence[str]
) -> dict[str, float]:
    """The first answer in the words, where the endpoint gives no probabilities."""
    if tokens:
        return {}
    names = {name.lower(): name for name in scale}
    any_of = "|".join(map(regex.escape, names))
    found = regex.search(f"{WORD_BEGINS}({any_of}){WORD_ENDS}", said.lower())
    return {} if found is None else {names[found[1]]: 1.0}
