from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from steerscope.directions import (
    CONTROLS,
    METHODS,
    NEEDS,
    SEEDED,
    class_separation,
    find_direction,
    load_directions,
    noise_share,
    save_directions,
)
from steerscope.errors import (
    DegenerateDirectionError,
    NotFiniteError,
    UnknownNameError,
    VectorFileError,
)
from steerscope.extraction.activations import Contrast
from steerscope.sites import Site
from tests.helpers import origin, planted_contrast, swapped, with_evidence

PLAIN = [m for m in METHODS if not NEEDS.get(m)]  # these need nothing but activations


# pca_centred takes the concept out; the probe and the Fisher family shrink what is loudest, here
# the concept, and have planted truths of their own in their tests.
SHRINKS = {m for m in METHODS if m.startswith("fisher_")} | {"logistic_probe", "pca_centred"}
ONE_SIDED = {"fisher_positive", "fisher_negative"}  # of the swapped pairs, the other one's negative


@pytest.mark.parametrize("method", [m for m in METHODS if m not in SHRINKS])
def test_a_planted_direction_is_found_with_its_length(method):
    contrast, truth = planted_contrast(length=3.0)
    found = find_direction(method, contrast)
    assert float(found.unit @ truth) > 0.98
    assert found.scale.natural == pytest.approx(3.0, rel=0.05)
    assert found.scale.relative == 10.0
    assert float(found.unit.norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("n_pairs", [8, 15, 60])
def test_the_natural_length_does_not_grow_with_noise_where_pairs_are_few(n_pairs):
    # d = 100 and noise 0.9 a component: the raw mean is up to 80 % longer in the square.
    drawn = [planted_contrast(n_pairs=n_pairs, noise=0.9, seed=s)[0] for s in range(40)]
    found = np.array([class_separation(c) for c in drawn])
    raw = np.array([float(c.mean_difference.norm()) for c in drawn])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - 3.0) < 3 * error + 0.02 * 3.0
    assert raw.mean() > 3.0 * np.sqrt(1 + 0.9**2 * 100 / n_pairs / 9) - 0.1


def test_the_natural_length_by_hand():
    # Differences (3, 1) and (3, -1): mean (3, 0), tr S = 2, tr S / n = 1, so √(9 - 1).
    zeros = torch.zeros(2, 2)
    pairs = torch.tensor([[3.0, 1.0], [3.0, -1.0]])
    contrast = Contrast(Site("resid_post", 1), pairs, zeros, 10.0, origin())
    assert class_separation(contrast) == pytest.approx(8**0.5)
    # Where noise is most of the length it cannot be taken off; a single pair shows no noise.
    loud = Contrast(contrast.site, pairs * torch.tensor([1.0, 9.0]), zeros, 10.0, origin())
    assert class_separation(loud) == pytest.approx(3.0)
    assert noise_share(loud) == 1.0
    assert class_separation(contrast.take(torch.tensor([0]))) == pytest.approx(10**0.5)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ONE_SIDED])
def test_swapping_the_classes_negates_the_direction(method):
    contrast, _ = planted_contrast(seed=3)
    one, other = find_direction(method, contrast), find_direction(method, swapped(contrast))
    torch.testing.assert_close(one.unit, -other.unit, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close((-one).unit, other.unit, atol=1e-5, rtol=1e-5)
    assert (-one).method == f"negated({method})"
    back = -one
    assert (-back).method == one.method


def test_centred_pca_finds_how_the_pairs_differ_from_each_other_and_not_the_concept():
    contrast, truth = planted_contrast(noise=0.0)
    axis = torch.zeros(100)
    axis[0] = 1.0
    spread = torch.linspace(-2, 2, 60)[:, None] * axis
    mixed = Contrast(
        contrast.site, contrast.positive + spread, contrast.negative, 10.0, contrast.provenance
    )
    assert abs(float(find_direction("pca_centred", mixed).unit @ axis)) > 0.98
    assert float(find_direction("pca_uncentred", mixed).unit @ truth) > 0.98


def test_pca_is_that_of_numpy():
    contrast, _ = planted_contrast(seed=5)
    differences = contrast.differences.double().numpy()
    for method, rows in (
        ("pca_uncentred", differences),
        ("pca_centred", differences - differences.mean(axis=0)),
    ):
        values, vectors = np.linalg.eigh(rows.T @ rows)
        top = vectors[:, values.argmax()]
        top = top * np.sign((differences @ top).mean())
        np.testing.assert_allclose(find_direction(method, contrast).unit.numpy(), top, atol=1e-4)


@pytest.mark.parametrize("control", [c for c in CONTROLS if c in SEEDED])
def test_controls_keep_the_lengths_and_lose_the_meaning(control):
    contrast, truth = planted_contrast(d=400, n_pairs=100, noise=1.0, seed=999)
    real = find_direction("mean_diff", contrast)
    cosines = []
    for seed in range(30):
        found = find_direction(control, contrast, seed=seed)
        assert found.scale == real.scale
        assert found.provenance.seed == seed
        cosines.append(float(found.unit @ truth))
    # The spread of a random unit vector's cosine is 1 / sqrt(d).
    assert abs(np.mean(cosines)) < 3 / np.sqrt(400 * 30)
    assert np.std(cosines) == pytest.approx(1 / np.sqrt(400), rel=0.4)


def test_a_control_repeats_with_its_seed():
    contrast, _ = planted_contrast()
    for control in SEEDED:
        once, again, other = (find_direction(control, contrast, seed=s).unit for s in (1, 1, 2))
        assert torch.equal(once, again)
        assert not torch.equal(once, other)


def test_label_shuffling_flips_half_of_the_pairs():
    site, n = Site("resid_post", 0), 10
    positive = torch.eye(n) * 2
    contrast = Contrast(site, positive, torch.zeros(n, n), 1.0, origin())
    signs = find_direction("label_shuffled", contrast, seed=0).unit.sign()
    assert int(signs.sum()) == 0


def test_shuffled_labels_of_pairs_that_say_the_same_do_not_cancel_out_by_rounding_alone():
    apart = torch.eye(2).repeat_interleave(4, dim=0)  # two pairs, four times each
    near = 1e-6 * torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    for noise in (torch.zeros(8, 2), near):
        contrast = Contrast(Site("resid_post", 0), apart + noise, torch.zeros(8, 2), 1.0, origin())
        for seed in range(20):
            unit = find_direction("label_shuffled", contrast, seed=seed).unit
            assert abs(float(unit[0] * unit[1])) == pytest.approx(
                0.5, abs=1e-4
            )  # one against the other
    alike = Contrast(Site("resid_post", 0), torch.ones(4, 2), torch.zeros(4, 2), 1.0, origin())
    with pytest.raises(DegenerateDirectionError, match="cancel out"):
        find_direction("label_shuffled", alike, seed=0)


def test_class_separation_by_hand():
    site = Site("resid_post", 0)
    positive = torch.tensor([[3.0, 4.0], [5.0, 4.0]])
    negative = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    contrast = Contrast(site, positive, negative, 1.0, origin())
    # Differences (3, 3) and (3, 5): mean (3, 4), tr S = 2, of which noise has 2 / 2 in the square.
    assert class_separation(contrast) == pytest.approx(24**0.5)


def test_unknown_methods_list_the_known_ones():
    contrast, _ = planted_contrast()
    with pytest.raises(UnknownNameError, match="Did you mean 'mean_diff'.*pca_centred.*random"):
        find_direction("mean_dif", contrast)


@pytest.mark.parametrize("method", [*PLAIN, *CONTROLS])
def test_pairs_that_do_not_differ_define_no_direction(method):
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    same = Contrast(Site("resid_post", 0), rows, rows, 1.0, origin())
    with pytest.raises(DegenerateDirectionError):
        find_direction(method, with_evidence(same, torch.ones(5)))


def test_a_nan_is_refused():
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    broken = rows.clone()
    broken[2, 3] = torch.nan
    with pytest.raises(NotFiniteError, match="positive activations at resid_post.0"):
        Contrast(Site("resid_post", 0), broken, rows, 1.0, origin())


def test_directions_are_read_back_as_written(tmp_path):
    contrast, _ = planted_contrast()
    written = [find_direction(m, contrast) for m in PLAIN]
    written += [find_direction("random", contrast, seed=s) for s in range(3)]
    save_directions(tmp_path / "deep" / "v.safetensors", written)
    read = load_directions(tmp_path / "deep" / "v.safetensors")
    for a, b in zip(
        sorted(written, key=lambda d: d.label), sorted(read, key=lambda d: d.label), strict=True
    ):
        assert torch.equal(a.unit, b.unit)
        assert (a.site, a.scale, a.method, a.provenance) == (
            b.site,
            b.scale,
            b.method,
            b.provenance,
        )
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["v.safetensors"]


def test_unusable_vector_files_are_named(tmp_path):
    with pytest.raises(VectorFileError, match="no vector file"):
        load_directions(tmp_path / "v.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(VectorFileError, match="not a safetensors file"):
        load_directions(tmp_path / "text.safetensors")
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "bare.safetensors")
    with pytest.raises(VectorFileError, match="not steerscope's description"):
        load_directions(tmp_path / "bare.safetensors")
    described = json.dumps({"format_version": 99, "directions": {}})
    save_file({"x": torch.ones(2)}, tmp_path / "new.safetensors", {"steerscope": described})
    with pytest.raises(VectorFileError, match="format version 99"):
        load_directions(tmp_path / "new.safetensors")
    with pytest.raises(VectorFileError, match="at least one"):
        save_directions(tmp_path / "none.safetensors", [])
    assert not (tmp_path / "none.safetensors").exists()


def test_a_nan_in_a_vector_file_is_named(tmp_path):
    contrast, _ = planted_contrast(d=5)
    direction = find_direction("mean_diff", contrast)
    save_directions(tmp_path / "v.safetensors", [direction])
    raw = bytearray((tmp_path / "v.safetensors").read_bytes())
    raw[-4:] = np.float32(np.nan).tobytes()
    (tmp_path / "v.safetensors").write_bytes(raw)
    with pytest.raises(NotFiniteError, match="mean_diff direction at resid_post.1"):
        load_directions(tmp_path / "v.safetensors")
