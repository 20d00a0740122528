"""Benchmarks of a steered model: lm-eval's own numbers at dose 0, items as rows, paired comparisons."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.answers import answer_scores
from steerscope.engine.generation import attempt, generate
from steerscope.engine.score import log_likelihoods
from steerscope.errors import BadValueError, ContrastError
from steerscope.runs.results import Run
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.prompting import Prompting
from steerscope.studies.benchmarks.findings import benchmark_items, benchmark_table, interference
from steerscope.studies.benchmarks.items import numbers_of, read_documents, task_of_items
from steerscope.studies.benchmarks.measure import unit_of
from steerscope.studies.benchmarks.plan import BenchmarkPlan, Context
from steerscope.studies.benchmarks.wording import interference_sentences, sentences
from steerscope.verification import verify
from tests.helpers import random_direction

STORIES = [
    "Once upon a time there was a small cat.",
    "The cat was happy and it ran to the garden.",
    "In the evening the sea was dark, and nobody came.",
]
QUESTIONS = [
    {"question": "What did the cat do", "choices": ["It ran home.", "It sang."], "answer": 0},
    {"question": "Who came", "choices": ["A dog.", "Nobody came.", "The sea."], "answer": "B"},
    {"question": "Where was it", "choices": ["In the garden.", "At sea."], "answer": "At sea."},
]


def pushed(model, dose: float, scope: str = "all") -> Cell:
    site = Site("resid_post", 2)
    return Cell((Steering(random_direction(model, site), Dose(dose, "absolute"), scope=scope),))


def test_an_answer_has_the_likelihood_of_its_tokens_behind_the_question(microworld):
    ids = [microworld.tokens(text) for text in STORIES]
    cells = [Cell(), pushed(microworld, 8.0)]
    pairs = [(text[:3], text[3:]) for text in ids]
    found = answer_scores(microworld, pairs, cells)
    for number, cell in enumerate(cells):
        alone = log_likelihoods(microworld, ids, cell, after=[3] * 3)
        expected = [float(scores.double().sum()) for scores in alone]
        assert found.log_likelihood[number] == pytest.approx(expected, abs=1e-4)


def test_in_an_answer_only_what_comes_after_the_question_counts_as_generated(microworld):
    asked, answer = (microworld.tokens(text, bos=False) for text in STORIES[:2])
    cell = pushed(microworld, 20.0, "generated")
    plain = pushed(microworld, 0.0)
    found = answer_scores(microworld, [(asked, answer), (asked, answer[:1])], [cell, plain])
    with torch.no_grad():
        assert found.log_likelihood[0, 1] == pytest.approx(found.log_likelihood[1, 1], abs=1e-4)
    assert abs(found.log_likelihood[0, 0] - found.log_likelihood[1, 0]) > 1e-2


def test_what_the_model_writes_is_what_it_finds_likeliest(microworld):
    asked = microworld.tokens(STORIES[0])
    [[written]] = generate(microworld, [asked], n_new=5)
    other = (written.tokens[0] + 1) % microworld.shape.n_vocab
    pairs = [(asked, written.tokens), (asked, [other, *written.tokens[1:]])]
    assert answer_scores(microworld, pairs, [Cell()]).greedy.tolist() == [[True, False]]


def test_a_text_ends_at_a_stop_string_as_if_it_had_been_cut_there(microworld):
    [[whole]] = generate(microworld, STORIES[:1], n_new=24)
    stop = whole.text[8:12]
    [[cut]] = attempt(microworld, STORIES[:1], n_new=24, until=[stop])
    assert cut.ended
    assert stop in cut.text
    assert whole.text.startswith(cut.text[: cut.text.index(stop)])
    assert len(cut.tokens) < len(whole.tokens)


def test_choices_may_be_named_by_place_letter_or_text(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    _, documents = task_of_items(path)
    assert [d["answer"] for d in documents] == [0, 1, 1]
    path.write_text(json.dumps(QUESTIONS[0] | {"answer": 2}))
    with pytest.raises(ContrastError, match="none of its 2 choices"):
        task_of_items(path)


def test_the_targets_of_truthfulqa_are_read_as_the_hub_has_them(tmp_path):
    path = tmp_path / "asked.json"
    path.write_text(json.dumps([{"question": "q", "mc1_targets": {"yes": 1, "no": 0}}]))
    [document] = read_documents(path)
    assert document["mc1_targets"] == {"choices": ["yes", "no"], "labels": [1, 0]}


def items(values: dict[str, list[float]], split: str = "t, 0-shot", clusters=None) -> pd.DataFrame:
    rows = [
        {"cell": cell, "method": cell, "dose_natural": 1.0, "split": split, "prompt": n}
        | {"metric": "acc", "value": v, "cluster": clusters[n] if clusters else f"item {n}"}
        for cell, series in values.items()
        for n, v in enumerate(series)
    ]
    return pd.DataFrame(rows)


def test_a_paired_comparison_by_hand():
    steered = [1.0] * 2 + [0.0] * 8 + [1.0] * 10 + [math.nan]
    plain = [0.0] * 2 + [1.0] * 8 + [1.0] * 10 + [1.0]
    table = benchmark_table(items({"plain": plain, "steered": steered}))
    row = table.set_index("cell").loc["steered"]
    assert (row.n, row.won, row.lost) == (20, 2, 8)
    assert row.change == pytest.approx(-0.3)
    assert row.p == pytest.approx(2 * 56 / 1024)  # binomial: at most 2 of 10
    assert row.change_low < -0.3 < row.change_high


def test_where_no_item_turns_a_change_is_not_excluded():
    table = benchmark_table(items({"plain": [1.0, 0.0] * 5, "steered": [1.0, 0.0] * 5}))
    row = table.set_index("cell").loc["steered"]
    assert row.change == 0
    assert row.change_low < -0.2
    assert row.change_high > 0.2
    assert "not shown" in sentences(table, {})[0]


def test_items_of_one_cluster_do_not_count_as_many():
    values = {"plain": [0.0] * 40, "steered": [1.0] * 20 + [0.0] * 20}
    alone = benchmark_table(items(values)).set_index("cell").loc["steered"]
    two = ["a"] * 20 + ["b"] * 20
    together = benchmark_table(items(values, clusters=two)).set_index("cell").loc["steered"]
    assert alone.p < 0.001
    assert together.p > 0.2
    assert together.change_high - together.change_low > alone.change_high - alone.change_low


def test_the_interval_of_few_clusters_is_students():
    """Four clusters of ten whose numbers rise by 0, 1, 2 and 5: 2 ± 3.182 √(4/3 Σ (0, 1, 2, 5 - 2)²) / 4."""
    rise = np.repeat([0.0, 1.0, 2.0, 5.0], 10)
    values = {"plain": [0.5] * 40, "steered": (rise + 0.5).tolist()}
    four = [f"text {n // 10}" for n in range(40)]
    found = benchmark_table(items(values, clusters=four)).set_index("cell").loc["steered"]
    half = 3.182446 * math.sqrt(4 / 3 * 14) / 4
    assert (found.change_low, found.change_high) == pytest.approx((2 - half, 2 + half))
    second = items({"plain": [0.5] * 40, "steered": [0.5] * 40}, split="t, 5-shot", clusters=four)
    apart = interference(
        pd.concat([items(values, clusters=four), second]), ["0-shot", "5-shot"]
    ).iloc[0]
    assert (apart.low, apart.high) == pytest.approx((-2 - half, -2 + half))


def test_interference_is_the_difference_of_the_differences():
    first = items({"plain": [0.0, 0.0, 1.0, 1.0], "steered": [1.0, 1.0, 1.0, 1.0]})
    second = items({"plain": [1.0] * 4, "steered": [0.0, 1.0, 1.0, 0.0]}, split="t, 5-shot")
    found = interference(pd.concat([first, second]), ["0-shot", "5-shot"])
    assert found.value.tolist() == [pytest.approx(-0.5 - 0.5)]


def test_contexts_are_read_as_they_are_written():
    assert [Context.parse(t) for t in ("0", "5", "cot", "5+cot")] == [
        Context(), Context(5), Context(0, True), Context(5, True),
    ]  # fmt: skip
    for text in ("", "five", "5cot", "-1"):
        with pytest.raises(BadValueError, match="cannot read the context"):
            Context.parse(text)


# -- with lm-eval itself ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def harness():
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install steerscope[bench]")
    from steerscope.studies.benchmarks import steered_model

    return steered_model


@pytest.fixture(scope="module")
def asked(harness):
    from lm_eval.api.instance import Instance

    def instance(kind, *arguments):
        return Instance(kind, {}, arguments, 0)

    long = " ".join(STORIES * 12)
    pairs = [
        (STORIES[0], " " + STORIES[1]),
        ("", STORIES[2]),
        (long, " It was late."),
        ("The ", "cat"),
    ]
    return {
        "loglikelihood": [instance("loglikelihood", *pair) for pair in pairs],
        "loglikelihood_rolling": [
            instance("loglikelihood_rolling", text) for text in (STORIES[1], long)
        ],
        "generate_until": [
            instance("generate_until", text, {"until": stop, "max_gen_toks": 12})
            for text, stop in ((STORIES[0], ["\n\n"]), (STORIES[1], ["."]), (long, ["\n\n"]))
        ],
    }


def test_at_dose_0_the_numbers_are_those_of_lm_evals_own_model(harness, asked, microworld, recwarn):
    from lm_eval.models.huggingface import HFLM

    from steerscope.texts.bundled import bundled_models

    theirs = HFLM(pretrained=str(bundled_models()["microworld"]), device="cpu", dtype="float32")
    found = {}
    ours = harness.SteeredModel(microworld, [pushed(microworld, 0.0), pushed(microworld, 9.0)])
    for kind in ("loglikelihood", "loglikelihood_rolling"):
        mine, expected = (getattr(lm, kind)(asked[kind]) for lm in (ours, theirs))
        found[kind] = mine
        for a, b in zip(np.array(mine).ravel(), np.array(expected).ravel(), strict=True):
            assert a == pytest.approx(b, abs=1e-4)
    assert ours.generate_until(asked["generate_until"]) == theirs.generate_until(
        asked["generate_until"]
    )
    ours.answering = 1
    steered = ours.loglikelihood(asked["loglikelihood"])
    plain = found["loglikelihood"]
    assert all(abs(s[0] - p[0]) > 1e-3 for s, p in zip(steered, plain, strict=True))


@pytest.fixture(scope="module")
def run(harness, microworld, tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    choosing, counting = folder / "choosing.jsonl", folder / "counting.csv"
    choosing.write_text("\n".join(map(json.dumps, QUESTIONS)))
    counting.write_text('question,answer\n"How many cats, in all",3\nHow much,"1,250"\n')
    plan = BenchmarkPlan(
        tasks=(str(choosing), str(counting)), contexts=(Context(), Context(1)), max_tokens=6
    )
    cells = [pushed(microworld, 30.0), Cell((Prompting("Say it in rhyme."),))]
    from steerscope.studies.benchmarks.measure import run_benchmarks

    def measure(path):
        return run_benchmarks(path, microworld, cells, plan)

    return measure(folder / "run"), measure, folder


def test_every_item_of_every_task_is_a_row_under_every_condition(run):
    rows = benchmark_items(run[0])
    counts = rows.groupby(["split", "metric"]).apply(
        lambda g: (g.cell.nunique(), g.prompt.nunique()), include_groups=False
    )
    assert dict(counts) == {
        (f"{task}, {context}", metric): (3, n)
        for task, n, metrics in (
            ("choosing", 3, ("acc", "acc_norm")),
            ("counting", 2, ("exact_match", "no_answer")),
        )
        for metric in metrics
        for context in ("0-shot", "1-shot")
    }
    texts = run[0].texts()
    one = texts[(texts.split == "choosing, 1-shot") & (texts.cell == "plain")].given.iloc[0]
    assert one.count("Question:") == 2
    said = texts[texts.cell.str.contains("instruction") & (texts.split == "choosing, 0-shot")]
    assert len(said) == 3


def test_the_right_choice_is_the_one_with_the_greater_likelihood(run, microworld):
    texts = run[0].texts().set_index(["split", "cell", "prompt"])
    rows = benchmark_items(run[0]).set_index(["split", "cell", "prompt", "metric"]).value
    for number, right in enumerate((0, 1, 1)):
        scores = json.loads(texts.written["choosing, 0-shot", "plain", number])
        likeliest = int(np.argmax([score[0] for score in scores]))
        assert rows["choosing, 0-shot", "plain", number, "acc"] == float(likeliest == right)
        question = f"Question: {QUESTIONS[number]['question']}\nAnswer:"
        whole = f"{question} {QUESTIONS[number]['choices'][0]}"
        [alone] = log_likelihoods(microworld, [whole], after=[len(microworld.tokens(question))])
        assert scores[0][0] == pytest.approx(float(alone.sum()), abs=1e-3)


def test_a_benchmark_that_was_stopped_goes_on_to_the_same_rows(run, tmp_path):
    import shutil

    whole, measure, _ = run
    half = tmp_path / "half"
    shutil.copytree(whole.path, half)
    for folder in ("rows", "texts"):
        last = sorted((half / folder).glob("*.parquet"))[-1]
        last.unlink()
        (half / "seals" / folder / last.with_suffix(".txt").name).unlink()
    (half / "manifest.json").unlink()
    again = measure(half)
    pd.testing.assert_frame_equal(
        again.table().drop(columns="run"), whole.table().drop(columns="run")
    )


def test_thinking_is_refused_where_nothing_is_written(harness, run, microworld, tmp_path):
    from steerscope.studies.benchmarks.measure import run_benchmarks

    plan = BenchmarkPlan(tasks=(str(run[2] / "choosing.jsonl"),), contexts=(Context(0, True),))
    with pytest.raises(BadValueError, match="no thinking first"):
        run_benchmarks(tmp_path / "run", microworld, [], plan)
    assert not (tmp_path / "run").exists()


def test_an_item_whose_logits_overflow_has_no_answer(harness, run, microworld, tmp_path):
    from steerscope.studies.benchmarks.measure import run_benchmarks

    plan = BenchmarkPlan(tasks=(str(run[2] / "choosing.jsonl"),))
    cell = pushed(microworld, 1e39)
    found = run_benchmarks(tmp_path / "run", microworld, [cell], plan)
    table = benchmark_table(benchmark_items(found))
    row = table[(table.cell == cell.key) & (table.metric == "acc")].iloc[0]
    assert row.n == 0
    assert "nothing is known" in sentences(table, {})[0]
    assert set(Run.open(found.path).table().status) == {"ok", "not_finite"}


def test_the_command_says_what_each_condition_does(harness, run, run_cli, microworld, tmp_path):
    from steerscope.directions import save_directions

    vector = tmp_path / "v.safetensors"
    save_directions(vector, [random_direction(microworld, Site("resid_post", 2))])
    code, out, err = run_cli(
        "bench", "--tasks", run[2] / "choosing.jsonl", "--vector", vector, "--doses", "0,4",
        "--contexts", "0,1", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert {row["cell"] == "plain" for row in found["table"]} == {True, False}
    assert len(found["said"]) == 2 * 2 + 2
    assert "dose 4" in found["said"][0]
    assert not verify(tmp_path / "out").differences


def test_what_is_wrong_in_itself_is_told_before_a_model_is_loaded(harness, run_cli, tmp_path):
    good, wrong, empty = (tmp_path / f"{n}.csv" for n in ("good", "wrong", "empty"))
    good.write_text(",question,answer\n0,How many,3\n")  # as pandas writes it
    wrong.write_text("a,b\n1,2\n")
    empty.write_text("")
    vector = tmp_path / "v.safetensors"
    vector.write_bytes(b"")
    for asked, said in (
        (["--tasks", wrong], "has no 'question'; its columns are a, b"),
        (["--tasks", empty], "has no items"),
        (["--tasks", good, "--data", f"{good}={empty}"], "has no items"),
        (["--tasks", good, "--doses", "1,nan"], "give finite numbers"),
        (["--tasks", good, "--vector", vector], "is not a safetensors file"),
        (["--tasks", good], "no_such_model"),
    ):
        code, _, errors = run_cli(
            "bench", *asked, "--model", "no_such_model", "--out", tmp_path / "o"
        )
        assert code == 2
        assert said in errors
        assert len(errors.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_numbers_are_read_with_their_commas():
    from steerscope.texts.answers import final_choice, number_of, numbers_in, same_number

    assert [str(n) for n in numbers_in("1,250.50 and 3, 4 or -7; 12,34 in v2.5")] == [
        "1250.50", "3", "4", "-7", "12", "34",
    ]  # fmt: skip
    assert number_of("first 3, then the answer is $1,250. Or 9 more") == 1250
    assert number_of("so 5 + 6 = 11") == 11
    assert number_of("none at all") is None
    assert same_number("#### 1,000", "1000.0") is True
    assert same_number("I do not know", "7") is None
    assert final_choice("Final choice: yes.", ["Yes", "No"]) == "Yes"
    assert final_choice("Yes, surely", ["Yes", "No"]) is None


def test_what_turns_on_every_item_alike_is_told():
    """Without examples nothing moves, with thinking every item is lost."""
    first = items({"plain": [1.0] * 10, "steered": [1.0] * 10})
    second = items({"plain": [1.0] * 10, "steered": [0.0] * 10}, split="t, cot")
    table = interference(pd.concat([first, second]), ["0-shot", "cot"])
    [said] = interference_sentences(table, {}, "0-shot")
    assert "is shown: it does, by -1.000 on all alike (p " in said
    nothing = interference(pd.concat([first, first.assign(split="t, cot")]), ["0-shot", "cot"])
    assert interference_sentences(nothing, {}, "0-shot")[0].endswith("none of 10 items tells.")
    [one] = interference_sentences(table.assign(n=1), {}, "0-shot")
    assert one.endswith("is not known: one item is too few.")


def test_a_rolling_text_has_its_own_unit():
    sample = {
        "metrics": ["word_perplexity", "byte_perplexity", "bits_per_byte", "acc"],
        "word_perplexity": (-6.0, 3), "byte_perplexity": (-6.0, 12), "bits_per_byte": (-6.0, 12), "acc": 1.0,
    }  # fmt: skip
    found = numbers_of(sample)
    bits = 0.5 / math.log(2)
    assert found == {
        "nats_per_word": 2.0, "nats_per_byte": 0.5, "bits_per_byte": pytest.approx(bits), "acc": 1.0,
    }  # fmt: skip
    assert [unit_of(m) for m in found] == ["nats", "nats", "bits", "share"]
