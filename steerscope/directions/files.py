"""Directions in a safetensors file, each with its place in words, its lengths and its origin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from steerscope.directions.descriptions import describe, restore
from steerscope.directions.direction import Direction
from steerscope.errors import VectorFileError
from steerscope.runs.outputs import check_file
from steerscope.runs.whole_files import whole_file

_KEY = "steerscope"


def save_directions(
    path: str | Path, directions: Sequence[Direction], *, force: bool = False
) -> None:
    """Write directions to one safetensors file, whole or not at all.

    Args:
        path: of the file; directions that are there are replaced, and nothing else.
        directions: of one model or of several; each keeps its site, lengths and origin.
        force: replace a file of any other kind as well.

    Raises:
        OutputError: there is a folder, or a file of something else.
        VectorFileError: there is none, two have the same method, site and seed, or the disk
            refused.
    """
    check_file(path, own=is_directions_file, force=force)
    metadata = {_KEY: describe(path, directions)}
    content = save(
        {d.label: d.unit.cpu().clone(memory_format=torch.contiguous_format) for d in directions},
        metadata,
    )
    with whole_file(path, VectorFileError) as unfinished:
        unfinished.write_bytes(content)


def load_directions(path: str | Path) -> list[Direction]:
    """Read back what `save_directions` wrote.

    Args:
        path: a `.safetensors` file that `save_directions` or `steerscope vectors` wrote.

    Raises:
        VectorFileError: no such file, not a safetensors file, not one of ours, or damaged.
        NotFiniteError: a direction is not finite.
    """
    path = Path(path)
    if not path.is_file():
        wrong = f"no vector file {path}; check the path."
        raise VectorFileError(f"{path} is a folder; give a file in it." if path.is_dir() else wrong)
    try:
        text, tensors = _read(path)
    except (SafetensorError, OSError) as error:
        raise VectorFileError(
            f"{path} is not a safetensors file ({error}); give one that steerscope wrote, or "
            "convert another tool's with `steerscope convert`."
        ) from None
    if text is None:
        raise VectorFileError(
            f"{path} holds tensors but not steerscope's description of them; give a file that "
            "steerscope wrote."
        )
    return restore(path, text, tensors)


def is_directions_file(path: str | Path) -> bool:
    """Whether a file is of the kind that `save_directions` writes, whatever its name."""
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {}).get(_KEY, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and "directions" in said


def _read(path: Path) -> tuple[str | None, dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(_KEY)
        return text, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
