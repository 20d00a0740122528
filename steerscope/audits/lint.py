"""Lint a user's own contrast pairs, before any model is loaded: one finding for each defect.

Each check is a function from the texts to findings, none if there is nothing to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from steerscope.audits.finding import SEVERITIES, Finding, Severity
from steerscope.audits.tells import FEWEST_PAIRS, variants
from steerscope.audits.texts import confounds, lengths_apart, repeated
from steerscope.errors import ContrastError, UnknownNameError
from steerscope.texts.about import About, about
from steerscope.texts.chats import question_of
from steerscope.texts.contrasts import ContrastSet, load_contrasts
from steerscope.texts.groups import (
    contrast_of,
    groups_of_pairs,
    names_in,
    shared_templates,
)
from steerscope.texts.pairs import ContrastPair, pairs_in
from steerscope.texts.places import STYLE, contrasts_file
from steerscope.texts.showing import counted
from steerscope.texts.words import between_blanks, words_in

_SHARE = 0.25  # of the pairs that one template may make
_ONE_WORD = 0.5  # of the pairs that may differ in one word
_FEWEST_CONTRASTS = 3  # one for each part of a split
_FEW_CONTRASTS = 40  # of which a quarter, ten, states an effect on held-out pairs
_SHOWN = 5  # lines named in a finding


@dataclass(frozen=True)
class Linted:
    """The pairs of a set and where each stands, with the lines that hold none.

    Attributes:
        name: of the set or of its file.
        pairs: those that can be read.
        places: of each pair: its line in the file, else its number in the set.
        refused: what is wrong with the other lines.
        unit: what the places count, `line` or `pair`.
    """

    name: str
    pairs: tuple[ContrastPair, ...]
    places: tuple[int, ...]
    refused: tuple[str, ...] = ()
    unit: str = "line"

    @cached_property
    def said(self) -> list[tuple[str, str]]:
        """What the two texts of each pair say, without what both open with."""
        return [pair.said for pair in self.pairs]

    @cached_property
    def contrasts(self) -> list[int]:
        """The distinct contrast of each pair, as splits and intervals count them."""
        return groups_of_pairs(self.pairs)

    def at(self, numbers: Sequence[int]) -> str:
        """Where some of the pairs stand, the first few named."""
        shown = ", ".join(str(self.places[i]) for i in numbers[:_SHOWN])
        more = len(numbers) - _SHOWN
        return f"{self.unit}{'s' * (len(numbers) > 1)} {shown}" + (
            f" and {more} more" if more > 0 else ""
        )


Check = Callable[[Linted], list[Finding]]


def lint(contrasts: str | Path | ContrastSet | Sequence[ContrastPair]) -> list[Finding]:
    """What in contrast pairs may deceive whoever steers with them, the worst first.

    Texts alone are looked at, no model. What the description of a set (`NAME.about.json`) says to be
    inherent to its concept stays a note, with the reason.

    Args:
        contrasts: a bundled name, a JSON-lines file or `style:NAME`; or a set, or its pairs. Of a file
            every line is looked at, also where others cannot be read.

    Raises:
        ContrastError: no such set, a file without any line, or a description that cannot be read.
        UnknownNameError: no such style, or the description names no finding that there is.
    """
    texts, known = _linted(contrasts)
    for name in known.inherent:
        if name not in CHECKS:
            raise UnknownNameError(f"finding in the description of {texts.name!r}", name, CHECKS)
    found = [
        _signed(finding, name, known.inherent.get(name, ""))
        for name, check in CHECKS.items()
        if texts.pairs or name == "unreadable"
        for finding in check(texts)
    ]
    return sorted(found, key=lambda f: SEVERITIES.index(f.severity))


def _linted(contrasts: str | Path | ContrastSet | Sequence[ContrastPair]) -> tuple[Linted, About]:
    if isinstance(contrasts, str) and contrasts.startswith(STYLE):
        contrasts = load_contrasts(contrasts)
    if isinstance(contrasts, str | Path):
        path = contrasts_file(contrasts)
        rows = list(pairs_in(path))
        good = [(number, row) for number, row in rows if isinstance(row, ContrastPair)]
        bad = [str(row).removeprefix(f"{path}, ") for _, row in rows if isinstance(row, Exception)]
        pairs, places = tuple(row for _, row in good), tuple(number for number, _ in good)
        return Linted(str(contrasts), pairs, places, tuple(bad)), about(contrasts)
    name = contrasts.name if isinstance(contrasts, ContrastSet) else "pairs"
    pairs = contrasts.pairs if isinstance(contrasts, ContrastSet) else tuple(contrasts)
    if not pairs:
        raise ContrastError("there are no pairs; give at least one.")
    return Linted(name, pairs, tuple(range(1, len(pairs) + 1)), unit="pair"), About()


def _signed(finding: Finding, check: str, inherent: str) -> Finding:
    numbers = {name: float(value) for name, value in finding.numbers.items()}
    signed = replace(finding, check=check, numbers=numbers)
    if not inherent or finding.severity == "error":
        return signed
    return replace(
        signed, severity="note", remedy=f"Inherent to the concept: {inherent.rstrip('.')}"
    )


def _unreadable(texts: Linted) -> list[Finding]:
    """Lines that hold no pair: no JSON, a text that is empty, or two that are the same."""
    return [
        Finding("error", message.rstrip("."), texts.name, "Mend the line or leave it out")
        for message in texts.refused
    ]


def _verb(some: Sequence[int]) -> str:
    return "is" if len(some) == 1 else "are"


def _empty(texts: Linted) -> list[Finding]:
    """Answers of which nothing is said."""
    blank = [i for i, pair in enumerate(texts.said) if not all(text.strip() for text in pair)]
    if not blank:
        return []
    what = f"an answer is empty in {len(blank)} of {counted(len(texts.pairs), 'pair')}"
    return [Finding("error", what, texts.at(blank), "Write both answers", {"pairs": len(blank)})]


def _alike(texts: Linted) -> list[Finding]:
    """Pairs whose texts are the same words: they differ in blanks, capitals or marks."""
    blanks, marks = [], []
    for i, (positive, negative) in enumerate(texts.said):
        if _pieces(positive) == _pieces(negative):
            blanks.append(i)
        elif _in_lower_case(positive) == _in_lower_case(negative):
            marks.append(i)
    kinds: list[tuple[Severity, list[int], str]] = [
        ("error", blanks, "blanks alone"),
        ("warning", marks, "capitals or marks alone"),
    ]
    return [
        Finding(
            severity,
            f"the two texts of {counted(len(mine), 'pair')} are the same words and differ in {what}",
            texts.at(mine),
            "Let them differ in the concept",
            {"pairs": len(mine)},
        )
        for severity, mine, what in kinds
        if mine
    ]


def _pieces(text: str) -> list[str]:
    return [match[0] for match in between_blanks(text)]


def _in_lower_case(text: str) -> list[str]:
    return [word.lower() for word in words_in(text)]


def _several_concepts(texts: Linted) -> list[Finding]:
    """Pairs of more than one concept in one set."""
    concepts = Counter(pair.concept for pair in texts.pairs)
    if len(concepts) == 1:
        return []
    named = ", ".join(f"{name} ({n})" for name, n in concepts.most_common(_SHOWN))
    return [
        Finding(
            "error",
            f"the pairs are of {len(concepts)} concepts: {named}",
            texts.name,
            "Keep one concept in a file, written alike on every line",
            {"concepts": len(concepts)},
        )
    ]


def _duplicates(texts: Linted) -> list[Finding]:
    """Pairs that are there more than once."""
    first: dict[tuple[str, str], int] = {}
    again = [
        i
        for i, p in enumerate(texts.pairs)
        if first.setdefault((p.positive.strip(), p.negative.strip()), i) != i
    ]
    if not again:
        return []
    what = f"{len(again)} of {len(texts.pairs)} pairs {_verb(again)} there before, word for word"
    return [Finding("error", what, texts.at(again), "Leave them out", {"pairs": len(again)})]


def _both_sides(texts: Linted) -> list[Finding]:
    """Texts that are positive in one pair and negative in another."""
    negative = {p.negative.strip() for p in texts.pairs}
    both = [i for i, p in enumerate(texts.pairs) if p.positive.strip() in negative]
    if not both:
        return []
    what = f"the positive text of {counted(len(both), 'pair')} is the negative one of another"
    remedy = "Turn the pairs the same way round"
    return [Finding("error", what, texts.at(both), remedy, {"pairs": len(both)})]


def _near_duplicates(texts: Linted) -> list[Finding]:
    """Pairs that are the same but for one word."""
    lines = {(p.positive.strip(), p.negative.strip()): i for i, p in enumerate(texts.pairs)}
    found = repeated(list(lines), "pairs", texts.name)
    groups = variants(list(lines))
    largest = Counter(groups).most_common(1)[0][0]
    alike = [i for i, group in zip(lines.values(), groups, strict=True) if group == largest]
    return [replace(finding, where=f"{texts.at(sorted(alike))}, and others") for finding in found]


def _length(texts: Linted) -> list[Finding]:
    """One side is longer than the other."""
    return lengths_apart(texts.pairs, texts.name) if len(texts.pairs) > 1 else []


def _first(texts: Linted) -> list[Finding]:
    """The first word, or the first character, tells the sides apart."""
    return _end(texts, "first")


def _last(texts: Linted) -> list[Finding]:
    """The last word, or the last character, tells the sides apart."""
    return _end(texts, "last")


def _end(texts: Linted, which: str) -> list[Finding]:
    words = confounds(texts.pairs, [f"{which} word"], texts.name)
    return words or confounds(texts.pairs, [f"{which} character"], texts.name)


def _one_word(texts: Linted) -> list[Finding]:
    """Pairs whose texts differ in a single word, so that the direction is that of a few words."""
    names = names_in(text for pair in texts.said for text in pair)
    sides = [contrast_of(*pair, names) for pair in texts.said]
    single = [i for i, side in enumerate(sides) if max(map(len, side)) == 1]
    if len(single) < _ONE_WORD * len(texts.pairs):
        return []
    often = Counter(" / ".join(" ".join(words) or "-" for words in sides[i]) for i in single)
    shown = ", ".join(f"{words} ({n})" for words, n in often.most_common(_SHOWN))
    return [
        Finding(
            "warning",
            f"{len(single)} of {counted(len(texts.pairs), 'pair')} differ{'s' * (len(single) == 1)} in one word: {shown}; the direction "
            "may be that of these words",
            texts.at(single),
            "Say the contrast in other ways too, several words at a time",
            {"pairs": len(single), "different_words": len(often)},
        )
    ]


def _template(texts: Linted) -> list[Finding]:
    """Many pairs that are of one template."""
    groups = shared_templates(texts.said)
    largest, n = Counter(groups).most_common(1)[0]
    if n < 2 or n <= _SHARE * len(groups):
        return []
    mine = [i for i, group in enumerate(groups) if group == largest]
    return [
        Finding(
            "warning",
            f"{n} of {len(groups)} pairs share one template, the same words around what differs: "
            f"{len(set(groups))} template{'s' * (len(set(groups)) > 1)} in all, and the direction may hold what follows from theirs",
            texts.at(mine),
            "Write pairs in other sentences",
            {"pairs": n, "templates": len(set(groups))},
        )
    ]


def _contrasts(texts: Linted) -> list[Finding]:
    """Few distinct contrasts, whatever the number of pairs."""
    n, distinct = len(texts.pairs), len(set(texts.contrasts))
    if distinct >= _FEW_CONTRASTS:
        return []
    numbers = {"pairs": n, "distinct": distinct}
    asked = [question_of(p.positive, p.negative) for p in texts.pairs]
    others = ", and answer other questions" if len(set(asked)) < len(asked) and any(asked) else ""
    remedy = f"Write pairs that differ in other words{others}, {_FEW_CONTRASTS} or more"
    if distinct < _FEWEST_CONTRASTS:
        return [
            Finding(
                "error",
                f"distinct contrasts among {counted(n, 'pair')}: {distinct}; to fit on one, choose on another and "
                f"test on a third takes {_FEWEST_CONTRASTS}",
                texts.name,
                remedy,
                numbers,
            )
        ]
    return [
        Finding(
            "warning",
            f"{n} pairs hold {distinct} distinct contrasts, fewer than {_FEW_CONTRASTS}: intervals "
            "resample contrasts, and those over so few are wide",
            texts.name,
            remedy,
            numbers,
        )
    ]


def _not_checked(texts: Linted) -> list[Finding]:
    """Fewer pairs than a classifier can be tried on."""
    if len(texts.pairs) >= FEWEST_PAIRS:
        return []
    what = f"not checked: whether length, first or last word tell the sides of {counted(len(texts.pairs), 'pair')}"
    return [Finding("note", what, texts.name, f"Write {FEWEST_PAIRS} pairs or more")]


CHECKS: dict[str, Check] = {
    "unreadable": _unreadable,
    "empty": _empty,
    "alike": _alike,
    "concepts": _several_concepts,
    "duplicates": _duplicates,
    "both_sides": _both_sides,
    "near_duplicates": _near_duplicates,
    "length": _length,
    "first": _first,
    "last": _last,
    "one_word": _one_word,
    "template": _template,
    "contrasts": _contrasts,
    "not_checked": _not_checked,
}
