"""OpenAI's endpoints: what they write is what generate writes, whoever asks and whenever."""

from __future__ import annotations

import json
import random
import threading
import time

import httpx
import openai
import pytest

from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy, Sample
from steerscope.engine.score import kl_from_plain
from steerscope.models.lens_model import LensModel
from steerscope.sae import load_sae
from steerscope.sae.steering import FeatureEdit, FeatureSteering
from steerscope.serve.answers import Answer
from steerscope.serve.conditions import SteeringAsked, condition
from steerscope.serve.worker import Piece, Told, Word
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.prompting import Prompting
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import parse_strength
from tests.same_text import assert_same_text

PROMPT = "Mia was at the harbour late."


@pytest.fixture
def client(served):
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0)


def vector(shelf, layer=3):
    return [*shelf.get("joyful").directions.values()][layer]


def test_the_openai_client_steers_by_name(served, client, shelf):
    assert [m.id for m in client.models.list()] == ["microworld"]
    found = client.completions.create(
        model="microworld+joyful@1.5", prompt=PROMPT, max_tokens=12, temperature=0, logprobs=2
    )
    [[expected]] = generate(served.model, PROMPT, [Steering(vector(shelf), 1.5)], n_new=12)
    assert found.choices[0].text == expected.text
    assert found.choices[0].finish_reason == "length"
    assert found.usage.completion_tokens == 12
    assert "".join(found.choices[0].logprobs.tokens) == expected.text
    assert all(len(top) == 2 for top in found.choices[0].logprobs.top_logprobs)
    plain = client.completions.create(
        model="microworld", prompt=PROMPT, max_tokens=12, temperature=0
    )
    assert plain.choices[0].text != expected.text


def test_null_is_a_field_that_is_left_out(client):
    asked = {"model": "microworld", "max_tokens": 6, "seed": 3}
    unsaid = dict.fromkeys(
        ["temperature", "top_p", "n", "stream", "presence_penalty", "frequency_penalty", "echo",
         "best_of", "logprobs", "stop", "logit_bias", "suffix", "stream_options"]
    )  # fmt: skip
    found = client.completions.create(prompt=PROMPT, **asked, **unsaid)
    assert found.choices == client.completions.create(prompt=PROMPT, **asked).choices


def test_a_stream_of_the_openai_client_is_the_answer_at_once(client):
    asked = {
        "model": "microworld+joyful", "prompt": [PROMPT, "Tom left."], "max_tokens": 9, "n": 2,
        "seed": 5, "temperature": 1.2,
    }  # fmt: skip
    whole = client.completions.create(**asked)
    texts, ends = [""] * 4, [None] * 4
    for chunk in client.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            ends[choice.index] = choice.finish_reason or ends[choice.index]
        usage = chunk.usage
    assert texts == [choice.text for choice in whole.choices]
    assert len(set(texts)) == 4
    assert ends == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage


def test_what_a_stream_tells_of_its_tokens_is_that_of_the_answer_at_once(client):
    asked = {
        "model": "microworld", "prompt": [PROMPT, "Tom left."], "max_tokens": 9, "temperature": 0,
        "logprobs": 2,
    }  # fmt: skip
    whole = client.completions.create(**asked)
    parts = [c.choices[0] for c in client.completions.create(**asked, stream=True)]
    for choice in whole.choices:
        told = [part.logprobs for part in parts if part.index == choice.index and part.logprobs]
        assert len(told) > 1
        for name in ("tokens", "text_offset", "token_logprobs"):
            assert [x for part in told for x in getattr(part, name)] == getattr(
                choice.logprobs, name
            )


def test_the_bytes_of_a_token_are_what_it_writes_and_not_its_name():
    word = Word("<0xC3>", -0.5, b"\xc3")
    chat = Answer("m", is_chat=True, wants_tops=True)
    chat.take([Told(0, (Piece(195, word, (word, Word(" a", -1.0, b" a"))),), "")])
    [entry] = chat.whole()["choices"][0]["logprobs"]["content"]
    assert (entry["token"], entry["bytes"]) == ("<0xC3>", [195])
    assert [top["bytes"] for top in entry["top_logprobs"]] == [[195], [32, 97]]


def test_a_text_ends_before_its_stop_whole_or_streamed(served, client):
    [[whole]] = generate(served.model, PROMPT, n_new=30)
    stop = whole.text[9:14]
    asked = {
        "model": "microworld", "prompt": PROMPT, "max_tokens": 30, "temperature": 0,
        "stop": [stop, "never said"],
    }  # fmt: skip
    before = whole.text[: whole.text.find(stop)]
    found = client.completions.create(**asked).choices[0]
    assert (found.text, found.finish_reason) == (before, "stop")
    assert "".join(c.choices[0].text for c in client.completions.create(**asked, stream=True)) == (
        before
    )
    served.settle()


STEERINGS = [
    (None, Cell()),
    ({"vector": "joyful", "dose": -2}, lambda v: Cell(Steering(v(3), -2.0))),
    (
        {"vector": "joyful", "sites": ["resid_post.5"], "dose": 0.4, "unit": "relative"},
        lambda v: Cell(Steering(v(5), _dose(0.4, "relative"))),
    ),
    (
        {"vector": "joyful", "operator": "project_out", "scope": "generated"},
        lambda v: Cell(Steering(v(3), None, "project_out", Scope.generated())),
    ),
    (
        {"vector": "joyful", "dose": 2, "strength": "ramp:4", "scope": "generated"},
        lambda v: Cell(Steering(v(3), 2.0, "add", "generated", parse_strength("ramp:4"))),
    ),
    (
        [{"instruction": "Be joyful."}, {"vector": "joyful", "dose": 1}],
        lambda v: Cell((Prompting("Be joyful."), Steering(v(3), 1.0))),
    ),
    (
        {"vector": "joyful", "operator": "rotate", "dose": 20},
        lambda v: Cell(Steering(v(3), 20.0, "rotate")),
    ),
    (
        {
            "vector": "joyful", "dose": 2,
            "gate": {"kind": "projection", "threshold": 0.0, "below": True, "site": "resid_post.2"},
        },
        lambda v: Cell(Steering(v(3), 2.0, strength=_gate(v(2)))),
    ),
]  # fmt: skip


def _dose(value, unit):
    from steerscope.doses import Dose

    return Dose(value, unit)


def _gate(direction):
    from steerscope.steering.strengths import ProjectionGate

    return 1.0 * ProjectionGate(0.0, True, direction)


@pytest.mark.parametrize("n", [8, pytest.param(32, marks=pytest.mark.slow)])
def test_requests_that_join_at_any_time_get_what_generate_writes(served, shelf, n):
    made = random.Random(3)
    cases = []
    for number in range(n):
        steering, cell = STEERINGS[number % len(STEERINGS)]
        cell = cell if isinstance(cell, Cell) else cell(lambda layer: vector(shelf, layer))
        prompt = " ".join(
            made.choice(["Mia", "was", "late.", "Tom", "smiled."]) for _ in range(2 + number % 6)
        )
        seed = number if number % 3 else None
        cases.append((prompt, steering, cell, seed, 2 + number % 3))
    found = {}

    def ask(number, prompt, steering, seed, n_new):
        time.sleep(made.random() * 0.3)
        sampling = {"temperature": 0} if seed is None else {"temperature": 0.9, "seed": seed}
        answer = served.post(
            "/v1/completions", model="microworld", prompt=prompt, steering=steering,
            max_tokens=n_new, **sampling,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        [found[number]] = answer.json()["choices"]

    threads = [
        threading.Thread(target=ask, args=(i, p, s, seed, n))
        for i, (p, s, _, seed, n) in enumerate(cases)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == n
    served.settle()
    for number, (prompt, _, cell, seed, n_new) in enumerate(cases):
        sampler = Greedy() if seed is None else Sample(0.9, seed=seed)
        [[alone]] = generate(served.model, prompt, [cell], n_new=n_new, sampler=sampler)
        got = found[number]
        told = Continuation(tuple(got["token_ids"]), got["text"], got["finish_reason"] == "stop")
        assert_same_text(served.model, (prompt, cell), told, alone, sampler)


def test_a_feature_of_the_autoencoder_is_steered(served, shelf, monkeypatch):
    ask = {"model": "microworld", "prompt": PROMPT, "max_tokens": 6, "temperature": 0}
    steering = {"feature": 12, "value": 30}
    refused = served.post("/v1/completions", **ask, steering=steering)
    assert "--sae" in refused.json()["error"]["message"]
    sae = load_sae("microworld", model=served.model)
    monkeypatch.setattr(shelf, "autoencoder", ("microworld", sae))
    found = served.post("/v1/completions", **ask, steering=steering).json()["choices"][0]
    cell = Cell(FeatureSteering(sae, (FeatureEdit(12, "clamp", 30.0),)))
    [[expected]] = generate(served.model, PROMPT, [cell], n_new=6)
    assert found["text"] == expected.text
    assert served.get("/v1/steerscope").json()["autoencoder"]["n_features"] == sae.n_features
    odd = served.post("/v1/completions", **ask, steering={**steering, "dose": 1})
    assert "does not belong" in odd.json()["error"]["message"]
    none = served.post("/v1/completions", **ask, steering={"feature": 10**6})
    assert none.status_code == 400


def test_a_dose_in_nats_is_found_on_the_prompt(served):
    answer = served.post(
        "/v1/completions", model="microworld", prompt=PROMPT, max_tokens=1,
        steering={"vector": "joyful", "dose": 0.5, "unit": "kl"},
    ).json()  # fmt: skip
    assert "dose_natural=" in answer["steerscope"]["steering"]


@pytest.mark.parametrize("dose", [0.3, -0.3])
@pytest.mark.parametrize(
    "more",
    [{"strength": 0.5}, {"gate": {"threshold": 0.0}}, {"sites": ["resid_post.2", "resid_post.3"]}],
)
def test_a_dose_in_nats_is_that_of_the_whole_steering_and_has_its_sign(
    microworld, shelf, dose, more
):
    asked = SteeringAsked(vector="joyful", dose=dose, unit="kl", **more)
    cell = condition(microworld, shelf, [asked], [PROMPT])
    [[found]] = kl_from_plain(microworld, [PROMPT], [cell]).tolist()
    assert found == pytest.approx(0.3, rel=0.03)
    [steering] = cell.interventions
    assert steering.dose.value * dose > 0
    assert steering.labels()["dose_natural"] * dose > 0


def test_a_conversation_without_a_template_is_refused_in_the_words_of_the_command_line(served):
    answer = served.post(
        "/v1/chat/completions", model="microworld", messages=[{"role": "user", "content": "Hi"}]
    )
    assert answer.status_code == 400
    assert "the tokenizer has no chat template to use" in answer.json()["error"]["message"]


def test_a_client_that_leaves_frees_its_row(served, monkeypatch):
    forward = LensModel.forward

    def slow(model, *given, **choices):
        time.sleep(0.2)  # more than ten seconds until the longest of the texts would end by itself
        return forward(model, *given, **choices)

    monkeypatch.setattr(LensModel, "forward", slow)
    body = {"model": "microworld", "prompt": "Mia", "max_tokens": 200, "n": 8, "seed": 0}
    body["stream"] = True
    with httpx.stream("POST", f"{served.url}/v1/completions", json=body, timeout=30) as stream:
        lines = stream.iter_lines()
        while served.house.worker.n_rows < 8:  # they join one after another
            assert next(lines) != "data: [DONE]"
    start = time.monotonic()
    served.settle()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/completions", json={**body, "stream": False}, timeout=0.3)
    served.settle()
    assert time.monotonic() - start < 8


def test_logits_that_are_no_numbers_end_that_stream_alone(served):
    steering = {"vector": "joyful", "dose": 1e38, "unit": "natural"}
    answer = served.post("/v1/completions", model="microworld", prompt=PROMPT, steering=steering)
    assert answer.status_code == 400
    assert "are not finite under the condition" in answer.json()["error"]["message"]
    streamed = served.post(
        "/v1/completions", model="microworld", prompt=PROMPT, steering=steering, stream=True
    )
    [event, *_] = [line for line in streamed.text.splitlines() if line.startswith("data:")]
    assert "not finite" in json.loads(event[5:])["error"]["message"]
    assert served.post("/v1/completions", model="microworld", prompt=PROMPT).status_code == 200
