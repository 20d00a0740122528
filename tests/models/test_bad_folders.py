"""Folders that are no good model: refused in one sentence, and no code of theirs is run."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec

import peft
import pytest
import torch
import transformers as hf

from steerscope.directions.imports import read_own
from steerscope.errors import ContrastError, MemoryBudgetError, ModelLoadError, VectorFileError
from steerscope.models.loading import load_model
from steerscope.texts.contrasts import load_contrasts, load_prompts

PAYLOAD = "import pathlib\npathlib.Path({!r}).write_text('ran')\n"


class Hostile:
    """What runs a command when it is read back by a careless reader."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("kind", ["llama", "a_kind_of_its_own"])
@pytest.mark.hooked
def test_code_that_a_folder_brings_never_runs_and_nobody_is_asked(folder, tmp_path, kind, capfd):
    marker = tmp_path / "marker"
    for name in ("configuration_own.py", "modeling_own.py"):
        (folder / name).write_text(PAYLOAD.format(str(marker)))
    own = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnModel",
    }
    change_config(folder, model_type=kind, auto_map=own)
    if kind == "llama":
        assert load_model(folder).backbone == "hooked"
    else:
        with pytest.raises(ModelLoadError, match="cannot load model"):
            load_model(folder)
    assert not marker.exists()
    assert "y/N" not in "".join(capfd.readouterr())


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # transformers' own
def test_an_adapter_of_another_library_is_merged_before(folder, tmp_path):
    network = hf.AutoModelForCausalLM.from_pretrained(folder)
    adapted = peft.get_peft_model(network, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelLoadError, match="no config.json.* an adapter of PEFT, to be merged"):
        load_model(tmp_path / "adapter")
    adapted.save_pretrained(folder)
    with pytest.raises(ModelLoadError, match="load model 'model'.* merge it"):
        load_model(folder)
    given = hf.AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(ModelLoadError, match="merge it"):
        load_model(given, tokenizer=hf.AutoTokenizer.from_pretrained(folder))


def test_a_library_that_is_missing_is_to_be_installed_and_no_fault_of_the_folder(folder):
    if find_spec("optimum"):
        pytest.skip("optimum is installed")
    change_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ModelLoadError, match="not installed: .*pip install") as refused:
        load_model(folder)
    assert "Get it again" not in str(refused.value)


def test_weights_that_are_cut_off_or_hold_code_are_refused(folder, tmp_path):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelLoadError, match="cannot load model"):
        load_model(folder)
    weights.unlink()
    torch.save({"x": Hostile(tmp_path / "marker")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="cannot load model"):
        load_model(folder)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 50_000])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_a_configuration_that_cannot_be_read_is_refused(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(ModelLoadError, match="cannot load model"):
        load_model(folder)


def test_a_limit_below_the_weights_is_refused_at_once(folder):
    with pytest.raises(MemoryBudgetError, match="weights of model alone"):
        load_model(folder, memory="1KiB")
    assert load_model(folder, memory="1GiB").memory_limit == 2**30


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "model.safetensors.index.json",
            b"[]",
            "index.json is no JSON object; save the model again",
        ),
        ("config.json", b"\xff\xfe", "config.json is no JSON object"),
        ("tokenizer.json", b"{}", "the tokenizer of 'model'.*KeyError.*Get it again"),
        ("tokenizer.json", None, "no tokenizer that can be read; save it beside the weights"),
        (
            "pytorch_model.bin",
            Hostile,
            "Python objects, which could run code.*save them as safetensors",
        ),
    ],
)
def test_a_damaged_part_is_named_with_what_to_do(folder, tmp_path, name, content, words):
    if content is Hostile:
        (folder / "model.safetensors").unlink()
        torch.save({"x": Hostile(tmp_path / "marker")}, folder / name)
    elif content is None:
        for part in folder.glob("*token*"):
            part.unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ModelLoadError, match=words) as caught:
        load_model(folder)
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "marker").exists()


def test_a_folder_where_a_file_is_meant_is_called_a_folder(tmp_path):
    for suffix in (".gguf", ".safetensors", ".pt"):
        folder = tmp_path / f"vector{suffix}"
        folder.mkdir()
        with pytest.raises(VectorFileError, match="is a folder; give a file in it"):
            read_own(folder)
    for find in (load_contrasts, load_prompts):
        with pytest.raises(ContrastError, match="is a folder; a .* set is a file of JSON lines"):
            find(tmp_path)
