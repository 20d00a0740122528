"""Which texts say the same thing twice: the groups that splits keep whole and intervals resample.

Two pairs are of one group where they share a text, or where they differ in the same words, or answer
one question; two prompts are where they are the same but for a name.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from random import Random

from steerscope.errors import ContrastError
from steerscope.texts.chats import question_of
from steerscope.texts.pairs import ContrastPair
from steerscope.texts.showing import counted
from steerscope.texts.words import between_blanks, words_in

PARTS = ("fit", "select", "test")
_BLANK = "_"
_FEWEST = 3  # groups: one for each part of a split
_PERSONS = frozenset(
    [
        "he",
        "she",
        "they",
        "him",
        "her",
        "them",
        "his",
        "hers",
        "their",
        "theirs",
        "himself",
        "herself",
        "themselves",
    ]
)


def names_in(texts: Iterable[str]) -> frozenset[str]:
    """Words that are always written with a capital: names, as far as these texts can tell."""
    words = {word for text in texts for word in words_in(text)}
    return frozenset(
        w.lower() for w in words if w[0].isupper() and len(w) > 1 and w.lower() not in words
    )


def normalised(text: str, names: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The words of a text in lower case, names, persons and numbers blank, without punctuation."""
    words = (word.lower() for word in words_in(text))
    return tuple(_BLANK if w in names or w in _PERSONS or w.isdigit() else w for w in words)


def template_of(
    positive: str, negative: str, names: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """The words that both texts of a pair share, normalised."""
    first, second = normalised(positive, names), normalised(negative, names)
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return tuple(w for block in blocks for w in first[block.a : block.a + block.size])


def contrast_of(
    positive: str, negative: str, names: frozenset[str] = frozenset()
) -> tuple[tuple[str, ...], ...]:
    """What differs between the texts of a pair, normalised; the same if they change places.

    Texts that differ in names, persons or numbers alone differ in those.
    """
    first, second = normalised(positive, names), normalised(negative, names)
    if first == second:
        first, second = normalised(positive), normalised(negative)
    if first == second:
        first, second = (_between_blanks(text) for text in (positive, negative))
    spans = SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    sides = (
        tuple(w for kind, a, b, _, _ in spans if kind != "equal" for w in first[a:b]),
        tuple(w for kind, _, _, a, b in spans if kind != "equal" for w in second[a:b]),
    )
    return tuple(sorted(sides))


def _between_blanks(text: str) -> tuple[str, ...]:
    return tuple(match[0] for match in between_blanks(text))


def joined(keys: Sequence[Sequence[Hashable]]) -> list[int]:
    """The number of the group of each item; items that share a key, if only by others, are of one."""
    parent = list(range(len(keys)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[Hashable, int] = {}
    for item, mine in enumerate(keys):
        for key in mine:
            parent[root(item)] = root(first.setdefault(key, item))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(item), len(numbers)) for item in range(len(keys))]


def distinct_contrasts(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """The distinct contrast of each pair of texts: pairs that differ in the same words are of one."""
    return joined(_contrasts(pairs))


def groups_of_pairs(pairs: Sequence[ContrastPair]) -> list[int]:
    """The groups of pairs that an interval resamples.

    Pairs that differ in the same words are of one, and so are answers to one question; where the same
    answers to every question would leave fewer than three groups, the questions count alone, as in the split.
    """
    return with_questions(pairs, distinct_contrasts([(p.positive, p.negative) for p in pairs]))


def with_questions(pairs: Sequence[ContrastPair], groups: Sequence[int]) -> list[int]:
    """Groups of pairs, joined where pairs answer one question.

    Where the same answers to every question would leave too few groups, the questions count alone.
    """
    asked = [question_of(p.positive, p.negative) for p in pairs]
    if not any(asked):
        return [*groups]
    questions: list[list[Hashable]] = [[] if q is None else [q] for q in asked]
    found = joined([[g, *q] for g, q in zip(groups, questions, strict=True)])
    if len(set(found)) >= _FEWEST:
        return found
    return joined([[p.positive, p.negative, *q] for p, q in zip(pairs, questions, strict=True)])


def shared_templates(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """The template of each pair: pairs of one keep the same words, which are half of a text or more."""
    names = names_in(text for pair in pairs for text in pair)
    keys: list[tuple[Hashable, ...]] = []
    for pair in pairs:
        template = template_of(*pair, names)
        longer = max(len(normalised(text)) for text in pair)
        keys.append((template,) if 0 < longer <= 2 * len(template) else ())
    return joined(keys)


def distinct_prompts(prompts: Sequence[str]) -> list[int]:
    """The distinct prompt of each prompt: those that are the same but for names are of one."""
    names = names_in(prompts)
    return joined([(text, normalised(text, names)) for text in prompts])


def groups_to_split(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """The groups of pairs that a split keeps whole.

    Pairs of one contrast stay together, and those of one template where that leaves no group with
    more than a quarter of all pairs; where texts and templates are crossed it would leave one group.
    Where fewer than three groups were left, only pairs that share a text stay together, and an
    interval over contrasts says how few there are.
    """
    contrasts, templates = _contrasts(pairs), _templates(pairs)
    both = joined([c + t for c, t in zip(contrasts, templates, strict=True)])
    if max(map(both.count, set(both)), default=0) <= len(pairs) / 4:
        return both
    found = joined(contrasts)
    return found if len(set(found)) >= _FEWEST else joined(pairs)


def _contrasts(pairs: Sequence[tuple[str, str]]) -> list[tuple[Hashable, ...]]:
    names = names_in(text for pair in pairs for text in pair)
    return [(*pair, ("differ in", contrast_of(*pair, names))) for pair in pairs]


def _templates(pairs: Sequence[tuple[str, str]]) -> list[tuple[Hashable, ...]]:
    names = names_in(text for pair in pairs for text in pair)
    found = [template_of(*pair, names) for pair in pairs]
    return [(("share", template),) if template else () for template in found]


def split_groups(
    name: str, labels: Sequence[int], seed: int, *, fit: float, select: float, by_group: bool
) -> dict[str, list[int]]:
    """Positions of the items in each part: shuffled groups, one after another.

    The shares are of groups, or of items.
    """
    members: dict[int, list[int]] = {}
    for item, label in enumerate(labels):
        members.setdefault(label, []).append(item)
    groups = sorted(members.values(), key=lambda group: group[-1])
    if len(groups) < len(PARTS):
        raise ContrastError(
            f"{name!r} has {counted(len(groups), 'independent item')}; splitting into fit, select and test "
            "needs at least 3."
        )
    Random(f"split {seed}").shuffle(groups)
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    whole = len(groups) if by_group else len(labels)
    until = {"fit": fit * whole, "select": (fit + select) * whole, "test": whole}
    placed = 0
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        empty = [part for part in parts if not parts[part]]
        part = next(part for part in parts if placed < until[part] or part == "test")
        if len(empty) >= left:  # no part may stay empty
            part = empty[0]
        parts[part].extend(group)
        placed += 1 if by_group else len(group)
    return {part: sorted(chosen) for part, chosen in parts.items()}


def in_parts_of_pairs(
    pairs: Sequence[Hashable], prompts: Sequence[int], parts: Mapping[str, Sequence[Hashable]]
) -> dict[str, list[int]] | None:
    """The numbers of the prompts that go with the pairs of each part; None where too few go round.

    A prompt of pairs in several parts is in the last of them, held out; where that leaves nothing to
    select by or to state, the prompts have to be split by themselves.

    Args:
        pairs: all pairs.
        prompts: the number of the prompt of each.
        parts: the pairs of each part.
    """
    number = dict(zip(pairs, prompts, strict=True))
    found: dict[str, list[int]] = {}
    taken: set[int] = set()
    for part in reversed(PARTS):
        mine = dict.fromkeys(number[pair] for pair in parts[part])
        found[part] = [n for n in mine if n not in taken]
        taken |= set(found[part])
    return {part: found[part] for part in PARTS} if all(found[p] for p in PARTS[1:]) else None
