"""Vectors of other tools as directions: each reader turns one kind of file into vectors at sites.

`READERS` names them by the end of the file's name; what a file of ours is shows in its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from steerscope.directions.direction import Direction
from steerscope.directions.files import is_directions_file, load_directions
from steerscope.directions.gguf import own_directions, read_control_vector
from steerscope.directions.imports.foreign import ForeignVectors
from steerscope.directions.imports.gguf_vectors import read_gguf
from steerscope.directions.imports.json_texts import read_neuronpedia, read_svec
from steerscope.directions.imports.lengths import NEUTRAL_PROMPTS, median_lengths
from steerscope.directions.imports.torch_tensors import OBJECTS, read_torch
from steerscope.doses import Scale
from steerscope.errors import VectorFileError, VectorMismatchError
from steerscope.extraction.activations import Provenance
from steerscope.models.lens_model import LensModel
from steerscope.sites import Site
from steerscope.texts.lines import is_lfs_pointer

_OBJECT_FILES = {".pkl", ".pk", ".dill", ".joblib"}
READERS: dict[str, Callable[[Path], ForeignVectors]] = {
    ".gguf": read_gguf,
    ".json": read_neuronpedia,
    ".pt": read_torch,
    ".pth": read_torch,
    ".svec": read_svec,
}


def read_own(path: str | Path) -> list[Direction] | None:
    """The directions of a file that steerscope wrote, of either kind; None if another tool did.

    Raises:
        VectorFileError: no such file, a name that no reader knows, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        wrong = f"no vector file {path}; check the path."
        raise VectorFileError(f"{path} is a folder; give a file in it." if path.is_dir() else wrong)
    suffix = path.suffix.lower()
    if is_lfs_pointer(path):
        raise VectorFileError(
            f"{path} is a git-lfs pointer, not the vector file itself; run `git lfs pull` where it "
            "was cloned."
        )
    if suffix in _OBJECT_FILES:
        raise VectorFileError(f"{path} {OBJECTS}")
    if is_directions_file(path) or suffix == ".safetensors":
        return load_directions(path)
    if suffix not in READERS:
        known = ", ".join(sorted([*READERS, ".safetensors"]))
        raise VectorFileError(
            f"{path} ends in {path.suffix or 'nothing'!r}; vector files that can be read end in "
            f"{known}."
        )
    if suffix == ".gguf":
        found = read_control_vector(path)
        return own_directions(path, found) if found.is_ours else None
    return None


def import_directions(
    path: str | Path, model: LensModel, *, prompts: Sequence[str] | None = None
) -> list[Direction]:
    """Directions of a vector file of any known tool, for use on a model.

    A file of ours is read as it is. Of another's, one natural unit is the vector's own length, what
    its authors add at coefficient 1, and one relative unit is the median length of this model's
    activations there. A vector of zeros moves nothing and is left out.

    Args:
        path: the file.
        model: the model that it is to be used on; a foreign file seldom says which it was.
        prompts: texts to measure lengths of activations on; default a few plain sentences.

    Raises:
        VectorFileError: no such file, of no known kind, damaged, or nothing but zeros.
        VectorMismatchError: a layer that the model lacks, or vectors of another width.
    """
    path = Path(path)
    own = read_own(path)
    if own is not None:
        return own
    foreign = READERS[path.suffix.lower()](path)
    if foreign.n_layers not in {None, model.shape.n_layers}:
        raise VectorMismatchError(
            f"{path} was made for a model of {foreign.n_layers} layers, {model.name} has "
            f"{model.shape.n_layers}; give the model that it was made for."
        )
    vectors = {site: _checked(path, site, v, model) for site, v in foreign.vectors.items()}
    norms = {site: float(v.norm()) for site, v in vectors.items()}
    moving = [site for site, norm in norms.items() if norm > 0]
    if not moving:
        raise VectorFileError(f"{path} holds nothing but zeros; there is no direction in it.")
    lengths = median_lengths(model, moving, prompts or NEUTRAL_PROMPTS)
    origin = Provenance(
        model.name,
        model.fingerprint,
        path.name,
        _sha256(path),
        read="unknown",
        n_pairs=0,
        template="unknown",
    )
    return [
        Direction(
            site,
            (vectors[site] / norms[site]).float(),
            Scale(norms[site], lengths[site]),
            f"imported:{foreign.format}",
            origin,
        )
        for site in moving
    ]


def _checked(path: Path, site: Site, vector: Tensor, model: LensModel) -> Tensor:
    """The vector in float64, if the model has a place for it."""
    if not model.has(site):
        raise VectorMismatchError(
            f"{path} holds a vector at {site}; {model.name} has layers 0 to "
            f"{model.shape.n_layers - 1} and no such site. Give the model that it was made for."
        )
    if vector.shape != (model.width(site),):
        raise VectorMismatchError(
            f"{path} holds a vector of shape {tuple(vector.shape)} at {site}, {model.name} has "
            f"{model.width(site)} components there; give the model that it was made for."
        )
    if not torch.isfinite(vector).all():
        raise VectorFileError(f"{path}: the vector at {site} is not finite; make it again.")
    return vector.double()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
