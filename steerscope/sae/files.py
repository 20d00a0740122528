"""Sparse autoencoders on disk and by name, in the format of sae-lens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from steerscope.errors import (
    AutoencoderFileError,
    AutoencoderMismatchError,
    UnknownNameError,
    reason,
)
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import LensModel
from steerscope.runs.whole_files import whole_file
from steerscope.sae.conversion import check_config, from_sae_lens, quiet, sae_lens, to_sae_lens
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sites import Site
from steerscope.texts.bundled import bundled_autoencoders
from steerscope.texts.files import parse_json

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
_DIGEST = "weights_sha256"


def load_sae(
    name_or_path: str | Path, *, model: LensModel | None = None, site: Site | None = None
) -> SparseAutoencoder:
    """A sparse autoencoder by bundled name, sae-lens folder or `RELEASE/SAE_ID` of its registry.

    Args:
        name_or_path: what to load.
        model: refuse it unless it fits this model.
        site: refuse it unless it is for this site.

    Raises:
        UnknownNameError: no such folder, release or autoencoder, or an architecture that steerscope
            does not run.
        AutoencoderFileError: damaged, or normalised in a way that the files do not tell.
        AutoencoderMismatchError: for another model, site or width.
        UnsupportedSiteError: the model has no such site.
        BadValueError: more active features than the dictionary has.
    """
    name = str(name_or_path)
    folder = bundled_autoencoders().get(name, Path(name_or_path))
    sae = _from_folder(folder, name) if folder.is_dir() else _from_registry(name)
    check_fits(sae, model=model, site=site)
    return sae


def save_sae(sae: SparseAutoencoder, folder: str | Path) -> None:
    """Write an autoencoder as a folder that sae-lens loads, each file whole or not at all.

    Args:
        sae: to write, in float32.
        folder: made if it is not there.

    Raises:
        AutoencoderFileError: the disk refused.
    """
    folder = Path(folder)
    inner = to_sae_lens(sae)
    content = save({key: value.detach() for key, value in inner.state_dict().items()})
    config = inner.cfg.to_dict()
    config["metadata"][_DIGEST] = hashlib.sha256(content).hexdigest()
    with whole_file(folder / WEIGHTS, AutoencoderFileError) as unfinished:
        unfinished.write_bytes(content)
    with whole_file(folder / CONFIG, AutoencoderFileError) as unfinished:
        unfinished.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def check_fits(
    sae: SparseAutoencoder, *, model: LensModel | None = None, site: Site | None = None
) -> None:
    """Refuse an autoencoder that is not for this model or site.

    Raises:
        AutoencoderMismatchError: for another model, site or width.
        UnsupportedSiteError: the model has no such site.
    """
    if site is not None and sae.site != site:
        raise AutoencoderMismatchError(
            f"the autoencoder {sae.name} is for {sae.site}, not for {site}; name that site or take "
            "another autoencoder."
        )
    if model is None:
        return
    width = model.width(sae.site)
    if width != sae.d:
        raise AutoencoderMismatchError(
            f"the autoencoder {sae.name} has width {sae.d}, but {sae.site} of {model.name} has "
            f"{width}; it is for another model."
        )
    theirs = sae.model_fingerprint
    if theirs is not None and not same_weights(theirs, model.fingerprint):
        raise AutoencoderMismatchError(
            f"the autoencoder {sae.name} was trained on a model with other weights than "
            f"{model.name}; load that model or train one on this."
        )


def _from_folder(folder: Path, name: str) -> SparseAutoencoder:
    try:
        config = parse_json((folder / CONFIG).read_bytes(), CONFIG, ValueError)
        content = (folder / WEIGHTS).read_bytes()
        check_config(config, name)
        _check_digest(config, content, folder)
        _check_shapes(config, folder)
        with quiet():
            inner = sae_lens("SAE").load_from_disk(folder, device="cpu", dtype="float32")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise AutoencoderFileError(
            f"cannot read the autoencoder in {folder} ({reason(error)}); give a folder with "
            f"{CONFIG} and {WEIGHTS} as sae-lens and steerscope write them."
        ) from None
    return from_sae_lens(inner, name)


def _check_digest(config: dict[str, Any], content: bytes, folder: Path) -> None:
    stated = config.get("metadata", {}).get(_DIGEST)
    if stated not in (None, hashlib.sha256(content).hexdigest()):
        raise AutoencoderFileError(
            f"{folder / WEIGHTS} is not the file that {CONFIG} beside it describes; one of the two "
            "was changed or cut off."
        )


def _check_shapes(config: dict[str, Any], folder: Path) -> None:
    """Refuse weights of other names or shapes than the configuration says, before any is read."""
    d, n_features = config["d_in"], config["d_sae"]
    wanted = {
        "W_enc": [d, n_features],
        "W_dec": [n_features, d],
        "b_enc": [n_features],
        "b_dec": [d],
    }
    if config["architecture"] == "jumprelu":
        wanted["threshold"] = [n_features]
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    for name in sorted(wanted | found):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{name!r} in {WEIGHTS} has the shape {found.get(name, 'none')}, {CONFIG} asks for "
                f"{wanted.get(name, 'no such tensor')}"
            )


def _from_registry(name: str) -> SparseAutoencoder:
    """By release and id of sae-lens' registry; downloads it unless it is in the cache."""
    directory = sae_lens(module="sae_lens.loading.pretrained_saes_directory")
    registry = directory.get_pretrained_saes_directory()
    release = max((r for r in registry if name.startswith(r + "/")), key=len, default=None)
    if release is None:
        bundled = ", ".join(bundled_autoencoders()) or "none"
        kind = f"folder, bundled autoencoder ({bundled}) or sae-lens release"
        raise UnknownNameError(kind, name, registry)
    known_ids = registry[release].saes_map
    sae_id = name.removeprefix(release + "/")
    if sae_id not in known_ids:
        raise UnknownNameError(f"autoencoder of {release}", sae_id, known_ids)
    try:
        with quiet():
            inner = sae_lens("SAE").from_pretrained(release, sae_id, device="cpu")
    except Exception as error:  # the hub and its many readers fail in many ways
        raise AutoencoderFileError(
            f"cannot load {name} ({reason(error)}); check the network, or give a folder."
        ) from error
    return from_sae_lens(inner, name)
