"""Texts to train and to judge autoencoders on."""

from __future__ import annotations

from random import Random
from typing import Literal

from steerscope.errors import BadValueError
from steerscope.microworld.oracle import Story, sample_story
from steerscope.texts.contrasts import load_prompts

MICROWORLD = "microworld"


def stories(use: Literal["train", "held out"], n: int, *, seed: int = 0) -> list[Story]:
    """Stories of the microworld; those for training and those held out are drawn apart."""
    rng = Random(f"autoencoder {use} {seed}")
    return [sample_story(rng) for _ in range(n)]


def load_texts(
    name_or_path: str, use: Literal["train", "held out"], *, n: int, seed: int = 0
) -> list[str]:
    """Fresh stories of the microworld, or the first `n` documents of a file, one to a line.

    Raises:
        ContrastError: the file is missing or a line cannot be used.
        BadValueError: n is not positive.
    """
    if n < 1:
        raise BadValueError(f"{n} texts; choose at least 1.")
    if name_or_path == MICROWORLD:
        return [story.text for story in stories(use, n, seed=seed)]
    return [prompt.text for prompt in load_prompts(name_or_path).prompts[:n]]
