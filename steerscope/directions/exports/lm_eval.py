"""The `.pt` of lm-eval's model `steered`: by the path of a module, what is added to its output.

Each entry holds `steering_vector`, `steering_coefficient`, `action`, `bias` and `head_index`; what else is in
it, the tool does not read, and there our description lies.

Source: lm-eval 0.4.13, `--model steered --model_args pretrained=...,steer_path=...`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from steerscope.directions.exports.own import KEY, said_by


def write(path: Path, vectors: Mapping[int, Tensor], blocks: Sequence[str], text: str) -> None:
    """One entry for each block."""
    torch.save(
        {
            blocks[layer]: {
                "steering_vector": vector,
                "steering_coefficient": 1.0,
                "action": "add",
                "bias": None,
                "head_index": None,
                KEY: text,
            }
            for layer, vector in vectors.items()
        },
        path,
    )


def is_ours(path: Path) -> bool:
    """Whether such a file was written by us."""
    return said_by(
        path, lambda found: all(KEY in entry for entry in found.values()) and bool(found)
    )


def use(path: Path, layers: Sequence[int]) -> str:  # noqa: ARG001 - as of every tool
    """How the tool is told."""
    return f"lm_eval --model steered --model_args pretrained=MODEL,steer_path={path} --tasks ..."
