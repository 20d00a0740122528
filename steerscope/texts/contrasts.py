"""Contrast sets and prompts: read, check, hash and split the texts that everything starts from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from steerscope.errors import ContrastError, UnknownNameError
from steerscope.texts.about import about
from steerscope.texts.bundled import (
    CONTRASTS_SUFFIX,
    PROMPTS_SUFFIX,
    bundled_contrasts,
    bundled_prompts,
)
from steerscope.texts.given_pairs import PairsLike, given_pairs
from steerscope.texts.groups import (
    PARTS,
    distinct_prompts,
    groups_of_pairs,
    groups_to_split,
    in_parts_of_pairs,
    joined,
    split_groups,
    with_questions,
)
from steerscope.texts.lines import check_text
from steerscope.texts.openings import opening_of
from steerscope.texts.pairs import ContrastPair, pairs_in
from steerscope.texts.places import STYLE, contrasts_file, find_file
from steerscope.texts.rows import prompt_rows
from steerscope.texts.showing import counted_pairs, shortened, texts_as_html, where_they_part
from steerscope.texts.styles import MESSAGES, Style, find_style, message_of

EVERYDAY = "everyday"  # bundled prompts that are neutral of any style
CONTRAST = "contrast"
_SHOWN = 3  # pairs in a notebook
GROUPINGS = (CONTRAST, "text")
Item = TypeVar("Item")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Prompt:
    """A text to continue, with what is known about it, such as `{"mood": "gloomy"}`."""

    text: str
    facts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ContrastError("the prompt is empty; write a sentence.")
        for text in (self.text, *self.facts, *self.facts.values()):
            check_text("prompt", text)


@dataclass(frozen=True)
class Split(Generic[Item]):
    """Three disjoint parts: `fit` finds directions, `select` chooses, `test` is stated."""

    fit: Item
    select: Item
    test: Item

    def map(self, change: Callable[[Item], Other]) -> Split[Other]:
        """The same parts, each changed."""
        return Split(change(self.fit), change(self.select), change(self.test))


@dataclass(frozen=True)
class ContrastSet:
    """Named contrast pairs of one concept, with the hash of their content.

    Attributes:
        name: of the set, as reports and vector files state it.
        pairs: at least one.
        template: name of the chat template that the texts are in; empty for plain text.
        shows: what a positive text does and a negative one does not, in words; empty where nobody
            said so.

    Raises:
        ContrastError: no pair, or pairs of several concepts.
    """

    name: str
    pairs: tuple[ContrastPair, ...]
    template: str = ""
    shows: str = ""

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ContrastError(f"contrast set {self.name!r} has no pairs; give at least one.")
        concepts = sorted({p.concept for p in self.pairs})
        if len(concepts) != 1:
            raise ContrastError(
                f"contrast set {self.name!r} has {len(concepts)} concepts ({', '.join(concepts)}); "
                "keep one concept in a file."
            )

    @classmethod
    def from_pairs(cls, pairs: PairsLike, name: str = "pairs", concept: str = "") -> ContrastSet:
        """A contrast set of pairs at hand, in whatever form they are.

        Args:
            pairs: `(positive, negative)` tuples, dicts, a data frame, rows of `datasets`, or columns
                by name; the columns are `positive` and `negative`, or `chosen` and `rejected`.
            name: of the set, as reports and vector files state it.
            concept: what the pairs differ in, where they do not say so; default the name.

        Raises:
            ContrastError: a pair cannot be read; the message has its number and the form to give.
        """
        return cls(name, tuple(given_pairs(pairs, concept or name)))

    def __repr__(self) -> str:
        shown = " | ".join(where_they_part(self.pairs[0].positive, self.pairs[0].negative))
        return f"ContrastSet({self.name!r}, {counted_pairs(len(self), self.concept)}: {shown}, ...)"

    def _repr_html_(self) -> str:
        rows = [[str(p.positive), str(p.negative)] for p in self.pairs[:_SHOWN]]
        title = f"{self.name}: {counted_pairs(len(self), self.concept)}, the first {len(rows)}"
        return texts_as_html(title, ("positive", "negative"), rows, before=0)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[ContrastPair]:
        return iter(self.pairs)

    @property
    def concept(self) -> str:
        """The concept that all pairs share."""
        return self.pairs[0].concept

    @property
    def groups(self) -> list[int]:
        """The distinct contrast of each pair: those that differ in the same words are of one.

        Answers to one question are of one too.
        """
        return groups_of_pairs(self.pairs)

    @property
    def sha256(self) -> str:
        """Hash of the pairs in their order; the same texts give the same hash in any file."""
        return _sha256([[p.positive, p.negative, p.concept] for p in self.pairs])

    def split(self, seed: int, grouping: str = CONTRAST) -> Split[ContrastSet]:
        """Half to fit, a quarter each to select and test; what says the same stays together.

        Args:
            seed: of the order of the groups.
            grouping: `contrast`: pairs that share a text, or differ in the same words, or share the
                same words around them (`groups_to_split`); `text`: those that share a text alone, as
                runs before the grouping did.

        Raises:
            ContrastError: fewer than three independent pairs, so that a part would be empty.
            UnknownNameError: no such grouping.
        """
        whole = grouping == CONTRAST
        groups = _groups_of(self.pairs, by_contrast=_by_contrast(grouping))
        parts = split_groups(self.name, groups, seed, fit=0.5, select=0.25, by_group=whole)
        return Split(
            *(
                replace(
                    self, name=f"{self.name}/{part}", pairs=tuple(self.pairs[i] for i in chosen)
                )
                for part, chosen in parts.items()
            )
        )


@dataclass(frozen=True)
class PromptSet:
    """Named prompts with the hash of their content.

    Attributes:
        template: name of the chat template that the prompts are in; empty for plain text.
        openings_of: the pairs whose openings they are; None where they are prompts of their own.
        of_pair: the number of the prompt of each of those pairs.
    """

    name: str
    prompts: tuple[Prompt, ...]
    template: str = ""
    openings_of: ContrastSet | None = None
    of_pair: tuple[int, ...] = ()

    def __repr__(self) -> str:
        shown = ", ".join(repr(shortened(p.text)) for p in self.prompts[:1])
        return f"PromptSet({self.name!r}, {len(self)} prompts: {shown}, ...)"

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def sha256(self) -> str:
        """Hash of the prompts in their order."""
        return _sha256([[p.text, p.facts] for p in self.prompts])

    @property
    def groups(self) -> list[int]:
        """The distinct prompt that each is: those that are the same but for names are of one."""
        return distinct_prompts([p.text for p in self.prompts])

    def split(self, seed: int, grouping: str = CONTRAST) -> Split[PromptSet]:
        """A third to select, the rest to test, one to fit; what says the same stays together.

        Openings stay in the part of their pairs, where there are enough for every part.

        Args:
            seed: of the order of the groups.
            grouping: `contrast`: prompts that are the same but for names; `text`: equal ones alone.

        Raises:
            ContrastError: fewer than three independent prompts, so that a part would be empty.
            UnknownNameError: no such grouping.
        """
        parts = None
        if self.openings_of is not None:
            there = self.openings_of.split(seed, grouping)
            parts = in_parts_of_pairs(
                self.openings_of.pairs,
                self.of_pair,
                {part: getattr(there, part).pairs for part in PARTS},
            )
        if parts is None:
            texts = [(p.text,) for p in self.prompts]
            groups = self.groups if _by_contrast(grouping) else joined(texts)
            if len(set(groups)) < len(PARTS):
                groups = joined(texts)
            whole = grouping == CONTRAST
            parts = split_groups(self.name, groups, seed, fit=0.0, select=1 / 3, by_group=whole)
        alone = replace(self, openings_of=None, of_pair=())
        return Split(
            *(
                replace(
                    alone,
                    name=f"{self.name}/{part}",
                    prompts=tuple(self.prompts[i] for i in chosen),
                )
                for part, chosen in parts.items()
            )
        )


def load_contrasts(name_or_path: PairsLike) -> ContrastSet:
    """A bundled contrast set by name, one from a file, a style, or pairs at hand.

    Each line of a file is `{"positive": "...", "negative": "..."}`, with `"concept"` where that is not
    the file's name; a .csv, .tsv or .json file has these columns. Either text may be a conversation, a
    list of `{"role": ..., "content": ...}`; with `"prompt"` beside them both are answers to it.

    Args:
        name_or_path: a name or file; a style as `style:terse` or `style:WANTED INSTRUCTION | OTHER
            INSTRUCTION`; or pairs at hand, in any form that `ContrastSet.from_pairs` reads.

    Raises:
        ContrastError: the file is missing or a line cannot be used; the message has its number.
        UnknownNameError: no such style; the message lists the built-in ones.
    """
    if isinstance(name_or_path, ContrastSet):
        return name_or_path
    if not isinstance(name_or_path, str | Path):
        return ContrastSet.from_pairs(name_or_path)
    if str(name_or_path).startswith(STYLE):
        return style_contrasts(find_style(str(name_or_path).removeprefix(STYLE)))
    path = contrasts_file(name_or_path)
    pairs = []
    for _, pair in pairs_in(path):
        if isinstance(pair, ContrastError):
            raise pair
        pairs.append(pair)
    name, known = path.name.removesuffix(CONTRASTS_SUFFIX), about(path)
    return ContrastSet(name, tuple(pairs), shows=known.difference)


def style_contrasts(style: Style, messages: Sequence[str] = MESSAGES) -> ContrastSet:
    """Each message under the instruction that asks for a style against under the other one.

    Both texts of a pair end in the same message, so that the last token is the same on both sides.

    Args:
        style: the two instructions.
        messages: what a user might say, neutral of the style; one pair is made of each.

    Raises:
        ContrastError: no message, or an instruction that is the same as its opposite.

    Source: Turner et al. 2023 (arXiv:2308.10248), activation addition, which takes one pair; many
    messages average out what is peculiar to one.
    """
    pairs = (ContrastPair(*texts, style.name) for texts in style.texts(messages))
    return ContrastSet(f"{STYLE}{style.name}", tuple(pairs))


def load_prompts(name_or_path: str | Path) -> PromptSet:
    """Bundled prompts by name, or prompts from a file.

    Args:
        name_or_path: bundled; a `.jsonl` file of `{"prompt": "...", "facts": {...}}`, facts optional,
            a prompt a text or a list of messages; a table (.csv, .tsv, .json) with the column
            `prompt`; or any other file, of which each line is a prompt.

    Raises:
        ContrastError: the file is missing or a line cannot be used; the message has its number.
    """
    path = find_file(name_or_path, bundled_prompts(), "prompt set")
    prompts = tuple(_build(path, number, Prompt, row) for number, row in prompt_rows(path))
    return PromptSet(path.name.removesuffix(PROMPTS_SUFFIX), prompts)


def opening_prompts(name: str, pairs: Sequence[ContrastPair]) -> PromptSet:
    """Prompts for a contrast set that brings none: what both sides of a pair open with (`opening_of`).

    For a style, its bare messages.
    """
    if name.startswith(STYLE):
        messages = (message_of(pair.positive) for pair in pairs)
        return PromptSet(f"messages of {name}", tuple(Prompt(m) for m in messages))
    texts = dict.fromkeys(opening_of(pair) for pair in pairs)
    return PromptSet(f"openings of {name}", tuple(Prompt(t) for t in texts))


def usual_prompts(contrasts: PairsLike) -> str | None:
    """The name of the prompts for a contrast set where none are named; None for what it brings itself.

    A style brings a few messages, which its directions come from; it is stated on everyday questions,
    of which there are more.
    """
    return EVERYDAY if isinstance(contrasts, str) and contrasts.startswith(STYLE) else None


def prompts_for(contrasts: ContrastSet, name_or_path: str | Path | None = None) -> PromptSet:
    """The prompts that are asked for, else the bundled ones of a bundled contrast set, else its openings.

    A set is bundled if every pair is of the bundled set of its name; another set of that name has openings.
    """
    if name_or_path is not None or _is_bundled(contrasts):
        return load_prompts(name_or_path or contrasts.name)
    found = opening_prompts(contrasts.name, contrasts.pairs)
    place = {prompt.text: number for number, prompt in enumerate(found.prompts)}
    alone = (opening_prompts(contrasts.name, [pair]).prompts[0] for pair in contrasts.pairs)
    numbers = tuple(place[prompt.text] for prompt in alone)
    return replace(found, openings_of=contrasts, of_pair=numbers)


def _is_bundled(contrasts: ContrastSet) -> bool:
    name = contrasts.name
    if name not in bundled_prompts() or name not in bundled_contrasts():
        return False
    there = {(p.positive, p.negative) for p in load_contrasts(name)}
    return all((p.positive, p.negative) in there for p in contrasts)


def split_prompts_for(
    contrasts: ContrastSet,
    name_or_path: str | Path | None,
    seed: int,
    *,
    max_select: int,
    max_test: int,
    grouping: str = CONTRAST,
) -> Split[PromptSet]:
    """The same in three parts, the later two limited; openings too few for that stay in each part with them."""
    prompts = prompts_for(contrasts, name_or_path)
    if prompts.openings_of is not None and len({p.text for p in prompts.prompts}) < len(PARTS):
        parts = contrasts.split(seed, grouping)
        found = parts.map(lambda part: opening_prompts(part.name, part.pairs))
    else:
        found = prompts.split(seed, grouping)
    return Split(
        found.fit,
        replace(found.select, prompts=found.select.prompts[:max_select]),
        replace(found.test, prompts=found.test.prompts[:max_test]),
    )


def _sha256(content: Any) -> str:
    return hashlib.sha256(
        json.dumps(content, ensure_ascii=False, sort_keys=True).encode()
    ).hexdigest()


def _build(path: Path, number: int, kind: Callable[..., Item], row: dict[str, Any]) -> Item:
    try:
        return kind(**row)
    except ContrastError as error:
        raise ContrastError(f"{path}, line {number}: {error}") from None


def _groups_of(pairs: Sequence[ContrastPair], *, by_contrast: bool) -> list[int]:
    """The number of the group of each pair; answers to one question are of one group."""
    texts = [(p.positive, p.negative) for p in pairs]
    return with_questions(pairs, groups_to_split(texts) if by_contrast else joined(texts))


def _by_contrast(grouping: str) -> bool:
    """Whether what says the same stays together, and not only equal texts."""
    if grouping not in GROUPINGS:
        raise UnknownNameError("grouping", grouping, GROUPINGS)
    return grouping == CONTRAST
