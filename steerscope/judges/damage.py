"""What may be wrong with a text whatever it is about: empty, too short, canned, copied, repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from steerscope.metrics import MIN_TOKENS

_GRAM = 4  # tokens
_COPIED = 0.5  # share of the n-grams of a text that stand in its prompt


def text_damage(
    prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]
) -> list[dict[str, float]]:
    """For each text of one condition whether it is empty, too short, canned or copied: 1 or 0.

    `empty`: no token. `too_short`: some, but fewer than repetition can be told from. `canned`: the
    same as that of another, different prompt. `copied`: at least half of its 4-grams stand in its prompt.

    Args:
        prompts: tokens of each prompt.
        written: tokens of each continuation.
    """
    different = {(tuple(p), tuple(t)) for p, t in zip(prompts, written, strict=True)}
    times = Counter(text for _, text in different)  # of one prompt once, however often it is asked
    return [
        {
            "empty": float(not text),
            "too_short": float(0 < len(text) < MIN_TOKENS),
            "canned": float(bool(text) and times[tuple(text)] > 1),
            "copied": float(_copied(prompt, text) >= _COPIED),
        }
        for prompt, text in zip(prompts, written, strict=True)
    ]


def _copied(prompt: Sequence[int], text: Sequence[int]) -> float:
    """Share of the 4-grams of a text that stand in its prompt; 0 for a text without any."""
    there, grams = set(_grams(prompt)), _grams(text)
    return sum(gram in there for gram in grams) / len(grams) if grams else 0.0


def _grams(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(tokens[i : i + _GRAM]) for i in range(len(tokens) - _GRAM + 1)]
