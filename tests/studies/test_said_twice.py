"""What is said twice is counted once: every table is that of the distinct items, p and intervals too."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from steerscope.claims.measures import MEASURES
from steerscope.claims.measures.measure import of_items
from steerscope.errors import BadValueError
from steerscope.judges.effects import PREFERENCE
from steerscope.runs.distinct import NO_GROUPS, Groups, groups_of
from steerscope.runs.results import COLUMNS, Row, Run
from steerscope.sites import Site
from steerscope.statistics import by_cluster, clustered_mean, sign_flip_p
from steerscope.statistics.agreement import cohens_kappa
from steerscope.studies.budgets.findings import ASKED, CUT, budget_effects
from steerscope.studies.features.findings import CONTRASTIVE, summarised
from steerscope.studies.features.stored import rows_of_trials, steering_table
from steerscope.studies.gating import Arm, compare_arms
from steerscope.studies.lenses.findings import drift_of_lenses
from steerscope.studies.routing.findings import routing_table
from steerscope.studies.transfer.findings import (
    against,
    labelled,
    odd_and_even,
    transfer_rows,
    transfer_table,
)
from steerscope.studies.weights.findings import (
    CONTROL,
    EDIT,
    ELSEWHERE,
    STEERING,
    front_table,
    stand,
)
from tests.claims.test_effects import sweep
from tests.helpers import row

N = 24
TWICE = [*range(N), *range(N)]
RNG = np.random.default_rng(5)


def as_table(rows):
    return pd.DataFrame([vars(r) for r in rows])


def twice(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Every item once more, under a number of its own."""
    return pd.concat([rows, rows.assign(**{column: rows[column] + N})], ignore_index=True)


def same(found: pd.DataFrame, once: pd.DataFrame) -> None:
    """Equal tables, but for what adding in another order does to the last digits."""
    pd.testing.assert_frame_equal(found, once[found.columns], rtol=1e-9, check_dtype=False)


def test_numbers_of_clusters_have_the_mean_of_the_rows_and_the_p_of_what_is_distinct():
    values, labels = RNG.normal(0.3, 1.0, 7), np.array([0, 0, 0, 1, 2, 2, 3])
    found = by_cluster(values, labels)
    assert found.mean() == pytest.approx(values.mean())
    assert found[1] == pytest.approx(values[3] * 4 / 7)  # one row of seven in one cluster of four
    holes = np.append(values, np.nan)
    assert by_cluster(holes, np.append(labels, 9)).tolist() == pytest.approx(found.tolist())
    assert len(by_cluster(np.empty(0), np.empty(0, int))) == 0
    alone = RNG.normal(0.3, 1.0, N)
    assert sign_flip_p(by_cluster(np.tile(alone, 2), np.array(TWICE))) == sign_flip_p(alone)
    assert sign_flip_p(np.tile(alone, 2)) < sign_flip_p(alone)


def test_few_distinct_items_have_no_narrower_interval_than_by_students_t():
    values = pd.Series(np.repeat([0.0, 1.0, 0.4], 20))
    groups = Groups({"test": {"pairs": np.repeat([0, 1, 2], 20).tolist()}})
    found = groups.mean(values, "test", "preference")
    wide = clustered_mean(values.to_numpy(), np.repeat([0, 1, 2], 20))
    assert (found.n, found.value) == (3, pytest.approx(1.4 / 3))
    assert (found.low, found.high) == (wide.low, wide.high)
    assert found.low < 0 < NO_GROUPS.mean(values, "test", "preference").low


def test_no_kl_is_negative_however_few_prompts_it_is_of():
    found = NO_GROUPS.mean_kl(pd.Series([0.05, 0.15]), "test")
    assert (found.value, found.low) == (pytest.approx(0.1), 0.0)
    assert NO_GROUPS.mean(pd.Series([0.05, 0.15]), "test", "kl").low < 0


def test_a_metric_with_items_of_its_own_is_labelled_by_them():
    groups = Groups({"select": {"prompts": [0, 1], "pairs": [4, 4], "leaning_joy": [7, 8, 7]}})
    assert groups.of("select", "leaning_joy", [0, 2]).tolist() == [7, 7]
    assert groups.of("select", "shown", [1]).tolist() == [1]
    assert groups.of("select", "preference", [0, 1]).tolist() == [4, 4]
    assert groups.of("test", "shown", [5]).tolist() == [5]


def transferred() -> pd.DataFrame:
    rows = []
    for technique, gain in (("plain", 0.0), ("one", 1.0), ("other", 0.7)):
        for c, matched in ((-1.0, False), (1.0, False), (-0.6, True), (0.8, True)):
            if technique == "plain" and (c, matched) != (-1.0, False):
                continue
            c = 0.0 if technique == "plain" else c
            for item in range(N):
                for metric, kind in (
                    ("kl", "prompt"),
                    ("target", "prompt"),
                    ("preference", "pair"),
                ):
                    value = gain * c + RNG.normal(0, 0.4)
                    rows.append((technique, c, matched, kind, item, metric, value))
    columns = ["technique", "coefficient", "matched", "kind", "item", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_techniques():
    once = transferred()
    labels = Groups({"test": {"prompts": TWICE, "pairs": TWICE}})
    both = labelled(twice(once, "item"), labels)
    for metric in ("target", "preference"):
        same(against(both, metric, "one"), against(once, metric, "one"))
        same(odd_and_even(both, metric), odd_and_even(once, metric))
        blind = against(both.drop(columns="group"), metric, "one")
        assert (blind.n == 2 * N).all()
        assert blind.p[1] < against(once, metric, "one").p[1] + 1e-9
    same(transfer_table(both), transfer_table(once))


def test_a_stored_transfer_knows_what_is_distinct(tmp_path):
    run = Run.start(
        tmp_path / "r", {"kind": "x"}, provenance={"groups": {"test": {"pairs": [0, 0, 1], "prompts": [0, 1, 1]}}}
    )  # fmt: skip
    run.append(
        [
            row(
                cell="plain",
                method="plain",
                operator="adapt",
                split="test",
                prompt=p,
                metric=metric,
            )
            for metric in ("target", "preference", "nll", "kl")
            for p in range(3)
        ]
    )
    groups = transfer_rows(run).groupby("metric").group.apply(list)
    assert groups["preference"] == groups["nll"] == [0, 0, 1]
    assert groups["target"] == groups["kl"] == [0, 1, 1]
    before = Run.start(tmp_path / "old", {"kind": "x"}, provenance={})
    before.append([row(cell="plain", method="plain", operator="adapt", split="test")])
    assert "group" not in transfer_rows(before)


def trials() -> pd.DataFrame:
    rows = []
    for method, share in (
        ("plain", 0.1), (CONTRASTIVE, 0.6), ("features weighted", 0.4), ("random direction", 0.2),
        ("random features", 0.3),
    ):  # fmt: skip
        for prompt in range(N):
            said = {"kl": np.nan if method == "plain" else 0.2, "method": method, "kl_nats": 0.2}
            said |= {
                "dose_natural": 1.0,
                "prompt": prompt,
                "status": "ok",
                "given": "x",
                "written": "y",
            }
            rows.append(said | {"shown": float(RNG.random() < share)})
    return pd.DataFrame(rows)


def test_directions_at_one_kl_and_their_nulls(tmp_path):
    once = trials()
    both = twice(once, "prompt")
    same(summarised(both.assign(group=both.prompt % N)), summarised(once))
    assert (summarised(both).n == 2 * N).all()
    run = Run.start(
        tmp_path / "r", {"seed": 0}, provenance={"groups": {"test": {"prompts": TWICE}}}
    )
    run.append(rows_of_trials(both.assign(group=both.prompt % N), "mood", Site("resid_post", 3)))
    keys = ["kl", "method", "metric"]
    stored = steering_table(run).sort_values(keys, ignore_index=True)
    same(stored, summarised(once).sort_values(keys, ignore_index=True))


def edits() -> pd.DataFrame:
    rows = []
    for cell, shift in (
        ("plain", 0.0), ("edit", 1.0), ("noise", 0.3), ("moved", 0.5), ("steered", 0.8),
    ):  # fmt: skip
        label = {"cell": cell, "method": cell, "split": "test", "kl_nats": 0.1}
        for p in range(N):
            value = shift + RNG.normal(0, 0.5)
            rows += [
                row(**label, prompt=p, metric="preference", unit="nats", value=value),
                row(**label, prompt=p, metric="degenerate"),
                row(**label, prompt=p, metric="text_nats", value=3.0),
                row(**label, prompt=p, metric="text_tokens", value=3.0),
            ]
    return as_table(rows)


ROLES = pd.DataFrame(
    [("edit", EDIT), ("noise", CONTROL), ("moved", ELSEWHERE), ("steered", STEERING)],
    columns=["cell", "role"],
).assign(target="positive")


def test_edits_of_weights():
    once, effect = edits(), replace(PREFERENCE, positive="positive", negative="negative")
    groups = Groups({"test": {"pairs": TWICE, "prompts": TWICE}})
    both = twice(once, "prompt")
    tables = front_table(once, effect, "test"), front_table(both, effect, "test", groups)
    same(tables[1], tables[0])
    assert (front_table(both, effect, "test").n == 2 * N).all()
    stood = [
        stand(table, effect, rows, ROLES, "positive", known)
        for table, rows, known in zip((once, both), tables, (NO_GROUPS, groups), strict=True)
    ]
    for field in ("over_control", "over_steering"):
        a, b = (asdict(getattr(s, field)) for s in stood)
        assert a == pytest.approx(b)
    assert stood[0].p_controls == pytest.approx(stood[1].p_controls)


def stored_twice(run: Run, path, kind: str) -> Run:
    """A run with every item of another once more, that says so."""
    n = int(run.table().prompt.max()) + 1
    labels = {split: {kind: [*range(n), *range(n)]} for split in ("select", "test")}
    found = Run.start(path, run.configuration, provenance={"groups": labels})
    records = run.table()[list(COLUMNS)]
    more = pd.concat([records, records.assign(prompt=records.prompt + n)])
    found.append([Row(**fields) for fields in more.to_dict("records")])
    return found


def test_claims_about_sweeps(tmp_path):
    run = sweep(tmp_path / "r", (0.1, 0.8, 0.6, 0.2), random=0.1)
    both = stored_twice(run, tmp_path / "twice", "prompts")
    at = {"method": "mean_diff", "dose": 0.4, "unit": "relative"}
    for name, settings in (
        ("effect_over_layers", {**at, "depth": [0.5, 1.0]}),
        ("layers_minus_layers", {**at, "depth": [0.75, 1.0], "other": [0.25, 0.75]}),
        ("best_layer_over_random", at),
    ):
        a, b = (MEASURES[name]([r], **settings) for r in (run, both))
        assert (a.value, a.low, a.high, a.p, a.n) == pytest.approx(
            (b.value, b.low, b.high, b.p, b.n)
        )
    assert groups_of(both).known


def test_budgets_lenses_arms_gates_and_readers():
    rows = [
        row(cell=f"9 tokens: {arm}", method=arm, dose_absolute=9.0, prompt=p, metric=metric, value=value)
        for arm, share in ((CUT, 0.3), (ASKED, 0.7))
        for p in range(N)
        for metric, value in (
            ("ended", float(RNG.random() < share)), ("nats", RNG.normal(2, 0.3)), ("forced", 0.0),
            ("empty", 0.0), ("tokens", 5.0),
        )
    ]  # fmt: skip
    once, groups = as_table(rows), Groups({"test": {"prompts": TWICE}})
    same(budget_effects(twice(once, "prompt"), groups=groups), budget_effects(once))

    scores = {f"lens {i}": [RNG.normal(m, 1, N).tolist() for m in (0, 0, i)] for i in range(3)}
    again = {name: [[*line, *line] for line in lines] for name, lines in scores.items()}
    found = drift_of_lenses(again, groups=TWICE)
    same(found.drop(columns="threshold"), drift_of_lenses(scores).drop(columns="threshold"))
    assert found.threshold.tolist() == pytest.approx(drift_of_lenses(scores).threshold.tolist())
    with pytest.raises(BadValueError, match="2 distinct prompts"):
        drift_of_lenses({"one": [[1.0, 1.0], [1.0, 2.0], [2.0, 2.0]]}, groups=[0, 0])

    arms = {
        name: (RNG.random(N) < share).astype(float)
        for name, share in (("a", 0.2), ("b", 0.7), ("c", 0.5))
    }
    wide = {name: np.tile(v, 2) for name, v in arms.items()}
    same(
        routing_table(wide, "a", groups=TWICE).drop(columns=["low", "high"]),
        routing_table(arms, "a").drop(columns=["low", "high"]),
    )
    compared = [
        Arm("open", (), "open"),
        Arm("gate", (), "open"),
        Arm("by chance", (), "open", null=True),
    ]
    effects = np.stack(list(arms.values()))
    gated = compare_arms(compared, np.tile(effects, 2), plain=np.zeros(2 * N), groups=TWICE)
    same(gated, compare_arms(compared, effects, plain=np.zeros(N)))

    alone, doubled = (
        cohens_kappa(arms["a"], arms["c"]),
        cohens_kappa(wide["a"], wide["c"], np.array(TWICE)),
    )
    assert asdict(alone) == pytest.approx(asdict(doubled))
    assert cohens_kappa(wide["a"], wide["c"]).n == 2 * N


def test_shares_of_few_and_shares_that_do_not_vary_keep_their_bounds():
    def share(hits, n):
        return NO_GROUPS.mean(pd.Series([1.0] * hits + [0.0] * (n - hits)), "test", "", share=True)

    assert (share(9, 10).high, share(0, 10).low) == (pytest.approx(0.98, abs=0.02), 0.0)
    for n in (19, 20, 40):  # nothing seen is not taken for nothing, in however many
        none = share(0, n)
        assert none.low == 0.0
        assert 0.05 < none.high < 0.2
        turned = NO_GROUPS.difference(pd.Series(np.ones(n)), "test", "", share=True)
        assert turned.low < 0.95
        assert turned.high == 1.0
    nats = NO_GROUPS.difference(pd.Series(np.full(12, 8.0)), "test", "")
    assert (nats.low, nats.high) == (8.0, 8.0)


def test_a_score_is_no_share_and_half_of_a_share_is_at_most_a_half():
    rows = transferred()
    wide = rows.assign(metric=rows.metric.replace("kl", "judge_score"))
    few = wide[wide["item"] < 12].assign(
        value=lambda t: np.where(t.metric == "judge_score", 8.0, t.value)
    )
    scores = transfer_table(few).query("metric == 'judge_score' and technique == 'one'")
    assert (scores.low <= scores.change).all()
    assert (scores.change <= scores.high).all()
    turned = rows[rows.metric == "target"].assign(value=lambda t: (t.coefficient > 0).astype(float))
    both = pd.concat([turned[turned["item"] < 8], rows[(rows.metric == "kl") & (rows["item"] < 8)]])
    gain = against(both, "target", "one").iloc[0]
    assert (gain.gain, gain.high) == (0.5, 0.5)
    assert gain.low < 0.4


def test_distinct_items_that_are_all_half_and_half_are_not_sure_of_it():
    """Six prompts of which each is shown once and once not."""
    found = of_items(np.tile([1.0, 0.0], 6), "share", np.repeat(np.arange(6), 2))
    assert (found.value, found.n) == (0.5, 6)
    assert found.low < 0.3
    assert found.high > 0.7
