"""Routing: a planted router helps and a useless one is not said to; files, arms and scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from steerscope.engine.generation import attempt
from steerscope.engine.sampling import Sample
from steerscope.errors import BadValueError, ExperimentError
from steerscope.judges.scoring import ScoreJudge
from steerscope.runs.results import as_table
from steerscope.studies.routing.findings import (
    BY_CLASSIFIER,
    BY_TRUTH,
    PLAIN,
    WANTED,
    best_single,
    routed,
    routing_of_rows,
    routing_table,
    single,
)
from steerscope.studies.routing.measure import _Bench, routing_rows
from steerscope.studies.routing.plan import RoutePlan, read_phases
from steerscope.studies.routing.wording import routing_in_words
from steerscope.texts.contrasts import load_prompts
from steerscope.verification import verify
from tests.helpers import row

N = 120


def planted(seed=0, helps=True):
    """Two phases: each vector works at its own prompts, and not at the others'."""
    rng = np.random.default_rng(seed)
    truth = np.array(["a", "b"])[np.arange(N) % 2]
    scores = {PLAIN: rng.random(N) < 0.1}
    for name in ("a", "b"):
        own = np.where(truth == name, 0.7, 0.1) if helps else np.full(N, 0.4)
        scores[single(name)] = rng.random(N) < own
    return truth, {name: values.astype(float) for name, values in scores.items()}


def test_a_router_that_helps_is_said_to():
    truth, scores = planted()
    by_phase = {name: scores[single(name)] for name in ("a", "b")}
    scores[BY_TRUTH] = routed(by_phase, list(truth), scores[PLAIN])
    reference = best_single(scores, ["a", "b"])
    table = routing_table(scores, reference).set_index("arm")
    assert table.p_corrected[BY_TRUTH] < 0.01
    assert table.difference[BY_TRUTH] > 0.2
    said = routing_in_words(table.reset_index(), reference, {BY_TRUTH: 1.0})
    assert f"is the {reference}" in said[0]
    assert any(
        s.startswith(f"{BY_TRUTH} (to the right phase: 100 %)") and "better" in s for s in said
    )


def test_the_reference_is_the_best_single_vector_of_the_select_prompts():
    shares = {
        "select": {PLAIN: 0, single("a"): 3, single("b"): 1},
        "test": {PLAIN: 0, single("a"): 1, single("b"): 3},
    }
    rows = [
        row(cell=arm, metric=WANTED, split=split, prompt=p, value=float(p % 4 < share))
        for split, arms in shares.items()
        for arm, share in arms.items()
        for p in range(12)
    ]
    found = routing_of_rows(as_table(rows), ["a", "b"])
    assert found.reference == single("a")
    scores = found.arms.set_index("arm").score
    assert (scores[single("a")], scores[single("b")]) == (0.25, 0.75)


def chosen_among(lost):
    """Rows in which other prompts find a best, b next; what is lost is NaN, by split and arm."""
    shares = {PLAIN: 0, single("a"): 3, single("b"): 2, single("c"): 1}
    return as_table(
        [
            row(
                cell=arm, metric=WANTED, split=split, prompt=p,
                value=np.nan if (split, arm) in lost else float(p % 4 < share),
            )
            for split in ("select", "test")
            for arm, share in shares.items()
            for p in range(12)
        ]
    )  # fmt: skip


def said_of(found):
    more = {"choice_lost": found.choice_lost, "unseen": found.unseen}
    return routing_in_words(found.arms, found.reference, found.accuracy, **more)


def test_a_vector_that_was_chosen_and_overflows_is_named_beside_the_best_of_the_rest():
    found = routing_of_rows(chosen_among({("test", single("a"))}), ["a", "b", "c"])
    assert (found.reference, found.choice_lost) == (single("b"), single("a"))
    assert said_of(found)[0].startswith(
        "The best single vector, chosen on other prompts, is the vector of a alone, of which nothing is known "
        "here; the best of the rest is the vector of b alone: 50 % ["
    )
    kept = routing_of_rows(chosen_among({("test", single("c"))}), ["a", "b", "c"])
    assert (kept.reference, kept.choice_lost, kept.unseen) == (single("a"), "", ())
    assert "is the vector of a alone: 75 % [" in said_of(kept)[0]


def test_a_vector_of_which_the_choice_knows_nothing_is_named():
    found = routing_of_rows(chosen_among({("select", single("a"))}), ["a", "b", "c"])
    assert (found.reference, found.choice_lost) == (single("b"), "")
    assert said_of(found)[1].startswith(
        "On those other prompts nothing is known of the vector of a alone (logits"
    )
    assert "points [" in said_of(found)[2]


@pytest.mark.parametrize(
    "also", [set(), {("test", single("a"))}, {("test", single(n)) for n in "abc"}]
)
def test_where_the_choice_knows_nothing_of_any_vector_none_is_chosen_and_none_compared(also):
    rows = chosen_among({("select", single(n)) for n in "abc"} | also)
    found = routing_of_rows(rows, ["a", "b", "c"])
    assert (found.reference, found.choice_lost) == ("", "")
    assert found.arms[["difference", "p_corrected"]].isna().all(axis=None)
    first, *arms = said_of(found)
    assert first == (
        "No single vector could be chosen: on the other prompts, which it is chosen on, the logits of every one "
        "are not finite; the arms are compared with none."
    )
    assert len(arms) == 4
    assert "plain: 0 % [0, 24] show what was wanted and are undamaged (n = 12 prompts)." in arms
    assert not any("points" in line or "told from" in line for line in arms)
    assert sum("not known" in line for line in arms) == len(also)


def test_where_the_one_vector_that_could_be_chosen_overflows_here_no_other_is_called_the_best():
    rows = chosen_among({("select", single(n)) for n in "bc"} | {("test", single("a"))})
    found = routing_of_rows(rows, ["a", "b", "c"])
    assert (found.reference, found.choice_lost) == ("", single("a"))
    first, second, *arms = said_of(found)
    assert first == (
        "The best single vector, chosen on other prompts, is the vector of a alone, of which nothing is known "
        "here; no other could be chosen, so that the arms are compared with none."
    )
    assert second.startswith(
        "On those other prompts nothing is known of the vector of b alone, the"
    )
    assert "vector of b alone: 50 % [" in arms[0]


def test_an_arm_that_overflows_is_not_known_and_no_worse_than_any():
    _, scores = planted()
    scores["x"] = np.where(np.arange(N) == 3, np.nan, 1.0)
    table = routing_table(scores, single("a"))
    assert table.arm.iloc[-1] == "x"
    assert (table.n.iloc[-1], table.score.isna().sum()) == (0, 1)
    said = routing_in_words(table, single("a"), {})
    assert said[-1] == "x: not known, since its logits are not finite."
    scores[single("a")] = np.full(N, np.nan)
    assert best_single(scores, ["a", "b"]) == single("b")
    with pytest.raises(BadValueError, match="are not finite"):
        routing_table(scores, single("a"))


def test_nothing_seen_in_few_prompts_is_not_taken_for_nothing():
    scores = {PLAIN: np.zeros(4), "x": np.array([1.0, 0.0, 1.0, 1.0])}
    none = routing_table(scores, "x").set_index("arm").loc[PLAIN]
    assert none.score == 0.0
    assert none.high > 0.3


def test_a_router_among_equal_vectors_is_not_told_from_one():
    called = 0
    for seed in range(8):
        truth, scores = planted(seed, helps=False)
        by_phase = {name: scores[single(name)] for name in ("a", "b")}
        scores[BY_CLASSIFIER] = routed(by_phase, list(truth), scores[PLAIN])
        table = routing_table(scores, single("a"), seed=seed).set_index("arm")
        called += table.p_corrected[BY_CLASSIFIER] < 0.05
    assert called <= 2


def test_a_prompt_that_goes_nowhere_is_plain():
    by_phase = {"a": np.array([1.0, 1.0, 1.0]), "b": np.array([2.0, 2.0, 2.0])}
    found = routed(by_phase, ["b", None, "a"], np.zeros(3))
    assert found.tolist() == [2.0, 0.0, 1.0]
    with pytest.raises(BadValueError, match="same prompts"):
        routing_table({"x": np.zeros(3), "y": np.zeros(2)}, "x")


PHASES = """
phases:
  by the sea: {contrasts: mood, where: {topic: [sea], mood: [gloomy]}, rule: "sea|beach|boat|harbour"}
  in the garden: {contrasts: register, where: {topic: [garden], register: [terse]}, rule: "garden|rose"}
"""


@pytest.fixture
def phases(tmp_path):
    path = tmp_path / "phases.yaml"
    path.write_text(PHASES)
    return path


def test_phases_are_read_with_their_prompts(phases):
    sea, garden = read_phases(phases)
    assert {p.facts["topic"] for p in sea.prompts.prompts} == {"sea"}
    assert {p.facts["register"] for p in garden.prompts.prompts} == {"terse"}
    assert garden.contrasts.concept == "register"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("phases: {a: {contrasts: mood}}", BadValueError, "two phases"),
        (
            "phases: {a: {contrasts: mood, rules: x}, b: {contrasts: mood}}",
            ExperimentError,
            "'rules'",
        ),
        ("phases: {a: {}, b: {contrasts: mood}}", ExperimentError, "needs `contrasts:`"),
        ("phase: {a: 1}", ExperimentError, "needs `phases:`"),
        (
            "phases: {a: {contrasts: mood, where: {topic: [moon]}}, b: {contrasts: mood}}",
            BadValueError,
            "no prompts",
        ),
    ],
)
def test_a_file_that_means_nothing_is_refused(tmp_path, text, error, said):
    path = tmp_path / "phases.yaml"
    path.write_text(text)
    with pytest.raises(error, match=said):
        read_phases(path)


class Always:
    """A scorer to whom any text shows the concept."""

    words, threshold = "1 for any text", 0.5

    def scores(self, _prompts, texts):
        return [1.0] * len(texts)


def test_a_text_that_shows_what_is_wanted_is_worth_nothing_where_it_is_damaged(microworld):
    prompts = [(0, p) for p in load_prompts("mood").split(0).test.prompts[:48]]
    judge = ScoreJudge("always", Always(), 0.5, 1, "joy")
    plan = RoutePlan(phases="none")
    bench = _Bench(microworld, (), (judge,), plan, [])
    texts = [p.text for _, p in prompts]
    first, second = (
        attempt(microworld, texts, n_new=16, sampler=Sample(0.7, seed))[0] for seed in (0, 1)
    )
    loops = [replace(t, tokens=(t.tokens[:2] * 16)[:16]) for t in second]
    backwards = [replace(t, tokens=t.tokens[::-1]) for t in second]
    written = {PLAIN: first, "again": second, "loops": loops, "backwards": backwards}
    worth = {name: found.mean() for name, found in bench._worth(prompts, written).items()}
    assert worth["again"] > 0.8
    assert worth["loops"] == 0
    assert worth["backwards"] < 0.2
    # what is asked for may be unlikely unasked, and repeats itself no more for it
    seen = [f"{t.text} {text}" for t, text in zip(second, texts, strict=True)]
    worth = {k: f.mean() for k, f in bench._worth(prompts, written, asked=seen).items()}
    assert worth["backwards"] > 0.8
    assert worth["loops"] == 0
    assert worth["again"] == 0  # copied from what it was shown
    assert worth[PLAIN] > 0.8


@pytest.mark.slow
def test_arms_are_made_of_the_same_texts(microworld, phases):
    plan = RoutePlan(phases=str(phases), layer=4, n_select=4, n_test=4, n_new=8, kl=0.2)
    few = [
        replace(p, contrasts=replace(p.contrasts, pairs=p.contrasts.pairs[:40]))
        for p in read_phases(phases)
    ]
    rows, _ = routing_rows(microworld, few, plan=plan)
    found = routing_of_rows(as_table(rows), [p.name for p in few])
    names = ["by the sea", "in the garden"]
    truth = [names[0]] * 4 + [names[1]] * 4
    expected = [found.scores[single(name)][i] for i, name in enumerate(truth)]
    assert found.scores[BY_TRUTH].tolist() == expected
    assert found.accuracy[BY_TRUTH] == 1.0
    assert len(found.arms) == len(found.scores)
    assert set(np.unique(np.concatenate(list(found.scores.values())))) <= {0.0, 1.0}


def test_the_command_judges_every_phase_by_its_own_words(run_cli, tiny_folder, words, tmp_path):
    prompts, judge = tmp_path / "prompts.txt", tmp_path / "words.yaml"
    prompts.write_text("".join(f"w{i} w{i + 1}\n" for i in range(10, 30)))
    judge.write_text("positive: [w6, w7, w80, w81, w82]\nnegative: [w8, w9, w60, w61]\n")
    file = tmp_path / "phases.yaml"
    one = f"{{contrasts: '{words}', prompts: '{prompts}', rule: 'w1[0-9]'}}"
    file.write_text(f"phases:\n  first: {one}\n  second: {one}\n")
    few = ["--n-test", 3, "--n-select", 3, "--n-new", 2, "--kl", 0.01, "--layer", 1]
    code, said, errors = run_cli(
        "route",
        file,
        "--model",
        tiny_folder("llama"),
        "--judge",
        f"words:{judge}",
        *few,
        "--out",
        tmp_path / "run",
    )
    assert code == 0, errors
    assert "routed by classifier" in said
    assert "asked by examples" in said
    assert not verify(tmp_path / "run").differences
    judge.write_text("positive: [w6]\nnegative: [w8]\n")
    words.write_text("".join(words.read_text().splitlines(keepends=True)[:-1]))
    changed = str(verify(tmp_path / "run", weights=False).differences)
    assert "texts_sha256" in changed
    assert "files" in changed
