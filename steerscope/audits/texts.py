"""Checks of the texts of the contrast set and of the prompts: what else tells them apart or repeats."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding, Severity
from steerscope.audits.tells import tell, variants
from steerscope.statistics import Estimate, bootstrap_mean
from steerscope.texts.contrasts import ContrastPair
from steerscope.texts.words import count_words

_TELLS = 0.75  # AUC from which something else than the concept tells the classes apart
_LONGER = 0.1  # of the mean length
_REPEATED = 0.1  # share of the texts
# What a direction may pick up instead of the concept, and how bad that is: words are what a concept
# is said in, ends and lengths are not.
_CONFOUNDS: dict[str, tuple[Severity, str]] = {
    "first word": ("warning", "Let both texts of a pair begin alike"),
    "last word": ("warning", "Let both texts of a pair end alike, or read another token"),
    "words": ("note", "Say that the direction may be that of single words, or paraphrase them"),
    "first character": ("warning", "Let both texts of a pair begin with the same letter or blank"),
    "last character": ("warning", "Let both texts of a pair end with the same mark or blank"),
}
_OF_A_RUN = ("first word", "last word", "words")


def text_confounds(evidence: Evidence) -> list[Finding]:
    """A classifier that sees no model tells the classes by its words, its first or its last."""
    return confounds(evidence.contrasts.pairs, _OF_A_RUN, _place(evidence))


def class_lengths(evidence: Evidence) -> list[Finding]:
    """One class of the contrast set has longer texts, which a direction may pick up instead."""
    return lengths_apart(evidence.contrasts.pairs, _place(evidence))


def repeated_pairs(evidence: Evidence) -> list[Finding]:
    """Pairs that are the same but for one word count as several, though they say one thing."""
    pairs = evidence.contrasts.pairs
    return repeated([(p.positive, p.negative) for p in pairs], "pairs", _place(evidence))


def repeated_prompts(evidence: Evidence) -> list[Finding]:
    """Prompts that are the same but for one word, in one split or across them.

    What an interval counts as one prompt, such as several texts of it, is one.
    """
    texts = evidence.texts.drop_duplicates(["split", "group"])
    given = [(text,) for text in texts.given]
    found = repeated(given, "prompts", "prompts")
    groups = texts.assign(group=variants(given)).groupby("group").split.nunique()
    across = int((groups > 1).sum())
    if across and found:
        found[0] = Finding(
            found[0].severity,
            f"{found[0].what}; {across} of them have variants in both splits",
            found[0].where,
            found[0].remedy,
            {**found[0].numbers, "across_splits": across},
        )
    return found


def _place(evidence: Evidence) -> str:
    return f"contrast set {evidence.plan.contrasts}"


def confounds(pairs: Sequence[ContrastPair], kinds: Collection[str], where: str) -> list[Finding]:
    """Each of these kinds of tell by which a classifier that sees no model tells the classes."""
    found = []
    for kind in kinds:
        severity, remedy = _CONFOUNDS[kind]
        auc = tell(pairs, kind)
        if not _tells(auc):
            continue
        found.append(
            Finding(
                severity,
                f"a classifier that sees the {kind} of a text alone, and no model, tells the classes "
                f"with an AUC of {auc.value:.2f} [{auc.low:.2f}, {auc.high:.2f}] on pairs that it was "
                f"not trained on: the direction may be that of the {kind}",
                where,
                remedy,
                {"auc": auc.value, "auc_low": auc.low, "auc_high": auc.high, "texts": auc.n},
            )
        )
    return found


def _tells(auc: Estimate) -> bool:
    """Surely above the limit; or without a mistake, which of ten pairs alone is not sure, though it is a warning."""
    return auc.low > _TELLS or auc.value == 1


def lengths_apart(pairs: Sequence[ContrastPair], where: str) -> list[Finding]:
    """Positive and negative texts differ in length, by a share of it or so that it tells them apart."""
    words = np.array([[count_words(text) for text in p.said] for p in pairs], float)
    difference = bootstrap_mean(words[:, 0] - words[:, 1])
    auc = tell(pairs, "length")
    tells = _tells(auc)
    alone = (
        f", and their length alone tells the classes with an AUC of {auc.value:.2f}"
        if tells
        else ""
    )
    longer = not difference.low <= 0 <= difference.high
    if not (longer and abs(difference.value) >= _LONGER * words.mean()) and not tells:
        return []
    return [
        Finding(
            "warning",
            f"positive texts are {difference.value:+.1f} words longer than negative ones, which is "
            f"{abs(difference.value) / words.mean():.0%} of a text{alone}: the direction may be one of "
            "length",
            where,
            "Match the lengths of each pair",
            {
                "difference_words": difference.value,
                "mean_words": float(words.mean()),
                "auc": auc.value,
            },
        )
    ]


def repeated(items: Sequence[tuple[str, ...]], what: str, where: str) -> list[Finding]:
    """Items that are the same but for one word, if they are more than a few."""
    n, distinct = len(items), len(set(variants(items)))
    if n - distinct <= _REPEATED * n:
        return []
    return [
        Finding(
            "warning",
            f"of {n} {what} only {distinct} differ by more than one word, such as a name in a "
            f"template: intervals over {n} are narrower than the texts allow",
            where,
            f"Count {distinct}, or write {what} that differ in what they say",
            {what: n, "distinct": distinct},
        )
    ]
