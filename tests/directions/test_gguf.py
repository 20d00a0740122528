from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from steerscope.directions import export_gguf, fits_gguf, import_gguf
from steerscope.doses import Dose
from steerscope.errors import (
    BadValueError,
    NotFiniteError,
    SteerscopeError,
    VectorFileError,
    VectorMismatchError,
)
from tests.directions.test_files import direction


def write_plainly(path, tensors, *, architecture="controlvector", texts=()):
    """A GGUF file as any tool might write it."""
    writer = GGUFWriter(path, architecture)
    for key, text in dict(texts).items():
        writer.add_string(key, text)
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def as_repeng_reads(path):
    """Vectors by layer by the rule of repeng 0.4.0: the number after the first dot of direction.*."""
    reader = GGUFReader(path)
    assert bytes(reader.get_field("general.architecture").parts[-1]) == b"controlvector"
    assert len(reader.get_field("controlvector.model_hint").parts[-1])
    named = [t for t in reader.tensors if t.name.startswith("direction.")]
    return {int(t.name.split(".")[1]): np.array(t.data) for t in named}


def as_llama_cpp_reads(path, strength=1.0):
    """One buffer, a row for each block from 1 on, by the rules of llama.cpp's loader.

    It refuses a file with direction.0, and unless every tensor, of whatever name, is F32, has one
    dimension and the same width; blocks without a vector are zero.
    """
    tensors = GGUFReader(path).tensors
    assert all(t.tensor_type == GGMLQuantizationType.F32 and len(t.shape) == 1 for t in tensors)
    [width] = {int(t.shape[0]) for t in tensors}
    rows = {int(t.name.partition(".")[2]): t.data for t in tensors if "direction" in t.name}
    assert min(rows) >= 1
    buffer = np.zeros((max(rows), width), dtype=np.float32)
    for block, row in rows.items():
        buffer[block - 1] = row * np.float32(strength)
    return buffer


def same(one, other):
    return (
        torch.equal(one.unit, other.unit)
        and one.unit.dtype == other.unit.dtype
        and (one.site, one.scale, one.method, one.provenance)
        == (other.site, other.scale, other.method, other.provenance)
    )


@pytest.mark.parametrize("seed", range(25))
def test_what_is_written_is_read_back_bit_for_bit_and_by_the_rules_of_others(tmp_path, seed):
    random = np.random.default_rng(seed)
    width = int(random.integers(1, 200))
    layers = random.choice(np.arange(1, 80), size=random.integers(1, 12), replace=False)
    directions = [
        direction(int(n), seed=int(n), width=width, natural=float(10 ** random.uniform(-4, 4)))
        for n in layers
    ]
    dose = Dose(float(random.normal()) or 1.0, ("natural", "relative", "absolute")[seed % 3])
    export_gguf(tmp_path / "v.gguf", directions, dose=dose)
    read = {d.label: d for d in import_gguf(tmp_path / "v.gguf")}
    assert read.keys() == {d.label for d in directions}
    assert all(same(d, read[d.label]) for d in directions)
    theirs, buffer = as_repeng_reads(tmp_path / "v.gguf"), as_llama_cpp_reads(tmp_path / "v.gguf")
    assert sorted(theirs) == sorted(int(n) for n in layers)
    for d in directions:
        expected = (d.unit * dose.absolute(d.scale)).numpy()
        assert np.array_equal(theirs[d.site.layer], expected)
        assert np.array_equal(buffer[d.site.layer - 1], expected)
    silent = sorted(set(range(1, len(buffer) + 1)) - {int(n) for n in layers})
    assert not buffer[[n - 1 for n in silent]].any()


def test_strength_1_is_one_natural_unit_unless_told_otherwise(tmp_path):
    d = direction(natural=2.5)
    for dose, length in ((None, 2.5), (Dose(2.0, "relative"), 14.5), (Dose(-3.0, "absolute"), -3)):
        export_gguf(tmp_path / "v.gguf", [d], dose=dose)
        [vector] = as_repeng_reads(tmp_path / "v.gguf").values()
        assert vector @ d.unit.numpy() == pytest.approx(length)


def test_the_keys_that_others_read_are_there(tmp_path):
    export_gguf(tmp_path / "v.gguf", [direction(2), direction(5)], model_hint="llama")
    reader = GGUFReader(tmp_path / "v.gguf")
    found = {k: f.contents() for k, f in reader.fields.items()}
    assert found["general.architecture"] == "controlvector"
    assert found["controlvector.model_hint"] == "llama"
    assert found["controlvector.layer_count"] == 2
    assert [t.name for t in reader.tensors] == ["direction.2", "direction.5"]
    described = json.loads(found["steerscope.directions"])["directions"]["mean_diff@resid_post.2"]
    assert described["place"].startswith("output of block 2, 0-based = HF hidden_states[3]")
    assert described["provenance"]["contrasts_sha256"] == "0" * 64


@pytest.mark.parametrize(
    ("directions", "dose", "error", "message"),
    [
        ([], None, VectorFileError, "at least one"),
        ([direction(3, stream="resid_pre")], None, VectorFileError, "resid_pre.3 has no place"),
        ([direction(3, stream="attn_out")], None, VectorFileError, "attn_out.3 has no place"),
        ([direction(0)], None, VectorFileError, "resid_post.0 has no place .*from block 1"),
        ([direction(3), direction(3, seed=1)], None, VectorFileError, "each of its own label"),
        ([direction(3), direction(3, **{"seed": 1})], None, VectorFileError, "own label"),
        ([direction(3), direction(4, fingerprint="x")], None, VectorMismatchError, "models"),
        ([direction(3), direction(4, width=8)], None, VectorMismatchError, "different widths"),
        ([direction(3)], Dose(0.0), BadValueError, "dose of 0"),
        ([direction(3)], Dose(1e39), NotFiniteError, "too long for float32"),
    ],
)
def test_what_a_control_vector_cannot_hold_is_refused(tmp_path, directions, dose, error, message):
    with pytest.raises(error, match=message):
        export_gguf(tmp_path / "v.gguf", directions, dose=dose)
    assert not list(tmp_path.iterdir())


def test_two_methods_at_one_layer_are_refused(tmp_path):
    from dataclasses import replace

    two = [direction(3), replace(direction(3), method="pca_centred")]
    with pytest.raises(VectorFileError, match="two directions at layer 3"):
        export_gguf(tmp_path / "v.gguf", two)


def test_only_outputs_of_blocks_from_1_on_fit():
    assert [fits_gguf(direction(n)) for n in (0, 1, 40)] == [False, True, True]
    assert not fits_gguf(direction(3, stream="resid_pre"))


def rewrite(path, tensors=None, **texts):
    """Write a control vector again with some of its tensors or texts changed, as a tool might."""
    reader = GGUFReader(path)
    before = {t.name: np.array(t.data) for t in reader.tensors}
    kept = {
        k: f.contents()
        for k, f in reader.fields.items()
        if k.startswith(("steerscope", "controlvector")) and isinstance(f.contents(), str)
    }
    kept |= {f"steerscope.{k}": v for k, v in texts.items()}
    kept = {k: v for k, v in kept.items() if v is not None}
    write_plainly(path, before | (tensors or {}), texts=kept)


def test_a_vector_that_another_tool_changed_is_not_taken_for_ours(tmp_path):
    path = tmp_path / "v.gguf"
    export_gguf(path, [direction(3), direction(4)])
    rewrite(path)
    assert len(import_gguf(path)) == 2
    rewrite(path, {"direction.3": np.ones(16, dtype=np.float32)})
    with pytest.raises(VectorFileError, match=r"direction.3 is not what its description says"):
        import_gguf(path)
    export_gguf(path, [direction(3)])
    rewrite(path, {"direction.7": np.ones(16, dtype=np.float32)})
    with pytest.raises(VectorFileError, match=r"direction.7 is not"):
        import_gguf(path)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"dose": None}, "steerscope.dose and steerscope.units are missing"),
        ({"dose": '{"value": "x"}'}, "missing or damaged"),
        ({"dose": '{"value": 1.0, "unit": "naturel"}'}, "missing or damaged"),
        ({"units": None}, "missing or damaged"),
        ({"units": "[1]"}, "missing or damaged"),
        ({"units": '{"mean_diff@resid_post.3": "???"}'}, "missing or damaged"),
        ({"units": '{"mean_diff@resid_post.3": "AAA="}'}, "missing or damaged"),
        ({"units": "{}"}, "do not agree on mean_diff@resid_post.3"),
        ({"directions": "{}"}, "not readable at format_version"),
        ({"directions": None}, "of another tool .*import_directions"),
    ],
)
def test_damaged_keys_of_ours_are_named(tmp_path, texts, message):
    export_gguf(tmp_path / "v.gguf", [direction(3)])
    rewrite(tmp_path / "v.gguf", **texts)
    with pytest.raises(VectorFileError, match=message):
        import_gguf(tmp_path / "v.gguf")


def test_a_file_cut_anywhere_or_turned_into_noise_is_named(tmp_path):
    path = tmp_path / "v.gguf"
    before = [direction(3), direction(4)]
    export_gguf(path, before)
    whole = path.read_bytes()
    noise = np.random.default_rng(0)
    for length in (0, 3, 20, 60, len(whole) // 2, len(whole) - 64, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(VectorFileError, match="not a readable GGUF file"):
            import_gguf(path)
    path.write_bytes(noise.bytes(4096))
    with pytest.raises(VectorFileError, match="not a readable GGUF file"):
        import_gguf(path)
    for _ in range(200):  # one bit wrong: an error of ours, or the same vectors
        damaged = bytearray(whole)
        damaged[int(noise.integers(0, len(whole)))] ^= 1 << int(noise.integers(0, 8))
        path.write_bytes(damaged)
        with suppress(SteerscopeError):
            for one, other in zip(import_gguf(path), before, strict=True):
                assert one.site == other.site
                assert torch.equal(one.unit, other.unit)
