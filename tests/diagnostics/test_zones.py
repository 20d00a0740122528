from __future__ import annotations

import pandas as pd
import pytest

from steerscope.diagnostics import ZoneLimits, layer_zones
from steerscope.errors import BadValueError

LIMITS = ZoneLimits(effect=0.5, damage=1.0, kl=0.01)


def sweep(*rows):
    columns = ["layer", "dose_relative", "effect", "low", "high", "kl_nats", "cost_nll_plain"]
    return pd.DataFrame(rows, columns=columns)


TABLE = sweep(
    (0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0, 1.0, 0.2, 0.1, 0.3, 0.20, 0.1),
    (1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (1, 1.0, 0.8, 0.7, 0.9, 0.30, 0.2),
    (2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (2, 1.0, 0.9, 0.8, 1.0, 2.00, 1.5),
    (3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (3, 1.0, 0.0, 0.0, 0.6, 0.001, 0.0),
)  # fmt: skip


def test_zones_follow_effect_and_damage_and_not_depth():
    found = layer_zones(TABLE, dose=1.0, limits=LIMITS).set_index("layer")
    assert found.zone.to_dict() == {0: "weak", 1: "sweet", 2: "destructive", 3: "rigid"}
    assert found.sure.to_dict() == {0: True, 1: True, 2: True, 3: False}
    swapped = TABLE.assign(layer=3 - TABLE.layer)
    found = layer_zones(swapped, dose=1.0, limits=LIMITS).set_index("layer")
    assert found.zone.to_dict() == {3: "weak", 2: "sweet", 1: "destructive", 0: "rigid"}


def test_a_destructive_layer_is_sure_where_its_damage_is_at_the_doses_around():
    told = TABLE.assign(surely_damaged=False)
    of_two = layer_zones(told, dose=1.0, limits=LIMITS).set_index("layer")
    assert of_two.zone[2] == "destructive"
    assert of_two.sure.to_dict() == {0: True, 1: True, 2: False, 3: False}
    told.loc[(told.layer == 2) & (told.dose_relative == 1.0), "surely_damaged"] = True
    assert layer_zones(told, dose=1.0, limits=LIMITS).set_index("layer").sure[2]
    between = layer_zones(told, dose=0.9, limits=LIMITS).set_index("layer")
    assert (between.zone[2], between.sure[2]) == ("destructive", False)  # dose 0 is not damaged


def test_doses_between_are_interpolated():
    found = layer_zones(TABLE, dose=0.5, limits=LIMITS).set_index("layer")
    assert found.effect[1] == pytest.approx(0.4)
    assert found.zone.to_dict() == {0: "weak", 1: "weak", 2: "weak", 3: "rigid"}


def test_a_dose_that_was_not_measured_and_a_missing_column_are_refused():
    with pytest.raises(BadValueError, match="layer 0 was measured from 0 to 1"):
        layer_zones(TABLE, dose=1.5, limits=LIMITS)
    with pytest.raises(BadValueError, match="no column cost_grammatical"):
        layer_zones(TABLE, dose=1.0, limits=LIMITS, damage="cost_grammatical")
    with pytest.raises(BadValueError, match="not a number"):
        layer_zones(TABLE.assign(effect=float("nan")), dose=1.0, limits=LIMITS)
