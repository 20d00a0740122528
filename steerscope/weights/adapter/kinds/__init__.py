"""Kinds of adapters, by name; a new one is a class in a file here and a line below."""

from __future__ import annotations

from steerscope.weights.adapter.kinds.kind import Kind, Sizes
from steerscope.weights.adapter.kinds.low_rank import DeLoRA, DoRA, LoRA, VeRA
from steerscope.weights.adapter.kinds.rotations import BOFT, OFT, RoAd
from steerscope.weights.adapter.kinds.scaling import IA3, Bias

KINDS: dict[str, Kind] = {
    "lora": LoRA(),
    "dora": DoRA(),
    "delora": DeLoRA(),
    "vera": VeRA(),
    "ia3": IA3(),
    "bias": Bias(),
    "oft": OFT(),
    "boft": BOFT(),
    "road": RoAd(),
}

__all__ = ["KINDS", "Kind", "Sizes"]
