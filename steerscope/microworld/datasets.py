"""Contrast sets and prompts of the microworld: `python -m steerscope.microworld.datasets --out DIR`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from itertools import product
from pathlib import Path
from random import Random

from steerscope.microworld.lexicon import MOODS
from steerscope.microworld.oracle import read, sample_story, split_sentences
from steerscope.microworld.rules import VARIABLES

PAIRED = {"mood": ("joyful", "gloomy"), "register": ("ornate", "terse"), "topic": ("sea", "garden")}
FILES = {"mood": "mood", "register": "register", "topic": "garden_sea"}


def in_other_mood(text: str) -> str:
    """The same text with every mood word replaced by its counterpart in the other mood."""
    joyful, gloomy = MOODS.values()
    other: dict[str, str] = {}
    for kind in fields(joyful):
        for a, b in zip(getattr(joyful, kind.name), getattr(gloomy, kind.name), strict=True):
            other |= {a: b, b: a}
    longest_first = sorted(other, key=len, reverse=True)
    return re.sub(rf"\b({'|'.join(longest_first)})\b", lambda m: other[m[1]], text)


def contrast_pairs(variable: str, count: int, seed: int = 0) -> list[dict[str, str]]:
    """Story openings of one sentence and some more words that differ in one hidden variable.

    Moods differ in their mood words alone; topics and registers are told from the same random
    stream, so topics differ in their own words alone. Each side shows its value, no text comes
    twice. The texts end after any word, and not always with a full stop, because a direction that
    is read at their last token is added at every position.
    """
    rng = Random(f"pairs {variable} {seed}")
    positive, negative = PAIRED[variable]
    pairs: list[dict[str, str]] = []
    seen: set[str] = set()
    while len(pairs) < count:
        stream, n_sentences, share = rng.random(), rng.randint(2, 4), rng.random()
        shared = {v: rng.choice(values) for v, values in VARIABLES.items() if v != variable}
        texts = []
        for value in (positive, negative):
            story = sample_story(Random(stream), {**shared, variable: value})
            texts.append(" ".join(story.sentences[:n_sentences]))
        if variable == "mood":  # told in either mood, then in the other
            told = len(pairs) % 2
            texts[1 - told] = in_other_mood(texts[told])
        texts = [_without_the_end(text, share) for text in texts]
        shown = [read(text).value(variable) for text in texts]
        if shown == [positive, negative] and not seen & set(texts):
            seen.update(texts)
            pairs.append({"positive": texts[0], "negative": texts[1], "concept": variable})
    return pairs


def _without_the_end(text: str, share: float) -> str:
    """The first sentence of a text and a share of the words after it, at least one."""
    opening = split_sentences(text)[0][0]
    words = text[len(opening) :].split()
    return " ".join([opening, *words[: 1 + int(share * len(words))]])


def prompts(variable: str, count: int, seed: int = 0) -> list[dict[str, object]]:
    """Story openings of two sentences that show mood, register, topic and protagonist, as they are.

    The two values of `variable` and of the register come equally often.
    """
    rng = Random(f"prompts {variable} {seed}")
    held = dict.fromkeys((variable, "register"))
    choices = list(product(*(PAIRED[v] for v in held)))
    found: list[dict[str, object]] = []
    seen: set[str] = set()
    while len(found) < count:
        fixed = dict(zip(held, choices[len(found) % len(choices)], strict=True))
        story = sample_story(rng, fixed)
        text = " ".join(story.sentences[:2])
        reading = read(text)
        shown = all(reading.value(v) == value for v, value in story.hidden.items())
        if shown and text not in seen:
            seen.add(text)
            found.append({"prompt": text, "facts": dict(story.hidden)})
    return found


def _lines(rows: list[dict[str, str]] | list[dict[str, object]]) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    """Write one contrast set and one prompt set for each paired variable."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--pairs", type=int, default=480)
    parser.add_argument("--prompts", type=int, default=400)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for variable, name in FILES.items():
        pairs = _lines(contrast_pairs(variable, options.pairs))
        (options.out / f"{name}.jsonl").write_text("".join(pairs))
        rows = _lines(prompts(variable, options.prompts))
        (options.out / f"{name}.prompts.jsonl").write_text("".join(rows))


if __name__ == "__main__":
    main()
