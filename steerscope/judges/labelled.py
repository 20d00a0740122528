"""Texts of which it is known whether they show the concept: some to fit a judge on, others to test it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from steerscope.engine.generation import attempt
from steerscope.engine.sampling import Sample
from steerscope.errors import JudgeError
from steerscope.models.chat_templates import asked_in, turns_of
from steerscope.models.lens_model import LensModel
from steerscope.texts.contrasts import ContrastSet, Split
from steerscope.texts.files import parse_json
from steerscope.texts.groups import distinct_prompts, joined
from steerscope.texts.lines import text_lines
from steerscope.texts.sheets import sheet_rows
from steerscope.texts.styles import message_of

OF_THE_MODEL = "replies of the model to either instruction"
_FEWEST = 2  # texts of a class, or groups of them
_REPLIES = 4  # to each instructed message, under seeds of their own
_TRUE = {"1", "true", "yes", "positive"}
_FALSE = {"0", "false", "no", "negative"}


@dataclass(frozen=True)
class LabelledText:
    """One text and its class.

    Attributes:
        text: as a judge gets it.
        positive: whether it shows the concept.
        group: texts of one group are about the same, and count as one.
        prompt: what it was written after, of a conversation what the user said last; empty if nothing is known.
    """

    text: str
    positive: bool
    group: int
    prompt: str = ""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts to fit a judge on, and others that it has not seen.

    Attributes:
        source: where they are from, in words.
        fit: for a judge to learn from, or to set its threshold by.
        held_out: for its card.
    """

    source: str
    fit: tuple[LabelledText, ...]
    held_out: tuple[LabelledText, ...]

    def at_most(self, n: int) -> LabelledTexts:
        """The same with at most so many texts of a class in either part, evenly taken."""
        return LabelledTexts(
            self.source,
            *(
                tuple(t for side in (True, False) for t in _evenly(part, side, n))
                for part in (self.fit, self.held_out)
            ),
        )

    def stored(self) -> dict[str, Any]:
        """As values of JSON."""
        return asdict(self)

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> LabelledTexts:
        """What `stored` gave."""
        parts = (tuple(LabelledText(**t) for t in fields[name]) for name in ("fit", "held_out"))
        return cls(str(fields["source"]), *parts)


def _evenly(texts: Sequence[LabelledText], side: bool, n: int) -> list[LabelledText]:
    mine = [t for t in texts if t.positive is side]
    return [mine[i * len(mine) // n] for i in range(n)] if len(mine) > n else mine


def from_pairs(pairs: Split[ContrastSet]) -> LabelledTexts:
    """The texts of contrast pairs: those of the fit split to fit on, all others for the card."""
    fit, *rest = (_texts_of(part) for part in (pairs.fit, pairs.select, pairs.test))
    offset = max((t.group for t in rest[0]), default=0) + 1
    shifted = [replace(t, group=t.group + offset) for t in rest[1]]
    return LabelledTexts("held-out pairs", tuple(fit), (*rest[0], *shifted))


def _texts_of(pairs: ContrastSet) -> list[LabelledText]:
    return [
        LabelledText(answer, positive, group, prompt)
        for pair, group in zip(pairs.pairs, pairs.groups, strict=True)
        for text, positive in ((pair.positive, True), (pair.negative, False))
        for prompt, answer in (_prompt_and_answer(text),)
    ]


def _prompt_and_answer(text: str) -> tuple[str, str]:
    """What a judge reads of a text: of a conversation what the user said last, and its last turn, without a template."""
    turns = turns_of(text)
    if not turns:
        return "", text
    said = [turn.content for turn in turns[:-1] if turn.role == "user"]
    return (said[-1] if said else ""), turns[-1].content


def from_replies(
    model: LensModel, pairs: Split[ContrastSet], *, n_new: int, seed: int
) -> LabelledTexts:
    """What the model itself writes when it is asked for the concept, and when it is asked for the other.

    The pairs are messages under either instruction; each is answered a few times at temperature 1.
    The label is what was asked for, so that a model which does not do as it is asked gives a judge
    that cannot tell.

    Args:
        model: writes the replies.
        pairs: of a style, in the chat template if the model is to chat.
        n_new: tokens of each reply.
        seed: of the sampling.
    """
    parts = []
    for number, part in enumerate((pairs.fit, pairs.select, pairs.test)):
        asked = [text for pair in part.pairs for text in (pair.positive, pair.negative)]
        rounds = [
            attempt(model, asked, n_new=n_new, sampler=Sample(1.0, seed + 7919 * (r + 1)))[0]
            for r in range(_REPLIES)
        ]
        parts.append(
            tuple(
                LabelledText(
                    written.text,
                    place % 2 == 0,
                    1000 * number + place // 2,
                    message_of(asked_in(asked[place])),
                )
                for found in rounds
                for place, written in enumerate(found)
                if written.text.strip()
            )
        )
    return LabelledTexts(OF_THE_MODEL, parts[0], parts[1] + parts[2])


def from_file(path: str | Path, seed: int = 0) -> LabelledTexts:
    """Texts with labels from a file: half to fit on, half for the card.

    JSON lines or CSV with the columns `text` and `label` (1 or 0, true or false, positive or
    negative) and, if there is one, `prompt`. What stays in one half counts as one in the card: texts that
    are the same but for names, and those to one prompt, unless that leaves fewer than two groups of a class
    in a half. Where texts that are the same but for names leave too few to halve, equal ones stay together.

    Raises:
        JudgeError: not such a file, or fewer than two texts of a class in either half.
    """
    path = Path(path)
    in_columns = path.suffix.lower() in {".csv", ".tsv"}
    rows: Sequence[tuple[str, Mapping[str, Any]]] = (
        sheet_rows(path, {"text", "label"}, JudgeError) if in_columns else _json_rows(path)
    )
    texts = []
    for where, row in rows:
        label = _plain_number(str(row.get("label", "")).strip().lower())
        text = row.get("text")
        if not isinstance(text, str) or not text.strip() or label not in _TRUE | _FALSE:
            raise JudgeError(f"{where}: needs a text and a label, 1 or 0.")
        texts.append(LabelledText(text, label in _TRUE, 0, str(row.get("prompt") or "")))
    fit, held_out = _halves(texts, seed)
    for part in (fit, held_out):
        check_classes(part, f"a half of {path}")
    return LabelledTexts(path.name, fit, held_out)


def _halves(texts: Sequence[LabelledText], seed: int) -> tuple[tuple[LabelledText, ...], ...]:
    """Labelled texts in two halves, each text with the number of the group that it counts in."""
    equal = [" ".join(t.text.split()) for t in texts]
    same = joined([(text,) for text in equal])
    distinct = distinct_prompts(equal)
    prompts = [("asked", t.prompt or number) for number, t in enumerate(texts)]
    asked = joined(list(zip(distinct, prompts, strict=True)))
    parts: tuple[tuple[LabelledText, ...], ...] = ()
    for groups, whole, counted in (
        (asked, asked, lambda t: t.group),
        (distinct, distinct, id),
        (distinct, same, id),
    ):
        together = [replace(t, group=n) for t, n in zip(texts, whole, strict=True)]
        fitted = _half_of_either_class(together, seed)
        grouped = [replace(t, group=n) for t, n in zip(texts, groups, strict=True)]
        parts = tuple(
            tuple(t for t, n in zip(grouped, whole, strict=True) if (n in fitted) is mine)
            for mine in (True, False)
        )
        sides = [[counted(t) for t in p if t.positive is s] for p in parts for s in (True, False)]
        if min(len(set(side)) for side in sides) >= _FEWEST:
            break
    return parts


def check_classes(texts: Sequence[LabelledText], what: str) -> None:
    """Refuse texts that do not hold both classes twice.

    Raises:
        JudgeError: they do not.
    """
    n = [sum(t.positive is side for t in texts) for side in (True, False)]
    if min(n) < _FEWEST:
        raise JudgeError(
            f"{what} has {n[0]} positive and {n[1]} negative texts; a judge needs at least {_FEWEST} of each."
        )


def _half_of_either_class(texts: Sequence[LabelledText], seed: int) -> set[int]:
    """Groups of texts, half of those whose first text is of a class, of either class."""
    side = {t.group: t.positive for t in reversed(texts)}
    random, chosen = Random(seed), set()
    for positive in (True, False):
        mine = sorted(group for group, is_positive in side.items() if is_positive is positive)
        chosen |= set(random.sample(mine, len(mine) // 2))
    return chosen


def _plain_number(label: str) -> str:
    """1.0 as 1, as a spreadsheet may have written it."""
    return label.removesuffix(".0").removesuffix(",0")


def _json_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    rows = []
    for number, line in text_lines(path):
        where = f"{path}, line {number}"
        row = parse_json(line, where, JudgeError)
        if not isinstance(row, dict):
            raise JudgeError(f"{where}: is no JSON object.")
        rows.append((where, row))
    return rows
