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
    """Fresh texts of a bundled world, or documents of a file, one to a line; at most `n`.

    Those for training and those held out are apart: a world draws both anew, and of the distinct documents of a
    file the first, third, fifth and so on are for training, and those between them held out.

    Raises:
        ContrastError: the file is missing or a line cannot be used.
        BadValueError: n is not positive, or a file of one distinct document has none to hold out.
    """
    if n < 1:
        raise BadValueError(f"{n} texts; choose at least 1.")
    if name_or_path in WORLDS:
        return WORLDS[name_or_path](Random(f"autoencoder {use} {seed}"), n)
    documents = list(dict.fromkeys(prompt.text for prompt in load_prompts(name_or_path).prompts))
    mine = documents[0 if use == "train" else 1 :: 2]
    if not mine:
        raise BadValueError(
            f"{name_or_path} has one distinct document, which is for training; give a file of more, of which every "
            "other one is held out."
        )
    return mine[:n]
