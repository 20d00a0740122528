"""Vectors, readings and runs over the API, keys and models that take turns."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch

from steerscope.directions import save_directions
from steerscope.engine.score import kl_from_plain
from steerscope.engine.token_readings import token_readings
from steerscope.engine.written import written_scores
from steerscope.errors import BadValueError, ModelLoadError, QueueFullError, UnknownNameError
from steerscope.serve.conditions import read_alias
from steerscope.serve.house import House
from steerscope.serve.limits import Access, Limits
from steerscope.serve.rack import Rack
from steerscope.serve.shelf import Shelf
from steerscope.serve.starting import add_files, named_models, read_named_file
from steerscope.serve.stops import Stops
from steerscope.serve.worker import Worker
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.prompting import Prompting
from tests.serve.conftest import KEY, serving

PROMPT = "Mia was at the harbour late."
OLDER = Path(__file__).parents[1] / "older"


def test_a_vector_found_from_pairs_is_listed_used_fetched_and_removed(served):
    asked = {
        "name": "glad", "model": "microworld", "sites": ["resid_post.2", "resid_post.3"],
        "default": ["resid_post.3"],
        "pairs": [
            {"positive": f"Mia {verb} glad.", "negative": f"Mia {verb} sad."}
            for verb in ("was", "felt")
        ],
    }  # fmt: skip
    found = served.post("/v1/vectors/pairs", **asked).json()
    assert [s["site"] for s in found["sites"]] == asked["sites"]
    assert found["default"] == ["resid_post.3"]
    assert "already" in served.post("/v1/vectors/pairs", **asked).json()["error"]["message"]
    assert "glad" in [v["id"] for v in served.get("/v1/vectors").json()["data"]]
    lens = served.get("/v1/vectors/glad/lens?site=resid_post.3&top=3").json()
    assert len(lens["for"]) == len(lens["against"]) == 3
    for kind in ("safetensors", "gguf"):
        file = served.get(f"/v1/vectors/glad/file?format={kind}").content
        again = httpx.post(
            f"{served.url}/v1/vectors/file", content=file, timeout=60,
            params={"name": f"glad-{kind}", "suffix": f".{kind}"},
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        assert again.status_code == 200, again.text
        texts = [
            served.post(
                "/v1/completions", model="microworld", prompt=PROMPT, max_tokens=4, temperature=0,
                steering={"vector": name, "sites": ["resid_post.3"], "dose": 3},
            ).json()["choices"][0]["text"]
            for name in ("glad", f"glad-{kind}")
        ]  # fmt: skip
        assert texts[0] == texts[1]
        served.house.shelf.remove(f"glad-{kind}")
    assert httpx.delete(f"{served.url}/v1/vectors/glad").json()["deleted"]
    assert served.get("/v1/vectors/glad").status_code == 404


def test_of_several_directions_at_a_site_a_server_takes_the_method_that_is_named(
    served, microworld, shelf, tmp_path
):
    found = shelf.get("joyful").at(["resid_post.3"])[0]
    null = replace(found, unit=found.unit.flip(0), method="random")
    file = tmp_path / "both@once.safetensors"
    save_directions(file, [null, found])
    started = Shelf()
    with pytest.raises(BadValueError, match=r"mine=METHOD@FILE at the start, or &method=METHOD"):
        add_files(started, microworld, [f"mine={file}"])
    add_files(started, microworld, [f"mine=mean_diff@{file}", f"random@{file}"])
    [mine, other] = started
    assert (mine.name, other.name) == ("mine", "both-once")
    assert mine.facts()["sites"][0]["method"] == "mean_diff"
    assert torch.equal(other.at(None)[0].unit, null.unit)
    with pytest.raises(UnknownNameError, match="mean_diff, random"):
        add_files(started, microworld, [f"third=pca@{file}"])
    for wrong in ("=v.gguf", "a=", "a=@v.gguf", "@v.gguf"):
        with pytest.raises(BadValueError, match="write NAME=FILE"):
            read_named_file(wrong)

    def upload(**more):
        return httpx.post(
            f"{served.url}/v1/vectors/file", content=file.read_bytes(), timeout=60,
            params={"name": "uploaded", **more},
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip

    assert "&method=METHOD" in upload().json()["error"]["message"]
    assert upload(method="mean_diff").json()["sites"][0]["method"] == "mean_diff"
    served.house.shelf.remove("uploaded")


def test_a_default_that_names_a_site_twice_is_that_site_once(served):
    asked = {
        "name": "twice", "model": "microworld", "sites": ["resid_post.2"] * 2,
        "default": ["resid_post.2"] * 2,
        "pairs": [{"positive": f"Mia {v} glad.", "negative": f"Mia {v} sad."} for v in ("was", "felt")],
    }  # fmt: skip
    assert served.post("/v1/vectors/pairs", **asked).json()["default"] == ["resid_post.2"]
    answer = served.post("/v1/completions", model="microworld+twice@1", prompt=PROMPT, max_tokens=2)
    served.house.shelf.remove("twice")
    assert answer.status_code == 200, answer.text


def test_the_lens_of_a_vector_is_that_of_its_own_model(microworld, load):
    other = load("llama", "hooked")
    rack = Rack({"first": lambda: microworld, "second": lambda: other})
    with serving(House(Worker(rack), Shelf())) as served:
        for model, word in (("first", "Mia"), ("second", "w5")):
            asked = served.post(
                "/v1/vectors/pairs", name=f"of-{model}", model=model, sites=["resid_post.1"],
                pairs=[
                    {"positive": f"{word} w{i} w6", "negative": f"{word} w{i} w7"} for i in (8, 9)
                ],
            )  # fmt: skip
            assert asked.status_code == 200, asked.text
        for model, theirs in (("first", "second"), ("second", "first")):
            lens = f"/v1/vectors/of-{model}/lens?top=3"
            found = served.get(lens)
            assert found.status_code == 200, found.text
            assert found.json() == served.get(f"{lens}&model={model}").json()
            assert served.get(f"{lens}&model={theirs}").status_code == 400
        assert served.get(f"{lens}&model=third").status_code == 404
    assert rack.model_of(other.fingerprint) == "second"
    unloaded = Rack({name: lambda: microworld for name in ("first", "second")})
    assert unloaded.model_of("", "folder/second") == "second"
    assert unloaded.model_of("", "elsewhere") == "first"


def test_readings_of_tokens_average_to_those_of_the_text(microworld, shelf):
    vector = shelf.get("joyful")
    direction = vector.directions[vector.default[0]]
    written = microworld.vocabulary.bare(" She was full of joy.")
    for cell in (Cell(), Cell(Steering(direction, 2.0)), Cell(Prompting("Be joyful."))):
        found = token_readings(microworld, PROMPT, written, cell, direction)
        whole = written_scores(microworld, [PROMPT], [cell], [[written]])
        assert found.kl.mean() == pytest.approx(whole.kl[0, 0], abs=1e-5)
        assert found.nll.mean() == pytest.approx(whole.nll[0, 0], abs=1e-4)
        assert len(found.projection) == len(written)
    assert math.isnan(token_readings(microworld, PROMPT, written).projection[0])
    with pytest.raises(BadValueError, match="nothing is written"):
        token_readings(microworld, PROMPT, [])


def test_what_the_page_reads_is_what_the_library_measures(served, shelf):
    facts = served.get("/v1/facts/microworld").json()
    assert (facts["n_layers"], facts["has_chat"]) == (8, False)
    assert "oracle" in facts["judges"]
    response = served.post(
        "/v1/response", model="microworld", prompt=PROMPT, vector="joyful", doses=[0.0, 2.0],
        samples=1, n_new=8,
    ).json()  # fmt: skip
    vector = shelf.get("joyful")
    row = next(r for r in response["rows"] if r["layer"] == 3 and r["dose"] == 2.0)
    cell = Cell(Steering(vector.directions[vector.default[0]], 2.0))
    expected = float(kl_from_plain(served.model, [PROMPT], [cell])[0, 0])
    assert row["kl"] == pytest.approx(expected, rel=1e-3)
    assert all(r["kl"] == pytest.approx(0, abs=1e-6) for r in response["rows"] if r["dose"] == 0)
    geometry = served.post("/v1/geometry", vectors=["joyful"]).json()
    assert [row[i] for i, row in enumerate(geometry["cosines"])] == pytest.approx([1.0] * 8)
    judged = served.post("/v1/judge", model="microworld", texts=["She was full of joy.", ""]).json()
    assert judged["data"][0]["mood"] == "joyful"
    assert judged["data"][1]["mood"] is None


def test_repetition_is_told_only_of_texts_in_which_it_can_be(served, microworld):
    n_context = microworld.shape.n_context
    texts = [" ".join(["Mia"] * n) for n in range(1, n_context + 1)]
    of_length = {len(microworld.vocabulary.begin(text, microworld.bos)): text for text in texts}
    full, nearly = of_length[n_context], of_length[n_context - 2]

    def ask(prompt, doses=(2.0,), samples=2):
        return served.post(
            "/v1/response", model="microworld", prompt=prompt, vector="joyful", doses=[*doses],
            samples=samples, n_new=12,
        )  # fmt: skip

    refused = ask(full)
    assert refused.status_code == 400
    assert "needs room for 1" in refused.json()["error"]["message"]
    assert "n_new" not in refused.json()["error"]["message"]
    assert ask(full, samples=0).json()["plain_repeating"] is None
    short = ask(nearly).json()
    assert short["plain_repeating"] is None
    assert {row["repeating"] for row in short["rows"]} == {None}
    rows = ask(PROMPT, [0.0, 1e200]).json()["rows"]
    assert all(row["repeating"] == row["overflowed"] == 0 for row in rows if row["dose"] == 0)
    lost = [row for row in rows if row["dose"] == 1e200]
    assert {(row["repeating"], row["overflowed"], row["kl"]) for row in lost} == {(None, 2, None)}


def test_the_runs_of_a_folder_are_shown_and_no_others(served, monkeypatch, tmp_path):
    assert served.get("/v1/runs").json()["data"] == []
    (tmp_path / "linked").symlink_to(OLDER / "run")
    (tmp_path / "odd").mkdir()
    monkeypatch.setattr(served.house, "runs", tmp_path)
    assert served.get("/v1/runs").json()["data"] == []
    monkeypatch.setattr(served.house, "runs", OLDER)
    [entry] = served.get("/v1/runs").json()["data"]
    assert (entry["id"], entry["model"]) == ("run", "tiny-llama")
    run = served.get("/v1/runs/run")
    assert run.status_code in {200, 400}
    assert str(OLDER) not in run.text


def test_a_key_is_asked_for_and_needed_where_others_reach_the_server(microworld):
    with pytest.raises(BadValueError, match="--api-key"):
        Access("0.0.0.0")
    with pytest.raises(BadValueError, match="8 ASCII"):
        Access("0.0.0.0", "short")
    assert Access("::1").host == "::1"
    house = House(Worker(Rack({"m": lambda: microworld})), Shelf(), access=Access(key=KEY))
    with serving(house) as served:
        assert served.get("/v1/models").status_code == 401
        assert served.get("/").status_code == served.get("/page/page.js").status_code == 200
        assert served.get("/health").json()["status"] == "ok"
        for given in ("Bearer wrong-secret", KEY[:-1], "Bearer \u00e9".encode().decode("latin-1")):
            served.headers = {"Authorization": given.encode("latin-1")}
            assert served.get("/v1/models").status_code == 401
        served.headers = {"Authorization": f"Bearer {KEY}"}
        assert served.get("/v1/models").status_code == 200


@pytest.mark.slow
def test_models_take_turns_and_every_request_is_answered(load, microworld):
    loads = []

    def loader(name, model):
        return lambda: loads.append(name) or model

    tiny = load("llama", "hooked")
    rack = Rack({"a": loader("a", microworld), "b": loader("b", tiny)})
    with serving(House(Worker(rack), Shelf())) as served, ThreadPoolExecutor(8) as pool:

        def ask(i):
            model, prompt = ("a", PROMPT) if i % 2 else ("b", "w5 w6")
            answer = served.post(
                "/v1/completions", model=model, prompt=prompt, max_tokens=5, temperature=0
            )
            assert answer.status_code == 200, answer.text
            return model, answer.json()["choices"][0]["text"]

        found = set(pool.map(ask, range(8)))
        assert len(found) == 2  # each model says the same to all
        assert len(rack.batches) == 1
        assert 2 <= len(loads) <= 4
        assert served.get("/v1/models").json()["data"][0]["id"] == "a"
    room = Rack({"a": loader("a", microworld), "b": loader("b", tiny)}, budget=2**33)
    for name in ("a", "b", "a", "b"):
        assert room.batch(name) is not None
    assert set(room.batches) == {"a", "b"}  # once their sizes are known


def test_more_requests_than_are_taken_are_told_so(microworld):
    worker = Worker(Rack({"m": lambda: microworld}), max_waiting=2)  # not started, so all wait
    for _ in range(2):
        worker.do("m", lambda model: None)
    with pytest.raises(QueueFullError, match="ask again"):
        worker.do("m", lambda model: None)


def test_work_that_was_given_up_and_work_that_fails_leave_the_worker_alive(microworld):
    def broken():
        raise ModelLoadError("cannot load")

    def failing(model):
        raise BadValueError("cannot be done")

    worker = Worker(Rack({"broken": broken, "m": lambda: microworld}))
    given_up = [worker.do(name, failing) for name in ("broken", "m")]
    assert all(future.cancel() for future in given_up)
    told = [worker.do(name, failing) for name in ("broken", "m")]
    worker.start()
    for future, error in zip(told, (ModelLoadError, BadValueError), strict=True):
        with pytest.raises(error):
            future.result(timeout=20)
    assert worker.do("m", lambda model: model.name).result(timeout=20) == "microworld"
    assert worker.is_alive
    worker.close()
    assert worker.n_open == 0


@pytest.mark.parametrize(
    ("pieces", "stops", "passed"),
    [
        (["ab", "c"], ["x"], "abc"),
        (["a", "b", "c"], ["bc"], "a"),
        (["a", "ab", "c"], ["abc"], "a"),
        (["one\n", "\ntwo"], ["\n\n"], "one"),
        (["abab"], ["ab", "b"], ""),
        (["xa", "a"], ["aab"], "xaa"),
    ],
)
def test_a_stop_is_found_across_pieces_and_nothing_of_it_is_told(pieces, stops, passed):
    found = Stops(stops)
    told = [found.take(piece) for piece in pieces]
    assert "".join(told) + found.take("", last=True) == passed


def test_an_alias_names_the_model_and_its_vectors():
    models = ["a", "a+b", "org/model"]
    assert read_alias("a+b", models) == ("a+b", [])
    model, [one, two] = read_alias("org/model+joy@-1.5:relative+calm", models)
    assert model == "org/model"
    assert (one.vector, one.dose, one.unit) == ("joy", -1.5, "relative")
    assert (two.vector, two.dose) == ("calm", None)
    with pytest.raises(BadValueError, match="two models are called"):
        named_models(["tests/older", str(OLDER)])
    with pytest.raises(BadValueError, match="at least 1"):
        Limits(tokens=0)
