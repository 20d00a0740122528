"""A plan decides the shape and the weights, and is not trained twice."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from steerscope.microworld.train import PLAN, TrainingPlan, train_model, trained
from steerscope.texts.bundled import bundled_models

PLAIN = TrainingPlan(
    steps=2, stories_per_step=2, n_layers=1, d_model=16, n_heads=2, n_key_value_heads=1, d_mlp=24
)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(bundled_models()["microworld"])


def test_a_plan_gives_its_shape_and_its_seed_gives_the_weights(tokenizer):
    first, again, other = (
        train_model(tokenizer, plan) for plan in (PLAIN, PLAIN, replace(PLAIN, seed=1))
    )
    assert first.config.num_hidden_layers == 1
    assert first.config.hidden_size == 16
    weights = [m.model.embed_tokens.weight for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_folder_is_trained_once_for_a_plan_and_again_for_another(tokenizer, tmp_path):
    folder = trained(tmp_path / "m", tokenizer, PLAIN)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert trained(folder, tokenizer, PLAIN) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    trained(folder, tokenizer, replace(PLAIN, steps=0))
    assert (folder / "model.safetensors").stat().st_mtime_ns != written
    assert json.loads((folder / PLAN).read_text())["plan"]["steps"] == 0
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == len(tokenizer)
