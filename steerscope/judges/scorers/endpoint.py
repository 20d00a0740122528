"""A language model behind an OpenAI-compatible endpoint that is asked for answers."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from steerscope.errors import JudgeError, reason
from steerscope.judges.scorers.language_model import Answer

KEY = "STEERSCOPE_JUDGE_KEY"  # environment: sent as the bearer token, and stored nowhere
_TOP = 20  # most likely tokens that an endpoint may be asked for
_TOKENS = 4  # of an answer; some models begin with a space or a line break
_AT_ONCE = 4
_TRIES = 3
_LONGEST = 1 << 20  # bytes of a reply
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
    """

    url: str
    model: str
    timeout: float = 60.0
    pause: float = 1.0

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
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": _TOKENS,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": _TOP,
        }
        body = self._post(json.dumps(asked).encode())
        try:
            choice = json.loads(body)["choices"][0]
            said = str(choice["message"]["content"] or "")
            tokens = (choice.get("logprobs") or {}).get("content") or []
            return Answer(_by_tokens(tokens, scale) or _by_words(tokens, said, scale), said)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            shown = body[:40].decode("utf-8", "replace")
            raise JudgeError(
                f"{self.url} answered {shown!r}, which is no chat completion; check --judge-url."
            ) from None

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        where = f"{self.url.rstrip('/')}/chat/completions"
        request = Request(where, data=body, headers=headers, method="POST")
        said = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(self.pause * attempt)
            try:
                with _opener.open(request, timeout=self.timeout) as reply:
                    return bytes(reply.read(_LONGEST))
            except HTTPError as error:
                said = f"answered {error.code} ({str(error.reason)[:60]})"
                if error.code not in _PASSING:
                    break
            except TimeoutError:
                said = f"did not answer within {self.timeout:g} seconds"
            except (URLError, OSError, ValueError) as error:
                if isinstance(getattr(error, "reason", None), TimeoutError):
                    said = f"did not answer within {self.timeout:g} seconds"
                    continue
                said = f"cannot be reached ({reason(error)[:80]})"
                break
        raise JudgeError(
            f"the judge at {self.url} {said}; the texts are kept and judged at the next start."
        )


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
            name = names.get(str(tried["token"]).strip().lower())
            if name is not None:
                chances[name] = chances.get(name, 0.0) + math.exp(min(0.0, float(tried["logprob"])))
        return chances
    return {}


def _by_words(
    tokens: Sequence[Mapping[str, Any]], said: str, scale: Sequence[str]
) -> dict[str, float]:
    """The first answer in the words, where the endpoint gives no probabilities."""
    if tokens:
        return {}
    names = {name.lower(): name for name in scale}
    found = re.search(r"(?<!\w)(" + "|".join(map(re.escape, names)) + r")(?!\w)", said.lower())
    return {} if found is None else {names[found[1]]: 1.0}
