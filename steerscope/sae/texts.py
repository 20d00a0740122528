"""Texts to train and to judge autoencoders on."""

from __future__ import annotations

from random import Random
from typing import Literal

from steerscope.errors import BadValueError
from steerscope.judges import WORLDS
from steerscope.texts.contrasts import load_prompts


def load_texts(
    name_or_path: str, use: Literal["train", "held out"], *, n: int, seed: int = 0
) -> list[str]:
    """Fresh texts of a bundled world, or the first `n` documents of a file, one to a line.

    Those for training and those held out are drawn apart.

    Raises:
        ContrastError: the file is missing or a line cannot be used.
        BadValueError: n is not positive.
    """
    if n < 1:
        raise BadValueError(f"{n} texts; choose at least 1.")
    if name_or_path in WORLDS:
        return WORLDS[name_or_path](Random(f"autoencoder {use} {seed}"), n)
    return [prompt.text for prompt in load_prompts(name_or_path).prompts[:n]]
