"""How the last residual stream becomes logits, measured on the logits that the model itself gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Project = Callable[[Tensor, bool], Tensor]  # residual, whether the final norm comes first
_BETTER = (
    0.9  # of the distance of an earlier candidate: less apart are two that rounding may choose of
)


@dataclass(frozen=True)
class Unembedding:
    """What comes behind the unembedding matrix: logits = cap · tanh(scale · x W / cap).

    Attributes:
        scale: factor of the logits, such as 1/16 in Command-R.
        cap: soft cap of the logits; None for no cap.
        normed: whether a final norm stands before the matrix.
    """

    scale: float = 1.0
    cap: float | None = None
    normed: bool = True

    def __call__(self, raw: Float[Tensor, "*batch vocab"], *, capped: bool = True) -> Tensor:
        """The logits of what the matrix gives."""
        scaled = raw if self.scale == 1.0 else raw * self.scale
        return self.cap * torch.tanh(scaled / self.cap) if capped and self.cap else scaled


def configured(config: Any) -> Unembedding:
    """What the configuration names, unmeasured: a soft cap."""
    cap = getattr(config.get_text_config(), "final_logit_softcapping", None)
    return Unembedding(cap=float(cap) if cap else None)


def measured(
    project: Project,
    residual: Float[Tensor, "pos d"],
    logits: Float[Tensor, "pos vocab"],
    config: Any,
    fits: Callable[[Tensor, Tensor], bool],
) -> Unembedding | None:
    """The unembedding under which a residual stream gives the logits of the model itself.

    Of those that fit, the nearest: in half precision a logit without its cap may fit too. A scale is
    fitted by least squares, and is that of the configuration where it is near it.

    Args:
        project: final norm, if asked for, and unembedding matrix.
        residual: after the last block.
        logits: of the same positions.
        config: names soft caps and scales.
        fits: whether one tensor of logits is the other, up to rounding.
    """
    named = list(_named(config))
    best, least = None, math.inf
    for normed in (True, False):
        try:
            raw = project(residual, normed).float()
        except (AttributeError, RuntimeError):  # no such norm, or a projection in between
            continue
        for cap in dict.fromkeys((configured(config).cap, None, *named)):
            if cap is not None and (cap <= 0 or float(logits.abs().max()) > cap):
                continue
            scale = _fitted_scale(raw, logits, cap)
            near = [s for s in _scales(named) if math.isclose(s, scale, rel_tol=0.02)]
            fitting = (Unembedding(s, cap, normed) for s in (*near, scale))
            found = next((one for one in fitting if fits(one(raw), logits)), None)
            off = math.inf if found is None else float((found(raw) - logits).pow(2).mean().sqrt())
            if off < _BETTER * least or best is None:
                best, least = found, off
    return best


def _fitted_scale(raw: Tensor, logits: Tensor, cap: float | None) -> float:
    """The factor of raw logits that comes nearest, where a cap leaves them readable."""
    if cap is None:
        return float((raw * logits).sum() / (raw * raw).sum())
    inside = logits.abs() < 0.95 * cap
    some, linear = raw[inside], cap * torch.atanh(logits[inside] / cap)
    return float((some * linear).sum() / (some * some).sum())


def _named(config: Any) -> Iterator[float]:
    """Numbers of the configuration that may have to do with logits."""
    for name, value in config.get_text_config().to_dict().items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and value and ("logit" in name or "lm_head" in name):
            yield float(value)


def _scales(named: list[float]) -> list[float]:
    return [1.0, *named, *(1 / value for value in named)]
