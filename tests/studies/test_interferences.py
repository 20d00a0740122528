"""Interference of every pair of steerings: the KL of both less that of each, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from steerscope.doses import Dose
from steerscope.engine.score import kl_from_plain
from steerscope.errors import BadValueError
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.studies.interferences import interference_table
from tests.helpers import random_direction

PROMPTS = ["w5 w6 w7 w8 w9", "w20 w21 w22", "w40 w41 w42 w43"]


def test_interference_is_the_kl_of_both_less_that_of_each(load):
    model, site = load(), Site("resid_post", 1)
    parts = {
        name: (random_direction(model, site, seed=i), Dose(0.2 * (i + 1), "relative"))
        for i, name in enumerate("abc")
    }

    def nats(*names):
        cell = Cell(tuple(Steering(*parts[name]) for name in names))
        return kl_from_plain(model, PROMPTS, cell)[0].double().numpy()

    table = interference_table(model, parts, PROMPTS)
    assert [*zip(table["first"], table["second"], strict=True)] == [*map(tuple, ("ab", "ac", "bc"))]
    for row in table.itertuples():
        first, second, both = nats(row.first), nats(row.second), nats(row.first, row.second)
        apart = both - first - second
        assert row.measured == pytest.approx(apart.mean(), rel=1e-3, abs=1e-6)
        assert apart.min() - 1e-6 <= row.low <= row.measured <= row.high <= apart.max() + 1e-6
        (one, a), (other, b) = parts[row.first], parts[row.second]
        cosine = float(one.unit @ other.unit)
        assert row.cosine == pytest.approx(cosine, abs=1e-6)
        share = 2 * a.value * b.value * cosine / (a.value**2 + b.value**2)
        assert row.predicted == pytest.approx(share * (first + second).mean(), rel=1e-3)
    assert np.unique(table.n).tolist() == [len(PROMPTS)]
    with pytest.raises(BadValueError, match="two steerings or more"):
        interference_table(model, {"a": parts["a"]}, PROMPTS)
