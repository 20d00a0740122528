"""Folders of small random models."""

from __future__ import annotations

import json

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from tests.conftest import word_tokenizer


@pytest.fixture
def saved(tmp_path):
    """Saves a random model of a configuration; its folder."""

    def save(config):
        torch.manual_seed(0)
        model = hf.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.3) if weight.ndim > 1 else weight.add_(
                    0.2 * torch.randn_like(weight)
                )
        folder = tmp_path / type(config).__name__
        model.save_pretrained(folder)
        word_tokenizer().save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def llama(tiny_folder, tmp_path):
    """A copy of a checkpoint's folder, its weights and its configuration changed."""

    def changed(weights=lambda w: w, **config):
        source, folder = tiny_folder("llama"), tmp_path / "copy"
        folder.mkdir()
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        held = weights(load_file(source / "model.safetensors"))
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
        told = json.loads((source / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(told))
        return folder

    return changed
