"""GGUF control vectors of repeng, EasySteer and llama.cpp."""

from __future__ import annotations

from pathlib import Path

from steerscope.directions.gguf import read_control_vector
from steerscope.directions.imports.foreign import ForeignVectors
from steerscope.sites import Site


def read_gguf(path: Path) -> ForeignVectors:
    """`direction.N` is added to the output of block N, 0-based: `resid_post.N`.

    repeng reads HF `hidden_states[N + 1]` for it (for the last block that is after the final norm)
    and adds it to the output of `layers[N]`; EasySteer and llama.cpp add it there as well. A file
    of llama.cpp's `cvector-generator` was found one block earlier than it is applied, which the
    file does not show.

    Source: repeng 0.4.0 `ControlVector.import_gguf`; llama.cpp `llama_adapter_cvec`.
    """
    found = read_control_vector(path)
    vectors = {Site("resid_post", layer): v for layer, v in sorted(found.vectors.items())}
    return ForeignVectors("gguf", vectors)
