"""Numbers that decide claims about the premise of the eigengap, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steerscope.claims.measures import MEASURES
from steerscope.errors import BadValueError, RunError
from steerscope.experiments.jobs.predictors import layers_of_rows
from steerscope.runs.results import Run
from steerscope.studies.predictors.thresholds import judge_threshold
from steerscope.studies.premise.findings import PARTS
from tests.helpers import row


def started(path, rows, **said):
    run = Run.start(path, {"seed": 0} | said, provenance={})
    run.append(rows)
    return run


def ridge_run(path, left):
    """What each kernel leaves over at three heads, a little more of every second test prompt."""
    rows = []
    for kernel, heads in left.items():
        for head, share in enumerate(heads):
            for p in range(8):
                values = dict.fromkeys(PARTS, 1.0) | {"left": share + (p // 2 % 2 - 0.5) / 50}
                at = {"cell": f"layer 0; head {head}; {kernel}; 0.1", "method": kernel, "layer": 0}
                at |= {"head": head, "prompt": p, "split": "test" if p % 2 else "select"}
                rows += [row(**at, metric=metric, value=value) for metric, value in values.items()]
    return started(path, rows)


def test_r2_is_that_of_the_median_head_of_its_kernel_mean_over_models(tmp_path):
    runs = [
        ridge_run(tmp_path / "one", {"linear": (0.1, 0.3, 0.8), "average": (0.9, 0.9, 0.9)}),
        ridge_run(tmp_path / "two", {"linear": (0.2, 0.4, 0.6), "average": (0.7, 0.7, 0.7)}),
    ]
    wide = (
        0.01 * 3.1824 / 1.96 * math.sqrt(4 / 3)
    )  # Student's t of 4 prompts for the normal quantile
    for kernel, value in (("linear", 0.65), ("average", 0.2)):
        found = MEASURES["ridge_r2"](runs, kernel=kernel)
        assert found.value == pytest.approx(value)
        assert found.low == pytest.approx(value - wide, abs=1e-5)
        assert found.high == pytest.approx(value + wide, abs=1e-5)
        assert (found.n, found.items) == (8, "prompts")


def test_heads_and_runs_of_which_nothing_is_known_are_told_and_not_counted(tmp_path):
    runs = [
        ridge_run(tmp_path / "one", {"linear": (0.1, math.nan, 0.3)}),
        ridge_run(tmp_path / "two", {"linear": (math.nan, math.nan)}),
    ]
    found = MEASURES["ridge_r2"](runs, kernel="linear")
    assert found.value == pytest.approx(0.8)
    assert (found.n, found.unknown) == (4, ("1 of 3 heads of one", "two"))
    nothing = MEASURES["ridge_r2"](runs[1:], kernel="linear")
    assert math.isnan(nothing.value)
    assert (nothing.n, nothing.unknown) == (0, ("two",))


def test_the_gap_of_a_prompt_is_the_mean_over_its_heads(tmp_path):
    gaps = {("attention_gap", 0): (0.1, 0.2, 0.9), ("attention_gap", 1): (0.3, 0.4, 0.7)}
    gaps |= {("key_gap", 0): (0.0, 0.0, 0.0)}
    rows = [
        row(cell=f"layer 0; head {head}; {metric}", metric=metric, head=head, prompt=p, value=value)
        for (metric, head), values in gaps.items()
        for p, value in enumerate(values)
    ]
    run = started(tmp_path / "run", rows)
    found = MEASURES["mean_gap_of_attention"]([run], gap="attention_gap")
    assert found.values == pytest.approx((0.2, 0.3, 0.8))
    assert found.value == pytest.approx(1.3 / 3)
    assert found.n == 3
    with pytest.raises(RunError, match="has no attention_gap_centred"):
        MEASURES["mean_gap_of_attention"]([run], gap="attention_gap_centred")


def gap_run(path, values, **said):
    rows = [
        row(cell="gap", metric="attention_gap", head=0, prompt=p, value=value)
        for p, value in enumerate(values)
    ]
    return started(path, rows, **said)


def test_a_prompt_that_several_models_read_counts_once(tmp_path):
    values = np.random.default_rng(0).normal(0.5, 0.1, size=12)
    on = {"contrasts": "mood", "prompts": None}
    runs = [
        gap_run(tmp_path / name, values + shift, model=name, **on)
        for name, shift in (("one", 0.0), ("two", 0.02), ("three", 0.04))
    ]
    alone, found = (
        MEASURES["mean_gap_of_attention"](r, gap="attention_gap") for r in (runs[1:2], runs)
    )
    assert found.n == 12
    assert found.values == pytest.approx(alone.values)
    assert (found.value, found.low, found.high) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )
    other = gap_run(tmp_path / "four", values, contrasts="register", prompts=None)
    assert MEASURES["mean_gap_of_attention"]([*runs, other], gap="attention_gap").n == 24
    again = gap_run(tmp_path / "five", values, **{**on, "seed": 1})
    with pytest.raises(BadValueError, match="runs of one seed"):
        MEASURES["mean_gap_of_attention"]([runs[0], again], gap="attention_gap")


def test_a_head_of_which_a_gap_is_unknown_is_left_out_on_every_prompt_and_named(tmp_path):
    def gaps(name, heads):
        return started(
            tmp_path / name,
            [
                row(cell=f"layer 0; head {h}", metric="key_gap", head=h, prompt=p, value=value)
                for h, values in enumerate(heads)
                for p, value in enumerate(values)
            ],
        )

    runs = [
        gaps("one", [(0.1, 0.2, 0.9), (0.3, math.nan, 0.7)]),
        gaps("two", [(math.nan, math.nan, 0.5)]),
    ]
    found = MEASURES["mean_gap_of_attention"](runs, gap="key_gap")
    assert found.values == pytest.approx((0.1, 0.2, 0.9))
    assert found.unknown == ("1 of 2 heads of one", "two")


@pytest.mark.parametrize(
    ("gaps", "value"),
    [
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9), 0.5),
        ((0.9, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1), -0.5),
        ((0.1, 0.2, 0.3, 0.7, 0.4, 0.5, 0.6, 0.9), 13 / 16 - 0.5),
    ],
)
def test_a_small_gap_at_the_layers_that_steer_well_is_above_chance(tmp_path, gaps, value):
    asked = {"diagnostic": "weakest_gap", "outcome": "effect_kl", "share": 0.5}
    rows = [
        row(cell=f"layer {layer}", layer=layer, prompt=-1, metric=metric, value=number)
        for layer, gap in enumerate(gaps)
        for metric, number in (("weakest_gap", gap), ("effect_kl", 2.0 if layer < 4 else 0.1))
    ]
    run = started(tmp_path / "run", rows, model="m")
    found, judged = (
        MEASURES["threshold_auc"]([run], **asked),
        judge_threshold(layers_of_rows([run]), **asked),
    )
    assert (found.value, found.n, found.p) == (pytest.approx(value), 8, judged.p)
    assert (found.low, found.high) == pytest.approx(
        (judged.low - 0.5, judged.high - 0.5), nan_ok=True
    )
