"""The judge of a server: any that reads texts, beside those that need no setting up, and nobody waits for it."""

from __future__ import annotations

import threading
import time
from importlib import import_module

import pytest

from steerscope.errors import SteerscopeError
from steerscope.judges.scorers.language_model import Answer
from steerscope.judges.scorers.local_model import LocalModel
from steerscope.serve.house import House
from steerscope.serve.judging import served_judge
from steerscope.serve.limits import Limits
from steerscope.serve.rack import Rack
from steerscope.serve.shelf import Shelf
from steerscope.serve.worker import Worker
from tests.judges.chat_server import completion, text_asked
from tests.judges.chat_server import serving as answering
from tests.serve.conftest import serving

TEXTS = ["She was full of joy.", "He was full of sorrow.", ""]
KINDS = (("joy", 1), ("sorrow", 0))
OK = {"model": "microworld", "prompt": "Mia was late.", "max_tokens": 2}


def joyful(question):
    high = 0.75 if "joy" in text_asked(question) else 0.0
    return completion("5", {"5": high + 0.125, "1": 0.875 - high})


def judge_of(microworld, name, names=("microworld",), contrasts="mood", **asked):
    return served_judge({"judge": name, **asked}, contrasts, microworld, list(names))


def house_of(microworld, judge, shelf=None):
    worker = Worker(Rack({"microworld": lambda: microworld}))
    return House(worker, shelf or Shelf(), Limits(), judge=judge)


@pytest.fixture(scope="module")
def endpoint():
    with answering(joyful) as found:
        yield found


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Texts of which it is known what they show."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    places = "the barn,the boat,the camp,the farm,the garden,the hall,the house,the lane,the mill,the shop,the town,the wood"
    rows = [
        f"All {place} was full of {word}.,{n}" for place in places.split(",") for word, n in KINDS
    ]
    path.write_text("\n".join(["text,label", *rows]))
    return str(path)


@pytest.fixture(scope="module")
def asked(microworld, endpoint, labels):
    """A server whose judge is a language model behind an endpoint."""
    judge = judge_of(microworld, "lm:grader", judge_url=endpoint.url, judge_labels=labels)
    with serving(house_of(microworld, judge)) as found:
        yield found


def test_a_language_model_behind_an_endpoint_reads_what_the_arena_shows(asked, endpoint):
    facts = asked.get("/v1/facts/microworld").json()
    assert facts["judge"]["name"] == "lm:grader"
    assert "AUC" in facts["judge"]["card"]
    endpoint.asked.clear()
    found = asked.post("/v1/judge", model="microworld", prompt="SECRET", texts=TEXTS).json()["data"]
    assert {text_asked(q) for q in endpoint.asked} == set(TEXTS) - {""}
    assert not any("SECRET" in q for q in endpoint.asked)
    assert [entry["lm:grader"] for entry in found] == [
        pytest.approx(0.875 * 5 + 0.125), pytest.approx(0.125 * 5 + 0.875), None,
    ]  # fmt: skip
    assert facts["judge"]["tells"]
    assert [entry["shows mood"] for entry in found] == ["yes", "no", None]
    assert [entry["mood"] for entry in found] == ["joyful", "gloomy", None]


def test_texts_are_written_while_a_slow_judge_thinks_and_a_dead_one_is_named(asked, endpoint):
    endpoint.reply = lambda question: (*joyful(question)[:2], 1.5)
    begun, seen = time.monotonic(), []
    slow = threading.Thread(
        target=lambda: seen.append(asked.post("/v1/judge", model="microworld", texts=TEXTS[:1]))
    )
    slow.start()
    while len(endpoint.asked) < 1:
        time.sleep(0.01)
    assert asked.post("/v1/completions", **OK).status_code == 200
    assert not seen, time.monotonic() - begun
    slow.join()
    assert seen[0].status_code == 200
    endpoint.reply = lambda _: (401, b"", 0.0)
    refused = asked.post("/v1/judge", model="microworld", texts=TEXTS[:1])
    assert refused.status_code == 502
    message = refused.json()["error"]["message"]
    assert "STEERSCOPE_JUDGE_KEY" in message
    assert "next start" not in message
    endpoint.reply = joyful
    assert asked.post("/v1/judge", model="microworld", texts=TEXTS[:1]).status_code == 200


def test_a_judge_of_a_file_is_read_without_its_place_and_one_that_cannot_tell_says_nothing(
    microworld, tmp_path, labels
):
    (tmp_path / "joy.yaml").write_text("positive: [joy]\nnegative: [sorrow]\nthreshold: 0\n")
    words = judge_of(microworld, f"words:{tmp_path / 'joy.yaml'}", judge_labels=labels)
    assert words.name == "words:joy.yaml"
    assert str(tmp_path) not in str(words.facts())
    shown = f"shows {words.known.judge.positive}"
    assert [entry[shown] for entry in words.read("", TEXTS)] == ["yes", "no", None]
    blind = judge_of(microworld, "regex:the/nothing", judge_labels=labels)
    assert blind.name == "regex:the/nothing"
    assert not blind.facts()["tells"]
    assert "cannot tell" in blind.facts()["card"]
    assert {entry[shown] for entry in blind.read("", TEXTS)} == {None}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"name": "preference"}, "reads no texts"),
        ({"name": "oracle", "names": ["smollm2"]}, "cannot read what smollm2 writes"),
        ({"name": "lm:self", "names": ["microworld", "other"]}, "of which there are several"),
        ({"name": "regex:joy", "contrasts": None}, "--judge-contrasts"),
        ({"name": None, "judge_labels": "labels.csv"}, "name it with --judge"),
        ({"name": None, "judge_url": "http://localhost:1/v1"}, "leave it out"),
        ({"name": "magic"}, "unknown judge"),
        ({"name": "words"}, "words:FILE"),
    ],
)
def test_a_judge_that_a_server_cannot_use_is_refused_before_it_starts(microworld, asked, said):
    with pytest.raises(SteerscopeError, match=said):
        judge_of(microworld, **asked)


def test_the_oracle_is_there_anyway_and_nothing_else_is_asked(microworld):
    assert judge_of(microworld, "oracle") is None
    assert judge_of(microworld, None) is None


def test_the_model_that_writes_is_asked_in_its_turn(microworld, labels, monkeypatch):
    threads = []

    def answers(_, questions, scale):
        threads.append(threading.current_thread().name)
        sure = [0.75 if "joy" in text_asked(question) else 0.25 for question in questions]
        return [Answer({"Yes": p, "No": 1 - p}) for p in sure]

    monkeypatch.setattr(LocalModel, "answers", answers)
    judge = judge_of(microworld, "lm:self=yes-no", judge_labels=labels)
    with serving(house_of(microworld, judge)) as served:
        found = served.post("/v1/judge", model="microworld", texts=TEXTS).json()["data"]
    assert [entry["lm:self=yes-no"] for entry in found] == [0.75, 0.25, None]
    assert threads[-1] == "steerscope-models"


def test_what_the_judge_is_to_tell_leaves_the_vectors_on_the_shelf(
    microworld, monkeypatch, run_cli
):
    houses = []
    monkeypatch.setattr("steerscope.models.loading.load_model", lambda *_, **__: microworld)
    module = import_module("steerscope.cli.serve")  # a command of that name hides it
    monkeypatch.setattr(module, "_run", lambda house, _: houses.append(house))
    command = ["serve", "--find", "calm=mood@resid_post.3", "--judge", "regex:happy"]
    for more in ([], ["--judge-contrasts", "mood"]):
        code, _, said = run_cli(*command, *more)
        assert code == 0, said
    assert [[v.name for v in house.shelf] for house in houses] == [["calm"], ["calm"]]
    code, _, said = run_cli("serve", "--judge-contrasts", "mood")
    assert (code, "--judge-contrasts is not used here" in said) == (2, True)
