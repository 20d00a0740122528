"""A checkpoint that is not whole, or not of a model that writes, is refused at load."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import transformers as hf

from steerscope.errors import ModelLoadError
from steerscope.models.block_paths import block_paths
from steerscope.models.installs import no_installs
from steerscope.models.loading import load_model
from steerscope.sites import Site
from tests.conftest import word_tokenizer
from tests.helpers import random_direction
from tests.models.random_models import (
    GROUPED,
    PROMPTS,
    load,
)

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: {n: x for n, x in w.items() if n != UP}, f"lacks 1 tensor .{UP}."),
        (lambda w: {f"wrapped.{n}": x for n, x in w.items()}, "lacks 30 tensors .* and 22 more"),
        (lambda w: w | {"model.layers.0.extra": torch.zeros(2)}, "does not know"),
        (lambda w: w | {UP: torch.zeros(2, 2)}, f"has 1 tensor .{UP}. of another shape"),
        (lambda w: w | {UP: w[UP] * torch.nan}, "logits are not finite in transformers itself"),
    ],
    ids=["missing", "prefixed", "unexpected", "another shape", "not a number"],
)
def test_a_checkpoint_that_is_not_whole_is_refused_with_its_tensors(llama, change, words):
    with pytest.raises(ModelLoadError, match=words):
        load_model(llama(change))


def test_an_untied_unembedding_that_is_not_in_the_file_is_missing(saved):
    folder = saved(hf.LlamaConfig(**GROUPED, tie_word_embeddings=True))
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"tie_word_embeddings": False}))
    with pytest.raises(ModelLoadError, match="lacks 1 tensor .lm_head.weight."):
        load_model(folder)


def test_an_encoder_and_decoder_is_no_causal_model(tmp_path):
    sizes = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1}
    hf.T5ForConditionalGeneration(hf.T5Config(**sizes, num_heads=4)).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="T5Config is of no model that writes"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (hf.BartForConditionalGeneration, "BartConfig is of no model that writes"),
        (hf.RobertaForMaskedLM, "RobertaForMaskedLM fills in masked words"),
    ],
)
def test_what_transformers_would_turn_into_a_causal_model_is_none(tmp_path, kind, words):
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_hidden_layers": 1}
    small = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4}
    kind(kind.config_class(vocab_size=96, **sizes, **small)).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=words):
        load_model(tmp_path)


def test_a_model_that_also_looks_at_pictures_is_steered_in_its_text(tmp_path):
    eyes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4} | {
        "num_hidden_layers": 1, "image_size": 8, "patch_size": 4
    }  # fmt: skip
    torch.manual_seed(0)
    network = hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(
            vision_config=hf.CLIPVisionConfig(**eyes), text_config=hf.LlamaConfig(**GROUPED)
        )
    )
    network.eval().save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    model, tokens = load(tmp_path), torch.tensor([PROMPTS[2]])
    site = Site("resid_post", 1)
    added = random_direction(model, site).unit

    with torch.no_grad():
        torch.testing.assert_close(model.forward(tokens), network(tokens).logits)
        block = network.model.language_model.layers[1]
        block.register_forward_hook(lambda _block, _inputs, output: output + added)
        with model.hook(site, lambda x: x + added):
            torch.testing.assert_close(model.forward(tokens), network(tokens).logits)
    assert block_paths(str(tmp_path))[1] == "language_model.layers.1"


def test_weights_that_were_cut_short_are_one_clear_line(llama):
    folder = llama()
    held = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(held[: len(held) // 2])
    with pytest.raises(ModelLoadError, match="cannot load model .*copy") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_no_library_installs_packages_while_a_model_loads():
    pip = [sys.executable, "-m", "pip", "install", "no-such-package"]
    with no_installs():
        for command in (pip, ["uv", "pip", "install", "x"], " ".join(pip)):
            with pytest.raises(PermissionError, match="tried to install packages"):
                subprocess.run(command, shell=isinstance(command, str), check=False)
        assert subprocess.run(["true"], check=False).returncode == 0
    assert subprocess.run([*pip[:3], "--version"], check=False, capture_output=True).returncode == 0
