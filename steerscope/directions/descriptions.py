"""What a vector file says about its directions, in words that are checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from steerscope.directions.direction import Direction
from steerscope.doses import Scale
from steerscope.errors import BadValueError, UnknownNameError, VectorFileError, VectorMismatchError
from steerscope.extraction.activations import Provenance
from steerscope.models.fingerprints import same_weights
from steerscope.sites import Site

FORMAT_VERSION = 1
_MOST_LAYERS = 10_000
_AGAIN = "the file is damaged or was edited; write it again with steerscope."


@dataclass(frozen=True)
class Description:
    """All of a direction but its components; `place` is the site in words, for other readers."""

    site: str
    place: str
    natural: float
    relative: float
    method: str
    provenance: Provenance


@dataclass(frozen=True)
class _Version:
    format_version: int


@dataclass(frozen=True)
class _Content(_Version):
    directions: dict[str, Description]


def describe(path: str | Path, directions: Sequence[Direction]) -> str:
    """The description of directions as one JSON text.

    Raises:
        VectorFileError: there is none, or two have the same method, site and seed.
    """
    labels = [d.label for d in directions]
    if not labels or len(set(labels)) < len(labels):
        raise VectorFileError(
            f"{path}: directions must be at least one, and each of its own label."
        )
    described = {
        d.label: Description(
            str(d.site), d.site.words, d.scale.natural, d.scale.relative, d.method, d.provenance
        )
        for d in directions
    }
    return json.dumps(asdict(_Content(FORMAT_VERSION, described)))


def restore(path: str | Path, text: str, units: Mapping[str, Tensor]) -> list[Direction]:
    """The directions of a description and of the unit vectors that go with its labels.

    Raises:
        VectorFileError: the description is damaged, of another version, or of other vectors.
        NotFiniteError: a unit vector is not finite, or a length is not positive.
        DegenerateDirectionError: a unit vector is not of length 1.
    """
    described = _parse(path, text)
    if described.keys() != units.keys():
        odd = ", ".join(sorted(described.keys() ^ units.keys())[:4])
        raise VectorFileError(f"{path}: vectors and description do not agree on {odd}; {_AGAIN}")
    return [_direction(path, label, entry, units[label]) for label, entry in described.items()]


def check_one_model(where: str | Path, directions: Sequence[Direction]) -> None:
    """Refuse directions that were found on different models.

    Raises:
        VectorMismatchError: two fingerprints.
    """
    for other in directions[1:]:
        one = directions[0]
        if not same_weights(one.provenance.fingerprint, other.provenance.fingerprint):
            raise VectorMismatchError(
                f"{where}: {one.label} and {other.label} are of different models; write one for "
                "each model."
            )


def _parse(path: str | Path, text: str) -> dict[str, Description]:
    try:
        version = TypeAdapter(_Version).validate_json(text, strict=True).format_version
        if version != FORMAT_VERSION:
            raise VectorFileError(
                f"{path} has format version {version}, this steerscope reads {FORMAT_VERSION}; "
                "use the steerscope that wrote it or a newer one."
            )
        content = TypeAdapter(_Content).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise VectorFileError(
            f"{path}: the description is not readable at {where} ({first['msg']}); {_AGAIN}"
        ) from None
    return content.directions


def _direction(path: str | Path, label: str, entry: Description, unit: Tensor) -> Direction:
    try:
        site = Site.parse(entry.site)
    except (BadValueError, UnknownNameError, ValueError) as error:
        raise VectorFileError(f"{path}: {error} {_AGAIN}") from None
    if site.layer >= _MOST_LAYERS:
        raise VectorFileError(f"{path}: no model has a layer {site.layer}; {_AGAIN}")
    if unit.ndim != 1 or not unit.is_floating_point():
        raise VectorFileError(
            f"{path}: {label} is not a vector of numbers but {unit.dtype} of shape "
            f"{tuple(unit.shape)}; {_AGAIN}"
        )
    scale = Scale(entry.natural, entry.relative)
    direction = Direction(site, unit, scale, entry.method, entry.provenance)
    if direction.label != label:
        raise VectorFileError(f"{path}: {label} is described as {direction.label}; {_AGAIN}")
    return direction
