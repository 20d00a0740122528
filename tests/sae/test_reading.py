"""Reading a direction through an autoencoder: four ways, four nulls, planted truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from steerscope.directions import mean_diff
from steerscope.errors import AutoencoderMismatchError, BadValueError, DegenerateDirectionError
from steerscope.extraction.activations import Contrast
from steerscope.sae.nulls import against, permuted_decoder, swapped_signs, untrained
from steerscope.sae.reading import (
    NULLS,
    decoder_cosine,
    encoder_projection,
    mean_code_difference,
    read_direction,
)
from steerscope.sae.spans import carried, participation_ratio, pursued, top_share
from steerscope.sites import Site
from tests.helpers import assert_rounded, origin, rounding
from tests.sae.dictionaries import small_sae

PLANTED = (3, 17)


def planted(*, d: int = 64, n_pairs: int = 30, seed: int = 0) -> tuple[Contrast, object]:
    """Activations that are sparse sums of decoder rows; two features tell the classes apart."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.linalg.qr(torch.randn(d, 48, generator=generator)).Q.T
    sae = small_sae(rows=rows, bias=-0.4)
    codes = torch.zeros(n_pairs, 48)
    others = torch.tensor([i for i in range(48) if i not in PLANTED])
    for row in codes:
        row[others[torch.randperm(46, generator=generator)[:2]]] = 1.0
    with_features = codes.clone()
    with_features[:, PLANTED[0]] = 2.0
    with_features[:, PLANTED[1]] = 1.0
    positive, negative = (c @ sae.decoder for c in (with_features, codes))
    return Contrast(Site("resid_post", 1), positive, negative, 2.0, origin()), sae


def test_a_random_direction_activates_half_of_an_untrained_encoder():
    sae = untrained(small_sae(d=64, n_features=2048), seed=1)
    generator = torch.Generator().manual_seed(5)
    contrast = Contrast(
        sae.site,
        *torch.randn(2, 20, 64, generator=generator),
        8.0,
        origin(),
    )
    table = read_direction(sae, contrast, n_null=99).table()
    row = table[(table.statistic == "active_share") & (table.null == "random_direction")].iloc[0]
    assert row.low < row.value < row.high
    assert row.expected == pytest.approx(0.5, abs=0.01)
    assert row.p > 0.05
    # the published share of 57 % has the chance level of 50 %; the band is a few percent wide
    assert 0.02 < row.high - row.low < 0.12


def test_the_difference_of_mean_codes_finds_the_planted_features_and_the_nulls_do_not():
    contrast, sae = planted()
    reading = read_direction(sae, contrast, k=2, n_null=99)
    assert {i for i, _ in reading.strongest("mean_codes", 2)} == set(PLANTED)
    assert {i for i, _ in reading.strongest("decoder_cosine", 1)} == {PLANTED[0]}
    table = reading.table().set_index(["way", "statistic", "null"])
    for null in ("random_direction", "untrained"):
        assert table.p["norm_share", "pursuit_share", null] == pytest.approx(0.02)
    for null in ("label_shuffled", "permuted_decoder"):
        assert table.p["norm_share", "codes_share", null] == pytest.approx(0.02)
    pursuit = table.value["norm_share", "pursuit_share", "untrained"]
    assert pursuit == pytest.approx(1.0, abs=1e-5)  # two rows span the planted vector


def test_a_permuted_decoder_speaks_only_of_what_joins_encoder_and_decoder():
    contrast, sae = planted()
    table = read_direction(sae, contrast, k=2, n_null=5).table()
    named = set(table[table.null == "permuted_decoder"].statistic)
    assert named == {"read_back", "codes_share"}
    assert set(table.null) == set(NULLS)
    assert not table.isna().any().any()


def test_random_and_shuffled_directions_lie_within_their_own_bands():
    """What is nothing is read as nothing: p is not small more often than it says."""
    small = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        sides = torch.randn(2, 16, 24, generator=generator)
        contrast = Contrast(Site("resid_post", 1), *sides, 5.0, origin())
        sae = small_sae(d=24, n_features=48, bias=-0.4, seed=seed)
        table = read_direction(sae, contrast, k=3, n_null=39, seed=seed).table()
        rows = table[(table.null == "label_shuffled") & (table.way != "mean_codes")]
        small += list(rows.p <= 0.05)
    assert np.mean(small) < 0.15


def test_the_three_vectors_of_numbers_are_what_they_are_called():
    contrast, sae = planted()
    unit = mean_diff(contrast).unit
    by_hand = torch.stack([unit @ row / row.norm() for row in sae.decoder])
    assert_rounded(decoder_cosine(sae, 3 * unit), by_hand, terms=sae.d, size=1.0)
    assert torch.allclose(
        encoder_projection(sae, unit),
        sae.pre_activations(contrast.positive[0] + unit)
        - sae.pre_activations(contrast.positive[0]),
        atol=1e-5,
    )
    both = sae.encode(contrast.positive).mean(0) - sae.encode(contrast.negative).mean(0)
    size = float(contrast.positive.norm(dim=-1).max())
    assert_rounded(mean_code_difference(sae, contrast), both, terms=sae.d, size=size)


def test_the_share_of_the_norm_is_that_of_a_least_squares_fit():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 12, generator=generator)
    rows = rows / rows.norm(dim=1, keepdim=True)
    vector = torch.randn(12, generator=generator)
    found = pursued(rows, vector[None], 12)
    for n in range(1, 12):
        some = rows[found.features[0, :n]].T
        fitted = some @ torch.linalg.lstsq(some, vector[:, None]).solution[:, 0]
        share = 1 - ((vector - fitted).norm() / vector.norm()) ** 2
        assert float(found.share[0, n - 1]) == pytest.approx(float(share), abs=1e-5)
    assert float(found.share[0, -1]) == pytest.approx(
        1, abs=rounding(144, 1.0)
    )  # 12 rows span everything
    again = carried(rows, vector[None], found.features)
    assert_rounded(again.share, found.share, terms=12 * 12)
    assert int(found.features[0, 0]) == int((rows @ vector).abs().argmax())


def test_a_row_that_adds_nothing_new_carries_nothing_more():
    rows = torch.eye(4)[[0, 0, 1]]
    found = carried(rows, torch.tensor([[3.0, 4.0, 0.0, 0.0]]), torch.tensor([[0, 1, 2]]))
    assert found.share[0].tolist() == pytest.approx([9 / 25, 9 / 25, 1.0])
    whole = pursued(torch.eye(3), torch.tensor([[2.0, -1.0, 2.0]]), 3)
    assert whole.share[0].tolist() == pytest.approx([4 / 9, 8 / 9, 1.0])


def test_concentration_is_counted_by_hand():
    values = torch.tensor([[2.0, -1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert participation_ratio(values).tolist() == pytest.approx([25 / 17, 3.0, 0.0])
    assert top_share(values, 1).tolist() == pytest.approx([4 / 5, 1 / 3, 0.0])


def test_a_number_against_its_null_by_hand():
    found = against(4.0, np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.p == pytest.approx(2 * 2 / 5)  # one draw is at least 4, a tie
    assert found.expected == 2.5
    assert against(2.5, np.array([1.0, 2.0, 3.0, 4.0])).p == 1.0
    assert against(9.0, np.arange(99.0)).n == 99
    assert against(1000.0, np.arange(99.0)).p == pytest.approx(2 / 100)
    assert against(-1000.0, np.arange(99.0)).p == pytest.approx(2 / 100)
    with pytest.raises(BadValueError, match="at least one draw"):
        against(1.0, np.array([]))


def test_nulls_keep_the_shape_and_lose_the_meaning():
    sae = small_sae(k=5)
    new = untrained(sae, seed=2)
    x = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
    assert ((new.encode(x) > 0).sum(dim=1) <= 5).all()
    assert not torch.allclose(new.decoder, sae.decoder)
    assert not torch.allclose(untrained(sae, seed=3).decoder, new.decoder)
    dealt = permuted_decoder(sae, seed=0)
    assert torch.equal(dealt.encode(x), sae.encode(x))
    assert sorted(map(tuple, dealt.decoder.tolist())) == sorted(map(tuple, sae.decoder.tolist()))
    assert swapped_signs(7, seed=0).sum() == 1
    with pytest.raises(BadValueError, match="at least 2 pairs"):
        swapped_signs(1, seed=0)


def test_what_does_not_fit_is_refused_by_name():
    contrast, sae = planted()
    with pytest.raises(BadValueError, match="49 features of a dictionary of 48"):
        read_direction(sae, contrast, k=49)
    with pytest.raises(BadValueError, match="n_null"):
        read_direction(sae, contrast, n_null=0)
    with pytest.raises(AutoencoderMismatchError, match=r"resid_post\.2"):
        read_direction(replace(sae, site=Site("resid_post", 2)), contrast)
    with pytest.raises(AutoencoderMismatchError, match="16"):
        read_direction(small_sae(), contrast)
    with pytest.raises(AutoencoderMismatchError, match="another model"):
        read_direction(replace(sae, model_fingerprint="f" * 64), contrast)
    with pytest.raises(DegenerateDirectionError):
        pursued(sae.decoder, torch.zeros(1, 64), 2)
    assert math.isfinite(float(participation_ratio(torch.zeros(3))))
