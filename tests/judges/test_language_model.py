"""The judge lm: expected answers by hand, a server of each kind, and what is kept when one fails."""

from __future__ import annotations

import json
import logging
import math
import socket
import time

import pytest
import torch

from steerscope.errors import JudgeError, UnknownNameError
from steerscope.judges.labelled import LabelledText, LabelledTexts
from steerscope.judges.registry import (
    KEPT,
    Means,
    as_stored,
    check_judge_url,
    cost_in_words,
    make_judge,
    read_judge,
)
from steerscope.judges.scorers.endpoint import KEY, Endpoint
from steerscope.judges.scorers.language_model import (
    SCALES,
    LanguageModelJudge,
    examples_of,
    expected,
)
from steerscope.judges.scorers.local_model import LocalModel
from steerscope.judges.scorers.remembered import Remembered
from steerscope.runs.judgements import JUDGEMENTS, Judgements
from steerscope.runs.results import Run
from steerscope.studies import bench
from steerscope.studies.steering.measure import run_sweep
from steerscope.studies.steering.plan import SweepPlan
from steerscope.verification.judged import check_judged
from tests.judges.chat_server import completion, serving, text_asked

FIVE = list(SCALES["1-5"])


def right(question):
    """Surer of a high answer the more of a text is w6."""
    words = text_asked(question).split()
    high = 0.9 if "w6" in words else 0.1
    return completion("5" if high > 0.5 else "1", {"5": high, "1": 1 - high, "x": 1e-3})


def labelled(n=12):
    texts = tuple(
        LabelledText(f"w{i + 10} {'w6' if i % 2 else 'w8'}", i % 2 == 1, i) for i in range(n)
    )
    return LabelledTexts("by hand", texts, texts)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_a_score_is_the_expected_answer_and_not_the_most_likely():
    assert expected({"5": 0.6, "1": 0.2}, SCALES["1-5"]) == pytest.approx((5 * 0.6 + 0.2) / 0.8)
    assert expected({"Yes": 0.1, "No": 0.3}, SCALES["yes-no"]) == pytest.approx(0.25)
    assert math.isnan(expected({}, SCALES["1-5"]))


def test_the_probabilities_of_the_first_answer_token_are_added_up():
    chances = {"4": 0.5, " 4": 0.25, "2": 0.125, "Four": 0.125}
    with serving(lambda _: completion("4", chances)) as server:
        (answer,) = Endpoint(server.url, "m").answers(["q"], FIVE)
    assert answer.chances == pytest.approx({"4": 0.75, "2": 0.125})


def test_an_endpoint_without_probabilities_is_taken_at_its_word():
    with serving(lambda _: completion("It is a 4, I think.")) as server:
        (answer,) = Endpoint(server.url, "m").answers(["q"], FIVE)
    assert answer.chances == {"4": 1.0}


def test_the_judge_sees_neither_prompt_nor_condition_and_texts_in_another_order(tmp_path):
    with serving(right) as server:
        means = Means(labelled(), "c", url=server.url, folder=tmp_path)
        judge = make_judge("lm:m", means, "c").judge
        server.asked.clear()
        texts = [f"w6 w{i}" for i in range(30, 50)]
        judge.scores([f"SECRET {i}" for i in range(20)], texts)
        asked = [text_asked(q) for q in server.asked]
        assert sorted(asked) == texts
        assert asked != texts
        assert not any("SECRET" in q for q in server.asked)


def test_a_judge_is_asked_once_and_its_run_is_replayed_without_it(tmp_path):
    with serving(right) as server:
        means = Means(labelled(), "c", url=server.url, folder=tmp_path)
        known = make_judge("lm:m", means, "c")
        texts = ["w6 w9", "w8 w9", "w6 w9"]
        scores = known.judge.scores([""] * 3, texts)
        n = len(server.asked)
        assert n == 12 + 2  # the labelled ones, and the two new ones once each
        assert (
            known.judge.scores([""] * 3, texts)
            == scores
            == pytest.approx([4.6, 1.4, 4.6], abs=1e-3)
        )
    assert known.card.sensitivity.value == known.card.specificity.value == 1.0
    (tmp_path / KEPT).write_text(as_stored(known))
    again = read_judge(tmp_path / KEPT, closed=True)
    assert again.judge.scores([""] * 3, texts) == scores
    assert make_judge("lm:m", again.means, "c").card == known.card
    before = (tmp_path / JUDGEMENTS).read_bytes()
    assert math.isnan(again.judge.scores([""], ["w6 never asked"])[0])
    assert (tmp_path / JUDGEMENTS).read_bytes() == before


def test_a_line_that_was_never_finished_is_dropped_and_a_damaged_file_named(tmp_path):
    path = tmp_path / JUDGEMENTS
    Judgements(path).add({"a": 1.5, "b": math.nan})
    with path.open("a") as file:
        file.write('{"key": "c", "sco')
    kept = Judgements(path)
    assert (kept.get("a"), "b" in kept, "c" in kept) == (1.5, True, False)
    kept.add({"c": 2.0, "a": 9.0})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b", "c"]
    path.write_text("{}\n")
    with pytest.raises(Exception, match=r"judgements\.jsonl is damaged; delete it") as error:
        Judgements(path).get("a")
    one_line(error)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((200, b"<html>hello</html>", 0.0), "answered '<html>hello</html>', which is no chat"),
        ((200, b'{"choices": []}', 0.0), "which is no chat completion; check --judge-url"),
        ((404, b"", 0.0), "answered 404 (Not Found)"),
        ((302, b"", 0.0), "answered 302"),
        ((503, b"", 0.0), "answered 503 (Service Unavailable)"),
        (completion("banana", {"banana": 1.0}), "answered 'banana' and the like, and never 1 or 2"),
        ((200, b"", 0.4), "did not answer within 0.1 seconds"),
        (
            (401, b"", 0.0),
            f"answered 401 (Unauthorized); give the key in the environment variable {KEY}",
        ),
        ((307, b"", 0.0), "sends on to another address, which is not followed"),
        (
            (404, b'{"error": {"message": "no model\\nm."}}', 0.0),
            "(Not Found); no model m; the texts",
        ),
        ((200, b"[" * 10**5, 0.0), "which is no chat completion"),
        (b"", "broke off in the middle; the texts are kept"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "broke off in the middle"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nab",
            "broke off in the middle",
        ),
        (b"hello\r\n\r\n", "cannot be reached (hello)"),
    ],
)
def test_a_bad_endpoint_gets_one_line(reply, said):
    with serving(lambda _: reply) as server:
        endpoint = Endpoint(
            server.url, "m", timeout=0.1 if reply[2:] == (0.4,) else 5.0, pause=0.01
        )
        judge = LanguageModelJudge(endpoint, "m", "1-5", "c", examples_of(labelled().fit))
        with pytest.raises(JudgeError) as error:
            judge.scores([""] * 8, [f"t{i}" for i in range(8)])
    assert said in one_line(error)


def test_a_dead_endpoint_gets_one_line_and_a_busy_one_is_asked_again(monkeypatch):
    with pytest.raises(
        JudgeError, match="cannot be reached .*kept and judged at the next"
    ) as error:
        Endpoint(closed_port(), "m").answers(["q"], FIVE)
    one_line(error)
    monkeypatch.setenv(KEY, "secret")
    replies = [(429, b"", 0.0), completion("2", {"2": 1.0})]
    with serving(lambda _: replies.pop(0)) as server:
        (answer,) = Endpoint(server.url, "m", pause=0.01).answers(["q"], FIVE)
    assert answer.chances == {"2": 1.0}
    assert server.headers == ["Bearer secret"] * 2


def test_an_endpoint_that_asks_for_time_or_wants_no_probabilities_gets_its_way():
    busy = b"HTTP/1.1 429 Busy\r\nRetry-After: 0.3\r\nContent-Length: 0\r\n\r\n"
    replies = [busy, completion("2", {"2": 1.0})]
    start = time.monotonic()
    with serving(lambda _: replies.pop(0)) as server:
        (answer,) = Endpoint(server.url, "m", pause=0.0).answers(["q"], FIVE)
    assert answer.chances == {"2": 1.0}
    assert time.monotonic() - start >= 0.3
    refused = b'{"error": {"message": "logprobs are not supported"}}'
    plain = [(400, refused, 0.0), completion("3")]
    with serving(lambda _: plain.pop(0)) as server:
        (answer,) = Endpoint(server.url, "m").answers(["q"], FIVE)
    assert answer.chances == {"3": 1.0}
    assert ["logprobs" in body for body in server.bodies] == [True, False]


def test_a_reply_that_never_ends_and_a_probability_that_is_none_are_no_answers():
    def slowly(_):
        return b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 10**7

    with serving(slowly) as server, pytest.raises(JudgeError, match="no chat completion"):
        Endpoint(server.url, "m").answers(["q"], FIVE)
    nan = completion("2", {"2": 0.5, "4": 0.5})[1].replace(b"-0.69", b'NaN, "was": -0.69', 1)
    with serving(lambda _: (200, nan, 0.0)) as server:
        (answer,) = Endpoint(server.url, "m").answers(["q"], FIVE)
    assert answer.chances == pytest.approx({"4": 0.5})


def test_what_nobody_knows_before_is_not_counted_in_what_a_judge_costs():
    means = Means(labelled(), "c", url="http://127.0.0.1:9/v1")
    n = len(labelled().fit) + len(labelled().held_out)
    assert cost_in_words("lm:m", means, 5, 8).startswith(f"at most {n + 5} questions of about")
    unknown = cost_in_words("lm:m", means, 0, 8)
    assert unknown.startswith(f"{n} questions for its card, then one for each text that is written")
    assert "in all" not in unknown
    assert cost_in_words("length", means, 5, 8) == ""


def test_an_address_or_a_scale_that_is_none_is_named():
    for url in ("ftp://h/v1", "localhost:8000", "http://"):
        with pytest.raises(JudgeError, match="is no address"):
            check_judge_url("lm:m", url)
    with pytest.raises(JudgeError, match="holds a password"):
        check_judge_url("lm:m", "http://u:p@h/v1")
    for name in (None, "length", "lm:self"):
        with pytest.raises(JudgeError, match="used by the judge lm:MODEL alone"):
            check_judge_url(name, "http://h/v1")
    with pytest.raises(UnknownNameError, match="1-5, yes-no"):
        make_judge("lm:m=1-9", Means(labelled(), "c"), "c")


def sweep_with(words, url, **changes):
    return SweepPlan(
        **{"contrasts": str(words), "layers": (0,), "doses": (1.0,), "n_sweep_controls": 0, "n_new": 6}
        | {"max_select": 4, "judge": "lm:m", "judge_url": url} | changes
    )  # fmt: skip


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.csv"
    rows = [f"w{i + 10} {'w6' if i % 2 else 'w8'},{i % 2}" for i in range(24)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return str(path)


def test_texts_outlive_a_judge_that_fails_and_the_run_is_verified_without_it(
    words, labels, tiny_folder, tmp_path, monkeypatch, caplog
):
    written = []
    real = bench.attempt
    monkeypatch.setattr(bench, "attempt", lambda *a, **k: written.append(1) or real(*a, **k))
    out = tmp_path / "run"
    asked = {"model": str(tiny_folder("llama")), "judge_labels": labels}
    limit = 24  # as many as the card needs, then nothing

    def failing(question):
        return right(question) if len(server.asked) <= limit else (500, b"", 0.0)

    monkeypatch.setattr(Endpoint, "pause", 0.01)
    monkeypatch.setattr(Endpoint.__init__, "__defaults__", (60.0, 0.01, True))
    caplog.set_level(logging.INFO, "steerscope")
    about = words.with_name(f"{words.stem}.about.json")
    about.write_text(json.dumps({"positive": "it has a w6", "negative": "it has a w8"}))
    with serving(failing) as server, pytest.raises(JudgeError, match="500") as error:
        run_sweep(sweep_with(words, server.url, **asked), out)
    one_line(error)
    assert "it shows this: it has a w6 (and not: it has a w8)." in json.dumps(server.asked[0])
    assert "judge lm:m: at most 32 questions of about" in caplog.text  # 24 and two conditions of 4
    n_written = len(written)
    assert n_written == 2
    with serving(right) as server:
        run = run_sweep(sweep_with(words, server.url, **asked), out)
        assert len(server.asked) <= 8  # the card is not asked for again
    assert len(written) == n_written
    assert not (out / "unfinished").exists()
    assert JUDGEMENTS in json.loads((out / "manifest.json").read_text())
    before = (out / JUDGEMENTS).read_bytes()
    n, differences = check_judged(Run.open(out))
    assert (n, differences) == (8 * 2 + 1, [])
    assert (out / JUDGEMENTS).read_bytes() == before
    assert set(run.table().metric) >= {"shown", "judge_score"}


def test_a_run_whose_judge_is_dead_from_the_start_leaves_nothing(
    words, labels, tiny_folder, tmp_path
):
    plan = sweep_with(words, closed_port(), model=str(tiny_folder("llama")), judge_labels=labels)
    with pytest.raises(JudgeError, match="cannot be reached"):
        run_sweep(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_whose_tokens_do_not_tell_the_answers_apart_is_refused(load):
    with pytest.raises(JudgeError, match="do not tell the answers") as error:
        LocalModel("self", load("llama")).answers(["w3 w4"], FIVE)
    one_line(error)
    with pytest.raises(JudgeError, match="needs the model of the run"):
        LocalModel("self").answers(["w3"], FIVE)
    with pytest.raises(JudgeError, match="cannot load the judge lm:nowhere/at-all") as error:
        LocalModel("nowhere/at-all").answers(["w3"], FIVE)
    one_line(error)


def test_a_local_model_is_graded_by_its_own_logits(load):
    model = load("llama")
    scale = ["w20", "w30"]
    questions = ["w3 w4 w5", "w9 w10", "w7 w8 w3"]
    found = LocalModel("self", model).answers(questions, scale)
    for question, answer in zip(questions, found, strict=True):
        ids = torch.tensor([model.tokens(question)])
        chances = torch.softmax(model.forward(ids, last=1)[0, -1].float(), -1)
        assert answer.chances == pytest.approx(
            {"w20": float(chances[20]), "w30": float(chances[30])}, rel=1e-4
        )


def test_a_function_is_not_called_again_for_what_it_judged(tmp_path):
    calls = []

    class Counting:
        words, threshold = "x", None

        def scores(self, prompts, texts):
            calls.extend(zip(prompts, texts, strict=True))
            return [float(len(p + t)) for p, t in zip(prompts, texts, strict=True)]

    scorer = Remembered(Counting(), "f", Judgements(tmp_path / JUDGEMENTS), with_prompt=True)
    assert scorer.scores(["a", "bb", "a"], ["x", "x", "x"]) == [2.0, 3.0, 2.0]
    assert sorted(calls) == [("a", "x"), ("bb", "x")]
    assert scorer.scores(["a"], ["x"]) == [2.0]
    assert len(calls) == 2
