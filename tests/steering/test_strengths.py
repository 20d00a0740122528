from __future__ import annotations

import math

import pytest
import torch

from steerscope.doses import Dose
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.strengths import (
    Constant,
    CosineGate,
    Decay,
    EigengapGate,
    First,
    Moment,
    ProjectionGate,
    Pulse,
    Ramp,
    as_strength,
    parse_strength,
)
from tests.helpers import random_direction, rounding, spectra_with_gaps

SITE = Site("resid_post", 1)
UNIT = torch.tensor([1.0, 0.0])
STEPS = torch.tensor([[-2, -1, 0, 1, 2, 3, 4, 5]])  # three tokens of the prompt, then five new ones


def moment(x=None, step=STEPS, site=SITE):
    x = torch.zeros(1, step.shape[1], 2) if x is None else x
    return Moment(site, UNIT, step, {site: x})


def spectra(gap):
    return spectra_with_gaps(torch.tensor(gap), (1, 3))


@pytest.mark.parametrize(
    ("text", "generated"),
    [
        ("0.25*ramp:4", [0.0625, 0.125, 0.1875, 0.25, 0.25]),
        ("ramp:4", [0.25, 0.5, 0.75, 1.0, 1.0]),
        ("decay:2", [1.0, 0.5**0.5, 0.5, 0.5**1.5, 0.25]),
        ("pulse:3:2", [1.0, 1.0, 0.0, 1.0, 1.0]),
        ("first:2", [1.0, 1.0, 0.0, 0.0, 0.0]),
        ("first:4*pulse:2:1", [1.0, 0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_schedules_by_hand_leave_the_prompt_at_full_strength(text, generated):
    whole = 0.25 if text.startswith("0.25") else 1.0
    found = parse_strength(text).share(moment())
    torch.testing.assert_close(found, torch.tensor([[whole] * 3 + generated]))


def test_rows_with_other_prompt_lengths_are_at_other_steps():
    found = Ramp(2).share(moment(step=torch.tensor([[0, 1, 2], [-1, 0, 1]])))
    assert found.tolist() == [[1.0, 0.5, 1.0], [1.0, 1.0, 0.5]]


def test_gates_by_hand_decide_for_every_row_and_token():
    x = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[-1.0, 0.0], [0.0, 0.0]]])
    step = torch.tensor([[0, 1]])
    assert CosineGate(0.6 - rounding(4, 1.0)).share(moment(x, step)).tolist() == [[1, 1], [0, 0]]
    assert CosineGate(0.7).share(moment(x, step)).tolist() == [[0, 1], [0, 0]]
    assert CosineGate(0.7, below=True).share(moment(x, step)).tolist() == [[1, 0], [1, 1]]
    assert ProjectionGate(2.0).share(moment(x, step)).tolist() == [[1, 0], [0, 0]]
    assert ProjectionGate(-0.5, below=True).share(moment(x, step)).tolist() == [[0, 0], [1, 0]]
    both = CosineGate(0.5) * ProjectionGate(2.0, below=True) * 0.5
    assert both.share(moment(x, step)).tolist() == [[0, 0.5], [0, 0]]


def test_the_eigengap_gate_reads_its_table_by_layer_and_head():
    table = spectra([[0.9, 0.4], [0.6, 0.8]])
    layer_1, layer_3, head = Site("mlp_out", 1), Site("resid_post", 3), Site("k", 1, 0)

    def share(gate, site):
        return float(gate.share(moment(site=site)))

    assert [share(EigengapGate(table, 0.5), s) for s in (layer_1, layer_3, head)] == [0, 1, 1]
    assert [share(EigengapGate(table, 0.5, below=True), s) for s in (layer_1, head)] == [1, 0]
    assert share(EigengapGate(table, 0.8, proportional=True), layer_1) == pytest.approx(0.5)
    assert share(EigengapGate(table, 0.8, proportional=True), head) == 1.0
    assert EigengapGate(table, 0.5, group=2).gap(Site("z", 1, 3)) == pytest.approx(0.4)
    with pytest.raises(BadValueError, match="2 key heads, none for z.1.h3"):
        EigengapGate(table, 0.5).gap(Site("z", 1, 3))
    with pytest.raises(BadValueError, match="layers 1, 3, not that of resid_post.2"):
        EigengapGate(table, 0.5).check(Site("resid_post", 2))
    with pytest.raises(BadValueError, match="not both"):
        EigengapGate(table, 0.5, below=True, proportional=True)


@pytest.mark.parametrize(
    "text",
    ["0.5", "ramp:8", "decay:2.5", "pulse:4:2", "first:16", "cosine:0.3", "projection:-2.5:below"]
    + ["0.5*ramp:8*cosine:0.3:below"],
)
def test_a_strength_is_read_back_from_its_name(text):
    strength = parse_strength(text)
    assert str(strength) == text
    assert parse_strength(str(strength)) == strength


def test_shares_lie_on_the_device_of_the_pass():
    table = spectra([[0.9, 0.4], [0.6, 0.8]])
    for strength in (
        parse_strength("0.5*ramp:8"),
        parse_strength("decay:2*pulse:3:2*first:4"),
        EigengapGate(table, 0.5) * CosineGate(0.3) * ProjectionGate(0.1),
    ):
        share = strength.share(moment(torch.zeros(1, 8, 2, device="meta"), STEPS.to("meta")))
        assert share.device.type == "meta"


def test_products_with_numbers_are_strengths():
    assert str(0.5 * Ramp(8)) == "ramp:8*0.5"
    assert Ramp(8) * 0.5 * First(3) == parse_strength("ramp:8*0.5*first:3")
    assert as_strength(1.0) == Constant(1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1.5", "outside 0..1"),
        ("ramp", "ramp:STEPS"),
        ("ramp:x", "ramp:STEPS"),
        ("ramp:0", "at least 1"),
        ("decay:0", "positive"),
        ("decay:nan", "positive"),
        ("pulse:2:3", "1 <= on <= period"),
        ("cosine", "cosine:THRESHOLD"),
        ("cosine:0.3:above", "THRESHOLD:below"),
        ("cosine:inf", "inf"),
        ("cosine:0.3@mood", "in Python"),
        ("eigengap:0.7", "in Python"),
        ("first:1.5", "first:STEPS"),
    ],
)
def test_malformed_strengths_are_refused(text, says):
    with pytest.raises(BadValueError, match=says):
        parse_strength(text)


@pytest.mark.parametrize("text", ["rampe:8", "", "ramp:2*"])
def test_an_unknown_strength_lists_the_known_ones(text):
    with pytest.raises(UnknownNameError, match="constant, cosine, decay, eigengap, first"):
        parse_strength(text)


def test_the_labels_of_a_steering_show_its_strength(load):
    model = load()
    direction = random_direction(model, SITE)
    early = random_direction(model, Site("resid_post", 0))
    keys = set()
    for strength, label in (
        (0.5, 0.5),
        (Constant(0.5), 0.5),
        (Decay(4.0), "decay:4"),
        (Pulse(4, 2), "pulse:4:2"),
        (CosineGate(0.3, condition=early), "cosine:0.3@random@resid_post.0"),
        (EigengapGate(spectra([[0.9, 0.4], [0.6, 0.8]]), 0.5), "eigengap:0.5"),
    ):
        steering = Steering(direction, Dose(1.0), strength=strength)
        assert steering.labels()["strength"] == label
        keys.add(Cell((steering,)).key)
    assert len(keys) == 5  # the two ways to write a half are one
    turned = Steering(direction, Dose(20.0, "degrees"), "rotate").labels()
    assert turned["dose_degrees"] == 20.0
    assert math.isnan(turned["dose_natural"])


def test_a_direction_and_its_negative_are_two_conditions(load):
    direction = random_direction(load(), SITE)
    turned = -direction
    ways = [Cell(Steering(d, Dose(n))).key for d in (direction, turned) for n in (1.0, -1.0)]
    assert len(set(ways)) == 4
    assert Cell(Steering(-turned, Dose(1.0))).key == ways[0]


def test_a_condition_that_is_not_known_yet_is_refused(load):
    model = load()
    direction = random_direction(model, SITE)
    for site in (Site("resid_post", 2), Site("resid_pre", 2)):
        gate = CosineGate(0.0, condition=random_direction(model, site)) * 0.5
        with pytest.raises(BadValueError, match=f"{site} comes after the steered resid_post.1"):
            Steering(direction, Dose(1.0), strength=gate)


def test_the_order_of_places_in_a_pass():
    order = ["resid_pre.1", "k.1", "z.1", "attn_out.1", "resid_mid.1", "mlp_pre.1", "mlp_post.1"]
    sites = [Site.parse(t) for t in [*order, "mlp_out.1", "resid_post.1", "q.2", "resid_post.2"]]
    for i, first in enumerate(sites):
        for j, second in enumerate(sites):
            assert first.precedes(second) == (i <= j)
    assert not Site("q", 1).precedes(Site("k", 1))
    assert Site("z", 1, 3).precedes(Site("z", 1))


@pytest.mark.parametrize("text", ["cosine:2", "cosine:-1.5", "cosine:1.01:below"])
def test_a_threshold_that_no_cosine_reaches_is_refused(text):
    with pytest.raises(BadValueError, match="between -1 and 1"):
        parse_strength(text)
    assert str(parse_strength("cosine:1")) == "cosine:1.0"
