"""Edits of spectra: what each does to the singular values, identities, refusals, numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from steerscope import Cell, Site, generate, kl_from_plain, steer
from steerscope.errors import (
    BadValueError,
    DegenerateDirectionError,
    DegenerateSpectrumError,
    MissingEvidenceError,
    PureGainWarning,
    UnknownNameError,
    UnsupportedWeightError,
)
from steerscope.models.matrices import WEIGHTS
from steerscope.steering.interventions import Intervention
from steerscope.studies.weights.one_kl import controls_at_kl
from steerscope.weights import (
    CONTROLS,
    EDITS,
    Place,
    WeightEdit,
    control_of,
    describe_edit,
    elsewhere,
    find_edit,
    parse_places,
)
from steerscope.weights.controls import same_change, scaled
from steerscope.weights.edits import noise_edge, output_site
from steerscope.weights.kept import Weight, kept_weight
from tests.helpers import count_hooks, planted_contrast, rounding
from tests.same_text import assert_same_texts

TOKENS = torch.tensor([[1, 5, 7, 9, 11], [1, 4, 6, 8, 10]])
PLACE = Place("down", 1)
AMOUNTS = {"gain": 0.3, "zscore": 0.1, "power": 0.5, "band[1-4]": 0.4, "mp_shrink": 0.7}


def made_up(weight, place=PLACE):
    return Weight(place, weight)


def diagonal(*values, rows=6):
    """A weight with known singular values and vectors."""
    weight = torch.zeros(rows, len(values))
    weight[: len(values)] = torch.diag(torch.tensor(values))
    return made_up(weight)


def edited(weight, name, amount, **more):
    return weight.base + find_edit(name, amount, **more).change(weight).dense


def one(name="power", amount=0.5, place=PLACE):
    return WeightEdit(((place, find_edit(name, amount)),))


# -- what each edit does, by hand -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "amount", "wanted"),
    [
        ("gain", 0.25, [3.0, 1.5, 0.75]),
        # mean 7/3, variance ((5/3)² + (1/3)² + (4/3)²) / 2 = 7/3
        ("zscore", 0.1, [4 + 0.4 * 5 / 21**0.5, 2 - 0.2 / 21**0.5, 1 - 0.4 / 21**0.5]),
        ("power", 1.0, [16 * (21 / 273) ** 0.5, 4 * (21 / 273) ** 0.5, (21 / 273) ** 0.5]),
        ("band[1-1]", 0.5, [4.0, 1.0, 1.0]),
        ("band[1-]", 1.0, [4.0, 0.0, 0.0]),
        # edge: √(6 · 21/18) (1 + √(3/6)) = 4.517
        ("mp_shrink", 0.5, [2.0, 1.0, 0.5]),
    ],
)
def test_the_singular_values_after_an_edit_by_hand(name, amount, wanted):
    weight = diagonal(4.0, 2.0, 1.0)
    found = edited(weight, name, amount)
    torch.testing.assert_close(found[:3].diagonal(), torch.tensor(wanted))
    off = found.clone()
    off[:3].fill_diagonal_(0)
    torch.testing.assert_close(off, torch.zeros_like(off), atol=rounding(6, 16.0), rtol=0)


def test_the_noise_edge_is_that_of_noise_and_a_planted_direction_is_above_it():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(800, 200, generator=generator)
    s = torch.linalg.svdvals(noise)
    assert float(s[0]) == pytest.approx(noise_edge(s, (800, 200)), rel=0.02)
    planted = noise + 30 * torch.outer(torch.ones(800), torch.ones(200)) / (800 * 200) ** 0.5 * 5
    weight = made_up(planted)
    shrunk = torch.linalg.svdvals(edited(weight, "mp_shrink", 1.0))
    assert float(shrunk[0]) == pytest.approx(float(weight.svd.s[0]), rel=1e-4)
    assert float(shrunk[1]) < 1e-3


def test_power_keeps_the_norm_and_moves_the_stable_rank_both_ways():
    weight = made_up(torch.randn(30, 20, generator=torch.Generator().manual_seed(0)))
    for beta in (-0.9, -0.3, 0.3, 2.0):
        found = edited(weight, "power", beta)
        assert float(found.norm()) == pytest.approx(weight.norm, rel=1e-5)
        stable = float(found.norm() ** 2 / torch.linalg.matrix_norm(found, 2) ** 2)
        before = weight.norm**2 / float(weight.svd.s[0]) ** 2
        assert (stable < before) == (beta > 0)


def test_deflation_takes_out_the_planted_difference_and_centring_takes_it_out_of_the_edit():
    contrast, truth = planted_contrast(n_pairs=80, d=20)
    site = Site("mlp_out", 1)
    contrast = replace(contrast, site=site, other=None)
    contrasts = {site: contrast}
    weight = made_up(torch.randn(40, 20, generator=torch.Generator().manual_seed(1)))
    written = float((weight.base @ truth).norm())
    assert (
        float((edited(weight, "deflate", 1.0, contrasts=contrasts) @ truth).norm()) < 0.05 * written
    )
    doubled = edited(weight, "deflate", -1.0, contrasts=contrasts) @ truth
    assert float(doubled.norm()) == pytest.approx(2 * written, rel=0.02)
    centred = edited(weight, "deflate[1,centred]", 1.0, contrasts=contrasts)
    assert float((centred @ truth).norm()) > 0.9 * written
    twice = made_up(edited(weight, "deflate[3]", 1.0, contrasts=contrasts))
    torch.testing.assert_close(
        edited(twice, "deflate[3]", 1.0, contrasts=contrasts), twice.base, atol=1e-5, rtol=1e-5
    )
    with pytest.raises(MissingEvidenceError, match="mlp_out"):
        edited(weight, "deflate", 1.0)
    same = {site: replace(contrast, positive=contrast.negative + truth)}
    with pytest.raises(DegenerateDirectionError, match="fewer than 2"):
        edited(weight, "deflate[2]", 1.0, contrasts=same)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma3"])
@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_deflation_reads_the_output_of_the_weight_itself_or_refuses(load, family, backbone):
    if (family, backbone) == ("gemma3", "hooked"):
        pytest.skip("not on this backbone")
    model, refused = load(family, backbone), set()
    for name in WEIGHTS:
        place = Place(name, 1)
        sites = [s for gated in (True, False) if model.has(s := output_site(place, gated=gated))]
        if not sites or (name == "gate" and family == "gpt2"):
            continue
        read, inputs = model.read(TOKENS, sites[:1])[sites[0]].flatten(2), []
        weight = kept_weight(model, place)
        with weight.matrix.adding(inputs.append):
            model.forward(TOKENS)
        halves = replace(
            planted_contrast(n_pairs=5, d=read.shape[-1])[0], other=None, site=sites[0]
        )
        halves = replace(halves, positive=read[0], negative=read[1])
        try:
            v = find_edit("deflate", 1.0, contrasts={sites[0]: halves}).directions(weight)[:, 0]
        except UnsupportedWeightError:
            refused.add(name)
            continue
        written = (inputs[0][0] - inputs[0][1]) @ weight.base
        leading = torch.linalg.svd(written, full_matrices=False).Vh[0]
        assert abs(float(leading @ v)) > 0.999, name
    assert refused == ({"o", "down"} if family == "gemma3" else set())


def test_sign_flips_of_zscore_are_refused_with_the_bounds_or_clamped_by_name():
    weight = diagonal(4.0, 2.0, 1.0)
    with pytest.raises(BadValueError, match=r"down.1 negative; stay within -0.917 to \+1.15"):
        edited(weight, "zscore", -1.0)
    edited(weight, "zscore", -0.91), edited(weight, "zscore", 1.14)
    found = torch.linalg.svdvals(edited(weight, "zscore[clamp]", -1.0))
    torch.testing.assert_close(found[2], torch.tensor(0.0))
    with pytest.raises(DegenerateSpectrumError, match="equal"):
        edited(diagonal(2.0, 2.0, 2.0), "zscore", 0.1)


@pytest.mark.parametrize(
    ("name", "amount", "error", "words"),
    [
        ("sharpen", 0.1, UnknownNameError, "mp_shrink"),
        ("zscore[clip]", 0.1, UnknownNameError, "clamp"),
        ("gain[2]", 0.1, BadValueError, "no option"),
        ("band", 0.1, BadValueError, "range"),
        ("band[4-2]", 0.1, BadValueError, "empty"),
        ("deflate[x]", 0.1, BadValueError, "rank"),
        ("deflate[0]", 0.1, BadValueError, "at least 1"),
        ("gain", 1.5, BadValueError, "at most 1"),
        ("power", -1.0, BadValueError, "above -1"),
        ("power", math.nan, BadValueError, "above -1"),
        ("mp_shrink", 1.1, BadValueError, "0 to 1"),
    ],
)
def test_what_no_edit_takes_is_refused_by_name(name, amount, error, words):
    with pytest.raises(error, match=words):
        find_edit(name, amount)


def test_a_band_behind_the_spectrum_and_a_zero_weight_are_refused():
    with pytest.raises(BadValueError, match="behind the 3"):
        edited(diagonal(4.0, 2.0, 1.0), "band[3-9]", 0.5)
    with pytest.raises(DegenerateSpectrumError, match="zero"):
        edited(made_up(torch.zeros(4, 3)), "power", 0.5)


# -- identities on models -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "backbone"), [("llama", "hooked"), ("llama", "bridge"), ("gpt2", "hooked")]
)
def test_a_gain_on_down_is_a_scaled_output_of_the_mlp(load, family, backbone):
    model = load(family, backbone)
    bias = model.transformer.blocks[1].mlp.b_out if family == "gpt2" else 0.0
    with model.hook(Site("mlp_out", 1), lambda x: 0.7 * (x - bias) + bias):
        wanted = model.forward(TOKENS)
    with steer(model, one("gain", 0.3)):
        torch.testing.assert_close(model.forward(TOKENS), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["power", "zscore", "gain", "band[0-3]", "mp_shrink"])
def test_an_amount_of_zero_leaves_the_logits_bit_equal(tiny, name):
    plain = tiny.forward(TOKENS)
    with steer(tiny, one(name, 0.0)):
        assert torch.equal(tiny.forward(TOKENS), plain)
    prompts = [row.tolist() for row in TOKENS]
    nats = kl_from_plain(tiny, prompts, [Cell((one(name, 0.0),))])
    assert float(nats.max()) < rounding(96, 1.0)  # a sum over the vocabulary


def test_weights_and_hooks_are_as_before_also_after_an_exception_within_a_sweep(tiny):
    edit = WeightEdit.parse("power", "down:0-2:+0.5,o:1:-0.3,q:2:0.2")
    sums = [kept_weight(tiny, p).matrix.checksum for p, _ in edit.parts]
    state = {k: v.clone() for k, v in tiny.transformer.state_dict().items()}
    plain, hooks = tiny.forward(TOKENS), count_hooks(tiny)

    def fail(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), steer(tiny, edit), tiny.hook(Site("mlp_out", 1), fail):
        tiny.forward(TOKENS)
    prompts = [row.tolist() for row in TOKENS]
    with pytest.raises(KeyboardInterrupt), tiny.hook(Site("mlp_out", 1), fail):
        kl_from_plain(tiny, prompts, [Cell((edit,)), Cell((one(),))])
    assert [kept_weight(tiny, p).matrix.checksum for p, _ in edit.parts] == sums
    assert all(torch.equal(v, state[k]) for k, v in tiny.transformer.state_dict().items())
    assert torch.equal(tiny.forward(TOKENS), plain)
    assert count_hooks(tiny) == hooks


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_cell_of_a_grid_writes_what_it_writes_alone(load, family, backbone):
    model = load(family, backbone)
    cells = [
        Cell((WeightEdit(((Place(name, layer), find_edit("power", amount)),)),))
        for name in ("down", "o", "v", "q", "k", "up")
        for layer, amount in ((0, 1.5), (2, -0.6))
    ]
    both = Cell((one("gain", 0.5), one("power", 1.0), one("power", 0.7, Place("o", 2))))
    cells = [Cell(), *cells, both]
    prompts = [[1, 5, 7, 9], [1, 4, 6], [1, 8, 3, 22]]
    together = generate(model, prompts, cells, n_new=6)
    alone = [generate(model, prompts, [cell], n_new=6)[0] for cell in cells]
    assert_same_texts(model, (prompts, cells), together, alone)
    swapped = []
    for cell in cells:
        with steer(model, *cell.interventions):
            swapped.append(generate(model, prompts, [Cell()], n_new=6)[0])
    assert_same_texts(model, (prompts, cells), together, swapped)
    assert len({c.tokens for row in together for c in row}) > len(prompts)


def test_edits_at_one_place_add_up_in_any_order(tiny):
    first, second = one("power", 1.0), one("gain", 0.4)
    found = []
    for edits in ((first, second), (second, first)):
        with steer(tiny, *edits):
            found.append(tiny.forward(TOKENS))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
    weight = kept_weight(tiny, PLACE)
    change = sum(e.changes(tiny)[0][1].dense for e in (first, second))
    with weight.matrix.replaced(weight.base + change):
        torch.testing.assert_close(tiny.forward(TOKENS), found[0], atol=1e-4, rtol=1e-4)


def test_singular_values_are_found_once_and_again_after_the_weight_has_changed(tiny, monkeypatch):
    calls = []
    svd = torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda *a, **k: calls.append(1) or svd(*a, **k))
    place = Place("gate", 2)
    for amount in (0.1, 0.2):
        for name in ("power", "zscore", "band[0-3]"):
            with steer(tiny, one(name, amount, place), one("gain", amount, place)):
                assert len(calls) == 1
    parameter = kept_weight(tiny, place).matrix.parameter
    with torch.no_grad():
        parameter.mul_(2)
        doubled = kept_weight(tiny, place).norm
        parameter.div_(2)
    assert doubled == pytest.approx(2 * kept_weight(tiny, place).norm)
    one("power", 0.1, place).changes(tiny)
    assert len(calls) == 2


def test_a_gain_before_a_norm_is_refused_and_another_edit_is_not(load):
    model = load("gemma3", "bridge")
    with pytest.raises(UnsupportedWeightError, match="divides out"), steer(model, one("gain", 0.3)):
        pass
    plain = model.forward(TOKENS)
    with steer(model, one("power", 0.5)):
        assert not torch.allclose(model.forward(TOKENS), plain, atol=1e-3)


def test_a_weight_edit_is_an_intervention_with_a_key_of_its_own():
    edit = WeightEdit.parse("gain", "down:0:-0.2,down:1-2:+0.3")
    assert isinstance(edit, Intervention)
    assert [(str(p), e.amount) for p, e in edit.parts] == [
        ("down.0", -0.2), ("down.1", 0.3), ("down.2", 0.3)
    ]  # fmt: skip
    assert edit.first_block(5) == 0
    assert str(edit) == "gain down.0:-0.2, gain down.1:+0.3, gain down.2:+0.3"
    keys = {Cell((e,)).key for e in (edit, one("gain", 0.1), one("gain", 0.2), one("power", 0.1))}
    assert len(keys) == 4


@pytest.mark.parametrize("text", ["down:15", "down:3-1:0.1", "down:1:0.1,down:0-2:0.2", "", "x"])
def test_plans_that_cannot_be_read_are_refused(text):
    with pytest.raises(BadValueError):
        parse_places(text)


# -- controls and numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["noise", "random_change", "gain"])
@pytest.mark.parametrize("name", AMOUNTS)
def test_controls_have_the_norm_of_their_edit(tiny, kind, name):
    edit = one(name, AMOUNTS[name])
    ((weight, change),) = edit.changes(tiny)
    controls = [control_of(edit, kind, seed=seed).changes(tiny)[0][1] for seed in (0, 0, 1)]
    for control in controls:
        assert control.norm(weight) == pytest.approx(change.norm(weight), rel=1e-4)
    torch.testing.assert_close(controls[0].dense, controls[1].dense, atol=0, rtol=0)
    assert not torch.equal(controls[0].dense, controls[2].dense)


def test_random_vectors_keep_the_edited_spectrum_and_random_changes_that_of_the_change(tiny):
    edit = one("power", 0.5)
    ((weight, change),) = edit.changes(tiny)
    wanted = torch.linalg.svdvals(weight.base + change.dense)
    shuffled = control_of(edit, "random_vectors").changes(tiny)[0][1]
    found = torch.linalg.svdvals(weight.base + shuffled.dense)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    turned = control_of(edit, "random_change").changes(tiny)[0][1]
    torch.testing.assert_close(
        torch.linalg.svdvals(turned.dense), torch.linalg.svdvals(change.dense), atol=1e-4, rtol=1e-3
    )
    u, vh = weight.random_vectors(3)
    torch.testing.assert_close(u.T @ u, torch.eye(u.shape[1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(vh @ vh.T, torch.eye(len(vh)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("amount", "itself", "other"), [(0.3, 0, 1), (-0.3, 1, 0)])
def test_a_gain_is_told_from_its_controls_and_found_among_them(tiny, amount, itself, other):
    gain = one("gain", amount)
    assert same_change(tiny, control_of(gain, "gain", seed=itself), gain)
    turned = control_of(gain, "gain", seed=other)
    assert not same_change(tiny, turned, gain)
    ((weight, change),) = turned.changes(tiny)
    assert change.norm(weight) == pytest.approx(0.3 * weight.norm)


def test_a_longer_control_has_another_name_and_a_change_as_much_longer(tiny):
    control = control_of(one("power", 0.5), "noise", seed=3)
    longer = scaled(control, 2.0)
    assert str(longer) != str(control)
    ((weight, change),), ((_, more),) = control.changes(tiny), longer.changes(tiny)
    torch.testing.assert_close(more.dense, 2 * change.dense)
    assert more.norm(weight) == pytest.approx(2 * change.norm(weight))
    assert same_change(tiny, control, scaled(control, 1.0))
    assert not same_change(tiny, control, longer)


def test_a_control_at_the_kl_of_its_edit_has_that_kl(tiny):
    prompts = [[1, 5, 7, 9, 11], [1, 4, 6, 8, 10, 12]]
    edit = scaled(control_of(one("gain", 0.3), "noise", seed=5), 0.5)
    controls = [control_of(one("gain", 0.3), kind, seed=1) for kind in ("noise", "random_vectors")]
    found = controls_at_kl(tiny, controls, edit, prompts)
    assert [str(f).split()[0] for f in found] == ["noise", "random_vectors"]
    cells = [Cell((one_of,)) for one_of in (edit, *found)]
    nats = kl_from_plain(tiny, prompts, cells).mean(dim=1).tolist()
    assert nats[1:] == pytest.approx([nats[0]] * 2, rel=0.06)
    # One that has that KL as it is needs no other, and nothing has the KL of no change.
    assert controls_at_kl(tiny, found, edit, prompts) == []
    assert controls_at_kl(tiny, found, one("power", 0.0), prompts) == []


def test_a_control_can_be_another_place_and_an_unknown_one_is_refused():
    moved = elsewhere(one("power", 0.5), Place("o", 0))
    assert str(moved) == "power o.0:+0.5"
    with pytest.raises(UnknownNameError, match="random_vectors"):
        control_of(one(), "placebo")
    assert set(CONTROLS) == {"noise", "random_change", "random_vectors", "gain"}
    assert set(EDITS) == {"gain", "zscore", "power", "band", "deflate", "mp_shrink"}


@pytest.mark.parametrize("name", ["zscore", "power", "band[1-4]", "mp_shrink"])
def test_the_description_agrees_with_the_matrix(tiny, name):
    edit = one(name, AMOUNTS[name])
    (found,) = describe_edit(tiny, edit)
    weight = kept_weight(tiny, PLACE)
    whole = weight.base + edit.changes(tiny)[0][1].dense
    s = torch.linalg.svdvals(whole)
    p = s**2 / (s**2).sum()
    norms = float(whole.norm()), weight.norm
    assert found.relative_change == pytest.approx(
        float((whole - weight.base).norm()) / norms[1], rel=1e-3
    )
    assert found.cosine == pytest.approx(
        float((whole * weight.base).sum()) / norms[0] / norms[1], abs=1e-5
    )
    assert found.after.stable_rank == pytest.approx(float((s**2).sum() / s[0] ** 2), rel=1e-3)
    assert found.after.condition == pytest.approx(float(s[0] / s[-1]), rel=1e-2)
    assert found.after.entropy == pytest.approx(float(-(p * p.log()).sum()), rel=1e-3)
    assert not found.pure_gain


def test_a_pure_gain_is_said_to_be_one(tiny):
    for edit in (one("gain", 0.3), one("band[0-]", -0.3)):
        with pytest.warns(PureGainWarning, match="cosine 1"):
            (found,) = describe_edit(tiny, edit)
        assert found.pure_gain
        assert found.cosine == pytest.approx(1, abs=rounding(64, 1.0))
        assert found.relative_change == pytest.approx(0.3, rel=1e-5)
        assert found.after.stable_rank == pytest.approx(found.before.stable_rank, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("down.5", "down.5"),
        ("down_proj.5", "down.5"),
        ("model.layers.5.mlp.down_proj", "down.5"),
        ("model.layers.5.mlp.down_proj.weight", "down.5"),
        ("model.layers.5.self_attn.k_proj", "k.5"),
        ("transformer.h.5.mlp.c_fc", "up.5"),
        ("transformer.h.5.mlp.c_proj", "down.5"),
        ("transformer.h.5.attn.c_proj", "o.5"),
        ("blocks.5.mlp.W_out", "down.5"),
        ("blocks.5.attn.W_K", "k.5"),
    ],
)
def test_weights_are_known_by_the_names_of_transformers_and_transformerlens(text, place):
    assert str(Place.parse(text)) == place
    assert parse_places(f"{text}:-0.2, up:7-8:1") == (
        (Place.parse(place), -0.2), (Place("up", 7), 1.0), (Place("up", 8), 1.0),
    )  # fmt: skip


def test_an_experts_matrix_and_a_router_are_no_weight_of_the_block():
    for text in ("model.layers.5.mlp.experts.3.down_proj", "model.layers.5.mlp.router"):
        with pytest.raises(UnknownNameError, match="unknown weight"):
            Place.parse(text)
    with pytest.raises(BadValueError, match="cannot read weight 'down'"):
        Place.parse("down")
