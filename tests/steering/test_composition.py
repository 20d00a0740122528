from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from steerscope.directions import Direction
from steerscope.doses import Dose, Scale
from steerscope.engine.generation import generate
from steerscope.errors import BadValueError, DegenerateDirectionError, VectorMismatchError
from steerscope.sites import Site
from steerscope.steering.composition import (
    gram,
    interference,
    orthogonalised,
    renormalised_sum,
    switched,
    vector_sum,
)
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from steerscope.steering.template_checks import check_templates
from tests.helpers import origin, random_direction

SITE = Site("resid_post", 1)


def direction(*vector, natural=2.0, name="mood"):
    unit = torch.tensor(vector)
    scale = Scale(natural, 10.0)
    return Direction(SITE, unit / unit.norm(), scale, "mean_diff", origin(contrasts=name))


EAST, NORTH = direction(1.0, 0.0, 0.0), direction(0.0, 1.0, 0.0, natural=3.0, name="register")
NORTHEAST = direction(1.0, 1.0, 0.0)


def test_a_sum_by_hand():
    total, dose = vector_sum([(EAST, Dose(3.0, "absolute")), (NORTH, Dose(-4.0, "absolute"))])
    torch.testing.assert_close(total.unit, torch.tensor([0.6, -0.8, 0.0]))
    assert dose == Dose(5.0, "absolute")
    assert total.scale.natural == pytest.approx(13**0.5)  # 2 east and 3 south
    assert total.scale.relative == 10.0
    assert total.method == "sum(+1.5 mood:mean_diff, -1.33 register:mean_diff)"
    assert total.provenance.contrasts == "mood+register"


def test_one_natural_unit_of_everything_is_one_natural_unit_of_the_sum():
    total, dose = vector_sum([(EAST, Dose(1.0)), (NORTHEAST, Dose(1.0))])
    assert dose.to("natural", total.scale).value == pytest.approx(1.0)


@pytest.mark.parametrize(
    "parts", [[(EAST, Dose(2.0)), (EAST, Dose(-1.0))], [(EAST, Dose(1.5)), (-EAST, Dose(0.5))]]
)
def test_parts_that_cancel_in_part_leave_the_rest(parts):
    total, dose = vector_sum(parts)
    torch.testing.assert_close(total.unit, EAST.unit)
    assert dose.absolute(total.scale) == pytest.approx(EAST.scale.natural)
    assert dose.to("natural", total.scale).value == pytest.approx(1.0)


def test_a_renormalised_sum_costs_what_one_part_does_in_any_order():
    parts = [(EAST, Dose(3.0, "absolute")), (NORTH, Dose(4.0, "absolute"))]
    one, dose = renormalised_sum(parts)
    other, again = renormalised_sum(parts[::-1])
    assert dose == again == Dose(3.5, "absolute")
    torch.testing.assert_close(one.unit, other.unit)
    torch.testing.assert_close(one.unit, torch.tensor([0.6, 0.8, 0.0]))


def test_a_sum_is_of_every_template_of_its_parts_plain_text_among_them():
    def found_in(template, vector):
        made = direction(*vector, name=template or "plain")
        return replace(made, provenance=replace(made.provenance, template=template))

    def differing(total, template):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            check_templates([total], template)
        return sorted(
            str(w.message).split(" and is applied")[0].split("found in ")[1] for w in said
        )

    plain, chat = found_in("", (1.0, 0.0, 0.0)), found_in("chat-1", (0.0, 1.0, 0.0))
    one = Dose(1.0)
    both, _ = vector_sum([(plain, one), (chat, one)])
    assert differing(both, "chat-1") == ["plain texts"]
    assert differing(both, "") == ["texts in the chat template chat-1"]
    assert len(differing(both, "chat-2")) == 2
    nested, _ = vector_sum([(both, one), (found_in("chat-1", (0.0, 0.0, 1.0)), one)])
    assert differing(nested, "chat-1") == ["plain texts"]
    for alone in ([(plain, one)], [(plain, one), (found_in("", (0.0, 1.0, 0.0)), one)]):
        assert differing(vector_sum(alone)[0], "") == []


def test_adding_a_sum_is_adding_its_parts(load):
    model = load()
    parts = [(random_direction(model, SITE, seed=i), Dose(1.0 + i)) for i in range(3)]
    tokens = torch.tensor([[1, 5, 9, 11]])
    with torch.no_grad():
        with steer(model, *(Steering(d, dose) for d, dose in parts)):
            apart = model.forward(tokens)
        with steer(model, Steering(*vector_sum(parts))):
            together = model.forward(tokens)
        assert not torch.allclose(model.forward(tokens), together)
    torch.testing.assert_close(apart, together, atol=1e-4, rtol=1e-4)


def test_gram_schmidt_by_hand_in_the_order_given():
    first, second = orthogonalised([EAST, NORTHEAST])
    assert first is EAST
    torch.testing.assert_close(second.unit, torch.tensor([0.0, 1.0, 0.0]))
    assert second.scale.natural == pytest.approx(2 / 2**0.5)
    assert second.method == "orthogonalised(mean_diff)"
    first, second = orthogonalised([NORTHEAST, EAST])
    torch.testing.assert_close(second.unit, torch.tensor([0.5**0.5, -(0.5**0.5), 0.0]))


def test_orthogonalised_directions_have_the_identity_as_gram_matrix():
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(40, generator=generator)
    made = [
        direction(*(common + 0.1 * torch.randn(40, generator=generator)).tolist()) for _ in range(6)
    ]
    assert float(gram(made)[0, 1]) > 0.9
    torch.testing.assert_close(gram(orthogonalised(made)), torch.eye(6), atol=1e-5, rtol=0)


def test_what_cannot_be_composed_is_refused():
    with pytest.raises(DegenerateDirectionError, match="cancel"):
        vector_sum([(EAST, Dose(1.0)), (-EAST, Dose(1.0))])
    with pytest.raises(DegenerateDirectionError, match="span"):
        orthogonalised([EAST, NORTH, NORTHEAST])
    with pytest.raises(BadValueError, match="no direction"):
        gram([])
    elsewhere = replace(NORTH, site=Site("resid_post", 2))
    foreign = replace(NORTH, provenance=origin(fingerprint="another"))
    for other in (elsewhere, foreign):
        with pytest.raises(VectorMismatchError, match="not at one site of one model"):
            vector_sum([(EAST, Dose(1.0)), (other, Dose(1.0))])
        with pytest.raises(VectorMismatchError, match="not at one site of one model"):
            orthogonalised([EAST, other])


def test_switched_steerings_take_turns_by_generated_token(tiny):
    first, second = (Steering(random_direction(tiny, SITE, seed=i), Dose(20.0)) for i in (1, 2))
    phases = switched([first, second], [2, 4])
    assert [str(s.scope) for s in phases] == ["steps:2:4", "steps:4"]
    prompts = [[1, 5, 9], [1, 7, 20, 33, 41]]
    cells = [Cell(), Cell(phases), Cell(phases[:1]), Cell(switched([first], [2]))]
    plain, both, early, on = generate(tiny, prompts, cells, n_new=7)
    for row in range(2):
        a, b, c, d = (found[row].tokens for found in (plain, both, early, on))
        assert a[:2] == b[:2] == c[:2]  # tokens 1 and 2 are decided before token 2 is run
        assert b[:4] == c[:4] == d[:4]  # the first steering's alone
    assert {r.tokens for r in both} != {r.tokens for r in plain}
    assert {r.tokens for r in both} != {r.tokens for r in on}


def test_wrong_phases_are_refused():
    steering = Steering(EAST, Dose(1.0))
    with pytest.raises(BadValueError, match="as many starts"):
        switched([steering], [1, 2])
    for starts in ([0, 3], [3, 3]):
        with pytest.raises(BadValueError, match="must ascend from 1"):
            switched([steering, steering], starts)
    with pytest.raises(BadValueError, match="take out its scope prompt"):
        switched([Steering(EAST, Dose(1.0), scope=Scope.prompt())], [1])


def test_interference_of_a_quadratic_metric_is_what_the_geometry_predicts():
    k = np.linspace(0.5, 1.5, 40)  # curvature of each item
    a, b = (EAST, Dose(3.0, "absolute")), (NORTHEAST, Dose(-2.0, "absolute"))
    both = torch.tensor([3 - 2**0.5, -(2**0.5), 0.0])
    found = interference(
        a,
        b,
        plain=0 * k,
        with_first=9 * k,
        with_second=4 * k,
        with_both=float(both @ both) * k,
    )
    assert found.cosine == pytest.approx(0.5**0.5)
    assert found.predicted == pytest.approx(2 * 3 * -2 * 0.5**0.5)
    assert found.measured.value == pytest.approx(found.predicted, rel=1e-5)
    assert found.measured.low < found.measured.value < found.measured.high
    assert found.measured.n == 40


def test_a_linear_metric_does_not_interfere():
    item = np.arange(10.0)
    found = interference(
        (EAST, Dose(1.0)),
        (NORTH, Dose(1.0)),
        plain=item,
        with_first=item + 2,
        with_second=item - 1,
        with_both=item + 1,
    )
    assert (found.measured.value, found.measured.low, found.measured.high) == (0, 0, 0)
    assert found.predicted == 0.0
    with pytest.raises(BadValueError, match="same items"):
        interference(
            (EAST, Dose(1.0)),
            (NORTH, Dose(1.0)),
            plain=item[1:],
            with_first=item,
            with_second=item,
            with_both=item,
        )
