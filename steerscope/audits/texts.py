"""Checks of the texts of the contrast set and of the prompts: what else tells them apart or repeats."""

from __future__ import annotations

from collections.abc import Sequence

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding, Severity
from steerscope.audits.tells import tell, variants

_TELLS = 0.75  # AUC from which something else than the concept tells the classes apart
_REPEATED = 0.1  # share of the texts
# What a direction may pick up instead of the concept, and how bad that is: words are what a concept
# is said in, ends and lengths are not.
_CONFOUNDS: dict[str, tuple[Severity, str]] = {
    "first word": ("warning", "Let both texts of a pair begin alike"),
    "last word": ("warning", "Let both texts of a pair end alike, or read another token"),
    "words": ("note", "Say that the direction may be that of single words, or paraphrase them"),
}


def text_confounds(evidence: Evidence) -> list[Finding]:
    """A classifier that sees no model tells the classes by its words, its first or its last."""
    found = []
    for kind, (severity, remedy) in _CONFOUNDS.items():
        auc = tell(evidence.contrasts.pairs, kind)
        if not auc.low > _TELLS:
            continue
        found.append(
            Finding(
                severity,
                f"a classifier that sees the {kind} of a text alone, and no model, tells the classes "
                f"with an AUC of {auc.value:.2f} [{auc.low:.2f}, {auc.high:.2f}] on pairs that it was "
                f"not trained on: the direction may be that of the {kind}",
                f"contrast set {evidence.plan.contrasts}",
                remedy,
                {"auc": auc.value, "auc_low": auc.low, "auc_high": auc.high, "texts": auc.n},
            )
        )
    return found


def repeated_pairs(evidence: Evidence) -> list[Finding]:
    """Pairs that are the same but for one word count as several, though they say one thing."""
    pairs = evidence.contrasts.pairs
    return _repeated(
        [(p.positive, p.negative) for p in pairs],
        "pairs",
        f"contrast set {evidence.plan.contrasts}",
    )


def repeated_prompts(evidence: Evidence) -> list[Finding]:
    """Prompts that are the same but for one word, in one split or across them."""
    texts = evidence.texts
    given = [(text,) for text in texts.given]
    found = _repeated(given, "prompts", "prompts")
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


def _repeated(items: Sequence[tuple[str, ...]], what: str, where: str) -> list[Finding]:
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
