"""The JSON of a vllm-lens `SteeringVector`: activations by block, 2-D, for every position.

Numbers are base64 of float32, little-endian, without compression, which the tool reads as well as its own. Keys
that it does not know it leaves aside; there our description lies.

Source: vllm-lens 1.3.0, `SteeringVector.model_validate`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from steerscope.directions.exports.own import KEY


def write(path: Path, vectors: Mapping[int, Tensor], blocks: Sequence[str], text: str) -> None:  # noqa: ARG001
    """One row for each block that has a vector."""
    rows = torch.stack([*vectors.values()]).numpy().astype("<f4")
    data = base64.b64encode(rows.tobytes()).decode("ascii")
    said = {
        "activations": {"data": data, "dtype": "float32", "shape": list(rows.shape)},
        "layer_indices": list(vectors),
        "scale": 1.0,
        "norm_match": False,
        "position_indices": None,
        KEY: json.loads(text),
    }
    path.write_text(json.dumps(said) + "\n", encoding="utf-8")


def is_ours(path: Path) -> bool:
    """Whether such a file was written by us."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and KEY in found


def use(path: Path, layers: Sequence[int]) -> str:  # noqa: ARG001 - as of every tool
    """How the tool is told."""
    return (
        f"SteeringVector.model_validate_json(open({str(path)!r}).read()), as steering_vectors=[...]"
    )
