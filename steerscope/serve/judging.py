"""What texts show: by the judges that need no setting up, and by the one that the server was started with."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from steerscope.errors import JudgeError, QueueFullError
from steerscope.judges import READERS
from steerscope.judges.registry import (
    ORACLE,
    PREFERENCE,
    KnownJudge,
    check_judge,
    check_judge_url,
    kind_of,
)
from steerscope.judges.scorers.sentiment import find_sentiment
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.studies.judging import Question, card_in_words, fitted_judge
from steerscope.texts.chats import Chat, Conversation
from steerscope.texts.contrasts import STYLE, ContrastSet, load_contrasts

_AT_ONCE, _MOST_WAITING = 2, 16
_N_NEW = 48  # tokens of the replies that a judge of a style is fitted on
Result = TypeVar("Result")


@dataclass
class Aside:
    """Work that uses no model of the rack, in threads beside the one that writes; few at once."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    n_waiting: int = 0

    async def do(self, work: Callable[[], Result]) -> Result:
        """The result of some work.

        Raises:
            QueueFullError: too much waits.
            Exception: whatever the work raises.
        """
        if self.n_waiting >= _MOST_WAITING:
            raise QueueFullError("too many texts wait for the judge; ask again in a moment.")
        self.n_waiting += 1
        try:
            async with self.turns:
                return await asyncio.to_thread(work)
        finally:
            self.n_waiting -= 1


@dataclass(frozen=True)
class ServedJudge:
    """The judge that a server was started with.

    Attributes:
        known: the judge and its card.
        by_model: whether it asks the model that writes, so that it takes turns with it.
    """

    known: KnownJudge
    by_model: bool

    @property
    def name(self) -> str:
        """As it was asked for; of a file or folder no more than its name."""
        return self._said(self.known.judge.name)

    def _said(self, words: str) -> str:
        """Words in which no place on the disk stands."""
        argument = self.known.judge.name.partition(":")[2]
        path = Path(argument.partition("=")[0])
        return words.replace(str(path), path.name) if path.name and path.exists() else words

    def facts(self) -> dict[str, Any]:
        """What whoever looks at its scores should know."""
        words = self._said(card_in_words(self.known))
        return {"name": self.name, "tells": self.known.card.tells, "card": words}

    def read(self, prompt: str, texts: Sequence[str]) -> list[dict[str, Any]]:
        """The score of each text, and whether it shows the concept; null where the judge cannot tell.

        A judge whose card does not tell says nothing of what a text shows.
        """
        judge = self.known.judge
        found = []
        for score in judge.scores([prompt] * len(texts), list(texts)):
            shown = judge.reading(score)["shown"]
            unknown = math.isnan(shown) or not self.known.card.tells
            answer = None if unknown else "yes" if shown else "no"
            found.append({self.name: _or_none(score), f"shows {judge.positive}": answer})
        return found


def served_judge(
    asked: Mapping[str, str | None],
    contrasts: str | None,
    model: LensModel,
    names: Sequence[str],
) -> ServedJudge | None:
    """The judge of a server; None where none is asked for, or one that is there anyway.

    Args:
        asked: `judge`, `judge_labels` and `judge_url`, as everywhere.
        contrasts: contrast set that says what the judge is to tell; None where nothing does.
        model: the first that is served.
        names: of all that are.

    Raises:
        UnknownNameError: no such judge.
        JudgeError: it reads no texts, cannot be had, or nothing says what it is to tell.
    """
    name, url = asked.get("judge"), asked.get("judge_url")
    check_judge_url(name, url)
    if name is None:
        if asked.get("judge_labels"):
            raise JudgeError("--judge-labels are for a judge; name it with --judge.")
        return None
    kind, argument = check_judge(name)
    if kind == PREFERENCE:
        raise JudgeError("the judge preference reads no texts, and a server shows texts alone.")
    if kind == ORACLE:
        if names[0] not in READERS:
            raise JudgeError(f"the oracle cannot read what {names[0]} writes.")
        return None
    by_model = kind_of(name) == "lm" and argument.partition("=")[0] == "self" and not url
    if by_model and len(names) > 1:
        raise JudgeError(
            "lm:self is the model that writes, of which there are several here; name a judge."
        )
    if contrasts is None:
        raise JudgeError(
            f"nothing says what the judge {name} is to tell; give --judge-contrasts, or find the vector "
            "with --find."
        )
    said = _as_told(model, load_contrasts(contrasts))
    question = Question(name, asked.get("judge_labels"), said, said.split(0), (), _N_NEW, 0, url)
    return ServedJudge(fitted_judge(name, question, model), by_model)


def _as_told(model: LensModel, contrasts: ContrastSet) -> ContrastSet:
    """Contrasts as the model is told them: messages and conversations in its chat template."""
    is_said = contrasts.name.startswith(STYLE) or any(
        isinstance(pair.positive, Conversation) for pair in contrasts
    )
    return in_chat(model, contrasts, Chat() if is_said else None)


def judges_for(model: str) -> list[str]:
    """The judges without setting up that can read what a model writes."""
    oracle = ["oracle"] if model in READERS else []
    sentiment = ["sentiment"] if find_spec("vaderSentiment") is not None else []
    return [*oracle, *sentiment]


def read_texts(model: str, prompt: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """What each text shows: what the oracle of its world tells, the compound score of VADER.

    A text that does not tell has null.
    """
    judges = judges_for(model)
    found: list[dict[str, Any]] = [{} for _ in texts]
    if "oracle" in judges:
        for entry, text in zip(found, texts, strict=True):
            entry |= READERS[model](text)
    if "sentiment" in judges:
        scores = find_sentiment().scores([prompt] * len(texts), list(texts))
        for entry, score in zip(found, scores, strict=True):
            entry["sentiment"] = _or_none(score)
    return found


def _or_none(score: float) -> float | None:
    return None if math.isnan(score) else score
