"""Where the blocks of a model lie inside its transformers module, without reading its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from steerscope.errors import UnsupportedSiteError
from steerscope.models.checkpoints import auto_class
from steerscope.models.sources import find_source


def block_paths(name_or_path: str) -> tuple[str, ...]:
    """The path of every block inside the base model, such as `layers.0`, as `named_modules` has it.

    Raises:
        ModelLoadError: there is no such model.
        UnsupportedSiteError: its blocks cannot be told.
    """
    source = find_source(name_or_path)
    options = {"trust_remote_code": source.trust_remote_code}
    config = AutoConfig.from_pretrained(source.place, revision=source.revision, **_gguf(source))
    with torch.device("meta"):
        network: Any = auto_class(config).from_config(config, **options)
    text = getattr(config, "text_config", None) or config
    found = [
        f"{name}."
        for name, module in network.base_model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == text.num_hidden_layers
    ]
    if len(found) != 1:
        raise UnsupportedSiteError(
            f"the blocks of {name_or_path} cannot be told in a {type(network).__name__}; steer it with "
            "steerscope instead."
        )
    return tuple(f"{found[0]}{i}" for i in range(text.num_hidden_layers))


def _gguf(source: Any) -> dict[str, str]:
    return {} if source.gguf is None else {"gguf_file": source.gguf}
