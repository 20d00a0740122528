"""Directions in a safetensors file, each with its place in words, its lengths and its origin."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from steerscope.activations import Provenance
from steerscope.directions.direction import Direction
from steerscope.doses import Scale
from steerscope.errors import VectorFileError
from steerscope.sites import Site

FORMAT_VERSION = 1
_KEY = "steerscope"


def save_directions(path: str | Path, directions: Sequence[Direction]) -> None:
    """Write directions to one safetensors file, whole or not at all.

    Raises:
        VectorFileError: there is none, or two have the same method, site and seed.
    """
    labels = [d.label for d in directions]
    if not labels or len(set(labels)) < len(labels):
        raise VectorFileError(
            f"{path}: directions must be at least one, and each of its own label."
        )
    described = {
        d.label: {
            "site": str(d.site),
            "place": d.site.words,
            "natural": d.scale.natural,
            "relative": d.scale.relative,
            "method": d.method,
            "provenance": asdict(d.provenance),
        }
        for d in directions
    }
    metadata = {_KEY: json.dumps({"format_version": FORMAT_VERSION, "directions": described})}
    content = save({d.label: d.unit.contiguous().cpu() for d in directions}, metadata)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def load_directions(path: str | Path) -> list[Direction]:
    """Read back what `save_directions` wrote.

    Raises:
        VectorFileError: no such file, not a safetensors file, or not one of ours.
        NotFiniteError: a direction holds a NaN or an infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise VectorFileError(f"no vector file {path}; check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise VectorFileError(f"{path} is not a safetensors file ({error}).") from None
    if text is None:
        raise VectorFileError(f"{path} holds tensors but not steerscope's description of them.")
    content = json.loads(text)
    if content.get("format_version") != FORMAT_VERSION:
        raise VectorFileError(
            f"{path} has format version {content.get('format_version')}, this steerscope reads "
            f"{FORMAT_VERSION}."
        )
    return [
        Direction(
            site=Site.parse(entry["site"]),
            unit=tensors[label],
            scale=Scale(entry["natural"], entry["relative"]),
            method=entry["method"],
            provenance=Provenance(**entry["provenance"]),
        )
        for label, entry in content["directions"].items()
    ]
