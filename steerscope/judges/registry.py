"""The judges by name: how one is asked for, fitted on labelled texts, kept, and had again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steerscope.errors import JudgeError, UnknownNameError
from steerscope.judges.card import Card, fit_threshold, measure_card
from steerscope.judges.labelled import LabelledTexts, check_classes
from steerscope.judges.scorers.classifier import Classifier
from steerscope.judges.scorers.endpoint import Endpoint, check_url
from steerscope.judges.scorers.functions import UserFunction
from steerscope.judges.scorers.hub import HubClassifier
from steerscope.judges.scorers.language import find_language
from steerscope.judges.scorers.language_model import SCALES, LanguageModelJudge, examples_of
from steerscope.judges.scorers.length import Length
from steerscope.judges.scorers.local_model import SELF, LocalModel
from steerscope.judges.scorers.patterns import read_pattern, read_schema
from steerscope.judges.scorers.remembered import Remembered
from steerscope.judges.scorers.sentiment import find_sentiment
from steerscope.judges.scorers.words import read_words
from steerscope.judges.scoring import ScoreJudge, Scorer
from steerscope.models.lens_model import LensModel
from steerscope.runs.judgements import JUDGEMENTS, Judgements
from steerscope.texts.about import about
from steerscope.texts.files import parse_json, read_text

ORACLE, PREFERENCE = "oracle", "preference"
KEPT = "judge.json"  # in the folder of a run
_CHARACTERS = 4  # of a token, about
_STRANGE = "reads_strange"


@dataclass(frozen=True)
class Means:
    """What a judge is made of.

    Attributes:
        texts: labelled.
        concept: what a text is to show, in words for a language model.
        model: the model that is steered; None where there is none, as when a run is only read.
        url: of an OpenAI-compatible endpoint; empty for models on this machine.
        folder: of the run, where what a judge said is kept; None for nowhere.
        closed: whether only what is kept there counts, and nobody is asked.
        reads_strange: as in `Classifier`.
    """

    texts: LabelledTexts
    concept: str
    model: LensModel | None = None
    url: str = ""
    folder: Path | None = None
    closed: bool = False
    reads_strange: bool = False

    def remember(self, scorer: Scorer, asked: str, *, with_prompt: bool = False) -> Scorer:
        """The scorer, asked about no text twice, where there is a folder."""
        if self.folder is None:
            return scorer
        kept = Judgements(self.folder / JUDGEMENTS, closed=self.closed)
        return Remembered(scorer, asked, kept, with_prompt)


@dataclass(frozen=True)
class Kind:
    """A kind of judge that gives scores.

    Attributes:
        made: the scorer, out of what follows the colon and what there is.
        argument: what follows the colon, in words; empty for nothing.
        needed: whether it must be given.
        words: what it reads, in one line.
        at_most: labelled texts of a class that it is asked about in either part; None for all.
    """

    made: Callable[[str, Means], Scorer]
    argument: str
    needed: bool
    words: str
    at_most: int | None = None


def _function(place: str, means: Means) -> Scorer:
    return means.remember(UserFunction(place), f"python:{place}", with_prompt=True)


def _hub(argument: str, means: Means) -> Scorer:
    model, _, label = argument.partition("=")
    return means.remember(HubClassifier(model, label), f"hf:{argument}")


def _language_model(argument: str, means: Means) -> Scorer:
    name, _, scale = argument.partition("=")
    scale = scale or next(iter(SCALES))
    if scale not in SCALES:
        raise UnknownNameError("scale of the judge lm", scale, SCALES)
    if means.url:
        check_url(means.url)
    answerer = (
        Endpoint(means.url, name, keeps=means.folder is not None)
        if means.url
        else LocalModel(name, means.model)
    )
    shown = examples_of(means.texts.fit)
    judge = LanguageModelJudge(answerer, name, scale, means.concept, shown)
    return means.remember(judge, judge.asked)


def _classifier(argument: str, means: Means) -> Scorer:
    trained = f"the texts to train on ({argument or means.texts.source})"
    check_classes(means.texts.fit, trained)
    return Classifier(means.texts.fit, reads_strange=means.reads_strange)


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
    "language": Kind(
        lambda code, _: find_language(code),
        "CODE",
        needed=True,
        words="the probability of a language",
    ),
    "length": Kind(lambda *_: Length(), "", needed=False, words="words until the text ends"),
    "lm": Kind(
        _language_model,
        "self, MODEL or MODEL=yes-no",
        needed=True,
        words="a language model that is asked, graded by the probabilities of its answers",
        at_most=40,
    ),
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


def judge_of(contrasts: str | Path) -> str | None:
    """The judge that a contrast set names beside its pairs; None where it names none, or the oracle.

    Raises:
        ContrastError: no such set, or its description is no such file.
    """
    named = about(contrasts).judge
    return None if named == ORACLE else named or None


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


def check_judge_url(name: str | None, url: str | None) -> None:
    """Refuse an address that is none, or that no judge would use.

    Raises:
        JudgeError: it is so.
    """
    if url is None:
        return
    check_url(url)
    if name is None or kind_of(name) != "lm" or name.partition(":")[2].startswith(SELF):
        raise JudgeError(f"judge_url {url} is used by the judge lm:MODEL alone; leave it out.")


def kind_of(name: str) -> str:
    """The kind of a judge, whether it is known or not."""
    return name.partition(":")[0]


@dataclass(frozen=True)
class KnownJudge:
    """A judge with what it was fitted on and how well it does.

    Attributes:
        judge: reads texts.
        means: the labelled texts, and what else it was made of.
        card: how it does on those that it has not seen.
    """

    judge: ScoreJudge
    means: Means
    card: Card


def make_judge(name: str, means: Means, positive: str) -> KnownJudge:
    """A judge by name, with its threshold and its card.

    A threshold that the judge does not bring is fitted on the texts to fit on; the card is of the
    others.

    Args:
        name: such as `words:happy.yaml`.
        means: the labelled texts, and what else it is made of.
        positive: the class that a positive dose leads to.

    Raises:
        UnknownNameError: no such judge.
        JudgeError: it cannot be had, or the texts do not do.
    """
    kind, argument = check_judge(name)
    if kind not in JUDGES:
        raise JudgeError(f"judge {name!r} reads no labelled texts.")
    if (n := JUDGES[kind].at_most) is not None:
        means = replace(means, texts=means.texts.at_most(n))
    texts = means.texts
    scorer = JUDGES[kind].made(argument, means)
    fixed = scorer.threshold
    threshold, sign = (fixed, 1) if fixed is not None else fit_threshold(scorer, texts.fit)
    judge = ScoreJudge(name, scorer, threshold, sign, positive)
    return KnownJudge(judge, means, measure_card(judge, texts.held_out, texts.source))


def cost_in_words(name: str, means: Means, n_texts: int, n_new: int) -> str:
    """What a judge that is asked costs at most; empty for one that costs nothing to speak of.

    Args:
        name: of the judge.
        means: what it is made of.
        n_texts: texts that will be written at most; 0 where nobody knows before.
        n_new: tokens of each at most.
    """
    kind, argument = check_judge(name)
    at_most = JUDGES[kind].at_most if kind in JUDGES else None
    if at_most is None:
        return ""
    texts = means.texts.at_most(at_most)
    scorer = JUDGES[kind].made(argument, replace(means, texts=texts, folder=None))
    question = scorer.question("") if isinstance(scorer, LanguageModelJudge) else ""
    n = len(texts.fit) + len(texts.held_out) + n_texts
    tokens = len(question) // _CHARACTERS + n_new
    once = "; equal texts are asked about once, and what is kept is not asked again"
    if not n_texts:
        return (
            f"{n:,} questions for its card, then one for each text that is written, of about "
            f"{tokens:,} tokens each{once}"
        )
    return f"at most {n:,} questions of about {tokens:,} tokens, {n * tokens:,} in all{once}"


def as_stored(known: KnownJudge) -> str:
    """A judge as JSON, of which `read_judge` makes it again."""
    fields = {
        **known.judge.settings(),
        "card": known.card.stored(),
        "concept": known.means.concept,
        _STRANGE: known.means.reads_strange,
        "texts": known.means.texts.stored(),
    }
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def read_judge(
    path: Path, *, model: LensModel | None = None, url: str = "", closed: bool = False
) -> KnownJudge:
    """The judge that a run was judged by; what a costly one said lies beside the file.

    Args:
        path: of `judge.json`.
        model: as in `Means`, like what follows.
        url: of an endpoint.
        closed: whether nobody is asked.

    Raises:
        JudgeError: the file is damaged, or what the judge needs is not there.
    """
    fields = parse_json(read_text(path, JudgeError), str(path), JudgeError)
    try:
        texts = LabelledTexts.from_stored(fields["texts"])
        kind, argument = check_judge(fields["name"])
        positive = str(fields["positive"])
        concept = str(fields.get("concept", positive))
        strange = bool(fields.get(_STRANGE, True))  # in runs from before it was written down
        means = Means(texts, concept, model, url, path.parent, closed, strange)
        judge = ScoreJudge(
            fields["name"],
            JUDGES[kind].made(argument, means),
            float(fields["threshold"]),
            int(fields["sign"]),
            positive,
        )
        return KnownJudge(judge, means, Card.from_stored(fields["card"]))
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
