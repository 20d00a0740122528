"""The door to TransformerLens: loads a model and makes both of its backbones one `LensModel`.

HookedTransformer comes first, built by TransformerLens' own conversion without folding or
centring, so that its activations are those of the original. Before it is used, it is examined
against transformers; where TransformerLens cannot convert the architecture, or converts it
unfaithfully, TransformerBridge is examined, and a `BackboneWarning` says so if it takes over.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

from steerscope.errors import BackboneWarning, BadValueError, ModelLoadError, UnknownNameError
from steerscope.models.bridge import BridgeLensModel, bridged, measured_shape
from steerscope.models.checkpoints import read_checkpoint
from steerscope.models.examination import Truth, examine, witness
from steerscope.models.hooked import HookedLensModel, conversions, official_name
from steerscope.models.installs import no_installs
from steerscope.models.lens_model import LensModel, ModelShape, weights_fingerprint
from steerscope.models.memory import parse_bytes
from steerscope.models.originals import Original
from steerscope.models.shapes import shape_of
from steerscope.texts.bundled import bundled_models

Backbone = Literal["auto", "hooked", "bridge"]
DType = Literal["float32", "bfloat16", "float16"]

_TRANSFORMER = {"hooked": "HookedTransformer", "bridge": "TransformerBridge"}

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
        truth = _truth(name, original.to(where)) if check else None
        candidates = _Candidates(name, source, official, original, tokenizer, fingerprint)
        model, refused = candidates.first(backbone, where, truth)
    model.memory_limit = limit
    for note in _notes(model, refused, check):
        warnings.warn(note, BackboneWarning, stacklevel=2)
    return model


def _truth(name: str, original: Any) -> Truth:
    try:
        return witness(original)
    except ModelLoadError as error:
        raise ModelLoadError(f"cannot load model {name!r}: {error}") from error


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The ways to run a checkpoint, from the best."""

    name: str
    source: str
    official: str | None
    original: Any
    tokenizer: Any
    fingerprint: str

    def first(
        self, backbone: str, device: torch.device, truth: Truth | None
    ) -> tuple[LensModel, str]:
        """The first that passes its examination, and why the one before did not.

        Raises:
            ModelLoadError: none does.
        """
        refused: dict[str, str] = {}
        for kind, make in self._makers(device):
            if backbone not in {"auto", kind.backbone}:
                continue
            try:
                model = make()
                if truth is not None:
                    model.offer = examine(model, truth)
            except ModelLoadError as error:
                refused[_TRANSFORMER[kind.backbone]] = str(error).rstrip(".")
                continue
            return model, refused.get(_TRANSFORMER["hooked"], "")
        if backbone == "hooked":
            raise ModelLoadError(
                f"HookedTransformer cannot run {self.name}: {refused['HookedTransformer']}; use the "
                "bridge backbone."
            )
        why = "; ".join(f"{kind} cannot, since {why}" for kind, why in refused.items())
        raise ModelLoadError(
            f"{self.name} cannot be run faithfully: {why}. Use another checkpoint."
        )

    def _makers(
        self, device: torch.device
    ) -> Iterator[tuple[type[LensModel], Callable[[], LensModel]]]:
        shape = shape_of(self.original.config)
        for convert in conversions(self.original, self.tokenizer, device, self.official):

            def hooked(convert: Callable[[], Any] = convert) -> LensModel:
                transformer = convert()
                n_context = min(shape.n_context, transformer.cfg.n_ctx)
                return self._model(
                    HookedLensModel, transformer, replace(shape, n_context=n_context)
                )

            yield HookedLensModel, hooked

        def bridge() -> LensModel:
            transformer = bridged(self.source, self.original, self.tokenizer, device)
            model = self._model(BridgeLensModel, transformer, shape)
            model.shape = measured_shape(model)
            return model

        yield BridgeLensModel, bridge

    def _model(self, kind: type[LensModel], transformer: Any, shape: ModelShape) -> Any:
        return kind(
            name=self.name,
            transformer=transformer,
            tokenizer=self.tokenizer,
            shape=shape,
            fingerprint=self.fingerprint,
        )


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
    try:
        config = AutoConfig.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
        original = read_checkpoint(source, config, dtype)
    except ModelLoadError as error:
        raise ModelLoadError(f"cannot load model {name!r}: {error}") from error
    except Exception as error:
        known = ", ".join(bundled_models()) or "(none)"
        told = " ".join(str(error).split())[:300] or type(error).__name__
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
