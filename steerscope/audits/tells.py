"""What tells the classes of texts apart without any model: words, ends, length, and repeated texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from steerscope.statistics import Estimate, auroc_estimate
from steerscope.texts.contrasts import ContrastPair
from steerscope.texts.words import words_and_signs

_FOLDS = 5
FEWEST_PAIRS = 2 * _FOLDS  # that a classifier can be tried on
_RIDGE = 1.0
_MOST_PAIRS = 200  # read; more make no other number
_MOST_FEATURES = 2000


def words_of(text: str) -> list[str]:
    """Words and marks, in lower case."""
    return [match[0] for match in words_and_signs(text.lower())]


# Each kind of tell: what of a text a classifier may look at. A character also tells capitals and
# blanks, which a tokenizer sees and a word does not.
TELLS: dict[str, Callable[[str], Iterable[str]]] = {
    "words": words_of,
    "first word": lambda text: words_of(text)[:1],
    "last word": lambda text: words_of(text)[-1:],
    "first character": lambda text: text[:1],
    "last character": lambda text: text[-1:],
}


def tell(pairs: Sequence[ContrastPair], kind: str) -> Estimate:
    """AUC of a classifier of texts that sees one kind of tell and no model; n is the number of texts.

    A ridge classifier of which words a text has (or of its length in words), trained on four fifths of
    the pairs and judged on the others, each fifth in turn; 0.5 is chance. NaN for fewer than ten pairs.
    Of conversations it sees what is said after the turns that both open with.

    Args:
        pairs: of a contrast set.
        kind: a name in `TELLS`, or `length`.
    """
    return _tell(tuple(pairs[:_MOST_PAIRS]), kind)


@lru_cache(maxsize=32)  # a page, its sentence and its check ask for the same
def _tell(kept: tuple[ContrastPair, ...], kind: str) -> Estimate:
    texts = [text for p in kept for text in p.said]
    positive = np.arange(len(texts)) % 2 == 0
    if len(kept) < FEWEST_PAIRS:
        return Estimate(float("nan"), float("nan"), float("nan"), len(texts))
    if kind == "length":
        features = np.array([[len(words_of(text))] for text in texts], float)
        features = (features - features.mean()) / (features.std() or 1.0)
    else:
        features = _counted([set(TELLS[kind](text)) for text in texts])
    folds = np.random.default_rng(0).permutation(len(kept)) % _FOLDS
    scores = _held_out_scores(features, positive, np.repeat(folds, 2))
    return auroc_estimate(scores, positive)


def _counted(found: Sequence[set[str]]) -> Float[np.ndarray, "text feature"]:
    """Which of the most frequent features each text has."""
    counts = Counter(name for names in found for name in sorted(names))
    names = {name: i for i, (name, _) in enumerate(counts.most_common(_MOST_FEATURES))}
    features = np.zeros((len(found), len(names)))
    for row, there in enumerate(found):
        features[row, [names[name] for name in there if name in names]] = 1.0
    return features


def _held_out_scores(
    features: Float[np.ndarray, "text feature"],
    positive: Bool[np.ndarray, " text"],
    folds: Int[np.ndarray, " text"],
) -> Float[np.ndarray, " text"]:
    """Ridge scores of each fold by the others: K (K + λ I)⁻¹ y with K of centred features."""
    scores = np.zeros(len(positive))
    for fold in range(_FOLDS):
        mine = folds == fold
        centre = features[~mine].mean(axis=0)
        here, there = features[mine] - centre, features[~mine] - centre
        labels = np.where(positive[~mine], 1.0, -1.0)
        weights = np.linalg.solve(there @ there.T + _RIDGE * np.eye(len(there)), labels)
        found = here @ (there.T @ weights)
        scores[mine] = np.round(found, 9)  # what no feature tells apart is a tie
    return scores


def variants(texts: Sequence[Sequence[str]]) -> list[int]:
    """The group of each item, items in one group being the same but for a single word.

    Two items are variants if one word, replaced wherever it stands in all texts of the item, makes
    them equal, as a name in a template does. Items that are equal are variants too.

    Args:
        texts: of each item, such as both texts of a pair.
    """
    root = list(range(len(texts)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    seen: dict[tuple[str, ...], int] = {}
    for number, item in enumerate(texts):
        split = [words_of(text) for text in item]
        shared = set(split[0]).intersection(*split[1:])
        for word in {*shared, ""}:
            key = tuple(" ".join("_" if w == word else w for w in words) for words in split)
            root[find(number)] = find(seen.setdefault(key, number))
    return [find(i) for i in range(len(texts))]
