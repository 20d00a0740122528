"""Vectors as JSON: `.svec` of IBM's activation-steering, and what Neuronpedia answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import AliasChoices, BaseModel, Field, TypeAdapter, ValidationError

from steerscope.directions.imports.foreign import ForeignVectors, block_number
from steerscope.errors import BadValueError, VectorFileError
from steerscope.sites import Site


class _Svec(BaseModel):
    directions: dict[str, list[float] | list[list[float]]] = Field(min_length=1)


class _NeuronpediaVector(BaseModel):
    values: list[float] = Field(validation_alias=AliasChoices("values", "vector"))
    hook_name: str = Field(validation_alias=AliasChoices("hook_name", "hookName"))


class _NeuronpediaAnswer(BaseModel):
    vector: _NeuronpediaVector


def read_svec(path: Path) -> ForeignVectors:
    """`directions["N"]` was read at the output of block N, 0-based: `resid_post.N`.

    That is HF `hidden_states[N + 1]`, for the last block after the final norm. IBM's own library
    then adds it to the input of block N, one block before the place where it was read; here a
    direction stands where it was read. AISteer360 stores each vector as a table of one
    row; tables of more rows, one for each position, are refused.

    Source: Lee et al. 2024 (arXiv:2409.05907), `activation_steering/steering_vector.py`.
    """
    found: _Svec = _parse(path, _Svec)
    vectors = {}
    for layer, numbers in found.directions.items():
        rows = numbers if numbers and isinstance(numbers[0], list) else [numbers]
        if len(rows) > 1:
            raise VectorFileError(
                f"{path}: layer {layer} holds {len(rows)} vectors, one for each position; only "
                "one vector for all positions can be imported."
            )
        site = Site("resid_post", block_number(path, layer))
        vectors[site] = torch.tensor(rows[0], dtype=torch.float64)
    return ForeignVectors("svec", vectors)


def read_neuronpedia(path: Path) -> ForeignVectors:
    """`values` (or `vector`) at the TransformerLens hook point `hook_name` (or `hookName`).

    Neuronpedia's custom vectors stand at the input of block N, `resid_pre.N`, which is the output
    of block N - 1. One natural unit is strength 1 of the vector as stored; `default_steer_strength` is
    so many of them.

    Source: `neuronpedia/np_vector.py` and the answer of its `vector/new`.
    """
    # The answer of the server wraps the vector; a stored vector does not.
    found = _parse(path, _NeuronpediaVector | _NeuronpediaAnswer)
    vector = found.vector if isinstance(found, _NeuronpediaAnswer) else found
    try:
        site = Site.at_hook(vector.hook_name)
    except BadValueError as error:
        raise VectorFileError(f"{path}: {error}") from None
    return ForeignVectors("neuronpedia", {site: torch.tensor(vector.values, dtype=torch.float64)})


def _parse(path: Path, kind: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][:6])) or "the whole"
        raise VectorFileError(
            f"{path} is not a vector file of its kind: {where}: {first['msg']}; it may be cut "
            "short, so fetch or write it again."
        ) from None
