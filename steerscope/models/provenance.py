"""What a run or a direction says about the model and the programs that it comes from."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from steerscope.models.lens_model import LensModel


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a number."""
    names = ("steerscope", "torch", "transformer-lens", "transformers", "numpy")
    return {name: version(name) for name in names}


def provenance_of(model: LensModel) -> dict[str, Any]:
    """What a run says about its model and the programs that measured it."""
    return {
        "fingerprint": model.fingerprint,
        "backbone": model.backbone,
        "shape": asdict(model.shape),
        "device": model.device.type,
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
    }
