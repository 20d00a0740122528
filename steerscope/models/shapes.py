"""Sizes of a model, read off its transformers configuration under any of the names in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steerscope.errors import ModelLoadError, reason
from steerscope.models.lens_model import ModelShape

# What families call the longest text; where none is named (alibi, state spaces), there is no limit.
_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "context_length")
_NO_LIMIT = 2**20
_MLP = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
_WINDOWS = ("sliding_window", "window_size", "attention_window_size", "attention_chunk_size")


def shape_of(config: Any) -> ModelShape:
    """Sizes of a model; a model without attention has 0 heads.

    Raises:
        ModelLoadError: a size that every model has is not among its settings.
    """
    try:
        return _shape_of(config.get_text_config())
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelLoadError(
            f"its configuration lacks a size ({reason(error)}); use another checkpoint."
        ) from error


def _shape_of(text: Any) -> ModelShape:
    d_model = int(text.hidden_size)
    heads = _first(text, ("num_attention_heads",)) or 0
    d_head = _first(text, ("head_dim",)) or (d_model // heads if heads else 0)
    return ModelShape(
        n_layers=int(text.num_hidden_layers),
        d_model=d_model,
        n_heads=heads,
        n_key_value_heads=_key_value_heads(text, heads),
        d_head=d_head,
        d_mlp=_first(text, _MLP) or 4 * d_model,
        n_vocab=int(text.vocab_size),
        n_context=_first(text, _CONTEXT) or _NO_LIMIT,
    )


@dataclass(frozen=True)
class Rotation:
    """How rotary positions depend on the length of the whole text, if they do.

    Attributes:
        kind: `longrope` turns other frequencies on beyond a length, `dynamic` at each token beyond it.
        length: that length in tokens.
    """

    kind: str = ""
    length: int = 0

    def turns(self, before: int, after: int) -> bool:
        """Whether keys of the first `before` tokens are others once the text has `after`."""
        beyond = before > 0 and after > self.length
        return beyond and (self.kind == "dynamic" or (self.kind != "" and before <= self.length))


def rotation_of(config: Any) -> Rotation:
    """How the rotary positions of a model depend on the length of the text."""
    text = config.get_text_config()
    told = getattr(text, "rope_parameters", None) or {}
    of_types = [one for one in told.values() if isinstance(one, dict)]  # where attention differs
    for one in (told, *of_types):
        if one.get("rope_type") == "longrope":
            named = one.get("original_max_position_embeddings")
            length = named or _first(text, ("original_max_position_embeddings", *_CONTEXT))
            return Rotation("longrope", int(length or 0))
        if one.get("rope_type") == "dynamic":  # of which transformers asks no other length
            return Rotation("dynamic", _first(text, _CONTEXT) or 0)
    return Rotation()


def smallest_window(config: Any) -> int | None:
    """Tokens that the narrowest attention looks back on; None where all see all that a text may hold."""
    text = config.get_text_config()
    if getattr(text, "use_sliding_window", True) is False:
        return None
    widths = [_first(text, (name,)) for name in _WINDOWS]
    context = _first(text, _CONTEXT) or _NO_LIMIT
    return min((width for width in widths if width and width < context), default=None)


def _key_value_heads(text: Any, heads: int) -> int:
    if getattr(text, "multi_query", False) and not getattr(text, "new_decoder_architecture", False):
        return 1
    return _first(text, ("num_key_value_heads", "num_kv_heads")) or heads


def _first(config: Any, names: tuple[str, ...]) -> int | None:
    """The first of these that a configuration gives as a positive whole number."""
    for name in names:
        try:
            value = getattr(config, name, None)
        except Exception:  # noqa: BLE001, S112 - of a family whose blocks differ in it
            continue
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
