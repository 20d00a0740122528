"""Vectors of other tools: each stands where its authors read it, and acts as they have it act."""

from __future__ import annotations

import hashlib
import json
import os
import pickle

import numpy as np
import pytest
import torch
import transformers

from steerscope.directions import (
    export_gguf,
    import_directions,
    import_gguf,
    load_directions,
    save_directions,
)
from steerscope.directions.imports import READERS
from steerscope.directions.imports.lengths import NEUTRAL_PROMPTS, median_lengths
from steerscope.doses import Dose
from steerscope.errors import BadValueError, VectorFileError, VectorMismatchError
from steerscope.sites import Site
from steerscope.steering.interventions import Steering, steer
from steerscope.steering.scopes import Scope
from tests.directions.test_gguf import same, write_plainly
from tests.helpers import random_direction, rounding

PROMPT = "w10 w11 w12 w13"
N_LAYERS, WIDTH = 3, 32


@pytest.fixture(scope="module")
def theirs(tiny_folder):
    """The tiny Llama in transformers itself, which other tools work on."""
    return transformers.LlamaForCausalLM.from_pretrained(tiny_folder("llama"))


@pytest.fixture(scope="module")
def states(theirs, load):
    """HF `hidden_states` at the last token of a prompt: the embedding, then each block's output."""
    tokens = torch.tensor([load().tokens(PROMPT)])
    with torch.no_grad():
        found = theirs(tokens, output_hidden_states=True).hidden_states
    return [state[0, -1] for state in found]


def repeng(path, states):
    vectors = {f"direction.{n}": states[n + 1].numpy() for n in (1, 0)}
    write_plainly(path, vectors, texts={"controlvector.model_hint": "llama"})
    return path


def caa(path, states):
    torch.save(states[2].clone(), path.with_name("vec_layer_1_Llama-2-7b-chat-hf.pt"))
    return path.with_name("vec_layer_1_Llama-2-7b-chat-hf.pt")


def easyedit(path, states):
    torch.save(states[1].clone(), path.with_name("layer_0.pt"))
    return path.with_name("layer_0.pt")


def one_row(path, states):
    torch.save(states[3][None].clone(), path.with_name("layer_2.pt"))
    return path.with_name("layer_2.pt")


def steering_vectors(path, states):
    torch.save({1: states[2].clone(), 0: states[1].clone()}, path)
    return path


def persona(path, states):
    torch.save(torch.stack(states), path)
    return path


def svec(path, states):
    directions = {str(n): states[n + 1].tolist() for n in (0, 1)}
    text = {"model_type": "llama", "directions": directions, "explained_variances": {"0": 1}}
    path.write_text(json.dumps(text))
    return path


def aisteer(path, states):
    directions = {"1": [states[2].tolist()]}
    path.write_text(json.dumps({"model_type": "llama", "directions": directions}))
    return path


def neuronpedia(path, states):
    vector = {
        "label": "a", "model_id": "b", "source": "2-c", "index": "0", "values": states[2].tolist(),
        "hook_name": "blocks.2.hook_resid_pre", "default_steer_strength": 4.0, "url": None,
    }  # fmt: skip
    path.write_text(json.dumps(vector))
    return path


def neuronpedia_answer(path, states):
    vector = {"values": states[1].tolist(), "hookName": "blocks.1.hook_resid_pre", "index": "0"}
    path.write_text(json.dumps({"vector": vector, "url": "https://example.org"}))
    return path


WRITERS = {
    repeng: ("v.gguf", "gguf", ["resid_post.0", "resid_post.1"]),
    caa: ("v.pt", "caa", ["resid_post.1"]),
    easyedit: ("v.pt", "caa", ["resid_post.0"]),
    one_row: ("v.pt", "caa", ["resid_post.2"]),
    steering_vectors: ("v.pt", "steering-vectors", ["resid_post.0", "resid_post.1"]),
    persona: ("v.pt", "persona", ["resid_pre.0", "resid_post.0", "resid_post.1", "resid_post.2"]),
    svec: ("v.svec", "svec", ["resid_post.0", "resid_post.1"]),
    aisteer: ("v.svec", "svec", ["resid_post.1"]),
    neuronpedia: ("v.json", "neuronpedia", ["resid_pre.2"]),
    neuronpedia_answer: ("v.json", "neuronpedia", ["resid_pre.1"]),
}


@pytest.mark.parametrize("write", WRITERS)
def test_each_format_stands_at_the_site_where_it_was_read(tmp_path, load, states, write):
    """The file holds HF's hidden states, so each vector is our activation at its site."""
    model = load("llama")
    name, kind, sites = WRITERS[write]
    path = write(tmp_path / name, states)
    found = import_directions(path, model, prompts=[PROMPT, "w20 w21 w22"])
    assert [str(d.site) for d in found] == sites
    tokens = torch.tensor([model.tokens(PROMPT)])
    lengths = median_lengths(model, [d.site for d in found], [PROMPT, "w20 w21 w22"])
    for d in found:
        ours = model.read(tokens, [d.site])[d.site][0, -1]
        if str(d.site) == f"resid_post.{N_LAYERS - 1}":  # HF gives the last one after the norm
            ours = states[-1]
        torch.testing.assert_close(d.unit * d.scale.natural, ours, atol=1e-5, rtol=1e-5)
        assert d.scale.natural == pytest.approx(float(ours.norm()), rel=rounding(32, 1.0))
        assert d.scale.relative == lengths[d.site]
        assert d.method == f"imported:{kind}"
        assert (d.provenance.model, d.provenance.fingerprint) == (model.name, model.fingerprint)
        assert d.provenance.contrasts_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert d.provenance.contrasts == path.name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_an_imported_control_vector_acts_as_repeng_acts(
    tmp_path, load, tiny_folder, family, backbone
):
    """repeng replaces layers[N] by a module that adds coefficient * direction.N to its output."""
    model = load(family, backbone)
    whole = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder(family)).eval()
    blocks = whole.model.layers if family == "llama" else whole.transformer.h
    generator = torch.Generator().manual_seed(1)
    vectors = {n: torch.randn(WIDTH, generator=generator) for n in (1, 2)}
    write_plainly(
        tmp_path / "v.gguf",
        {f"direction.{n}": v.numpy() for n, v in vectors.items()},
        texts={"controlvector.model_hint": family},
    )
    tokens = torch.tensor([model.tokens(PROMPT)])
    with torch.no_grad():
        plain = whole(tokens).logits
    coefficient = -1.7
    for n, vector in vectors.items():

        def add(_module, _inputs, output, vector=vector):
            if isinstance(output, tuple):
                return (output[0] + coefficient * vector, *output[1:])
            return output + coefficient * vector

        blocks[n].register_forward_hook(add)
    with torch.no_grad():
        expected = whole(tokens).logits
    found = import_directions(tmp_path / "v.gguf", model)
    steerings = [Steering(d, Dose(coefficient), scope=Scope.everywhere()) for d in found]
    with torch.no_grad(), steer(model, *steerings):
        steered = model.forward(tokens)
    torch.testing.assert_close(steered, expected, atol=2e-4, rtol=1e-4)
    assert float((expected - plain).abs().max()) > 0.5


def test_what_export_writes_acts_as_the_direction_did(tmp_path, load):
    """Read without our keys, as another tool would, a file of ours steers as its directions do."""
    model = load("llama")
    ours = [random_direction(model, Site("resid_post", n), seed=n, natural=3.0) for n in (1, 2)]
    export_gguf(tmp_path / "ours.gguf", ours, dose=Dose(0.5, "relative"))
    from gguf import GGUFReader

    tensors = {t.name: np.array(t.data) for t in GGUFReader(tmp_path / "ours.gguf").tensors}
    write_plainly(tmp_path / "bare.gguf", tensors)
    bare = import_directions(tmp_path / "bare.gguf", model)
    tokens = torch.tensor([model.tokens(PROMPT)])
    logits = []
    for directions, dose in ((ours, Dose(0.5, "relative")), (bare, Dose(1.0))):
        with torch.no_grad(), steer(model, *(Steering(d, dose) for d in directions)):
            logits.append(model.forward(tokens))
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_any_precision_are_read(tmp_path, load, dtype):
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype)
    torch.save(torch.nn.Parameter(vector), tmp_path / "layer_1.pt")
    [found] = import_directions(tmp_path / "layer_1.pt", load("llama"))
    expected = vector.double()
    assert found.unit.dtype == torch.float32
    torch.testing.assert_close(found.unit, (expected / expected.norm()).float())
    assert found.scale.natural == pytest.approx(float(expected.norm()))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_control_vectors_of_any_precision_are_read(tmp_path, load, dtype):
    vector = np.random.default_rng(0).normal(size=WIDTH).astype(dtype)
    write_plainly(tmp_path / "v.gguf", {"direction.1": vector, "notes": np.zeros(3, "float32")})
    [found] = import_directions(tmp_path / "v.gguf", load("llama"))
    assert found.scale.natural == pytest.approx(float(np.linalg.norm(vector.astype("float64"))))


def test_a_layer_of_zeros_is_left_out(tmp_path, load):
    rows = {"direction.1": np.zeros(WIDTH, "float32"), "direction.2": np.ones(WIDTH, "float32")}
    write_plainly(tmp_path / "v.gguf", rows)
    [found] = import_directions(tmp_path / "v.gguf", load("llama"))
    assert str(found.site) == "resid_post.2"
    assert found.scale.natural == pytest.approx(WIDTH**0.5)


def test_files_of_ours_are_known_by_their_content_and_read_as_they_are(tmp_path, load):
    model = load("llama")
    ours = [random_direction(model, Site("resid_post", 1), natural=3.0)]
    save_directions(tmp_path / "v.safetensors", ours)
    export_gguf(tmp_path / "v.gguf", ours)
    os.rename(tmp_path / "v.safetensors", tmp_path / "v.pt")
    for name in ("v.pt", "v.gguf"):
        assert same(import_directions(tmp_path / name, model)[0], ours[0])


@pytest.mark.parametrize("write", WRITERS)
def test_an_imported_file_is_saved_as_ours_and_read_back(tmp_path, load, states, write):
    found = import_directions(write(tmp_path / WRITERS[write][0], states), load("llama"))
    save_directions(tmp_path / "ours.safetensors", found)
    read = {d.label: d for d in load_directions(tmp_path / "ours.safetensors")}
    assert all(same(d, read[d.label]) for d in found)
    last = [d for d in found if d.site == Site("resid_post", 1)]
    if last:
        export_gguf(tmp_path / "ours.gguf", last)
        assert same(import_gguf(tmp_path / "ours.gguf")[0], last[0])


def test_lengths_are_the_median_over_content_tokens(load):
    model = load("llama")
    site = Site("resid_post", 1)
    texts = ["w10 w11", "w12 w13 w14 w15", "w16 w17"]
    norms = [
        float(model.read(torch.tensor([ids]), [site])[site][0, at].norm())
        for ids in map(model.tokens, texts)
        for at in range(1, len(ids))
    ]
    assert len(norms) == 8
    assert median_lengths(model, [site], texts)[site] == pytest.approx(sorted(norms)[3], rel=1e-5)
    with pytest.raises(BadValueError, match="at least two tokens"):
        median_lengths(model, [site], [""])
    assert len(NEUTRAL_PROMPTS) >= 4


class Payload:
    """What a hostile file would hold: code that runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


class SteeringVector:
    """As steering-vectors saves its own: an object, here with the same name of its class."""

    def __init__(self):
        self.layer_activations = {1: torch.ones(WIDTH)}


def projective(key, value):
    """A writer of a control vector that says of itself that it is no addition."""

    def write(folder):
        path = folder / "v.gguf"
        write_plainly(path, {"direction.1": ones()}, texts={key: value})
        return path

    return write


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"


def put(name, content):
    """A writer of one bad file: a text, bytes, or whatever torch saves."""

    def write(folder):
        path = folder / name
        if isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        elif isinstance(content, dict) and name.endswith(".gguf"):
            write_plainly(path, content)
        elif name.endswith((".json", ".svec")):
            path.write_text(json.dumps(content))
        else:
            torch.save(content, path)
        return path

    return write


def ones(*shape, dtype="float32"):
    return np.ones(shape or WIDTH, dtype=dtype)


def at(hook, values=(1.0,) * WIDTH):
    return {"values": list(values), "hook_name": hook}


NUMBERS = [1.0] * WIDTH
NAN = torch.full((WIDTH,), torch.nan)
SPARSE = torch.eye(WIDTH).to_sparse()


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (put("v.bin", "x"), VectorFileError, r"ends in '.bin'; .*\.gguf, \.json, \.pt, \.pth, \.saf"),
        (put("v", "x"), VectorFileError, "ends in 'nothing'"),
        (put("v.safetensors", "x"), VectorFileError, "not a safetensors file"),
        # GGUF
        (put("v.gguf", "x"), VectorFileError, "not a readable GGUF file"),
        (put("v.gguf", ""), VectorFileError, "not a readable GGUF file"),
        (put("v.gguf", {"weight": ones()}), VectorFileError, "0 directions, not a control vector"),
        (put("v.gguf", {"direction.x": ones()}), VectorFileError, "'direction.x' names no layer"),
        (put("v.gguf", {"direction.-1": ones()}), VectorFileError, "names no layer"),
        (put("v.gguf", {"direction.4294967297": ones()}), VectorFileError, "names no layer"),
        (put("v.gguf", {"direction.1": ones(), "direction.01": ones()}), VectorFileError, "no layer"),
        (put("v.gguf", {"direction.3": ones()}), VectorMismatchError, "at resid_post.3; .* 0 to 2"),
        (put("v.gguf", {"direction.99999": ones()}), VectorMismatchError, "layers 0 to 2"),
        (put("v.gguf", {"direction.1": ones(7)}), VectorMismatchError, r"shape \(7,\) .*has 32"),
        (put("v.gguf", {"direction.1": ones(2, 16)}), VectorMismatchError, r"shape \(2, 16\)"),
        (put("v.gguf", {"direction.1": ones(dtype="int32")}), VectorFileError, "as I32; write .*F32"),
        (put("v.gguf", {"direction.1": ones() * np.nan}), VectorFileError, "is not finite"),
        (put("v.gguf", {"direction.1": ones() * 0}), VectorFileError, "nothing but zeros"),
        (projective("controlvector.projection", "true"), VectorFileError, "project_out"),
        (projective("controlvector.mode", "Projective"), VectorFileError, "mode = Projective"),
        (projective("adapter.controlvector.operation", "ablation"), VectorFileError, "takes? .*out"),
        # any of them, as git-lfs leaves it, and what may run code
        *((put(f"v{end}", POINTER), VectorFileError, "git-lfs pointer.*git lfs pull") for end in READERS),
        (put("v.safetensors", POINTER), VectorFileError, "git-lfs pointer"),
        (put("v.pkl", b"\x80\x04K\x01."), VectorFileError, "not opened.*layer_activations"),
        (put("v.pt", SteeringVector()), VectorFileError, "not opened.*layer_activations"),
        (put("v.pt", pickle.dumps(SteeringVector())), VectorFileError, "layer_activations"),
        (put("v.pt", {1: torch.ones(2, 2)}), VectorMismatchError, r"shape \(2, 2\)"),
        (put("v.pt", {1: "w"}), VectorFileError, "holds a str"),
        (put("v.pt", {-1: torch.ones(WIDTH)}), VectorFileError, "'-1' is no layer"),
        (put("v.pt", torch.ones(1, WIDTH)), VectorFileError, "name it layer_N.pt"),
        # CAA, EasyEdit
        (put("layer_1.pt", b"\x80\x02garbage"), VectorFileError, "plain tensors"),
        (put("layer_1.pt", b""), VectorFileError, "plain tensors"),
        (put("layer_1.pt", b"PK\x03\x04 cut short"), VectorFileError, "plain tensors"),
        (put("layer_1.pt", Payload()), VectorFileError, "could run code .*are refused"),
        (put("layer_1.pt", {"layer_1": torch.ones(WIDTH)}), VectorFileError, "holds a dict"),
        (put("layer_1.pt", torch.ones(WIDTH).long()), VectorFileError, "torch.int64"),
        (put("layer_1.pt", SPARSE), VectorFileError, "not a dense tensor"),
        (put("layer_1.pt", torch.tensor(1.0)), VectorFileError, r"of shape \(\)"),
        (put("layer_1.pt", torch.ones(2, 3, 4)), VectorFileError, r"of shape \(2, 3, 4\)"),
        (put("layer_1.pt", NAN), VectorFileError, "is not finite"),
        (put("layer_1.pt", torch.ones(31)), VectorMismatchError, r"\(31,\)"),
        (put("layer_3.pt", torch.ones(WIDTH)), VectorMismatchError, "layers 0 to 2"),
        (put("layer_99999999999.pt", torch.ones(WIDTH)), VectorFileError, "is no layer"),
        (put("vector.pt", torch.ones(WIDTH)), VectorFileError, "name it layer_N.pt"),
        (put("layer_x.pt", torch.ones(WIDTH)), VectorFileError, "name it layer_N.pt"),
        # persona vectors
        (put("v.pt", torch.ones(3, WIDTH)), VectorMismatchError, "model of 2 layers, .*has 3"),
        (put("v.pt", torch.ones(5, WIDTH)), VectorMismatchError, "model of 4 layers, .*has 3"),
        (put("v.pt", torch.ones(0, WIDTH)), VectorFileError, "without rows"),
        (put("v.pt", torch.ones(4, 8)), VectorMismatchError, r"\(8,\)"),
        # .svec
        (put("v.svec", "{"), VectorFileError, "JSON"),
        (put("v.svec", b"\xff\xfe"), VectorFileError, "JSON"),
        (put("v.svec", '{"directions": {"1": [1.0, 2.'), VectorFileError, "JSON"),
        (put("v.svec", "[" * 100_000), VectorFileError, "JSON"),
        (put("v.svec", {"model_type": "x"}), VectorFileError, "directions"),
        (put("v.svec", {"directions": {}}), VectorFileError, "at least 1 item"),
        (put("v.svec", {"directions": {"1": ["a"]}}), VectorFileError, "number"),
        (put("v.svec", {"directions": {"1": None}}), VectorFileError, "list"),
        (put("v.svec", {"directions": {"one": NUMBERS}}), VectorFileError, "'one' is no layer"),
        (put("v.svec", {"directions": {"-1": NUMBERS}}), VectorFileError, "'-1' is no layer"),
        (put("v.svec", {"directions": {"9" * 30: NUMBERS}}), VectorFileError, "is no layer"),
        (put("v.svec", {"directions": {"3": NUMBERS}}), VectorMismatchError, "layers 0 to 2"),
        (put("v.svec", {"directions": {"1": [1.0]}}), VectorMismatchError, r"\(1,\)"),
        (put("v.svec", {"directions": {"1": [NUMBERS] * 2}}), VectorFileError, "2 vectors"),
        (put("v.svec", {"directions": {"1": [[1.0], [1.0, 2.0]]}}), VectorFileError, "2 vectors"),
        (put("v.svec", {"directions": {"1": NAN.tolist()}}), VectorFileError, "is not finite"),
        # Neuronpedia
        (put("v.json", "not JSON"), VectorFileError, "JSON"),
        (put("v.json", {}), VectorFileError, "hook_name|vector"),
        (put("v.json", {"values": NUMBERS}), VectorFileError, "hook_name"),
        (put("v.json", at("blocks.1.hook_resid_pre", ["a"])), VectorFileError, "number"),
        (put("v.json", at("blocks.1.hook_resid")), VectorFileError, "no site at hook point"),
        (put("v.json", at("blocks.x.hook_resid_pre")), VectorFileError, "no site at hook point"),
        (put("v.json", at("blocks.9999999.hook_resid_pre")), VectorFileError, "no site at hook"),
        (put("v.json", at("blocks.3.hook_resid_pre")), VectorMismatchError, "layers 0 to 2"),
        (put("v.json", at("blocks.1.hook_resid_pre", [1.0])), VectorMismatchError, r"\(1,\)"),
        (put("v.json", at("blocks.1.hook_resid_pre", [])), VectorMismatchError, r"\(0,\)"),
        (put("v.json", at("blocks.1.hook_resid_pre", NAN.tolist())), VectorFileError, "is not finite"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_what_to_do(tmp_path, monkeypatch, load, write, error, message):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path)
    with pytest.raises(error, match=f"{path.name}.*{message}"):
        import_directions(path, load("llama"))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing in the file ran


def test_a_control_vector_that_denies_being_a_projection_is_read(tmp_path, load):
    path = projective("controlvector.projective", "false")(tmp_path)
    assert [str(d.site) for d in import_directions(path, load("llama"))] == ["resid_post.1"]


def test_a_file_that_is_not_there_is_named(tmp_path, load):
    for suffix in READERS:
        with pytest.raises(VectorFileError, match="no vector file"):
            import_directions(tmp_path / f"v{suffix}", load("llama"))
