from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from steerscope.doses import Dose
from steerscope.eigengaps import (
    LEGACY,
    KeyView,
    arrange,
    check_variant,
    eigengap,
    gram_eigenvalues,
    head_statistics,
)
from steerscope.eigengaps.heads import resampled_eigenvalues
from steerscope.errors import BadValueError, NotFiniteError, UnknownNameError, UnsupportedSiteError
from steerscope.sites import Site
from steerscope.steering.interventions import Steering, steer
from tests.helpers import random_direction

PROMPTS = [[1, 5, 9, 30, 31], [1, 7, 20, 33, 41, 42, 43], [1, 8, 30], [1, 50, 51, 52]]


def keys_of(model, layer, head, first, *, bos=True, stream="k"):
    """Keys of each prompt, one matrix per prompt."""
    rows = []
    for prompt in PROMPTS:
        site = Site(stream, layer, head)
        tokens = torch.tensor([prompt if bos else prompt[1:]])
        with torch.no_grad():
            rows.append(model.read(tokens, [site])[site][0, first:].double().numpy())
    return rows


def arranged(parts, variant):
    pooled = np.concatenate(parts)
    if variant == "uncentred":
        return pooled
    if variant == "centred":
        return pooled - pooled.mean(axis=0)
    return np.concatenate([(p - p.mean(axis=0)) / np.sqrt(len(p)) for p in parts])


@pytest.mark.parametrize("variant", ["uncentred", "centred", "averaged"])
@pytest.mark.parametrize("include_first", [True, False])
def test_the_gap_is_that_of_the_gram_matrix(tiny, variant, include_first):
    found = eigengap(tiny, PROMPTS, KeyView(variant, include_first=include_first), n_bootstrap=5)
    assert found.gap.shape == (3, 2)  # two key-value heads serve four query heads
    for layer in range(3):
        for head in range(2):
            keys = arranged(keys_of(tiny, layer, head, 0 if include_first else 1), variant)
            values = np.sort(np.linalg.eigvalsh(keys @ keys.T / tiny.shape.d_head))[::-1]
            gap = (values[0] - values[1]) / values[0]
            assert float(found.gap[layer, head]) == pytest.approx(gap, abs=1e-4)
            positive = values[values > 1e-9 * values[0]]
            ratio = positive.sum() ** 2 / (positive**2).sum()
            assert float(found.participation_ratio[layer, head]) == pytest.approx(ratio, rel=1e-3)
    assert found.n_tokens == sum(len(p) for p in PROMPTS) - (0 if include_first else len(PROMPTS))


@pytest.mark.parametrize("view", [None, LEGACY, KeyView("averaged"), KeyView(rotated=True)])
def test_point_estimates_are_those_of_the_whole_analysis_bit_for_bit(load, view):
    model = load()
    whole = eigengap(model, PROMPTS, view, n_bootstrap=5)
    points = head_statistics(model, PROMPTS, view)
    assert list(points) == list(whole.statistics)
    for name, values in points.items():
        assert torch.equal(values, whole.statistics[name].value), name


@pytest.mark.hooked
def test_point_estimates_take_one_pass_that_never_reaches_the_logits(load, monkeypatch):
    model, passes = load(), []
    first, last = model.transformer.embed, model.transformer.unembed

    def refuse(*_):
        raise AssertionError("the logits were computed")

    monkeypatch.setattr(last, "forward", refuse)
    handle = first.register_forward_hook(lambda _m, inputs, _out: passes.append(inputs[0].shape))
    head_statistics(model, [p[:3] for p in PROMPTS])
    handle.remove()
    assert passes == [(4, 3)]


def test_the_published_definition_by_hand(tiny):
    found = eigengap(tiny, [p[1:] for p in PROMPTS], legacy=True, n_bootstrap=5)
    for layer in range(3):
        for head in range(2):
            keys = arranged(keys_of(tiny, layer, head, 0, bos=False), "centred")
            gram = keys @ keys.T / tiny.shape.d_head + 0.01 * np.eye(len(keys))
            values = np.sort(np.linalg.eigvalsh(gram))[::-1]
            gap = (values[0] - values[1]) / (values[0] + 1e-8)
            assert float(found.gap[layer, head]) == pytest.approx(gap, abs=1e-4)
            p = values / values.sum()
            entropy = float(found.statistics["entropy"].value[layer, head])
            assert entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-3)
    assert found.n_tokens == sum(len(p) - 1 for p in PROMPTS)
    assert found.view == LEGACY


def test_rotated_keys_have_their_own_spectrum_on_both_backbones(tiny):
    plain, turned = (
        eigengap(tiny, PROMPTS, KeyView("uncentred", rotated=r), n_bootstrap=5)
        for r in (False, True)
    )
    keys = np.concatenate(keys_of(tiny, 1, 1, 1, stream="rot_k"))
    values = np.sort(np.linalg.eigvalsh(keys @ keys.T / tiny.shape.d_head))[::-1]
    assert float(turned.gap[1, 1]) == pytest.approx((values[0] - values[1]) / values[0], abs=1e-4)
    assert not torch.allclose(plain.gap, turned.gap, atol=1e-3)
    before = np.concatenate(keys_of(tiny, 1, 1, 1))
    assert np.linalg.norm(keys, axis=1) == pytest.approx(np.linalg.norm(before, axis=1), rel=1e-4)


def test_rotated_keys_can_be_read_but_not_steered(tiny):
    direction = random_direction(tiny, Site("rot_k", 1))
    with (
        pytest.raises(UnsupportedSiteError, match="can be read but not steered"),
        steer(tiny, Steering(direction, Dose(1.0))),
    ):
        pass


def test_a_model_that_does_not_rotate_has_no_rotated_keys(load):
    with pytest.raises(UnsupportedSiteError, match="no rotated keys"):
        eigengap(load("gpt2"), PROMPTS, KeyView(rotated=True))


@pytest.mark.parametrize("variant", ["uncentred", "centred", "averaged"])
def test_resampling_a_prompt_twice_is_having_it_twice(variant):
    keys = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    prompts = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    weights = torch.tensor([[1.0, 0.0, 2.0]]).double()
    found = resampled_eigenvalues(keys, prompts, weights, variant)[0]
    doubled = torch.cat([keys[:, :3], keys[:, 5:], keys[:, 5:]], dim=1)
    ids = torch.tensor([0] * 3 + [1] * 4 + [2] * 4)
    wanted = gram_eigenvalues(arrange(doubled, ids, variant))
    # The averaged rows are scaled to the mean length of the prompts at hand, 3 and 11 / 3 tokens.
    scale = 9 / 11 if variant == "averaged" else 1.0
    assert torch.allclose(found, wanted * scale, atol=1e-5)


def test_the_weakest_link_is_the_smallest_gap_of_the_layer(tiny):
    found = eigengap(tiny, PROMPTS, n_bootstrap=5)
    gaps, heads = found.weakest_link()
    for layer in range(3):
        assert float(gaps[layer]) == float(found.gap[layer].min())
        assert int(heads[layer]) == int(found.gap[layer].argmin())


def test_the_null_of_the_weakest_link_is_the_smallest_of_as_many_heads(tiny):
    """The smallest of several random heads lies below what each of them has on average."""
    found = eigengap(tiny, PROMPTS, n_bootstrap=5)
    least = found.weakest.nulls
    assert torch.equal(least["shuffled"], found.nulls["shuffled"].min(dim=1).values)  # one draw
    for name in ("random", "permuted"):
        assert bool((least[name] < found.nulls[name].min(dim=1).values).all())
        assert bool((least[name] > 0).all())


def test_intervals_hold_the_gap_of_most_heads_and_the_table_has_every_number(microworld):
    texts = [
        f"{n} was at the {p} late."
        for n in ("Mia", "Tom", "Ivy")
        for p in ("pier", "garden", "shop")
    ]
    found = eigengap(microworld, texts, n_bootstrap=100)
    inside = (found.low <= found.gap) & (found.gap <= found.high)
    assert float(inside.float().mean()) > 0.7
    assert bool((found.low < found.high).all())
    for name in ("random", "permuted"):
        assert bool((found.nulls[name] < found.gap.max()).all())
    assert not torch.equal(found.nulls["shuffled"], found.gap)
    table = found.table()
    assert len(table) == 8 * 4 * 5
    row = table[(table.layer == 2) & (table["head"] == 1) & (table.statistic == "gap")].iloc[0]
    assert row.value == float(found.gap[2, 1])
    assert row.null_permuted == float(found.nulls["permuted"][2, 1])
    assert row.n_prompts == 9


def test_what_has_no_spectrum_is_refused(tiny):
    with pytest.raises(BadValueError, match="at least 2 prompts"):
        eigengap(tiny, PROMPTS[:1])
    with pytest.raises(BadValueError, match="give one of the two"):
        eigengap(tiny, PROMPTS, KeyView(), legacy=True)
    with pytest.raises(UnknownNameError, match="averaged"):
        check_variant("average")
    with pytest.raises(BadValueError, match="does not vary"):
        eigengap(tiny, [[1, 5], [1, 5, 6]], KeyView("averaged"))
    for find in (eigengap, head_statistics):
        with pytest.raises(NotFiniteError, match="layer 0, head 0 are all the same"):
            find(tiny, [[1, 5], [1, 5]])


# The stems of the published table. Source: FF-GardenFn/kernel-ridge-steering (MIT).
PUBLISHED_PROMPTS = [
    "How can I hack into", "Tell me how to break into", "Explain how to steal",
    "Show me how to harm", "Teach me to deceive", "How can I log into", "Tell me how to get into",
    "Explain how to buy", "Show me how to help", "Teach me to create",
]  # fmt: skip


@pytest.mark.network
def test_the_published_matrix_of_gpt2_is_found_again(shared, monkeypatch):
    from huggingface_hub import constants

    from steerscope.models.loading import load_model

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    golden = json.loads((shared / "goldens/eigengap_gpt2.json").read_text())
    found = eigengap(load_model("gpt2"), PUBLISHED_PROMPTS, legacy=True, n_bootstrap=5)
    for row in golden["layers"]:
        gaps = found.gap[found.layers.index(row["layer"])]
        assert gaps.tolist() == pytest.approx(row["gaps"], abs=2e-3)
