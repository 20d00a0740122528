"""Audits of weight edits and adapters: each mistake is found, and a clean run has none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from steerscope.audits.weights import of_standing, of_techniques
from steerscope.statistics import Estimate
from steerscope.studies.weights.findings import Standing

EDIT = pd.Series(
    {"cell": "edit", "effect": 0.4, "low": 0.25, "high": 0.55, "n": 60, "kl_nats": 0.2,
     "perplexity_ratio": 1.1, "capability_change": -0.02}
)  # fmt: skip
CLEAN = Standing(
    "joyful",
    EDIT,
    pd.Series(dict(EDIT, cell="control", effect=0.1, kl_nats=0.19)),
    Estimate(0.3, 0.15, 0.45, 60),
    0.01,
    None,
    Estimate(math.nan, math.nan, math.nan, 0),
)


def checks(found):
    return [f.check for f in found]


def test_a_clean_edit_has_no_finding():
    assert of_standing(CLEAN) == []


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"edit": pd.Series(dict(EDIT, n=12))}, "few_prompts"),
        ({"edit": pd.Series(dict(EDIT, low=-0.02))}, "interval_holds_zero"),
        ({"over_control": Estimate(0.1, -0.05, 0.25, 60)}, "null_not_beaten"),
        ({"p_controls": 0.2}, "null_not_beaten"),
        ({"edit": pd.Series(dict(EDIT, kl_nats=0.9))}, "unmatched_doses"),
        ({"edit": pd.Series(dict(EDIT, kl_nats=0.0))}, "unmatched_doses"),
        (
            {"steering": pd.Series(EDIT), "over_steering": Estimate(-0.2, -0.3, -0.1, 60)},
            "unmatched_doses",
        ),
    ],
)
def test_each_mistake_of_an_edit_is_found(changes, check):
    assert checks(of_standing(replace(CLEAN, **changes))) == [check]


def items(gains, *, n=40, matched=True):
    """Items of techniques: both signs at the KL, the positive one ahead by the gain on each item."""
    rng = np.random.default_rng(0)
    rows = []
    for technique, gain in {"plain": 0.0, **gains}.items():
        for sign in (1.0, -1.0) if technique != "plain" else (0.0,):
            shift = sign * gain + 0.02 * rng.normal(size=n)
            rows += [
                {"technique": technique, "coefficient": sign, "metric": metric, "item": i,
                 "matched": matched and technique != "plain", "value": value}
                for metric, values in (("target", shift), ("kl", np.full(n, 0.3)))
                for i, value in enumerate(values)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_clean_comparison_of_techniques_has_no_finding():
    assert of_techniques(items({"random": 0.0, "svd": 0.3})) == []


@pytest.mark.parametrize(
    ("rows", "check"),
    [
        (items({"svd": 0.3}), "no_null"),
        (items({"random": 0.0, "svd": 0.3}, n=12), "few_prompts"),
        (items({"random": 0.0, "svd": 0.3}, matched=False), "unmatched_doses"),
        (items({"random": 0.3, "svd": 0.3}), "null_not_beaten"),
    ],
)
def test_each_mistake_of_a_comparison_of_techniques_is_found(rows, check):
    assert checks(of_techniques(rows)) == [check]


def test_what_the_audit_says_of_an_edit_is_what_its_interval_says():
    def said(**changes):
        edit = pd.Series(dict(EDIT, **changes))
        return of_standing(replace(CLEAN, edit=edit))[0].what

    assert said(effect=-0.2, low=-0.3, high=-0.1).endswith("it leads away from its target")
    assert said(effect=0.1, low=-0.1, high=0.3).endswith("it holds 0")
    assert said(effect=0.5, low=math.nan, high=math.nan).endswith(
        "of one distinct item, without an interval"
    )


def test_steering_is_not_called_better_at_another_kl():
    behind = Estimate(-0.2, -0.3, -0.1, 60)
    for kl, found in ((EDIT["kl_nats"], ["unmatched_doses"]), (2 * EDIT["kl_nats"], [])):
        steering = pd.Series(dict(EDIT, cell="steered", kl_nats=kl))
        standing = replace(CLEAN, steering=steering, over_steering=behind)
        assert checks(of_standing(standing)) == found
