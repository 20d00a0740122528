"""Folders and names: what is written is read back, by sae-lens as well, and errors have names."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from sae_lens import SAE
from safetensors.torch import load_file, save_file

from steerscope.errors import (
    AutoencoderFileError,
    AutoencoderMismatchError,
    BadValueError,
    UnknownNameError,
    UnsupportedSiteError,
)
from steerscope.sae import load_sae, save_sae
from steerscope.sae.conversion import from_sae_lens
from steerscope.sae.files import CONFIG, WEIGHTS
from steerscope.sites import Site
from tests.sae.builders import SITE, identity_dictionary, random_inner

X = torch.randn(10, 8, generator=torch.Generator().manual_seed(1))

UNCHECKED = {"hook_name": SITE.hook_name, "sae_lens_version": "6.54.0"}  # no digest of the weights


@pytest.fixture
def folder(tmp_path):
    made = from_sae_lens(random_inner("topk", k=3), "x")
    save_sae(replace(made, model_fingerprint="abc", model_name="m"), tmp_path / "sae")
    return tmp_path / "sae"


def edit(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


def test_what_is_saved_is_read_back_here_and_by_sae_lens(folder):
    ours, theirs = load_sae(folder), SAE.load_from_disk(folder)
    assert (ours.site, ours.k, ours.model_fingerprint, ours.model_name) == (SITE, 3, "abc", "m")
    with torch.no_grad():
        torch.testing.assert_close(ours.reconstruct(X), theirs(X), rtol=1e-4, atol=1e-5)
    batch = replace(
        from_sae_lens(random_inner("jumprelu"), "x"), architecture="batchtopk", normalisation="none"
    )
    save_sae(batch, folder.parent / "other")
    again = load_sae(folder.parent / "other")
    assert again.architecture == "batchtopk"
    torch.testing.assert_close(again.encode(X), batch.encode(X))


def test_an_autoencoder_for_another_model_site_or_width_is_refused(folder, tiny):
    fits = replace(identity_dictionary(32), model_fingerprint=tiny.fingerprint)
    save_sae(fits, folder)
    assert load_sae(folder, model=tiny, site=SITE).n_features == 64
    with pytest.raises(AutoencoderMismatchError, match=r"is for resid_post\.1, not for mlp_out\.1"):
        load_sae(folder, site=Site("mlp_out", 1))
    save_sae(replace(fits, model_fingerprint="abc"), folder)
    with pytest.raises(AutoencoderMismatchError, match="other weights"):
        load_sae(folder, model=tiny)
    save_sae(identity_dictionary(8), folder)
    with pytest.raises(AutoencoderMismatchError, match=r"has width 8, but .* has 32"):
        load_sae(folder, model=tiny)
    save_sae(replace(fits, site=Site("resid_post", 7)), folder)
    with pytest.raises(UnsupportedSiteError, match="layers 0 to 2"):
        load_sae(folder, model=tiny)


def test_a_damaged_folder_is_refused_by_name(folder):
    good = folder.parent / "good"
    shutil.copytree(folder, good)

    def damaged(match, damage):
        shutil.rmtree(folder)
        shutil.copytree(good, folder)
        damage()
        with pytest.raises(AutoencoderFileError, match=match):
            load_sae(folder)

    weights = good / WEIGHTS
    damaged("No such file", lambda: (folder / WEIGHTS).unlink())
    damaged("No such file", lambda: (folder / CONFIG).unlink())
    damaged("cannot read", lambda: (folder / CONFIG).write_text("{"))
    damaged("cannot read", lambda: (folder / CONFIG).write_text("[]"))
    damaged("cannot read", lambda: (folder / CONFIG).write_text("{}"))
    cut = weights.read_bytes()[:-40]
    damaged("not the file that cfg.json", lambda: (folder / WEIGHTS).write_bytes(cut))

    def other_shape():
        tensors = load_file(weights)
        save_file(tensors | {"b_dec": torch.zeros(9)}, folder / WEIGHTS)
        edit(folder, metadata=UNCHECKED)

    damaged("cannot read", other_shape)

    def cut_without_digest():
        (folder / WEIGHTS).write_bytes(cut)
        edit(folder, metadata=UNCHECKED)

    damaged("cannot read", cut_without_digest)


def test_a_place_normalisation_or_size_that_cannot_run_is_refused(folder):
    for changes, error, match in (
        ({"normalize_activations": "expected_average_only_in"}, AutoencoderFileError, "normalised"),
        ({"k": 25}, BadValueError, "choose 1 to 24"),
        ({"architecture": "gated"}, UnknownNameError, "architecture"),
        ({"metadata": {}}, AutoencoderFileError, "hook point"),
        ({"metadata": None}, AutoencoderFileError, "no JSON object"),
        ({"dtype": "float99"}, AutoencoderFileError, "dtype 'float99'"),
        ({"d_out": "x"}, AutoencoderFileError, "writes a width"),
        (
            {"metadata": UNCHECKED | {"hook_name": "blocks.1.hook_nonsense"}},
            AutoencoderFileError,
            "nonsense",
        ),
    ):
        before = (folder / CONFIG).read_text()
        edit(folder, **changes)
        with pytest.raises(error, match=match):
            load_sae(folder)
        (folder / CONFIG).write_text(before)


def test_unknown_releases_and_ids_are_refused_and_known_ones_need_the_hub():
    with pytest.raises(UnknownNameError, match="microworld"):
        load_sae("no-such-release/blocks.0")
    with pytest.raises(UnknownNameError, match=r"blocks\.8\.hook_resid_pre"):
        load_sae("gpt2-small-res-jb/blocks.99.hook_resid_pre")
    with pytest.raises(AutoencoderFileError, match="cannot load gpt2-small-res-jb"):
        load_sae("gpt2-small-res-jb/blocks.8.hook_resid_pre")
