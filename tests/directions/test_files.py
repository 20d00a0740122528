from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steerscope.directions import Direction, export_gguf, load_directions, save_directions
from steerscope.doses import Scale
from steerscope.errors import (
    DegenerateDirectionError,
    NotFiniteError,
    OutputError,
    VectorFileError,
)
from steerscope.sites import Site
from tests.helpers import origin


def direction(layer=3, seed=0, width=16, stream="resid_post", natural=2.5, **changes):
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return Direction(
        Site(stream, layer),
        vector / vector.norm(),
        Scale(natural, 7.25),
        "mean_diff",
        origin(**changes),
    )


@pytest.fixture
def written(tmp_path):
    """A vector file, and a way to change its description: `edit(change)`."""
    path = tmp_path / "v.safetensors"
    save_directions(path, [direction()])
    tensors = load_file(path)

    def edit(change):
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            text = file.metadata()["steerscope"]
        save_file(tensors, path, {"steerscope": change(text)})
        return path

    return edit


LABEL = "mean_diff@resid_post.3"


def changed(change):
    """An edit of the description as an object."""

    def edit(text):
        content = json.loads(text)
        change(content, content["directions"][LABEL])
        return json.dumps(content)

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "not readable at the whole .*JSON"),
        (lambda _: "[]", "not readable at the whole"),
        (lambda _: "7", "not readable at the whole"),
        (changed(lambda c, _: c.pop("format_version")), "at format_version .*required"),
        (changed(lambda c, _: c.update(format_version="1")), "at format_version"),
        (changed(lambda c, _: c.update(format_version=2)), "format version 2, .*reads 1.*newer"),
        (changed(lambda c, _: c.pop("directions")), "at directions .*required"),
        (changed(lambda c, _: c.update(directions=[1])), "at directions"),
        (changed(lambda _, d: d.pop("site")), f"at directions.{LABEL}.site .*required"),
        (changed(lambda _, d: d.pop("natural")), "natural .*required"),
        (changed(lambda _, d: d.pop("provenance")), "provenance .*required"),
        (changed(lambda _, d: d["provenance"].pop("fingerprint")), "provenance.fingerprint"),
        (changed(lambda _, d: d["provenance"].update(colour="red")), "provenance.colour"),
        (changed(lambda _, d: d["provenance"].update(n_pairs="12")), "provenance.n_pairs"),
        (changed(lambda _, d: d.update(natural="long")), r"natural .*number"),
        (changed(lambda _, d: d.update(natural=None)), r"natural .*number"),
        (changed(lambda _, d: d.update(method=3)), r"method .*string"),
        (changed(lambda _, d: d.update(site="resid_post.3.h1")), "no heads"),
        (changed(lambda _, d: d.update(site="resid.3")), "unknown stream 'resid'"),
        (changed(lambda _, d: d.update(site="resid_post.-3")), "cannot read site"),
        (changed(lambda _, d: d.update(site="resid_post.12345")), "no model has a layer 12345"),
        (changed(lambda _, d: d.update(site="resid_post." + "9" * 5000)), "v.safetensors: "),
        (
            changed(lambda _, d: d.update(site="resid_post.4")),
            "described as mean_diff@resid_post.4",
        ),
        (changed(lambda c, d: c["directions"].update(other=d)), "do not agree on other"),
        (changed(lambda c, _: c["directions"].pop(LABEL)), f"do not agree on {LABEL}"),
    ],
)
def test_a_damaged_description_is_named_with_its_place(written, change, message):
    with pytest.raises(VectorFileError, match=message):
        load_directions(written(change))


def test_an_undamaged_description_passes_the_same_edit(written):
    assert load_directions(written(changed(lambda *_: None)))[0].label == LABEL


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_length_that_is_no_length_is_refused(written, value):
    with pytest.raises(NotFiniteError, match="natural length"):
        load_directions(written(changed(lambda _, d: d.update(natural=value))))


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        (torch.eye(4), VectorFileError, r"not a vector .*\(4, 4\)"),
        (torch.ones(1, dtype=torch.int64), VectorFileError, "int64"),
        (torch.ones(4), DegenerateDirectionError, "norm 2, not 1"),
    ],
)
def test_a_tensor_that_is_no_unit_vector_is_refused(tmp_path, tensor, error, message):
    from safetensors import safe_open

    path = tmp_path / "v.safetensors"
    save_directions(path, [direction()])
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({LABEL: tensor}, path, metadata)
    with pytest.raises(error, match=message):
        load_directions(path)


@pytest.mark.parametrize("length", [0, 4, 40, 200, -1])
def test_a_file_cut_anywhere_is_named(tmp_path, length):
    path = tmp_path / "v.safetensors"
    save_directions(path, [direction()])
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(VectorFileError, match="not a safetensors file"):
        load_directions(path)


def fail_half_way(monkeypatch):
    """Have the disk fill up while a vector file is written."""
    from gguf import GGUFWriter

    full = OSError(errno.ENOSPC, "No space left on device")

    def write_half(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise full

    def refuse(self, **_):
        raise full

    monkeypatch.setattr(Path, "write_bytes", write_half)
    monkeypatch.setattr(GGUFWriter, "write_tensors_to_file", refuse)


@pytest.mark.parametrize("write", [save_directions, export_gguf])
def test_a_full_disk_leaves_the_old_file_and_no_part_of_a_new_one(tmp_path, monkeypatch, write):
    path = tmp_path / "v"
    write(path, [direction(seed=1)])
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        fail_half_way(patch)
        with pytest.raises(VectorFileError, match=r"cannot write .*v \(No space left"):
            write(path, [direction(seed=2)])
        with pytest.raises(VectorFileError, match="cannot write"):
            write(tmp_path / "new", [direction(seed=2)])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v"]


@pytest.mark.parametrize("write", [save_directions, export_gguf])
def test_a_name_that_cannot_be_written_is_named(tmp_path, write):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("x")
    for path in (tmp_path / "folder", tmp_path / "text" / "v"):
        with pytest.raises((VectorFileError, OutputError), match="cannot write .*another place"):
            write(path, [direction()])
    assert sorted(os.listdir(tmp_path)) == ["folder", "text"]
    assert not os.listdir(tmp_path / "folder")


def test_a_fault_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_directions(tmp_path / "v.safetensors", [direction()])
    assert not os.listdir(tmp_path)
