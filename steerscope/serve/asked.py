"""The requests of the API, as OpenAI's clients send them, with what steering adds."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from pydantic import Field, ValidationError, model_validator

from steerscope.engine.sampling import Sampler, sampler_at
from steerscope.errors import BadValueError, RequestError
from steerscope.serve.conditions import SteeringList, Strict
from steerscope.texts.files import parse_json

Asked = TypeVar("Asked", bound=Strict)
MOST_SAMPLES, MOST_STOPS, MOST_TOPS, MOST_PROMPTS = 16, 16, 20, 64


class StreamOptions(Strict):
    """What a stream says at its end."""

    include_usage: bool = False


class Sampling(Strict):
    """What both kinds of completion are asked for.

    Fields of OpenAI's that would change the text and are not there are refused unless they are at the
    value that changes nothing; those that change no text are read and left. Null is a field left out.
    """

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    n: int = Field(default=1, ge=1, le=MOST_SAMPLES)
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    steering: SteeringList = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    presence_penalty: float = Field(default=0.0, ge=0, le=0)
    frequency_penalty: float = Field(default=0.0, ge=0, le=0)
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0)

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, asked: Any) -> Any:
        """What is asked for, without the null that clients write for a field that they leave out."""
        fields = cls.model_fields.items()
        usual = {
            n for n, f in fields if not f.is_required() and type(None) not in get_args(f.annotation)
        }
        if not isinstance(asked, dict):
            return asked
        return {n: v for n, v in asked.items() if v is not None or n not in usual}

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a text, none of them empty.

        Raises:
            BadValueError: one is empty, or they are too many.
        """
        found = (
            () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else self.stop
        )
        if not all(found) or len(found) > MOST_STOPS:
            raise BadValueError(f"stop takes up to {MOST_STOPS} texts, none of them empty.")
        return tuple(found)

    def sampler(self, seed: int) -> Sampler:
        """How tokens are chosen; at temperature 0 the likeliest, whatever the cuts.

        Raises:
            BadValueError: a number outside its range.
        """
        penalty = self.repetition_penalty
        if self.temperature == 0:
            return sampler_at(0.0, seed, repetition_penalty=penalty)
        return sampler_at(
            self.temperature, seed, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p,
            repetition_penalty=penalty,
        )  # fmt: skip

    def drawn_seed(self) -> int:
        """The seed, or a new one where none is given, which the answer names."""
        return secrets.randbelow(2**31) if self.seed is None else self.seed


class CompletionAsked(Sampling):
    """`POST /v1/completions`: text or token ids, one or several."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(default=16, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=MOST_TOPS)
    echo: bool = False
    best_of: int | None = Field(default=None, ge=1, le=1)
    suffix: str | None = Field(default=None, max_length=0)

    @property
    def n_top(self) -> int | None:
        """Likeliest tokens to tell at each place; None for no log-probabilities at all."""
        return self.logprobs

    def prompts(self) -> list[Any]:
        """The prompts, one after the other.

        Raises:
            BadValueError: there is none, too many, or an echo is asked for.
        """
        if self.echo:
            raise BadValueError(
                "echo is not there: this server tells log-probabilities of what it writes; "
                "steerscope.log_likelihoods tells those of a text."
            )
        given = self.prompt
        one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        found = [given] if one else list(given)
        if not 1 <= len(found) <= MOST_PROMPTS:
            raise BadValueError(f"prompt holds {len(found)} prompts; give 1 to {MOST_PROMPTS}.")
        return found


class Part(Strict):
    """A piece of a message; texts alone are read."""

    type: str
    text: str


class MessageAsked(Strict):
    """One turn, as OpenAI's clients write it."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None

    def said(self) -> dict[str, str]:
        """Role and text.

        Raises:
            BadValueError: a part that is no text.
        """
        if isinstance(self.content, list):
            other = [p.type for p in self.content if p.type != "text"]
            if other:
                raise BadValueError(f"a message holds {other[0]!r}; this server reads text alone.")
            return {"role": self.role, "content": "".join(p.text for p in self.content)}
        return {"role": self.role, "content": self.content or ""}


class ChatAsked(Sampling):
    """`POST /v1/chat/completions`: a conversation, written by the chat template of the model."""

    messages: list[MessageAsked] = Field(min_length=1, max_length=2048)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOPS)

    @property
    def n_top(self) -> int | None:
        """Likeliest tokens to tell at each place; None for no log-probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None


def read_request(kind: type[Asked], body: bytes) -> Asked:
    """A request out of the bytes of its body.

    Raises:
        RequestError: not JSON, a name that is not known, or a value of another kind.
    """
    return check_request(kind, parse_json(body, "the body", RequestError))


def check_request(kind: type[Asked], value: Any) -> Asked:
    """A request out of what its JSON says.

    Raises:
        RequestError: a name that is not known, or a value of another kind.
    """
    if not isinstance(value, dict):
        raise RequestError("the body must be a JSON object.")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise RequestError(in_words(error.errors(include_url=False), kind.model_fields)) from None
    except RecursionError:
        raise RequestError("the body: brackets are nested too deep to be read.") from None


def in_words(errors: Sequence[Any], known: Any) -> str:
    """The first thing that is wrong with a request, in a sentence."""
    first = max(errors, key=lambda e: len(e["loc"]))  # of a choice, what came nearest
    inner = [e for e in errors if len(e["loc"]) == len(first["loc"])]
    first = inner[0]
    words = [str(part) for part in first["loc"] if not _is_choice(part)]
    place = ".".join(words)[:200] or "the body"
    if first["type"] == "extra_forbidden":
        listed = f" Known: {', '.join(sorted(known))}." if len(words) == 1 else ""
        return f"unknown field {place!r}.{listed}"
    if first["type"] == "missing":
        return f"the field {place!r} is missing."
    message = str(first["msg"])[:200]
    return f"{place}: {message[:1].lower()}{message[1:]}."


def _is_choice(part: object) -> bool:
    """Whether a step of a place is pydantic's name for one of several kinds, and no field."""
    return isinstance(part, str) and (
        part in {"str", "int", "float", "SteeringAsked"} or part.startswith(("list[", "function-"))
    )
