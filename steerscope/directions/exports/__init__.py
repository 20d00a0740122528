"""Vectors in the files of other tools that serve or judge steered models, and what these cannot carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from steerscope.directions.descriptions import check_one_model, describe
from steerscope.directions.direction import Direction
from steerscope.directions.exports import hotwire, lm_eval, vllm_lens
from steerscope.doses import Dose
from steerscope.errors import (
    BadValueError,
    NotFiniteError,
    UnsupportedSiteError,
    VectorFileError,
    VectorMismatchError,
    check_name,
)
from steerscope.runs.outputs import check_file
from steerscope.runs.whole_files import whole_file

Write = Callable[[Path, Mapping[int, Tensor], Sequence[str], str], None]


@dataclass(frozen=True)
class Format:
    """A file of another tool.

    Attributes:
        tool: its name.
        suffix: of the file.
        write: writes vectors by block, given the paths of all blocks and our description.
        is_ours: whether a file of that kind was written by us.
        use: how the tool is told to use a file, given its path and the blocks.
        lost: what the file cannot carry.
    """

    tool: str
    suffix: str
    write: Write
    is_ours: Callable[[Path], bool]
    use: Callable[[Path, Sequence[int]], str]
    lost: tuple[str, ...]


_EVERYWHERE = (
    "scope: it is added at every token of prompt and answer, position 0 among them, which steerscope "
    "leaves out"
)
_STEADY = "gates, schedules and strengths: it is added alike at every step"
_ADDS = "operators: it is added; project_out, clamp and rotate have no place in it"
_LENGTH = "units: the length is fixed, and no other dose follows from the file alone"
_MODEL = "the model: the tool does not look whose vector it is"

FORMATS: dict[str, Format] = {
    "lm-eval": Format(
        "lm-eval", ".pt", lm_eval.write, lm_eval.is_ours, lm_eval.use,
        (_EVERYWHERE, _STEADY, _ADDS, _LENGTH, _MODEL),
    ),
    "hotwire": Format(
        "hotwire", ".pt", hotwire.write, hotwire.is_ours, hotwire.use,
        (
            _EVERYWHERE, _STEADY, _ADDS, _MODEL,
            "layers: the file holds them, but a request names each one that it wants",
            "precision: the tool keeps it in the model's own number format",
        ),
    ),
    "vllm-lens": Format(
        "vllm-lens", ".json", vllm_lens.write, vllm_lens.is_ours, vllm_lens.use,
        (_EVERYWHERE, _STEADY, _ADDS, _MODEL),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the file.
        tool: that reads it.
        dose: how long each vector is.
        layers: blocks whose outputs they are added to.
        use: how the tool is told to use it.
        lost: what it cannot carry.
    """

    path: str
    tool: str
    dose: str
    layers: tuple[int, ...]
    use: str
    lost: tuple[str, ...]


def check_export(path: str | Path, to: str) -> Format:
    """The format of that name, if the file has its suffix.

    Raises:
        UnknownNameError: no such tool.
        VectorFileError: another suffix.
    """
    check_name("tool to write for", to, FORMATS)
    found = FORMATS[to]
    if Path(path).suffix != found.suffix:
        raise VectorFileError(f"{path}: {to} reads {found.suffix} files; name the file so.")
    return found


def export_directions(
    path: str | Path,
    directions: Sequence[Direction],
    *,
    to: str,
    blocks: Sequence[str],
    dose: Dose | None = None,
    force: bool = False,
) -> Exported:
    """Write directions for another tool, each at the length of a dose.

    Args:
        path: of the file, whole or not at all.
        directions: at most one for each block's output, of one model.
        to: a name in `FORMATS`.
        blocks: the path of every block inside the transformers model's base model.
        dose: default 1 natural unit.
        force: replace a file that steerscope did not write.

    Raises:
        UnknownNameError: no such tool.
        VectorFileError: another suffix, two directions at one block, or none.
        UnsupportedSiteError: a direction that is not at the output of a block of this model.
        VectorMismatchError: directions of several models or widths.
        NotFiniteError: a vector too long for float32.
        OutputError: there is a folder, or a file of something else.
    """
    path, dose = Path(path), dose or Dose(1.0)
    found = check_export(path, to)
    vectors = _vectors(path, directions, dose, len(blocks), found)
    check_file(path, own=found.is_ours, force=force)
    text = describe(path, directions)
    with whole_file(path, VectorFileError) as unfinished:
        found.write(unfinished, vectors, blocks, text)
    return Exported(
        str(path), to, str(dose), tuple(vectors), found.use(path, tuple(vectors)), found.lost
    )


def _vectors(
    path: Path, directions: Sequence[Direction], dose: Dose, n_layers: int, to: Format
) -> dict[int, Tensor]:
    """A vector for each block, ascending."""
    if not directions:
        raise VectorFileError(f"{path}: no direction is given.")
    check_one_model(path, directions)
    if len({len(d.unit) for d in directions}) > 1:
        raise VectorMismatchError(f"{path}: the directions are of different widths.")
    vectors: dict[int, Tensor] = {}
    for direction in sorted(directions, key=lambda d: d.site.layer):
        site = direction.site
        if site.stream != "resid_post" or site.layer >= n_layers:
            raise UnsupportedSiteError(
                f"{path}: {direction.label} has no place in a file of {to.tool}, which holds the outputs "
                f"of blocks 0 to {n_layers - 1}, as resid_post; leave it out."
            )
        if site.layer in vectors:
            raise VectorFileError(
                f"{path}: two directions at block {site.layer}; the file holds one for each."
            )
        length = dose.absolute(direction.scale)
        if length == 0:
            raise BadValueError("a dose of 0 writes a vector that does nothing; give another dose.")
        vector = direction.unit.detach().cpu().float() * length
        if not torch.isfinite(vector).all():
            raise NotFiniteError(f"a dose of {dose} at {site} is too long for float32.")
        vectors[site.layer] = vector
    return vectors


__all__ = ["FORMATS", "Exported", "Format", "check_export", "export_directions"]
