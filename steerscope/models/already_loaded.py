"""Models of TransformerLens that the user has loaded, taken as they are."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steerscope.errors import BadValueError, ModelLoadError
from steerscope.models.bridge import BridgeLensModel, measured_shape
from steerscope.models.examination import examine
from steerscope.models.generations import HAS_HOOKED, hooked_lens_model
from steerscope.models.lens_model import LensModel, ModelShape
from steerscope.models.shapes import shape_of, smallest_window
from steerscope.models.truth import own_word
from steerscope.models.vocabulary import ends_of
from steerscope.models.weight_hashes import weights_fingerprint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformer_lens.model_bridge import TransformerBridge

    if HAS_HOOKED:
        from transformer_lens import HookedTransformer

_WRAPPED = "._original_component"  # in the name of a weight that a bridge has wrapped


def is_transformer(model: nn.Module) -> bool:
    """Whether a model is one of TransformerLens'."""
    return _is_hooked(model) or isinstance(model, TransformerBridge)


def _is_hooked(model: nn.Module) -> bool:
    return HAS_HOOKED and isinstance(model, HookedTransformer)


def taken(model: nn.Module, tokenizer: Any, device: torch.device | None, check: bool) -> LensModel:
    """A HookedTransformer or TransformerBridge as a `LensModel`; its weights stay its own.

    Checked, what needs no transformers is examined: sites, sums, unembedding, causality and cache.

    Raises:
        BadValueError: it has no tokenizer and none is given.
        ModelLoadError: it cannot run, or writes no text from left to right.
    """
    if device is not None:
        model = model.to(device)
    tokenizer = tokenizer or model.tokenizer
    if tokenizer is None:
        raise BadValueError("the model comes without a tokenizer; give tokenizer= as well.")
    model = model.eval().requires_grad_(False)
    if isinstance(model, TransformerBridge):
        made, window = _bridge(model, tokenizer), smallest_window(model.original_model.config)
    else:
        made, window = _hooked(model, tokenizer), _window_of(model.cfg)
    if check:
        try:
            made.offer = examine(made, own_word(made, window))
        except ModelLoadError as error:
            raise ModelLoadError(f"cannot use model {made.name!r}: {error}") from error
    return made


def _window_of(cfg: Any) -> int | None:
    """Tokens that local attention of a HookedTransformer looks back on, where a text may hold more."""
    width = cfg.window_size if cfg.use_local_attn else None
    return width if width and width < cfg.n_ctx else None


def _hooked(model: Any, tokenizer: Any) -> LensModel:
    """Folded or not, its weights are TransformerLens' and so is its fingerprint."""
    cfg = model.cfg
    if cfg.attention_dir != "causal":
        raise ModelLoadError(f"{cfg.model_name} attends in both directions; it writes no text.")
    shape = ModelShape(
        n_layers=cfg.n_layers,
        d_model=cfg.d_model,
        n_heads=cfg.n_heads,
        n_key_value_heads=cfg.n_key_value_heads or cfg.n_heads,
        d_head=cfg.d_head,
        d_mlp=cfg.d_mlp or 0,
        n_vocab=cfg.d_vocab,
        n_context=cfg.n_ctx,
    )
    kind = f"HookedTransformer {cfg.original_architecture}"
    return hooked_lens_model()(
        name=cfg.model_name or "HookedTransformer",
        transformer=model,
        tokenizer=tokenizer,
        shape=shape,
        fingerprint=weights_fingerprint(kind, dict(model.named_parameters())),
    )


def given_fingerprint(network: Any) -> str:
    """Fingerprint of a transformers model that is loaded, whether or not a bridge has wrapped it."""
    found = network.state_dict()
    if any(_WRAPPED in name for name in found):
        found = {name.replace(_WRAPPED, ""): weight for name, weight in found.items()}
        with torch.device("meta"):  # the names alone: the bridge adds others for the same weights
            names = type(network)(network.config).state_dict()
        found = {name: found[name] for name in names}
    return weights_fingerprint(type(network).__name__, found)


def _bridge(model: TransformerBridge, tokenizer: Any) -> LensModel:
    """Its weights are those of the checkpoint under longer names."""
    original = model.original_model
    made = BridgeLensModel(
        name=Path(str(model.cfg.model_name or type(original).__name__)).name,
        transformer=model,
        tokenizer=tokenizer,
        shape=shape_of(original.config),
        fingerprint=given_fingerprint(original),
        ends=ends_of(original),
    )
    made.shape = measured_shape(made)
    return made
