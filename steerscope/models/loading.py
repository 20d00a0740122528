"""The door to TransformerLens: loads a model and makes both of its backbones one `LensModel`.

HookedTransformer comes first, built by TransformerLens' own conversion without folding or
centring, so that its activations are those of the original. Before it is used, it is examined
against transformers; where TransformerLens cannot convert the architecture, or converts it
unfaithfully, TransformerBridge is examined, and a `BackboneWarning` says so if it takes over.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

from steerscope.errors import (
    BackboneWarning,
    BadValueError,
    MemoryBudgetError,
    ModelLoadError,
    UnknownNameError,
)
from steerscope.models.bridge import BridgeLensModel
from steerscope.models.candidates import Candidates
from steerscope.models.checkpoints import read_checkpoint
from steerscope.models.examination import witness
from steerscope.models.hooked import HookedLensModel, official_name
from steerscope.models.installs import no_installs
from steerscope.models.lens_model import LensModel, weights_fingerprint
from steerscope.models.memory import parse_bytes, shown, weights_bytes
from steerscope.models.originals import Original
from steerscope.texts.bundled import bundled_models

Backbone = Literal["auto", "hooked", "bridge"]
DType = Literal["float32", "bfloat16", "float16"]

__all__ = ["BridgeLensModel", "HookedLensModel", "Original", "load_model", "load_original"]


def load_model(
    name_or_path: str | Path,
    *,
    backbone: str = "auto",
    device: str | None = None,
    dtype: str = "float32",
    memory: str | int | None = None,
    check: bool = True,
) -> LensModel:
    """A model by bundled name, by local Hugging Face folder, or by hub name.

    Args:
        name_or_path: a bundled name, `./my-model` or `gpt2`.
        backbone: `hooked`, `bridge`, or `auto`: hooked if the conversion is faithful, else bridge.
        device: such as `cpu` or `cuda`; default the GPU if there is one.
        dtype: `float32`, `bfloat16` or `float16`.
        memory: limit for weights and work together, such as `8GiB`; default what the device has.
        check: whether the model is examined against transformers. Without it nothing says that the
            backbone computes what transformers computes, that a site steers it, or that decoding
            with a cache is decoding without.

    Raises:
        BadValueError: a device or an amount of memory that cannot be read, or a device not here.
        MemoryBudgetError: the weights alone do not fit into the limit.
        ModelLoadError: there is no such model, or the backbone asked for cannot run it faithfully.
        UnknownNameError: a backbone or dtype that does not exist.
    """
    if backbone not in get_args(Backbone):
        raise UnknownNameError("backbone", backbone, get_args(Backbone))
    if dtype not in get_args(DType):
        raise UnknownNameError("dtype", dtype, get_args(DType))
    where = find_device(device)
    limit = parse_bytes(memory) if isinstance(memory, str) else memory
    name, source, official = _resolve(str(name_or_path))
    with _quiet(), no_installs():
        original, tokenizer = _load_original(name, source, getattr(torch, dtype))
        fingerprint = weights_fingerprint(type(original).__name__, dict(original.state_dict()))
        with _naming(name):
            truth = witness(original.to(where)) if check else None
        candidates = Candidates(name, source, official, original, tokenizer, fingerprint)
        model, refused = candidates.first(backbone, where, truth)
    _limit_memory(model, limit)
    for note in _notes(model, refused, check):
        warnings.warn(note, BackboneWarning, stacklevel=2)
    return model


def _notes(model: LensModel, refused: str, check: bool) -> Iterator[str]:
    """What whoever loads a model must know about how it runs."""
    if refused:
        yield f"{model.name} runs on TransformerBridge, since HookedTransformer cannot: {refused}."
    if model.offer.no_cache:
        yield (
            f"{model.name} writes without a cache, which is right and slower: {model.offer.no_cache}."
        )
    if not check:
        yield (
            f"{model.name} was not examined: nothing says that it computes what transformers "
            "computes, that its sites steer it, or that its cache forgets nothing."
        )


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say in an error which model it was that could not be loaded."""
    try:
        yield
    except ModelLoadError as error:
        raise ModelLoadError(f"cannot load model {name!r}: {error}") from error


def _limit_memory(model: LensModel, limit: int | None) -> None:
    """Set the limit of a model's memory, and refuse one that its weights alone exceed."""
    model.memory_limit = limit
    if limit is not None and limit < weights_bytes(model):
        raise MemoryBudgetError(
            f"the weights of {model.name} alone take {shown(weights_bytes(model))}, more than "
            f"{shown(limit)}; allow more memory or use a smaller number format."
        )


def load_original(name_or_path: str | Path) -> Original:
    """The transformers model that `load_model` would convert, in float32.

    Raises:
        ModelLoadError: there is no such model.
    """
    name, source, _ = _resolve(str(name_or_path))
    with _quiet(), no_installs():
        network, tokenizer = _load_original(name, source, torch.float32)
    fingerprint = weights_fingerprint(type(network).__name__, dict(network.state_dict()))
    return Original(network, tokenizer, fingerprint)


def find_device(name: str | None) -> torch.device:
    """The device of that name; default the GPU if there is one.

    Raises:
        BadValueError: no such device, or it is not on this machine.
    """
    gpu = torch.accelerator.current_accelerator(check_available=True)
    here = ["cpu", *([gpu.type] if gpu else [])]
    if name is None:
        return torch.device("cuda" if "cuda" in here else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in here:
        raise BadValueError(f"no device {name!r} on this machine; it has {', '.join(here)}.")
    return device


def _resolve(name: str) -> tuple[str, str, str | None]:
    """The name to show, what transformers loads, and TransformerLens' own name for it, if any."""
    if name in bundled_models():
        return name, str(bundled_models()[name]), None
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelLoadError(f"{name} has no config.json; give a Hugging Face model folder.")
        return path.resolve().name, str(path.resolve()), None
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelLoadError(f"no model folder {name}; check the path.")
    official = official_name(name)
    return name, official or name, official


def _load_original(name: str, source: str, dtype: torch.dtype) -> tuple[Any, Any]:
    # Said, since without it transformers asks at the prompt whether to run what a folder brings.
    ours_alone = {"trust_remote_code": False}
    try:
        with _naming(name):
            config = AutoConfig.from_pretrained(source, **ours_alone)
            tokenizer = AutoTokenizer.from_pretrained(source, **ours_alone)
            original = read_checkpoint(source, config, dtype)
    except ModelLoadError:
        raise
    except Exception as error:  # whatever its many readers stumble over in a file of the user's
        known = ", ".join(bundled_models()) or "(none)"
        told = " ".join(str(error).split()) or type(error).__name__
        told = told.split(" Model type should be one of")[0][:300]  # hundreds of them
        raise ModelLoadError(
            f"cannot load model {name!r}; it is not bundled ({known}), and as folder or hub name it "
            f"gives: {told}"
        ) from error
    tokenizer.padding_side = "right"
    return original.eval().requires_grad_(False), tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the chatter of transformers and TransformerLens."""
    verbosity = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    disabled = logging.root.manager.disable
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
