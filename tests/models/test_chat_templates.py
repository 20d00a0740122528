"""Texts in a chat template: as the tokenizer itself writes them, and told apart from plain ones."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest
from transformers import AutoTokenizer

from steerscope.cli import main
from steerscope.directions import find_direction, load_directions, save_directions
from steerscope.directions.descriptions import describe, restore
from steerscope.doses import Dose
from steerscope.engine.generation import Greedy
from steerscope.errors import BadValueError, TemplateError, TemplateWarning
from steerscope.extraction.activations import extract
from steerscope.judges.judges import TextJudge
from steerscope.models.chat_templates import UNKNOWN, wrapped
from steerscope.runs.results import Run
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.template_checks import check_templates
from steerscope.studies.bench import Bench, Decoding, Material
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt, PromptSet
from tests.helpers import origin, random_direction

SITE = Site("resid_post", 1)
TURNS = (
    "{% for m in messages %} {{ {'system': 'w4', 'user': 'w3'}[m['role']] }} {{ m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %} w5{% endif %}"
)
TEMPLATES = {"with its own <s>": "{{ bos_token }}" + TURNS, "without <s>": TURNS}
REFUSING = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
PAIRS = ContrastSet(
    "words", tuple(ContrastPair(f"w{i} w6 w7", f"w{i} w8 w9 w9", "c") for i in range(10, 22))
)
PROMPTS = PromptSet("some", (Prompt("w40 w41", {"mood": "gloomy"}), Prompt("w42"), Prompt("w43")))


@pytest.fixture(params=TEMPLATES)
def chatty(request, load, monkeypatch):
    """A tiny model whose tokenizer has a chat template, one with <s> in it and one without."""
    model = load("llama")
    monkeypatch.setattr(model.tokenizer, "chat_template", TEMPLATES[request.param])
    return model


@pytest.fixture
def chat_folder(tiny_folder, tmp_path):
    """The folder of such a model."""
    folder = tmp_path / "chat-model"
    shutil.copytree(tiny_folder("llama"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATES["with its own <s>"]
    tokenizer.save_pretrained(folder)
    return folder


def ids(*words):
    return [1, *(int(w) for w in words)]


# -- wrapping -------------------------------------------------------------------------------------


def test_the_tokens_are_the_tokenizers_own_with_one_bos(chatty):
    found = wrapped(chatty, PROMPTS)
    assert chatty.tokens(found.prompts[0].text) == ids(3, 40, 41, 5)
    for plain, chat in zip(PROMPTS.prompts, found.prompts, strict=True):
        message = [{"role": "user", "content": plain.text}]
        own = chatty.tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
        assert chatty.tokens(chat.text, bos=own[:1] == [1]) == own
        assert chatty.tokens(chat.text).count(1) == 1
        assert chat.facts == plain.facts


def test_both_texts_of_a_pair_are_wrapped_and_the_hash_changes(chatty):
    found = wrapped(chatty, PAIRS)
    assert chatty.tokens(found.pairs[0].positive) == ids(3, 10, 6, 7, 5)
    assert chatty.tokens(found.pairs[0].negative) == ids(3, 10, 8, 9, 9, 5)
    assert (found.name, found.concept, len(found)) == ("words", "c", len(PAIRS))
    assert found.sha256 != PAIRS.sha256
    parts = found.split(0)
    assert {parts.fit.template, parts.select.template, parts.test.template} == {found.template}
    assert wrapped(chatty, PROMPTS).split(0).test.template == found.template
    assert PAIRS.split(0).fit.template == ""


def test_a_system_message_comes_first_and_makes_another_template(chatty):
    found = wrapped(chatty, PROMPTS, system="w90")
    assert chatty.tokens(found.prompts[1].text) == ids(4, 90, 3, 42, 5)
    names = {found.template, wrapped(chatty, PROMPTS).template, ""}
    assert len(names) == 3
    assert wrapped(chatty, PAIRS, system="w90").template == found.template


def test_the_template_is_named_by_its_text(load, monkeypatch):
    tokenizer = load("llama").tokenizer
    names = []
    for text in TEMPLATES.values():
        monkeypatch.setattr(tokenizer, "chat_template", text)
        names.append(wrapped(load("llama"), PROMPTS).template)
    assert len(set(names)) == 2
    assert all(name.startswith("chat-") and len(name) == 17 for name in names)


def test_a_missing_or_refusing_template_is_named(load, monkeypatch):
    model = load("llama")
    with pytest.raises(TemplateError, match="no chat template.*instruction-tuned model"):
        wrapped(model, PAIRS)
    monkeypatch.setattr(model.tokenizer, "chat_template", {"tools": TURNS, "other": TURNS})
    with pytest.raises(TemplateError, match="no default"):
        wrapped(model, PAIRS)
    monkeypatch.setattr(model.tokenizer, "chat_template", REFUSING + TURNS)
    wrapped(model, PROMPTS)
    with pytest.raises(TemplateError, match="refuses 'w40 w41' .no system"):
        wrapped(model, PROMPTS, system="w90")


def test_nothing_is_wrapped_twice(chatty):
    with pytest.raises(BadValueError, match="'words' is in the chat template chat-.* already"):
        wrapped(chatty, wrapped(chatty, PAIRS))


# -- where a direction comes from -----------------------------------------------------------------


def test_a_direction_remembers_the_template_also_in_its_file(chatty, tmp_path):
    pairs = wrapped(chatty, PAIRS)
    direction = find_direction("mean_diff", extract(chatty, pairs, [SITE])[SITE])
    assert direction.provenance.template == pairs.template
    save_directions(tmp_path / "v.safetensors", [direction])
    assert load_directions(tmp_path / "v.safetensors")[0].provenance == direction.provenance
    plain = find_direction("mean_diff", extract(chatty, PAIRS, [SITE])[SITE])
    assert plain.provenance.template == ""
    assert float(plain.unit @ direction.unit) < 0.99  # read after w5 and not after the text


def test_a_file_from_before_templates_still_loads(load):
    direction = random_direction(load("llama"), SITE)
    text = json.loads(describe("f", [direction]))
    del text["directions"][direction.label]["provenance"]["template"]
    [found] = restore("f", json.dumps(text), {direction.label: direction.unit})
    assert found.provenance == direction.provenance


def test_another_template_is_warned_of_and_the_same_is_not(load):
    def found_in(template):
        direction = random_direction(load("llama"), SITE)
        return type(direction)(
            SITE, direction.unit, direction.scale, "made", origin(template=template)
        )

    chat, plain, foreign = (found_in(t) for t in ("chat-1", "", UNKNOWN))
    with pytest.warns(TemplateWarning, match="chat template chat-1 and is applied to plain texts"):
        check_templates([chat, plain], "")
    with pytest.warns(TemplateWarning, match="in plain texts and is applied to .*chat-1"):
        check_templates([plain], "chat-1")
    with pytest.warns(TemplateWarning, match="chat-1 and is applied to .*chat-2"):
        check_templates([chat], "chat-2")
    for directions, template in (
        ([chat], "chat-1"),
        ([plain], ""),
        ([foreign], "chat-1"),
        ([], ""),
    ):
        check_templates(directions, template)  # a warning would be an error here


def test_measuring_warns_too(chatty, tmp_path):
    pairs = wrapped(chatty, PAIRS)
    direction = find_direction("mean_diff", extract(chatty, pairs, [SITE])[SITE])
    run = Run.start(tmp_path / "run", {}, provenance={})
    cells = [Cell((Steering(direction, Dose(1.0)),))]
    for prompts, wrong in ((PROMPTS, True), (wrapped(chatty, PROMPTS), False)):
        material = Material("test" if wrong else "select", prompts, pairs)
        bench = Bench(chatty, TextJudge(), material, run, Decoding(2, Greedy()))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            bench.measure(cells)
        assert [w.category for w in said] == [TemplateWarning] * wrong


# -- the command line -----------------------------------------------------------------------------


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "words.jsonl"
    rows = [{"positive": p.positive, "negative": p.negative, "concept": "c"} for p in PAIRS.pairs]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def command(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("always", TemplateWarning)
        main(list(map(str, arguments)))


def test_a_sweep_in_a_chat_wraps_pairs_and_prompts_together(
    chat_folder, pairs_file, tmp_path, capsys
):
    out = tmp_path / "run"
    options = ["--contrasts", pairs_file, "--layers", "1", "--doses", "1", "--n-new", "2"]
    command("sweep", "--model", chat_folder, "--out", out, "--chat", *options)
    assert "note:" not in capsys.readouterr().err
    run = Run.open(out)
    assert run.configuration["chat"] is True
    assert all(t["given"].startswith("<s> w3 w") for t in run.texts().to_dict("records"))
    templates = {d.provenance.template for d in load_directions(out / "directions.safetensors")}
    assert len(templates) == 1
    assert templates.pop().startswith("chat-")
    command("sweep", "--model", chat_folder, "--out", tmp_path / "plain", *options)
    assert "chat" not in Run.open(tmp_path / "plain").configuration  # as in runs from before


def test_steering_with_a_vector_of_another_template_says_so(
    chat_folder, pairs_file, tmp_path, capsys
):
    vector = tmp_path / "v.safetensors"
    found = ["vectors", "--model", chat_folder, "--contrasts", pairs_file, "--layers", "1"]
    command(*found, "--chat", "--out", vector)
    steer = ["steer", "--model", chat_folder, "--vector", vector, "--prompt", "w40", "--n-new", "3"]
    capsys.readouterr()
    command(*steer, "--chat")
    assert "note:" not in capsys.readouterr().err
    command(*steer)
    said = capsys.readouterr()
    assert said.err.startswith(
        "note: mean_diff@resid_post.1 was found in texts in the chat template"
    )
    assert said.err.count("\n") == 1
    assert "steered:" in said.out


def test_the_lens_and_models_without_a_template(chat_folder, tiny_folder, tmp_path, capsys):
    prompt = ["--prompt", "w40", "--top", "2", "--json"]
    command("lens", "--model", chat_folder, *prompt)
    plain = json.loads(capsys.readouterr().out)
    command("lens", "--model", chat_folder, *prompt, "--chat")
    assert json.loads(capsys.readouterr().out) != plain
    for wrong, said in (
        (["lens", "--model", tiny_folder("llama"), *prompt, "--chat"], "no chat template"),
        (["lens", "--vector", tmp_path / "v", "--chat"], "--chat is about a --prompt"),
    ):
        with pytest.raises(SystemExit, match="2"):
            command(*wrong)
        assert said in capsys.readouterr().err
