"""Whatever is written where something is read: it is read as it was meant, or refused by name."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from steerscope.audits import audit
from steerscope.cli.endings import one_line, strict_json
from steerscope.cli.shared import numbers, parse_layers
from steerscope.directions import import_directions, save_directions
from steerscope.directions.gguf import export_gguf
from steerscope.doses import Dose
from steerscope.errors import SteerscopeError
from steerscope.experiments import load_experiment
from steerscope.experiments.reading import parse_experiment
from steerscope.runs.results import Run
from steerscope.sites import STREAMS, Site
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import parse_strength
from steerscope.texts.bundled import bundled_experiments
from steerscope.texts.contrasts import ContrastPair, ContrastSet, load_contrasts, load_prompts
from steerscope.verification import verify
from tests.helpers import random_direction

often = settings(
    deadline=None, derandomize=True, max_examples=15, suppress_health_check=list(HealthCheck)
)

# -- what is valid ----------------------------------------------------------------------------------

small = st.integers(0, 40)
# As texts, since the checks of types in these tests draw random numbers of their own.
spans = st.one_of(
    st.sampled_from(["all", "everywhere", "prompt", "generated"]),
    st.integers(1, 9).map("last:{}".format),
    st.tuples(small, st.integers(1, 20)).map(lambda p: f"window:{p[0]}:{sum(p)}"),
    st.tuples(st.integers(1, 40), st.integers(1, 20)).map(lambda p: f"steps:{p[0]}:{sum(p)}"),
)
scopes = st.recursive(
    spans,
    lambda part: st.tuples(part, st.sampled_from("|&-"), part).map(
        lambda p: f"({p[0]}) {p[1]} ({p[2]})"
    ),
    max_leaves=8,
)
share = st.floats(0, 1).map(lambda x: round(x, 4))
strengths = st.lists(
    st.one_of(
        share.map(repr),
        st.integers(1, 50).map("ramp:{}".format),
        st.floats(0.5, 50).map("decay:{:.4g}".format),
        st.integers(1, 50).map("first:{}".format),
        st.tuples(st.integers(1, 9), st.integers(0, 9)).map(lambda p: f"pulse:{sum(p)}:{p[0]}"),
        share.map("cosine:{}".format),
        share.map("projection:{}:below".format),
    ),
    min_size=1,
    max_size=4,
).map("*".join)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1)
sentences = words.filter(str.strip)
pairs = st.builds(ContrastPair, sentences, sentences.map("not {}".format), st.just("c"))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside),
    max_leaves=12,
)
near_numbers = st.text("0123456789-+.,:eE_ xnaif|&()*٣²", max_size=24)


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What is read, or None if it is refused with a sentence of ours; any other error is a fault."""
    try:
        return read()
    except SteerscopeError as error:
        said = str(error)
    assert said.strip()
    return None


# -- texts on the command line ----------------------------------------------------------------------


@often
@given(scopes)
def test_a_scope_is_read_back_from_what_it_is_called(text):
    scope = Scope.parse(text)
    again = Scope.parse(str(scope))
    assert str(again) == str(scope)
    for position in range(30):
        assert bool(again.includes(position, 7)) == bool(scope.includes(position, 7))


@often
@given(scopes, scopes, small, st.integers(1, 20))
def test_scopes_are_sets(a, b, position, prompt_length):
    a, b = Scope.parse(a), Scope.parse(b)
    in_a, in_b = (bool(s.includes(position, prompt_length)) for s in (a, b))
    assert bool((a | b).includes(position, prompt_length)) == (in_a or in_b)
    assert bool((a & b).includes(position, prompt_length)) == (in_a and in_b)
    assert bool((a - b).includes(position, prompt_length)) == (in_a and not in_b)


@often
@given(strengths)
def test_a_strength_is_read_back_from_what_it_is_called(text):
    strength = parse_strength(text)
    assert str(parse_strength(str(strength))) == str(strength)


@often
@given(near_numbers | st.text(max_size=40) | st.sampled_from(["(" * 4000, "0.5*" * 4000]))
def test_any_text_is_a_value_or_refused(text):
    for read in (Scope.parse, parse_strength, parse_layers, Site.parse):
        read_or_refused(lambda read=read: read(text))
    for kind in (int, float):
        found = read_or_refused(lambda kind=kind: numbers(text, kind, "numbers"))
        assert found is None or text.isascii()


@often
@given(st.lists(st.integers(0, 99_999), min_size=1, max_size=12))
def test_layers_are_read_as_they_are_written(layers):
    assert parse_layers(",".join(map(str, layers))) == tuple(dict.fromkeys(layers))


@often
@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, unique=True))
def test_doses_are_read_as_they_are_written(doses):
    assume(all(abs(d) > 1e-30 or d == 0 for d in doses))
    assert numbers(",".join(map(repr, doses)), float, "doses") == doses


@often
@given(st.sampled_from(STREAMS), st.integers(0, 99_999))
def test_a_site_is_read_back_from_its_name(stream, layer):
    assert Site.parse(str(Site(stream, layer))) == Site(stream, layer)


@often
@given(anything)
def test_any_result_is_strict_json(value):
    def refuse(name):
        raise AssertionError(name)

    json.loads(strict_json({"result": value}), parse_constant=refuse)


@often
@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs"])))
def test_any_message_is_one_line(text):
    assert one_line(text).isprintable()


# -- files ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@often
@given(st.lists(pairs, min_size=1, max_size=6))
def test_a_contrast_file_gives_back_its_pairs(place, made):
    path = place / "set.jsonl"
    rows = [{"positive": p.positive, "negative": p.negative, "concept": p.concept} for p in made]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    assert load_contrasts(path).sha256 == ContrastSet("set", tuple(made)).sha256


@often
@given(
    st.binary(max_size=200)
    | st.lists(anything.map(json.dumps), max_size=4).map(lambda v: "\n".join(v).encode())
)
def test_any_file_is_texts_or_refused(place, content):
    for name in ("any.jsonl", "any.txt"):
        (place / name).write_bytes(content)
        read_or_refused(lambda name=name: load_contrasts(place / name))
        read_or_refused(lambda name=name: load_prompts(place / name))


@often
@given(st.dictionaries(st.sampled_from(["name", "job", "models", "seeds", "doses", "x"]), anything))
def test_any_mapping_is_an_experiment_or_refused(values):
    base = yaml.safe_load(next(iter(bundled_experiments().values())).read_text())
    text = yaml.safe_dump({**base, **values})
    read_or_refused(lambda: parse_experiment(text, "here.yaml"))


@often
@given(st.binary(max_size=120) | st.text(":-[]{}&*!?|>'\"\n ab1\t", max_size=60).map(str.encode))
def test_any_text_is_an_experiment_or_refused(place, content):
    (place / "any.yaml").write_bytes(content)
    assert read_or_refused(lambda: load_experiment(place / "any.yaml")) is None


damages = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8)


def damaged(content: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    """Some bytes changed, and perhaps the end cut off."""
    changed = bytearray(content)
    for spot, value in changes:
        changed[spot % len(changed)] = value
    return bytes(changed if cut is None else changed[: cut % len(changed)])


@pytest.fixture(scope="module")
def vectors(place, load):
    direction = random_direction(load("llama"), Site("resid_post", 1))
    save_directions(place / "good.safetensors", [direction])
    export_gguf(place / "good.gguf", [direction], dose=Dose(1.0))
    return load("llama"), [place / "good.safetensors", place / "good.gguf"]


@often
@given(damages, st.none() | st.integers(0, 2**20))
def test_a_damaged_vector_file_is_a_direction_of_norm_1_or_refused(place, vectors, changes, cut):
    model, files = vectors
    for file in files:
        path = place / f"damaged{file.suffix}"
        path.write_bytes(damaged(file.read_bytes(), changes, cut))
        for direction in read_or_refused(lambda path=path: import_directions(path, model)) or []:
            assert math.isclose(float(direction.unit.norm()), 1.0, rel_tol=1e-4)


@pytest.mark.slow
@often
@given(data=st.data())
def test_a_damaged_run_is_read_or_refused_and_its_checks_never_fail(place, fuzzed_run, data):
    files = sorted(p for p in fuzzed_run.rglob("*") if p.is_file() and p.suffix != ".html")
    file = data.draw(st.sampled_from(files))
    copy = place / "damaged-run"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(fuzzed_run, copy)
    content = damaged(file.read_bytes() or b"\0", data.draw(damages), data.draw(st.none() | small))
    (copy / file.relative_to(fuzzed_run)).write_bytes(content)
    read_or_refused(lambda: Run.open(copy).table())
    read_or_refused(lambda: audit(Run.open(copy)))
    read_or_refused(lambda: verify(copy, weights=False))


@pytest.fixture(scope="module")
def fuzzed_run(place, tiny_folder) -> Path:
    from steerscope.studies.steering.measure import run_sweep
    from steerscope.studies.steering.plan import SweepPlan

    path = place / "words.jsonl"
    rows = [
        {"positive": f"w{i} w6 w7", "negative": f"w{i} w8 w9", "concept": "c"}
        for i in range(10, 34)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    plan = SweepPlan(
        model=str(tiny_folder("llama")), contrasts=str(path), layers=(1,), doses=(1.0,), n_new=3
    )
    return run_sweep(plan, place / "run").path
