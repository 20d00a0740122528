"""Directions as a GGUF control vector, the file that llama.cpp and repeng add to a model.

The layer convention, in words: the tensor `direction.N` is added to the output of block N, where
the first block is block 0. That is our `resid_post.N`, HF `hidden_states[N + 1]`, and layer N of
repeng. llama.cpp holds no vector for block 0 and refuses a file with `direction.0`; repeng writes
and reads one. llama.cpp's own generator (`cvector-generator`) numbers what it finds from 1, so its
`direction.N` was found at block N - 1 and is applied one block later; the file does not say who
wrote it, and what counts here is where it is applied.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from steerscope.directions.descriptions import check_one_model, describe, restore
from steerscope.directions.direction import Direction
from steerscope.doses import Dose
from steerscope.errors import (
    BadValueError,
    NotFiniteError,
    SteerscopeError,
    VectorFileError,
    VectorMismatchError,
    reason,
)
from steerscope.runs.outputs import check_file
from steerscope.runs.whole_files import whole_file

if TYPE_CHECKING:
    from gguf import GGUFReader

_ARCHITECTURE = "controlvector"
_DESCRIPTION = "steerscope.directions"
_DOSE = "steerscope.dose"
_UNITS = "steerscope.units"
_PROJECTS = re.compile(r"project|ablat", re.IGNORECASE)
_NOT = {"", "0", "0.0", "false", "no", "none"}
_TENSOR = re.compile(r"direction\.([0-9]{1,5})")


@dataclass(frozen=True, eq=False)
class ControlVector:
    """What a GGUF control vector holds: a vector for each block's output, and texts by key."""

    vectors: dict[int, Tensor]
    texts: dict[str, str]

    @property
    def is_ours(self) -> bool:
        """Whether steerscope wrote it, so that it says where it comes from."""
        return _DESCRIPTION in self.texts


def fits_gguf(direction: Direction) -> bool:
    """Whether a control vector has a place for a direction: the output of a block from 1 on."""
    return direction.site.stream == "resid_post" and direction.site.layer >= 1


def export_gguf(
    path: str | Path,
    directions: Sequence[Direction],
    *,
    dose: Dose | None = None,
    model_hint: str | None = None,
    force: bool = False,
) -> None:
    """Write directions as a GGUF control vector, whole or not at all.

    direction.N = unit * length of the dose, in float32, so that strength 1 in llama.cpp or
    coefficient 1 in repeng is that dose. Unit vectors, lengths and origin go along in keys of
    their own (`steerscope.*`), which others ignore and `import_gguf` reads back exactly.

    Args:
        path: the file; a control vector of ours that is there is replaced, and nothing else.
        directions: at `resid_post`, one for each layer, of one model.
        dose: what strength 1 means; default one natural unit. Negative doses point the other way.
        model_hint: name of the architecture for other tools; default the model's name.
        force: replace a file of any other kind as well.

    Raises:
        OutputError: there is a folder, or a file of something else.
        VectorFileError: no direction, another stream, layer 0, two at one layer, or the disk
            refused.
        VectorMismatchError: directions of two models or widths.
        BadValueError: the dose is zero.
        NotFiniteError: the dose is too long for float32.
    """
    path, dose = Path(path), dose or Dose(1.0)
    check_file(path, own=is_our_gguf, force=force)
    description = describe(path, directions)
    _check_exportable(path, directions)
    placed = {d.site.layer: d for d in sorted(directions, key=lambda d: d.site.layer)}
    vectors = {layer: _vector(d, dose) for layer, d in placed.items()}
    texts = {
        f"{_ARCHITECTURE}.model_hint": model_hint or directions[0].provenance.model,
        _DESCRIPTION: description,
        _DOSE: json.dumps(asdict(dose)),
        _UNITS: json.dumps({d.label: _as_text(d.unit) for d in placed.values()}),
    }
    with whole_file(path, VectorFileError) as unfinished:
        _write(unfinished, vectors, texts)


def is_our_gguf(path: str | Path) -> bool:
    """Whether a file is a control vector that steerscope wrote."""
    try:
        return read_control_vector(path).is_ours
    except VectorFileError:
        return False


def import_gguf(path: str | Path) -> list[Direction]:
    """Read back what `export_gguf` wrote, bit for bit.

    Args:
        path: of the file; directions lie at the outputs of blocks, one a layer.

    Raises:
        VectorFileError: not a GGUF control vector, of another tool, or damaged.
    """
    path = Path(path)
    found = read_control_vector(path)
    if not found.is_ours:
        raise VectorFileError(
            f"{path} is a control vector of another tool and does not say how long a dose is; "
            "read it with import_directions(path, model), which measures that on the model."
        )
    return own_directions(path, found)


def own_directions(path: Path, found: ControlVector) -> list[Direction]:
    """The directions of a control vector that steerscope wrote.

    Raises:
        VectorFileError: the keys of ours are damaged or do not belong to the vectors.
    """
    try:
        dose = TypeAdapter(Dose).validate_json(found.texts.get(_DOSE, ""))
        texts = TypeAdapter(dict[str, str]).validate_json(found.texts.get(_UNITS, ""))
        units = {label: _from_text(text) for label, text in texts.items()}
    except (ValueError, SteerscopeError) as error:
        raise VectorFileError(
            f"{path}: the keys {_DOSE} and {_UNITS} are missing or damaged ({reason(error)}); "
            "write the file again."
        ) from None
    directions = restore(path, found.texts[_DESCRIPTION], units)
    described = {d.site.layer: _vector(d, dose) for d in directions}
    for layer in described.keys() | found.vectors.keys():
        ours, there = described.get(layer), found.vectors.get(layer)
        if ours is None or there is None or not torch.equal(ours, there):
            raise VectorFileError(
                f"{path}: direction.{layer} is not what its description says; another tool changed "
                "it. Write it again, or take the steerscope keys out to read the vectors as such."
            )
    return directions


def read_control_vector(path: str | Path) -> ControlVector:
    """Vectors by block, as repeng and llama.cpp read them, and the texts of a GGUF file.

    Raises:
        VectorFileError: not a readable GGUF file, not a control vector, or quantised.
    """
    from gguf import GGUFReader, GGUFValueType

    path = Path(path)
    if not path.is_file():
        wrong = f"no vector file {path}; check the path."
        raise VectorFileError(f"{path} is a folder; give a file in it." if path.is_dir() else wrong)
    try:
        reader = GGUFReader(path)
        texts = {
            name: str(field.contents())
            for name, field in reader.fields.items()
            if field.types == [GGUFValueType.STRING]
        }
        vectors = _vectors(path, reader)
    except VectorFileError:
        raise
    except Exception as error:  # a damaged file can fail anywhere inside the reader
        raise VectorFileError(
            f"{path} is not a readable GGUF file ({reason(error)}); it may be cut short, so fetch "
            "or write it again."
        ) from None
    if (key := _projective(reader)) is not None:
        raise VectorFileError(
            f"{path} is marked as a projection ({key}): its authors take the component along it "
            "out and do not add it. To use it so, take that key out of the file and steer with "
            "--operator project_out."
        )
    kind = texts.get("general.architecture")
    if kind != _ARCHITECTURE or not vectors:
        raise VectorFileError(
            f"{path} is a GGUF file of kind {kind!r} with {len(vectors)} directions, not a control "
            "vector; give the vector, not the model."
        )
    return ControlVector(vectors, texts)


def _projective(reader: GGUFReader) -> str | None:
    """The key, with its value, by which a control vector says that it is to be projected out."""
    for name, field in reader.fields.items():
        ours = name.startswith((f"{_ARCHITECTURE}.", "adapter."))
        if not ours or name == f"{_ARCHITECTURE}.model_hint":
            continue
        value = str(field.contents())
        if _PROJECTS.search(f"{name} = {value}") and value.lower() not in _NOT:
            return f"{name} = {value}"
    return None


def _vectors(path: Path, reader: GGUFReader) -> dict[int, Tensor]:
    vectors: dict[int, Tensor] = {}
    for tensor in reader.tensors:
        if not tensor.name.startswith("direction."):
            continue
        match = _TENSOR.fullmatch(tensor.name)
        if match is None or int(match[1]) in vectors:
            raise VectorFileError(
                f"{path}: tensor {tensor.name!r} names no layer of its own; directions are called "
                "direction.N with N the block, counted from 0."
            )
        if tensor.tensor_type.name not in {"F16", "F32", "F64"}:
            raise VectorFileError(
                f"{path}: {tensor.name} is stored as {tensor.tensor_type.name}; write it as F32."
            )
        # A copy, since the reader's arrays are a view of the file.
        vectors[int(match[1])] = torch.from_numpy(np.array(tensor.data))
    return vectors


def _check_exportable(path: Path, directions: Sequence[Direction]) -> None:
    """Refuse what a control vector has no place for."""
    for direction in directions:
        if not fits_gguf(direction):
            raise VectorFileError(
                f"{path}: {direction.label} has no place in a control vector, which holds the "
                "outputs of blocks from block 1 on; leave out all but resid_post from layer 1, or "
                "save as .safetensors."
            )
    layers = [d.site.layer for d in directions]
    if len(set(layers)) < len(layers):
        twice = next(n for n in layers if layers.count(n) > 1)
        raise VectorFileError(
            f"{path}: two directions at layer {twice}; a control vector holds one for each layer."
        )
    check_one_model(path, directions)
    if len({len(d.unit) for d in directions}) > 1:
        raise VectorMismatchError(
            f"{path}: the directions are of different widths; a control vector holds one width."
        )


def _vector(direction: Direction, dose: Dose) -> Tensor:
    """The direction at the length of a dose, in float32."""
    length = dose.absolute(direction.scale)
    if length == 0:
        raise BadValueError("a dose of 0 writes a vector that does nothing; give another dose.")
    vector = direction.unit.detach().cpu().float() * length
    if not torch.isfinite(vector).all():
        raise NotFiniteError(f"a dose of {dose} at {direction.site} is too long for float32.")
    return vector


def _write(path: Path, vectors: Mapping[int, Tensor], texts: Mapping[str, str]) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, _ARCHITECTURE)
    for key, text in texts.items():
        writer.add_string(key, text)
    writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(vectors))
    for layer, vector in vectors.items():
        writer.add_tensor(f"direction.{layer}", vector.numpy())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _as_text(unit: Tensor) -> str:
    return base64.b64encode(unit.detach().cpu().float().numpy().astype("<f4").tobytes()).decode()


def _from_text(text: str) -> Tensor:
    numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    return torch.from_numpy(numbers.astype(np.float32))
