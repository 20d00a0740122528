"""Bad and hostile requests: each a clean error in our own words, and nobody else's stream is disturbed."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest

PROMPT = "Mia was at the harbour late."
JSON = {"Content-Type": "application/json"}
TEXT, CHAT, PAIRS = "/v1/completions", "/v1/chat/completions", "/v1/vectors/pairs"
JUDGE, READ, DOSES = "/v1/judge", "/v1/readings", "/v1/response"
OK = {"model": "microworld", "prompt": PROMPT, "max_tokens": 2}
STEER = {"vector": "joyful", "dose": 1}


def asked(**changes):
    return json.dumps({**OK, **changes}).encode()


def ask(**changes):
    return json.dumps({"model": "microworld", **changes}).encode()


def steered(**changes):
    return asked(steering={**STEER, **changes})


def chat(messages, **changes):
    return json.dumps({"model": "microworld", "messages": messages, **changes}).encode()


def pairs(**changes):
    usual = {
        "name": "x", "model": "microworld", "sites": ["resid_post.3"],
        "pairs": [{"positive": "a", "negative": "b"}] * 2,
    }  # fmt: skip
    return json.dumps({**usual, **changes}).encode()


CASES = [
    # what is no request
    ("POST", TEXT, b"", 400, "not JSON"),
    ("POST", TEXT, b"{", 400, "not JSON"),
    ("POST", TEXT, b"[1]", 400, "must be a JSON object"),
    ("POST", TEXT, b"\xff\xfe\x00", 400, "the body"),
    ("POST", TEXT, b"[" * 100_000, 400, "nested too deep"),
    ("POST", TEXT, b'{"model": "microworld", "model": "x", "prompt": "a"}', 400, "there twice"),
    ("POST", TEXT, b'{"model": "microworld", "prompt": "a", "temperature": NaN}', 400, "NaN"),
    ("POST", TEXT, b'{"model":"microworld","prompt":"a","seed":' + b"9" * 5000 + b"}", 400, ""),
    ("POST", TEXT, b" " * 2**19, 413, "larger than"),
    # fields
    ("POST", TEXT, asked(nonsense=1), 400, "unknown field 'nonsense'"),
    ("POST", TEXT, asked(__class__="x"), 400, "unknown field"),
    ("POST", TEXT, b'{"prompt": "a"}', 400, "'model' is missing"),
    ("POST", TEXT, b'{"model": "microworld"}', 400, "'prompt' is missing"),
    ("POST", TEXT, asked(model=7), 400, "model"),
    ("POST", TEXT, asked(prompt={"a": 1}), 400, "prompt"),
    ("POST", TEXT, asked(prompt=[]), 400, ""),
    ("POST", TEXT, asked(prompt=["a"] * 65), 400, "1 to 64"),
    ("POST", TEXT, asked(prompt=[1, -5]), 400, "token ids outside"),
    ("POST", TEXT, asked(prompt=[10**9]), 400, "token ids outside"),
    ("POST", TEXT, asked(prompt="word " * 5000), 400, "the context of microworld holds"),
    ("POST", TEXT, asked(prompt="\ud800 half"), 400, "surrogate"),
    ("POST", TEXT, asked(max_tokens=0), 400, "max_tokens"),
    ("POST", TEXT, asked(max_tokens=True), 400, "max_tokens"),
    ("POST", TEXT, asked(max_tokens=10**9), 400, "at most 200 tokens"),
    ("POST", TEXT, asked(n=0), 400, "n:"),
    ("POST", TEXT, asked(n=10**6), 400, "n:"),
    ("POST", TEXT, asked(n=2, temperature=0), 400, "all the same"),
    ("POST", TEXT, asked(temperature=-1), 400, "temperature"),
    ("POST", TEXT, asked(temperature="hot"), 400, "temperature"),
    ("POST", TEXT, asked(temperature=1e-40), 400, "temperature"),
    ("POST", TEXT, asked(top_p=0), 400, "top_p"),
    ("POST", TEXT, asked(top_k=-3), 400, "top_k"),
    ("POST", TEXT, asked(repetition_penalty=0), 400, "repetition_penalty"),
    ("POST", TEXT, asked(repetition_penalty=1e-40), 400, "repetition_penalty"),
    ("POST", TEXT, asked(stop=["a"] * 99), 400, "stop"),
    ("POST", TEXT, asked(stop=[""]), 400, "stop"),
    ("POST", TEXT, asked(logprobs=99), 400, "logprobs"),
    ("POST", TEXT, asked(echo=True), 400, "echo"),
    ("POST", TEXT, asked(frequency_penalty=1), 400, "frequency_penalty"),
    ("POST", TEXT, asked(logit_bias={"5": 100}), 400, "logit_bias"),
    # models and vectors
    ("POST", TEXT, asked(model="/etc/passwd"), 404, "unknown model"),
    ("POST", TEXT, asked(model="../../microworld"), 404, "unknown model"),
    ("POST", TEXT, asked(model="microworld+"), 400, "+VECTOR@DOSE"),
    ("POST", TEXT, asked(model="microworld+joyful@nan"), 400, "+VECTOR@DOSE"),
    ("POST", TEXT, asked(model="microworld+joyful@1:miles"), 400, "unknown dose unit"),
    ("POST", TEXT, asked(model="microworld+nobody@1"), 404, "unknown vector"),
    ("POST", TEXT, steered(vector="../secrets"), 404, "unknown vector"),
    ("POST", TEXT, steered(vector="/etc/shadow"), 404, "unknown vector"),
    ("POST", TEXT, steered(dose="1e999"), 400, "steering.dose"),
    ("POST", TEXT, steered(dose=1e39), 400, "are not finite"),
    ("POST", TEXT, steered(unit="parsec"), 400, "unknown dose unit"),
    ("POST", TEXT, steered(operator="explode"), 400, "unknown operator"),
    ("POST", TEXT, steered(operator="project_out"), 400, "takes no dose"),
    ("POST", TEXT, steered(scope="(" * 99), 400, "scope"),
    ("POST", TEXT, steered(scope="everything"), 400, "unknown scope"),
    ("POST", TEXT, steered(strength=2.0), 400, "outside 0..1"),
    ("POST", TEXT, steered(strength="__import__('os')"), 400, "unknown strength"),
    ("POST", TEXT, steered(sites=["resid_post.99"]), 400, "unknown site of vector joyful"),
    ("POST", TEXT, steered(sites=[]), 400, "empty"),
    ("POST", TEXT, steered(gate={"threshold": 1, "kind": "odd"}), 400, "unknown gate"),
    ("POST", TEXT, steered(gate={"threshold": 0.1, "site": "resid_post.7"}), 400, "comes after"),
    ("POST", TEXT, steered(instruction="x"), 400, "either a vector or an instruction"),
    ("POST", TEXT, asked(steering=[STEER] * 40), 400, "at most 16"),
    ("POST", TEXT, asked(prompt=[1, 2], steering={"instruction": "Be kind."}), 400, "as text"),
    # conversations
    ("POST", CHAT, chat([]), 400, "messages"),
    ("POST", CHAT, chat([{"role": "king", "content": "a"}]), 400, "unknown role"),
    ("POST", CHAT, chat([{"role": "user", "content": ""}]), 400, "empty"),
    (
        "POST", CHAT, chat([{"role": "user", "content": [{"type": "image_url", "text": "x"}]}]), 400,
        "text alone",
    ),
    # vectors
    ("POST", PAIRS, pairs(name="../x"), 400, "cannot be the name"),
    ("POST", PAIRS, pairs(name="<script>alert(1)</script>"), 400, "cannot be the name"),
    ("POST", PAIRS, pairs(pairs=[]), 400, "pairs"),
    ("POST", PAIRS, pairs(sites=["resid_post.99"]), 400, "resid_post.99"),
    ("POST", PAIRS, pairs(sites=["/etc"]), 400, ""),
    ("POST", PAIRS, pairs(method="magic"), 400, "unknown method"),
    ("POST", PAIRS, pairs(pairs=[{"positive": "a", "negative": "a"}] * 2), 400, ""),
    ("GET", "/v1/vectors/..%2F..%2Fetc%2Fpasswd", None, 404, ""),
    ("GET", "/v1/vectors/joyful/file?format=pickle", None, 400, "unknown format"),
    ("GET", "/v1/vectors/joyful/lens?site=resid_post.3&top=9999999", None, 400, "top"),
    ("DELETE", "/v1/vectors/nobody", None, 404, "unknown vector"),
    # what the page reads by
    ("POST", JUDGE, ask(texts=[]), 400, "texts"),
    ("POST", JUDGE, ask(texts=["a"] * 65), 400, "texts"),
    ("POST", JUDGE, ask(texts=["a"], judge="python:os:system"), 400, "unknown field 'judge'"),
    ("POST", JUDGE, ask(texts=["a"], model="../x"), 404, "unknown model"),
    ("POST", READ, ask(prompt=PROMPT, token_ids=[10**9]), 400, "token ids outside"),
    ("POST", READ, ask(prompt=PROMPT, token_ids=[1] * 4097), 400, "token_ids"),
    ("POST", READ, ask(prompt=PROMPT, messages=[], token_ids=[5]), 400, "either a prompt or"),
    ("POST", DOSES, ask(prompt=PROMPT, vector="joyful", doses=["nan"]), 400, "doses"),
    ("POST", DOSES, ask(prompt=PROMPT, vector="joyful", doses=[1] * 64, samples=16), 400, "too many"),
    ("POST", DOSES, ask(prompt=PROMPT, vector="joyful", doses=[1], unit="kl"), 400, "compared in"),
    ("POST", "/v1/geometry", json.dumps({"vectors": ["nobody"]}).encode(), 404, "unknown vector"),
    ("GET", "/v1/facts/..%2F..%2Fetc", None, 404, ""),
    # places that are not there
    ("GET", "/page/..%2Fapp.py", None, 404, ""),
    ("GET", "/page/../app.py", None, 404, ""),
    ("GET", "/v1/runs/..%2F..", None, 404, ""),
    ("GET", "/v1/runs/x", None, 404, "unknown run"),
    ("PUT", TEXT, asked(), 405, ""),
    ("GET", "/admin", None, 404, ""),
]  # fmt: skip


def said(answer):
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    assert "Traceback" not in answer.text
    return error["message"]


def test_bad_requests_are_refused_in_words_and_disturb_nobody(served):
    body = {"model": "microworld+joyful", "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    alone = served.post(TEXT, **body).json()["choices"][0]["token_ids"]
    beside, wrong, stop = [], [], threading.Event()

    def keep_asking():
        while not stop.wait(0.1):
            beside.append(served.post(TEXT, **body).json()["choices"][0]["token_ids"])

    listener = threading.Thread(target=keep_asking)
    listener.start()
    try:
        with httpx.Client(base_url=served.url, timeout=60) as client:
            for method, path, content, status, words in CASES:
                answer = client.request(method, path, content=content, headers=JSON)
                if answer.status_code != status or words not in said(answer):
                    about = (method, path, (content or b"")[:80])
                    wrong.append((*about, answer.status_code, answer.text[:300]))
    finally:
        stop.set()
        listener.join()
    assert wrong == []
    assert beside
    assert all(found == alone for found in beside)
    served.settle()


def test_pages_of_other_sites_and_other_kinds_of_content_are_refused(served):
    ask = {"content": asked(), "timeout": 30}
    url = served.url + TEXT
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        answer = httpx.post(url, headers={**JSON, **headers}, **ask)
        assert answer.status_code == 403
        assert "other sites" in said(answer)
    assert httpx.post(url, headers={"Content-Type": "text/plain"}, **ask).status_code == 415
    own = httpx.post(url, headers={**JSON, "Origin": served.url}, **ask)
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers
    assert "default-src 'self'" in own.headers["content-security-policy"]


def test_a_body_that_hides_its_length_is_measured(served):
    parts = (b" " * 2**16 for _ in range(400))
    try:
        answer = httpx.post(served.url + TEXT, content=parts, headers=JSON, timeout=10)
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return  # the server hung up in the middle
    assert answer.status_code == 413


def test_a_slow_reader_holds_nobody_up(served):
    body = {**OK, "max_tokens": 90, "n": 3, "stream": True}
    with httpx.stream("POST", served.url + TEXT, json=body, timeout=30):
        begun = time.monotonic()
        assert served.post(TEXT, **OK).status_code == 200
        assert time.monotonic() - begun < 20
        served.settle()  # its texts are written whether it reads them or not


@pytest.mark.parametrize("content", [b"", b"x" * 999, b"\x80\x04\x95 pickled"])
@pytest.mark.parametrize(
    "suffix", [".safetensors", ".gguf", ".pt", ".json", ".svec", ".pkl", "/../x"]
)
def test_a_vector_file_that_is_none_is_refused(served, suffix, content):
    answer = httpx.post(
        f"{served.url}/v1/vectors/file", params={"name": "bad", "suffix": suffix}, content=content,
        headers={"Content-Type": "application/octet-stream"}, timeout=30,
    )  # fmt: skip
    assert answer.status_code == 400, answer.text
    assert "/tmp" not in said(answer)
    assert served.get("/v1/vectors/bad").status_code == 404
