"""Another processor, in software: sums that round otherwise wherever their shapes are others.

A processor is free to add up in any order, and it picks the order by the shapes. So the same operation
on the same shapes gives the same bits, and that alone may be asked for bit by bit. Under
`pytest --rounding N` every matrix product, sum, softmax and transcendental function is wrong by about
one unit in the last place (of float32 and float64), in a pattern that depends on N, on the operation and on all its shapes: a test
that compares bits across shapes, or reads a text that the last bit decides, fails on any machine.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "dot", "mv", "addmv"}
SUMS = {"sum", "mean", "var", "var_mean", "linalg_vector_norm", "norm", "cumsum", "logsumexp"}
FUNCTIONS = {
    "_softmax", "_log_softmax", "exp", "log", "log1p", "expm1", "tanh", "sigmoid", "silu", "gelu",
    "sin", "cos", "acos", "atan2", "pow", "rsqrt", "softplus", "native_layer_norm",
    "_scaled_dot_product_flash_attention_for_cpu", "convolution",
}  # fmt: skip


@lru_cache(maxsize=2048)
def _pattern(key: int, shape: tuple[int, ...]) -> Tensor:
    """-1, 0 or 1 for each number of a result."""
    generator = torch.Generator().manual_seed(key)
    return torch.randint(-1, 2, shape, generator=generator, dtype=torch.int8)


class OtherRounding(TorchDispatchMode):
    """Every result that a processor may round as it likes, rounded otherwise; by shape and seed alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in PRODUCTS | SUMS | FUNCTIONS:
            return found
        whole = isinstance(found, Tensor)
        first = found if whole else found[0]
        if first.dtype not in {torch.float32, torch.float64} or first.device.type != "cpu":
            return found
        shapes = [tuple(a.shape) for a in args if isinstance(a, Tensor)]
        key = zlib.crc32(repr((self.seed, name, shapes, tuple(first.shape))).encode())
        sign = _pattern(key, tuple(first.shape)).to(first.dtype)
        change = torch.finfo(first.dtype).eps * sign * _size(name, args, first)
        first.add_(torch.where(first.isfinite(), change, 0.0))
        return found


def _size(name: str, args: tuple[Any, ...], found: Tensor) -> Tensor | float:
    """What the error of a result is in proportion to; 0 where every processor gets the same bits.

    A product's is the length of its factors, not its value, since its terms may cancel. Exact
    everywhere are sums of whole numbers, sums of a single term, and whole results as of exp(0).
    """
    if name not in PRODUCTS:
        inexact = found != found.round() if name in FUNCTIONS else not _whole(args[0])
        return found.abs() * inexact
    a, b = args[1:3] if name in {"addmm", "baddbmm", "addmv"} else args[:2]
    if _whole(a) and _whole(b):
        return 0.0
    if name == "dot":
        return a.norm() * b.norm()
    if name in {"mv", "addmv"}:
        return a.norm(dim=-1) * b.norm()
    several = ((a != 0).to(a.dtype) @ (b != 0).to(b.dtype)) > 1
    return a.norm(dim=-1, keepdim=True) * b.norm(dim=-2, keepdim=True) * several


def _whole(x: Tensor) -> bool:
    return bool((x == x.round()).all())
