from __future__ import annotations

import math

import pandas as pd
import pytest

from steerscope.errors import BadValueError
from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.judges.microworld import LIMITS
from steerscope.runs.results import NOT_FINITE
from steerscope.studies.steering.drift import drift_table

SHARE = Effect("flipped", "share", "flipped", limits=LIMITS)
AT = {"split": "test", "layer": 1, "dose_natural": 2.0, "methods": ("mean_diff", "random")}


def rows():
    values = {
        ("plain", "plain", 0): {"flipped": (0, 0), "kept_topic": (1, 1)},
        ("m", "mean_diff", 1): {"flipped": (1, 1), "kept_topic": (1, 0)},
        ("r", "random", 1): {"flipped": (0, 1), "kept_topic": (1, 1)},
    }
    return pd.DataFrame(
        [
            {
                "cell": cell, "method": method, "layer": layer, "stream": "resid_post", "head": -1,
                "operator": "add", "scope": "all", "dose_absolute": 1.0, "dose_relative": 1.0,
                "dose_natural": 2.0, "seed": 0, "split": "test", "prompt": i, "metric": metric,
                "value": float(v), "status": "ok",
            }
            for (cell, method, layer), metrics in values.items()
            for metric, pair in metrics.items()
            for i, v in enumerate(pair)
        ]
    )  # fmt: skip


def test_drift_is_the_paired_change_with_losses_outwards():
    found = drift_table(rows(), SHARE, **AT).set_index("attribute")
    assert found.change.to_dict() == {"flipped": 100.0, "topic lost": 50.0}
    assert found.null.to_dict() == {"flipped": 50.0, "topic lost": 0.0}
    assert found.on_target.to_dict() == {"flipped": True, "topic lost": False}
    assert found.n.tolist() == [2, 2]


def test_nothing_seen_in_few_texts_is_not_taken_for_nothing_where_others_were_not_read():
    table = rows()
    at_all = drift_table(table, SHARE, **AT).set_index("attribute")
    other = table[table.cell == "m"].assign(cell="other", method="other", dose_natural=-2.0)
    other["value"] = other.value.where(other.prompt != 0)  # a condition that was asked of fewer
    other.loc[(other.metric == "kept_topic") & (other.prompt == 1), "value"] = 0.5  # a share of it
    same = drift_table(pd.concat([table, other]), SHARE, **AT).set_index("attribute")
    assert same[["low", "high"]].equals(at_all[["low", "high"]])
    assert at_all.low["flipped"] < 100.0


def test_random_directions_of_which_one_overflowed_have_no_mean_drift():
    table = rows()
    other = table[table.cell == "r"].assign(cell="other", value=math.nan, status=NOT_FINITE)
    found = drift_table(pd.concat([table, other]), SHARE, **AT)
    assert found["null"].isna().all()
    assert found.n_lost.tolist() == [1, 1]
    assert drift_table(table, SHARE, **AT).n_lost.tolist() == [0, 0]


def test_drift_needs_texts_and_a_measured_condition():
    with pytest.raises(BadValueError, match="off pairs"):
        drift_table(rows(), PREFERENCE, **AT)
    with pytest.raises(BadValueError, match="layer 7"):
        drift_table(rows(), SHARE, **(AT | {"layer": 7}))
