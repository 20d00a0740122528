"""The quality report: by hand on a small case, and at its two ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from steerscope.errors import AutoencoderMismatchError, BadValueError
from steerscope.sae import evaluate_sae, mean_codes, telling_feature, token_rows
from tests.helpers import rounding
from tests.sae.builders import SITE, identity_dictionary

TEXTS = ["w5 w9 w30 w7", "w8 w8", "w60 w61 w62 w63 w64 w65"]


def test_a_dictionary_without_error_recovers_everything(tiny):
    quality = evaluate_sae(tiny, identity_dictionary(32), TEXTS)
    assert quality.fvu.value == pytest.approx(0, abs=rounding(64, 1.0) ** 2)
    assert quality.recovered.value == pytest.approx(1, abs=1e-5)
    assert quality.l0.value == 32.0  # of ±x one speaks
    assert (quality.n_rows, quality.n_tokens) == (3, 12)


def test_a_dictionary_that_never_speaks_recovers_nothing(tiny):
    silent = replace(identity_dictionary(32), encoder_bias=torch.full((64,), -1e6))
    quality = evaluate_sae(tiny, silent, TEXTS)
    assert quality.l0.value == 0
    assert quality.dead.value == 1
    assert quality.recovered.value == pytest.approx(0, abs=rounding(96, 1.0))
    assert quality.replaced == quality.zeroed


def test_every_figure_agrees_with_a_loop(load):
    """Row by row with the model's own passes; the autoencoder drops half of the components."""
    model = load()
    sae = identity_dictionary(32)
    half = replace(sae, encoder_bias=torch.tensor([0.0] * 16 + [-1e6] * 16).repeat(2))
    quality = evaluate_sae(model, half, TEXTS)
    rows = [torch.tensor([row]) for row in token_rows(model, TEXTS)]
    xs = [model.read(row, [SITE])[SITE][0, 1:] for row in rows]
    everything = torch.cat(xs).double()
    error = everything[:, 16:].square().sum()  # what is dropped
    assert quality.fvu.value == pytest.approx(
        float(error / (everything - everything.mean(dim=0)).square().sum())
    )
    assert quality.l0.value == 16
    assert quality.dead.value == pytest.approx(
        1 - float((torch.cat([everything, -everything], dim=1)[:, :] > 0).any(dim=0)[
            torch.tensor([i for i in range(64) if i % 32 < 16])
        ].sum()) / 64
    )  # fmt: skip

    def nats(change):
        total = []
        for row in rows:
            with model.hook(SITE, change):
                logp = model.forward(row).log_softmax(dim=-1)[0]
            total += [-float(logp[p, row[0, p + 1]]) for p in range(1, row.shape[1] - 1)]
        return float(np.mean(total))

    def dropped(x):
        return torch.cat([x[:, :1], torch.cat([x[:, 1:, :16], 0 * x[:, 1:, 16:]], dim=-1)], dim=1)

    plain, cut = nats(lambda x: None), nats(dropped)
    gone = nats(lambda x: torch.cat([x[:, :1], 0 * x[:, 1:]], dim=1))
    assert quality.plain.value == pytest.approx(plain, rel=1e-5)
    assert quality.replaced.value == pytest.approx(cut, rel=1e-5)
    assert quality.zeroed.value == pytest.approx(gone, rel=1e-5)
    assert quality.recovered.value == pytest.approx((gone - cut) / (gone - plain), rel=1e-3)


def test_another_model_is_refused(load):
    with pytest.raises(AutoencoderMismatchError, match="other weights"):
        evaluate_sae(load(), replace(identity_dictionary(32), model_fingerprint="abc"), TEXTS)


def test_mean_codes_leave_the_first_position_out(load):
    codes = mean_codes(load(), identity_dictionary(32), ["w8 w9", "w60 w61 w62"])
    x = load().read(torch.tensor([[1, 8, 9]]), [SITE])[SITE][0, 1:]
    torch.testing.assert_close(codes[0, :32], x.relu().mean(dim=0), rtol=1e-4, atol=1e-5)


def test_a_text_without_a_counted_token_has_no_mean_code(load):
    model = load()
    for texts in ([[5]], [[5, 9], [1, 1]], []):  # 1 begins a sequence
        with pytest.raises(BadValueError, match="after position 0"):
            mean_codes(model, identity_dictionary(32), texts)


def test_the_feature_that_tells_is_found_and_judged_on_texts_that_did_not_choose_it():
    rng = np.random.default_rng(0)
    label = rng.random(400) < 0.5
    codes = rng.normal(size=(400, 300)).astype(np.float32)
    by_chance = telling_feature(codes, label)
    assert by_chance.chosen > 0.6  # the best of 300 looks good where it was chosen
    assert by_chance.auroc.low < 0.5 < by_chance.auroc.high
    codes[:, 7] += 3 * label
    found = telling_feature(codes, label)
    assert found.feature == 7
    assert found.auroc.low > 0.95
    with pytest.raises(BadValueError, match="each half needs"):
        telling_feature(codes, np.zeros(400, dtype=bool))
