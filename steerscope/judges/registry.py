"""The judges by name: how one is asked for, fitted on labelled texts, kept, and had again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.errors import JudgeError, UnknownNameError
from steerscope.judges.card import Card, fit_threshold, measure_card
from steerscope.judges.labelled import LabelledTexts, check_classes
from steerscope.judges.scorers.classifier import Classifier
from steerscope.judges.scorers.functions import UserFunction, find_function
from steerscope.judges.scorers.hub import HubClassifier
from steerscope.judges.scorers.length import Length
from steerscope.judges.scorers.patterns import read_pattern, read_schema
from steerscope.judges.scorers.sentiment import find_sentiment
from steerscope.judges.scorers.words import read_words
from steerscope.judges.scoring import ScoreJudge, Scorer
from steerscope.texts.files import parse_json, read_text

ORACLE, PREFERENCE = "oracle", "preference"
KEPT = "judge.json"  # in the folder of a run


@dataclass(frozen=True)
class Kind:
    """A kind of judge that gives scores.

    Attributes:
        made: the scorer, out of what follows the colon and the labelled texts.
        argument: what follows the colon, in words; empty for nothing.
        needed: whether it must be given.
        words: what it reads, in one line.
    """

    made: Callable[[str, LabelledTexts], Scorer]
    argument: str
    needed: bool
    words: str


def _function(place: str, _: LabelledTexts) -> Scorer:
    find_function(place)
    return UserFunction(place)


def _hub(argument: str, _texts: LabelledTexts) -> Scorer:
    model, _, label = argument.partition("=")
    return HubClassifier(model, label)


def _classifier(argument: str, texts: LabelledTexts) -> Scorer:
    trained = f"the texts to train on ({argument or texts.source})"
    check_classes(texts.fit, trained)
    return Classifier(texts.fit)


JUDGES: Mapping[str, Kind] = {
    "classifier": Kind(
        _classifier,
        "FILE or asked",
        needed=False,
        words="TF-IDF and logistic regression, trained on labelled texts",
    ),
    "hf": Kind(
        _hub, "MODEL or MODEL=LABEL", needed=True, words="a text classifier of transformers"
    ),
    "json": Kind(lambda path, _: read_schema(path), "FILE", needed=True, words="JSON by a schema"),
    "length": Kind(lambda *_: Length(), "", needed=False, words="words until the text ends"),
    "python": Kind(_function, "module:function", needed=True, words="a function of your own"),
    "regex": Kind(
        lambda pattern, _: read_pattern(pattern), "PATTERN", needed=True, words="a pattern"
    ),
    "sentiment": Kind(
        lambda *_: find_sentiment(), "", needed=False, words="VADER's compound score"
    ),
    "words": Kind(
        lambda path, _: read_words(path), "FILE", needed=True, words="words counted, by a YAML file"
    ),
}
NAMES = (ORACLE, PREFERENCE, *JUDGES)


def check_judge(name: str) -> tuple[str, str]:
    """The kind of a judge and what follows its colon.

    Raises:
        UnknownNameError: no such kind; the message lists them.
        JudgeError: what follows the colon is missing, or nothing may.
    """
    kind, colon, argument = name.partition(":")
    if kind not in NAMES:
        raise UnknownNameError("judge", kind, NAMES)
    known = JUDGES.get(kind)
    if colon and (known is None or not known.argument):
        raise JudgeError(f"judge {kind!r} takes nothing after it, not {argument!r}.")
    if known is not None and known.needed and not argument:
        raise JudgeError(f"judge {kind!r} is written {kind}:{known.argument}.")
    return kind, argument


def kind_of(name: str) -> str:
    """The kind of a judge, whether it is known or not."""
    return name.partition(":")[0]


@dataclass(frozen=True)
class KnownJudge:
    """A judge with what it was fitted on and how well it does.

    Attributes:
        judge: reads texts.
        texts: the labelled texts.
        card: how it does on those that it has not seen.
    """

    judge: ScoreJudge
    texts: LabelledTexts
    card: Card


def make_judge(name: str, texts: LabelledTexts, positive: str) -> KnownJudge:
    """A judge by name, with its threshold and its card.

    A threshold that the judge does not bring is fitted on the texts to fit on; the card is of the
    others.

    Args:
        name: such as `words:happy.yaml`.
        texts: labelled.
        positive: the class that a positive dose leads to.

    Raises:
        UnknownNameError: no such judge.
        JudgeError: it cannot be had, or the texts do not do.
    """
    kind, argument = check_judge(name)
    if kind not in JUDGES:
        raise JudgeError(f"judge {name!r} reads no labelled texts.")
    scorer = JUDGES[kind].made(argument, texts)
    fixed = scorer.threshold
    threshold, sign = (fixed, 1) if fixed is not None else fit_threshold(scorer, texts.fit)
    judge = ScoreJudge(name, scorer, threshold, sign, positive)
    return KnownJudge(judge, texts, measure_card(judge, texts.held_out, texts.source))


def as_stored(known: KnownJudge) -> str:
    """A judge as JSON, of which `read_judge` makes it again."""
    fields = {
        **known.judge.settings(),
        "card": known.card.stored(),
        "texts": known.texts.stored(),
    }
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def read_judge(path: Path) -> KnownJudge:
    """The judge that a run was judged by.

    Raises:
        JudgeError: the file is damaged, or what the judge needs is not there.
    """
    fields = parse_json(read_text(path, JudgeError), str(path), JudgeError)
    try:
        texts = LabelledTexts.from_stored(fields["texts"])
        kind, argument = check_judge(fields["name"])
        scorer = JUDGES[kind].made(argument, texts)
        judge = ScoreJudge(
            fields["name"],
            scorer,
            float(fields["threshold"]),
            int(fields["sign"]),
            str(fields["positive"]),
        )
        return KnownJudge(judge, texts, Card.from_stored(fields["card"]))
    except (KeyError, TypeError, ValueError, AttributeError, UnknownNameError) as error:
        raise JudgeError(f"{path} is damaged ({type(error).__name__}: {error}).") from None


def read_card(folder: Path) -> Card | None:
    """The card of a run's judge; None where it has none."""
    path = folder / KEPT
    if not path.is_file():
        return None
    fields: Any = parse_json(read_text(path, JudgeError), str(path), JudgeError)
    try:
        return Card.from_stored(fields["card"])
    except (KeyError, TypeError, ValueError) as error:
        raise JudgeError(f"{path} is damaged ({type(error).__name__}: {error}).") from None
