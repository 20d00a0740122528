"""What attention makes of queries and keys before it compares them: their norms, and the scale of the scores."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from steerscope.errors import UnsupportedSiteError
from steerscope.models.lens_model import LensModel

QUERY_NORMS = ("q_norm", "q_layernorm", "query_layernorm", "qk_norm")
_KEY_NORMS = ("k_norm", "k_layernorm", "key_layernorm", "qk_norm")
_FACTORS = ("scaling", "inv_norm_factor", "softmax_scale")  # scores are multiplied by them
_DIVISORS = ("scale_attn",)
_ROUNDING = {False: 1e-3, True: 0.05}  # of the format: 4 bytes a number, and fewer
_UNSCALED = ("GPTNeoSelfAttention", "GPTNeoAttention")  # have none of them, and no scale


def score_scale(model: LensModel, layer: int) -> float:
    """What ⟨q, k⟩ is multiplied by at a block before the softmax; 1/√d in most models.

    Raises:
        UnsupportedSiteError: the block does not say.
    """
    attention = _attention(model, layer)
    if model.backbone == "hooked":
        return 1 / float(attention.attn_scale)
    for name in (*_FACTORS, *_DIVISORS):
        found = getattr(attention, name, None)
        if found is not None:
            return float(found) if name in _FACTORS else 1 / float(found)
    if type(attention).__name__ in _UNSCALED:
        return 1.0
    raise UnsupportedSiteError(
        f"block {layer} of {model.name} on the {model.backbone} backbone does not say by what its attention "
        "multiplies the product of query and key; leave it out, or take another backbone."
    )


def compared(
    model: LensModel, layer: int, q: Float[Tensor, "pos _"], k: Float[Tensor, "pos _"]
) -> tuple[Float[Tensor, "pos _"], Float[Tensor, "pos _"]]:
    """Queries and keys of a block behind the norms of their own, where it has some; before any rotation.

    Raises:
        UnsupportedSiteError: they have norms of a shape that is not known.
    """
    attention, heads = _attention(model, layer), model.shape.n_key_value_heads
    found = []
    for x, names, n in ((q, QUERY_NORMS, model.shape.n_heads), (k, _KEY_NORMS, heads)):
        norms = (getattr(attention, name, None) for name in names)
        norm: Any = next((one for one in norms if one is not None), None)
        if norm is None:
            found.append(x)
            continue
        gains = next(
            (g for g in (getattr(norm, name, None) for name in ["weight", "w"]) if g is not None),
            None,
        )
        by_head, whole = x.unflatten(-1, (n, -1)), x.shape[-1]
        if gains is not None and gains.shape[-1] == by_head.shape[-1]:
            found.append(norm(by_head[None])[0].flatten(1))
        elif gains is not None and gains.shape == (whole,):
            found.append(norm(x[None])[0])
        else:
            raise UnsupportedSiteError(
                f"block {layer} of {model.name} normalises queries and keys in a way that is not known, so that it "
                "cannot be said what its attention compares; leave it out."
            )
    return found[0], found[1]


def check_outputs(
    model: LensModel,
    layer: int,
    values: Float[Tensor, "head pos d"],
    outputs: Float[Tensor, "head pos d"],
) -> None:
    """Refuse a block whose heads put out something else than an average of values.

    At the first token the average is the value there, or, where attention may look at nothing, a share of it.

    Raises:
        UnsupportedSiteError: gates, a norm or a bound stand between them.
    """
    value, output = values[:, 0].double(), outputs[:, 0].double()
    if getattr(_attention(model, layer), "sinks", None) is not None:
        square = (value * value).sum(-1, keepdim=True).clamp_min(1e-30)
        value = value * (value * output).sum(-1, keepdim=True) / square
    off = float((value - output).norm() / output.norm().clamp_min(1e-30))
    if off > _ROUNDING[model.dtype.itemsize < 4]:
        raise UnsupportedSiteError(
            f"what a head of block {layer} of {model.name} puts out is no average of its values: gates, a norm "
            "or a bound stand between them, so that it cannot be said what its attention gives; leave it out."
        )


def _attention(model: LensModel, layer: int) -> Any:
    """The module that makes the scores."""
    transformer: Any = model.transformer
    attention = transformer.blocks[layer].attn
    return attention if model.backbone == "hooked" else attention.original_component
