"""What the jobs that make tables share: the texts, provenance and unfinished parts of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from steerscope.activations import package_versions
from steerscope.bundled import bundled_prompts
from steerscope.contrasts import ContrastSet, PromptSet, load_prompts, opening_prompts
from steerscope.model import LensModel

UNFINISHED = "unfinished"  # folder of a run, gone once it is sealed


def prompts_for(contrasts: ContrastSet, prompts: str | None) -> PromptSet:
    """The prompts that a file names, those of the contrast set's name, or its openings."""
    if prompts is not None or contrasts.name in bundled_prompts():
        return load_prompts(prompts or contrasts.name)
    return opening_prompts(contrasts.name, contrasts.pairs)


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
