"""Tensors saved by torch: one layer (CAA, EasyEdit) or all (persona vectors, steering-vectors)."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steerscope.directions.imports.foreign import ForeignVectors, block_number
from steerscope.errors import VectorFileError, reason
from steerscope.sites import Site

# Why a file of Python objects is not opened, and how its tensors get out where it was made.
OBJECTS = (
    "holds Python objects, which could run code when loaded, and is not opened. Where it was made, "
    "load it as it was saved and save its tensors alone: torch.save(vector.layer_activations, "
    "'vector.pt') for a SteeringVector of steering-vectors, torch.save(tensor, 'layer_N.pt') for "
    "one vector at the output of block N."
)
_HEAD = 2**16  # bytes in which a saved object names its class
_LAYER = re.compile(r"(?:^|_)layer_([0-9]+)(?![0-9])")


def read_torch(path: Path) -> ForeignVectors:
    """A vector is of CAA or EasyEdit, a table of persona vectors, a dict of steering-vectors.

    Raises:
        VectorFileError: damaged, more than tensors, or of no known shape.
    """
    found = _load(path)
    if isinstance(found, dict) and found and all(type(layer) is int for layer in found):
        return by_layer(path, found)
    tensor = _dense(path, found)
    if tensor.ndim == 1:
        return caa(path, tensor)
    if tensor.ndim == 2 and len(tensor) == 1:
        return caa(path, tensor[0])
    if tensor.ndim == 2:
        return persona(path, tensor)
    raise VectorFileError(
        f"{path} holds a tensor of shape {tuple(tensor.shape)}; known are one vector (CAA, "
        "EasyEdit) and one row for each layer (persona vectors)."
    )


def caa(path: Path, vector: Tensor) -> ForeignVectors:
    """One vector, its layer in the file's name: `layer_N` is the output of block N, `resid_post.N`.

    Names are `layer_N.pt` (EasyEdit) and `vec_layer_N_MODEL.pt` (CAA); both read and add at the
    output of the N-th decoder layer, counted from 0.

    Source: Rimsky et al. 2023 (arXiv:2312.06681) and EasyEdit `steer/vector_generators/caa`.
    """
    match = _LAYER.search(path.stem)
    if match is None:
        raise VectorFileError(
            f"{path} holds one vector and its name no layer; name it layer_N.pt, N the block whose "
            "output it was read at, counted from 0."
        )
    return ForeignVectors("caa", {Site("resid_post", block_number(path, match[1])): vector})


def persona(path: Path, table: Tensor) -> ForeignVectors:
    """Row i is HF `hidden_states[i]`: row 0 the embedding, row i + 1 the output of block i.

    So row 0 is `resid_pre.0` and row i + 1 is `resid_post.i`, where the authors add it too. The
    last row was read after the final norm, because HF returns it so, and is added before it.

    Source: Chen et al. 2025 (arXiv:2507.21509), `generate_vec.py`.
    """
    if not len(table):
        raise VectorFileError(f"{path} holds a table without rows; it needs one for each layer.")
    sites = [Site("resid_pre", 0), *(Site("resid_post", i) for i in range(len(table) - 1))]
    vectors = dict(zip(sites, table.unbind(), strict=True))
    return ForeignVectors("persona", vectors, n_layers=len(table) - 1)


def by_layer(path: Path, vectors: dict[int, Any]) -> ForeignVectors:
    """`{N: vector}`, the `layer_activations` of steering-vectors: the output of block N.

    That is `resid_post.N`, where its default layer type, the decoder block, reads and adds.

    Source: steering-vectors 0.12 `SteeringVector.layer_activations`.
    """
    return ForeignVectors(
        "steering-vectors",
        {
            Site("resid_post", block_number(path, str(layer))): _dense(path, vector)
            for layer, vector in sorted(vectors.items())
        },
    )


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the reader then refuses anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere inside torch's reader
        with path.open("rb") as file:
            if b"SteeringVector" in file.read(_HEAD):
                raise VectorFileError(f"{path} {OBJECTS}") from None
        told = reason(error)
        why = "" if "weights_only" in told else f" ({told[:120]})"  # which is advice to run code
        raise VectorFileError(
            f"{path} cannot be read as plain tensors{why}; it is "
            "damaged, or holds objects that could run code when loaded and are refused. Have its "
            "author save the bare tensor with torch.save, or as GGUF."
        ) from None


def _dense(path: Path, found: Any) -> Tensor:
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.is_sparse:
        kind = str(found.dtype) if isinstance(found, Tensor) else type(found).__name__
        raise VectorFileError(
            f"{path} holds a {kind}, not a dense tensor of floating-point numbers; save the "
            "tensor itself with torch.save."
        )
    return found.detach()
