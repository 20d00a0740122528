"""The `.pt` of hotwire: a matrix with one row for each block, of which a request names the rows it wants.

The first tensor of a dictionary is taken, so that our description lies behind it. Its name to requests is the
file's without `.pt`.

Source: hotwire-vllm 0.1.2, `HOTWIRE_VECTORS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from steerscope.directions.exports.own import KEY, said_by


def write(path: Path, vectors: Mapping[int, Tensor], blocks: Sequence[str], text: str) -> None:
    """Rows of zeros where there is no vector."""
    rows = torch.zeros(len(blocks), len(next(iter(vectors.values()))))
    for layer, vector in vectors.items():
        rows[layer] = vector
    torch.save({"vectors": rows, KEY: text}, path)


def is_ours(path: Path) -> bool:
    """Whether such a file was written by us."""
    return said_by(path, lambda found: KEY in found)


def use(path: Path, layers: Sequence[int]) -> str:
    """How the tool is told."""
    wanted = [{"id": path.stem, "layer": layer, "scale": 1.0} for layer in layers]
    said = json.dumps(wanted[0] if len(wanted) == 1 else wanted)
    return f"HOTWIRE_VECTORS={path} vllm serve MODEL; in a request vllm_xargs hotwire = {said}"
