"""Numbers that decide claims about steering, by hand: sweeps over layers, combinations, correlations, methods."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from steerscope.claims import MEASURES, Test, decide
from steerscope.errors import BadValueError, RunError, UnknownNameError
from steerscope.runs.results import Run
from steerscope.studies.steering.plan import SweepPlan
from tests.helpers import plain_rows, row, steered_rows
from tests.studies.test_findings import FLIPPED

SETTINGS = {"method": "mean_diff", "dose": 0.4, "unit": "relative", "depth": [0.0, 1.0]}
EFFECT = {"kind": "x", "effect": asdict(FLIPPED)}


def test_of(direction, threshold, **changes):
    return Test(
        experiment="layer_sweep",
        measure="effect_over_layers",
        settings=SETTINGS,
        direction=direction,
        threshold=threshold,
        **changes,
    )


test_of.__test__ = False


def sweep(path, shares, random=0.0, settings=None, changed=lambda r: r, more=()):
    """A run of four layers at a relative dose of 0.4."""
    run = Run.start(
        path,
        {**(settings or {"kind": "SweepPlan", **asdict(SweepPlan())}), "effect": asdict(FLIPPED)},
        provenance={"fingerprint": "f"},
    )
    rows = [*plain_rows(), *more]
    for layer, share in enumerate(shares):
        rows += steered_rows(layer, 2.0, share)
        rows += steered_rows(layer, 2.0, random, method="random", seed=1)
    run.append([new for r in rows if (new := changed(r)) is not None])
    run.seal()
    return run


def test_parts_of_the_depth_are_compared_on_the_same_prompts(tmp_path):
    run = sweep(tmp_path / "r", (0.1, 0.8, 0.6, 0.2))
    at = {"method": "mean_diff", "dose": 0.4, "unit": "relative"}
    late = MEASURES["effect_over_layers"]([run], **at, depth=[0.75, 1.0])
    assert (late.value, late.n) == (pytest.approx(0.2), 60)
    found = MEASURES["layers_minus_layers"]([run], **at, depth=[0.75, 1.0], other=[0.25, 0.75])
    assert found.value == pytest.approx(0.2 - 0.7)
    assert found.high < 0
    with pytest.raises(RunError, match="has no mean_diff at 0.3 relative"):
        MEASURES["effect_over_layers"]([run], **{**at, "dose": 0.3}, depth=[0.0, 1.0])
    with pytest.raises(BadValueError, match="no layer lies"):
        MEASURES["effect_over_layers"]([run], **at, depth=[0.4, 0.45])


def test_the_layer_is_chosen_on_other_prompts_than_it_is_stated_on(tmp_path):
    run = sweep(tmp_path / "r", (0.1, 0.8, 0.6, 0.2), random=0.1)
    found = MEASURES["best_layer_over_random"]([run], method="mean_diff", dose=0.4, unit="relative")
    assert found.n == 30  # every second of 60
    assert found.value == pytest.approx(0.7, abs=0.05)


def test_random_directions_that_were_measured_on_the_test_split_alone_leave_a_claim_open(tmp_path):
    run = sweep(
        tmp_path / "r",
        (0.1, 0.8),
        changed=lambda r: replace(r, split="test") if r.method == "random" else r,
    )
    with pytest.raises(RunError, match="has no random at 0.4 relative"):
        MEASURES["best_layer_over_random"]([run], method="mean_diff", dose=0.4, unit="relative")


def test_prompts_are_split_once_on_what_both_directions_have(tmp_path):
    def changed(r):
        """Layer 0 turns the odd prompts, which choose it, and no other; prompt 0 is not asked of mean_diff."""
        if r.method != "mean_diff":
            return r
        return None if r.prompt == 0 else replace(r, value=float(r.layer == 0 and r.prompt % 2))

    run = sweep(tmp_path / "r", (0.0, 0.0), changed=changed)
    found = MEASURES["best_layer_over_random"]([run], method="mean_diff", dose=0.4, unit="relative")
    assert (found.value, found.n) == (0.0, 29)


def test_a_text_in_which_nothing_can_be_read_is_no_effect_and_takes_no_prompt_away(tmp_path):
    def changed(r):
        """Layer 3 turns every prompt, but half of its texts cannot be read."""
        unread = r.layer == 3 and r.method == "mean_diff" and r.prompt % 2
        return replace(r, value=math.nan, status="unread") if unread else r

    run = sweep(tmp_path / "r", (0.5, 0.5, 0.5, 1.0), changed=changed)
    at = {"method": "mean_diff", "dose": 0.4, "unit": "relative"}
    late = MEASURES["effect_over_layers"]([run], **at, depth=[0.75, 1.0])
    assert (late.value, late.n) == (pytest.approx(0.5), 60)
    first = MEASURES["effect_over_layers"]([run], **at, depth=[0.0, 0.5])
    assert (first.value, first.n) == (pytest.approx(0.5), 60)


def overflowed(layer, method="mean_diff"):
    """What makes the logits of one layer overflow."""
    lost = {"value": math.nan, "status": "not_finite"}
    return lambda r: replace(r, **lost) if (r.layer, r.method) == (layer, method) else r


def test_a_layer_that_overflows_takes_no_prompt_from_the_others(tmp_path):
    run = sweep(tmp_path / "r", (0.1, 0.8, 0.6, 0.2), random=0.1, changed=overflowed(3))
    at = {"method": "mean_diff", "dose": 0.4, "unit": "relative"}
    middle, late = (
        MEASURES["effect_over_layers"]([run], **at, depth=depth)
        for depth in ([0.25, 0.75], [0.5, 1.0])
    )
    assert (middle.value, middle.n) == (pytest.approx(0.7), 60)
    assert math.isnan(late.value)  # half of what is asked for is not known
    assert decide(test_of("above", 0.0), late) == "inconclusive"


@pytest.mark.parametrize(
    ("lost", "known"),
    [
        (("mean_diff", 3, -1), False),  # a layer that may be the best
        (("random", 1, 2), False),  # one of two random directions at the best layer
        (("random", 3, 2), True),  # elsewhere
    ],
)
def test_a_best_layer_is_told_from_random_where_all_of_both_is_known(tmp_path, lost, known):
    def changed(r):
        gone = {"value": math.nan, "status": "not_finite"}
        return replace(r, **gone) if (r.method, r.layer, r.seed) == lost else r

    at = {"method": "mean_diff", "dose": 0.4, "unit": "relative"}
    rows = [r for layer in range(4) for r in steered_rows(layer, 2.0, 0.1, method="random", seed=2)]
    run = sweep(tmp_path / "r", (0.1, 0.8, 0.6, 0.2), random=0.1, changed=changed, more=rows)
    found = MEASURES["best_layer_over_random"]([run], **at)
    assert (found.n, found.unknown) == ((30, ()) if known else (0, ("r",)))
    if known:
        assert found.value == pytest.approx(0.7, abs=0.05)


def arm(name, family, share, split):
    return [
        row(cell=name, method=family, prompt=p, split=split, value=float(p < share * 20))
        for p in range(20)
    ]


def test_combinations_choose_on_select_and_state_on_test(tmp_path):
    run = Run.start(tmp_path / "r", EFFECT, provenance={})
    shares = {  # select, test: the arm that is best on test is not the one chosen
        "single layer 0": (0.5, 0.4),
        "single layer 1": (0.3, 0.9),
        "sum of two concepts 0": (0.4, 0.3),
        "all layers": (0.2, 0.2),
    }
    rows = []
    for name, (select, test) in shares.items():
        family = name.rstrip(" 01")
        rows += arm(name, family, select, "select") + arm(name, family, test, "test")
    run.append(rows)
    assert MEASURES["single_minus_all"]([run]).value == pytest.approx(0.2)
    assert MEASURES["sum_minus_single"]([run]).value == pytest.approx(-0.1)


def test_where_no_arm_reaches_the_kl_nothing_is_known(tmp_path):
    run = Run.start(tmp_path / "r", EFFECT, provenance={})
    rows = []
    for name in ("single layer 0", "sum of two concepts 0", "all layers"):
        family = name.rstrip(" 0")
        for split in ("select", "test"):
            arms = arm(name, family, 0.5, split)
            unknown = family == "single layer"
            lost = {"value": math.nan, "status": "not_reached"} if unknown else {}
            rows += [replace(r, **lost) for r in arms]
    run.append(rows)
    for name in ("single_minus_all", "sum_minus_single"):
        found = MEASURES[name]([run])
        assert math.isnan(found.value)
        assert found.n == 0
        for direction in ("above", "below", "within"):
            test = Test(experiment="e", measure=name, direction=direction, threshold=0.1)
            assert decide(test, found) == "inconclusive"


@pytest.mark.parametrize("lost", ["single layer 1", "sum of two concepts 1"])
def test_of_the_best_arm_nothing_is_known_while_one_overflows(tmp_path, lost):
    """One that reaches no KL is not among those of which the best at it is sought, and is named."""
    shares = {"single layer 0": 0.5, "single layer 1": 0.9, "all layers": 0.1}
    shares |= {"sum of two concepts 0": 0.4, "sum of two concepts 1": 0.2}
    found = {}
    for status in ("ok", "not_reached", "not_finite"):
        run = Run.start(tmp_path / status, EFFECT, provenance={})
        gone = {} if status == "ok" else {"value": math.nan, "status": status}
        for name, share in shares.items():
            changes = gone if name == lost else {}
            for split in ("select", "test"):
                rows = arm(name, name.rstrip(" 01"), share, split)
                run.append([replace(r, **changes) for r in rows])
        both = [MEASURES[name]([run]) for name in ("single_minus_all", "sum_minus_single")]
        found[status] = [(round(m.value, 3), m.unknown) for m in both]
    assert found["ok"] == [(0.8, ()), (-0.5, ())]
    is_single = lost.startswith("single")
    named = (lost,)
    assert found["not_reached"] == (
        [(0.4, named), (-0.1, named)] if is_single else [(0.8, ()), (-0.5, named)]
    )
    single, added = found["not_finite"]
    assert added[1] == ("not_finite",)
    assert np.isnan(added[0])
    assert single[1] == (("not_finite",) if is_single else ())
    runs = [Run.open(tmp_path / status) for status in found]
    said = MEASURES["sum_minus_single"](runs).unknown
    assert said == ("not_finite", f"{lost} of not_reached")


def test_correlations_are_over_the_layers_of_the_table(tmp_path):
    run = Run.start(tmp_path / "r", {"kind": "PredictorStep", "model": "m"}, provenance={})
    for layer in range(8):
        for metric, value in (("weakest_gap", layer), ("effect_kl", -layer)):
            cell = f"layer {layer}"
            run.append([row(cell=cell, layer=layer, metric=metric, value=float(value), prompt=-1)])
    found = MEASURES["layer_correlation"]([run], diagnostic="weakest_gap", outcome="effect_kl")
    assert found.value == pytest.approx(-1.0)
    assert found.p < 0.05
    with pytest.raises(UnknownNameError, match="column of the predictors"):
        MEASURES["layer_correlation"]([run], diagnostic="gap", outcome="effect_kl")


def test_methods_are_compared_item_by_item(tmp_path):
    run = Run.start(tmp_path / "r", {**EFFECT, "seed": 0}, provenance={})
    run.append(
        [
            row(
                cell=f"own layer; kl; {method}; 0",
                method=method,
                prompt=p,
                value=value,
                split="test",
            )
            for method, value in (("a", 1.0), ("b", 0.0))
            for p in range(4)
        ]
    )
    settings = {"method": "a", "other": "b", "place": "own layer", "matching": "kl"}
    assert MEASURES["method_minus_method"]([run], **settings).value == 1.0
    with pytest.raises(UnknownNameError, match="method of r"):
        MEASURES["method_minus_method"]([run], **{**settings, "other": "c"})


def test_a_method_that_reaches_the_kl_in_no_run_is_not_known_and_no_unknown_name(tmp_path):
    run = Run.start(tmp_path / "r", {**EFFECT, "seed": 0}, provenance={})
    for matching, methods in (("kl", "a"), ("norm", "ab")):
        for method in methods:
            cell = f"own layer; {matching}; {method}; 0"
            run.append(
                [row(cell=cell, method=method, prompt=p, value=1.0, split="test") for p in range(4)]
            )
    settings = {"method": "a", "other": "b", "place": "own layer", "matching": "kl"}
    found = MEASURES["method_minus_method"]([run], **settings)
    assert math.isnan(found.value)
    assert found.unknown == ("r",)


@pytest.mark.parametrize("other", ["b", "random"])
def test_a_run_of_which_a_method_is_lost_is_unknown_and_the_others_count(tmp_path, other):
    """It may overflow, in one of its seeds too, or be out of reach of the KL, and then has no rows."""
    settings = {"method": "a", "other": other, "place": "own layer", "matching": "kl"}
    shares = {("a", -1): 1.0, ("b", -1): 0.0, ("random", 0): 0.0, ("random", 1): 0.5}
    last = [key for key in shares if key[0] == other][-1]
    runs = []
    for name, lost in (
        ("known", {}),
        ("overflows", {"value": math.nan, "status": "not_finite"}),
        ("away", None),
    ):
        runs.append(Run.start(tmp_path / name, {**EFFECT, "seed": 0}, provenance={}))
        for (method, seed), share in shares.items():
            if lost is None and method == other:
                continue
            at = {"cell": f"own layer; kl; {method}; {seed}", "method": method, "seed": seed}
            gone = lost if (method, seed) == last else {}
            runs[-1].append(
                [
                    row(**{**at, "prompt": p, "value": share, "split": "test", **gone})
                    for p in range(4)
                ]
            )
    found = MEASURES["method_minus_method"](runs, **settings)
    assert found.value == (1.0 if other == "b" else 0.75)
    assert (found.n, found.unknown) == (4, ("overflows", "away"))
