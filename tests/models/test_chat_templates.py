"""Texts in a chat template: as the tokenizer itself writes them, and told apart from plain ones."""

from __future__ import annotations

import copy
import json
import shutil
import warnings

import pytest
from transformers import AutoTokenizer

from steerscope.cli import main
from steerscope.directions import find_direction, load_directions, save_directions
from steerscope.directions.descriptions import describe, restore
from steerscope.doses import Dose
from steerscope.engine.sampling import Greedy
from steerscope.errors import BadValueError, ContrastError, TemplateError, TemplateWarning
from steerscope.extraction.activations import extract
from steerscope.judges.judges import TextJudge
from steerscope.models.chat_templates import UNKNOWN, in_chat, wrapped
from steerscope.runs.results import Run
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.template_checks import check_templates
from steerscope.studies.bench import Bench, Decoding, Material
from steerscope.studies.steering.plan import SweepPlan
from steerscope.texts.chats import Chat, Message, as_chat, as_conversation
from steerscope.texts.contrasts import (
    ContrastPair,
    ContrastSet,
    Prompt,
    PromptSet,
    load_contrasts,
    load_prompts,
    opening_prompts,
)
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


LOUD = TURNS.replace("m['content']", "m['content'] | upper")
WRITES_NO = (
    "{%% for m in messages if m['role'] != '%s' %%} w3 {{ m['content'] }}{%% endfor %%}"
    "{%% if add_generation_prompt %%} w5{%% endif %%}"
)


def test_a_turn_that_a_template_leaves_out_is_named_and_one_it_writes_otherwise_is_not(
    load, monkeypatch
):
    model = load("llama")
    monkeypatch.setattr(model.tokenizer, "chat_template", WRITES_NO % "system")
    wrapped(model, PROMPTS)
    for said in ("w90", "w40"):  # the second is part of what the user says
        with pytest.raises(TemplateError, match=f"leaves out what the system says .'{said}'"):
            wrapped(model, PROMPTS, system=said)
    talk = as_conversation([QUESTION, {"role": "assistant", "content": "w50"}, QUESTION])
    monkeypatch.setattr(model.tokenizer, "chat_template", WRITES_NO % "assistant")
    with pytest.raises(TemplateError, match="leaves out what the assistant says"):
        wrapped(model, PromptSet("p", (Prompt(talk),)))
    monkeypatch.setattr(model.tokenizer, "chat_template", LOUD)
    assert "W40 W41" in wrapped(model, PROMPTS, system="w90").prompts[0].text


def test_nothing_is_wrapped_twice(chatty):
    with pytest.raises(BadValueError, match="'words' is in the chat template chat-.* already"):
        wrapped(chatty, wrapped(chatty, PAIRS))


# -- conversations ------------------------------------------------------------------------------

QUESTION = {"role": "user", "content": "w40"}
TURNS_OF = {
    "system, turns, a question": [
        {"role": "system", "content": "w90"}, QUESTION, {"role": "assistant", "content": "w50"},
        {"role": "user", "content": "w41"},
    ],
    "an open answer": [QUESTION, {"role": "assistant", "content": "w50 w51"}],
    "an answer that is not begun": [QUESTION, {"role": "assistant", "content": ""}],
}  # fmt: skip
TALK = (
    "{% for m in messages %}{{ {'system': 'w4', 'user': 'w3', 'assistant': 'w6'}[m['role']] }} "
    "{{ m['content'] }} w9{{ '\n' }}{% endfor %}{% if add_generation_prompt %}w6 {% endif %}"
)
WRITTEN = {
    "system, turns, a question": [4, 90, 9, 3, 40, 9, 6, 50, 9, 3, 41, 9, 6],
    "an open answer": [3, 40, 9, 6, 50, 51],
    "an answer that is not begun": [3, 40, 9, 6],
}


@pytest.fixture
def talking(load, monkeypatch):
    """A tiny model whose template ends every turn with w9."""
    model = load("llama")
    monkeypatch.setattr(model.tokenizer, "chat_template", TALK)
    return model


@pytest.mark.parametrize("case", TURNS_OF)
def test_a_conversation_is_written_turn_by_turn_and_an_answer_stays_open(talking, case):
    prompts = PromptSet("p", (Prompt(as_conversation(TURNS_OF[case])),))
    [found] = wrapped(talking, prompts).prompts
    assert talking.tokens(found.text, bos=False) == WRITTEN[case]


def test_the_system_message_of_a_conversation_stands_and_of_others_is_given(talking):
    texts = [as_conversation(TURNS_OF["system, turns, a question"]), "w42"]
    prompts = wrapped(
        talking, PromptSet("p", tuple(map(Prompt, texts))), Chat(system="w91")
    ).prompts
    assert talking.tokens(prompts[0].text, bos=False)[:2] == [4, 90]
    assert talking.tokens(prompts[1].text, bos=False) == [4, 91, 9, 3, 42, 9, 6]
    [empty] = wrapped(talking, PromptSet("p", (Prompt("w42"),)), system="").prompts
    assert talking.tokens(empty.text, bos=False) == [4, 9, 3, 42, 9, 6]


def test_pairs_of_answers_share_their_question_and_differ_in_the_open_answer(talking, tmp_path):
    path = tmp_path / "answers.jsonl"
    rows = [
        {
            "prompt": f"w{20 + i // 2}",
            "positive": "w6 w7",
            "negative": f"w8 w{10 + i}",
            "concept": "c",
        }
        for i in range(12)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    pairs = load_contrasts(path)
    found = wrapped(talking, pairs)
    assert talking.tokens(found.pairs[0].positive, bos=False) == [3, 20, 9, 6, 6, 7]
    assert talking.tokens(found.pairs[0].negative, bos=False) == [3, 20, 9, 6, 8, 10]
    prompts = opening_prompts("answers", pairs.pairs)
    assert [p.text.messages for p in prompts.prompts] == [
        (Message("user", f"w{20 + i}"),) for i in range(6)
    ]
    split = pairs.split(0)
    asked = [
        {p.positive.messages[0].content for p in part.pairs} for part in (split.fit, split.test)
    ]
    assert not asked[0] & asked[1]


def test_a_contrast_of_system_messages_is_continued_without_them():
    one, other = (
        as_conversation([{"role": "system", "content": s}, QUESTION]) for s in ("w90", "w91")
    )
    [prompt] = opening_prompts("p", [ContrastPair(one, other, "c")]).prompts
    assert prompt.text.messages == (Message("user", "w40"),)


def test_a_conversation_is_refused_without_a_template(talking):
    turns = as_conversation(TURNS_OF["an open answer"])
    with pytest.raises(BadValueError, match="conversation.*--chat"):
        talking.tokens(turns)
    with pytest.raises(BadValueError, match="'p' holds conversations.*--chat"):
        in_chat(talking, PromptSet("p", (Prompt(turns),)), None)
    assert copy.deepcopy(turns).messages == turns.messages


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([{"role": "robot", "content": "x"}], "unknown role 'robot'"),
        ([{"role": "user", "content": " "}], "message of the user is empty"),
        ([{"role": "user", "content": "\ud83d"}], "half of a surrogate pair"),
        ([{"role": "user", "content": "x", "name": "y"}], "and nothing else"),
        ([{"role": "user", "content": None}], "must be texts"),
        ([{"role": "system", "content": "x"}], "needs a message of the user or the assistant"),
        ([], "list of messages"),
        (["x"], "a message is"),
    ],
)
def test_a_conversation_that_cannot_be_read_is_named_with_its_line(tmp_path, turns, said):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(ContrastError, match=f"p.jsonl, line 1: .*{said}"):
        load_prompts(path)


# -- what a template is told ------------------------------------------------------------------------

DATED = (
    "{{ strftime_now('%Y') }} " + TALK + "{% if quiet is defined and quiet is false %}w8{% endif %}"
)


def test_the_date_is_fixed_stored_and_part_of_the_name(load, monkeypatch):
    model = load("llama")
    monkeypatch.setattr(model.tokenizer, "chat_template", DATED)
    usual, later = (wrapped(model, PROMPTS, chat) for chat in (Chat(), Chat(date="2031-07-01")))
    assert usual.prompts[0].text.startswith("2025 w3")
    assert later.prompts[0].text.startswith("2031 w3")
    assert usual.template != later.template
    assert Chat(date="2031-07-01").stored() == {"date": "2031-07-01"}
    monkeypatch.setattr(model.tokenizer, "chat_template", TALK)  # asks for no date
    assert (
        wrapped(model, PROMPTS).template
        == wrapped(model, PROMPTS, Chat(date="2031-07-01")).template
    )
    monkeypatch.setattr(model.tokenizer, "chat_template", "{{ strftime_now('%' + 'Y') }}" + TALK)
    with pytest.raises(TemplateError, match="cannot be fixed"):
        wrapped(model, PROMPTS)


def test_arguments_reach_the_template_and_one_that_it_does_not_read_is_refused(load, monkeypatch):
    model = load("llama")
    monkeypatch.setattr(model.tokenizer, "chat_template", DATED)
    quiet = Chat(arguments=("quiet=false",))
    assert wrapped(model, PROMPTS, quiet).prompts[0].text.endswith("w8")
    assert not wrapped(model, PROMPTS).prompts[0].text.endswith("w8")
    assert wrapped(model, PROMPTS, quiet).template != wrapped(model, PROMPTS).template
    with pytest.raises(TemplateError, match="reads no 'loud'"):
        wrapped(model, PROMPTS, Chat(arguments=("loud=1",)))
    assert Chat(arguments=("a=false", "b=3", "c=text", "d=True")).options() == {
        "a": False, "b": 3, "c": "text", "d": True,
    }  # fmt: skip
    for wrong in ({"arguments": ("x",)}, {"date": "1 May"}):
        with pytest.raises(BadValueError, match="write it as"):
            Chat(**wrong)


@pytest.mark.parametrize(
    "chat", [Chat(), Chat("w90"), Chat("", ("quiet=false",)), Chat(date="2031-07-01")]
)
def test_a_stored_chat_is_read_back(chat):
    assert as_chat(json.loads(json.dumps(chat.stored()))) == chat
    assert plan_of_chat(chat) == chat


def plan_of_chat(chat):
    """The chat of a plan that was asked for with what a run has stored of it."""
    return SweepPlan(chat=as_chat(chat.stored())).chat


def test_no_chat_is_none():
    assert as_chat(None) is None
    assert as_chat(False) is None
    assert SweepPlan(chat=False).chat is None
    with pytest.raises(BadValueError, match="parts of arguments, date, system"):
        as_chat({"sytem": "x"})


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


def test_a_system_message_on_the_command_line_asks_for_the_chat_and_is_kept(
    chat_folder, pairs_file, tmp_path, capsys
):
    out = tmp_path / "run"
    sweep = [
        "sweep",
        "--model",
        chat_folder,
        "--out",
        out,
        "--contrasts",
        pairs_file,
        "--layers",
        "1",
    ]
    sweep += ["--doses", "1", "--n-new", "2", "--system", "w90"]
    command(*sweep)
    run = Run.open(out)
    assert run.configuration["chat"] == {"system": "w90", "date": "2025-01-01"}
    assert all(t["given"].startswith("<s> w4 w90 w3 w") for t in run.texts().to_dict("records"))
    parts = sorted((out / "rows").iterdir())
    command(*sweep)  # goes on where nothing is missing
    assert sorted((out / "rows").iterdir()) == parts
    with pytest.raises(SystemExit, match="2"):
        command(*sweep[:-2], "--chat")
    assert "other settings (chat" in capsys.readouterr().err


def test_a_conversation_on_the_command_line_is_json(chat_folder, pairs_file, tmp_path, capsys):
    vector = tmp_path / "v.safetensors"
    command("vectors", "--model", chat_folder, "--contrasts", pairs_file, "--layers", "1", "--chat",
            "--out", vector)  # fmt: skip
    turns = json.dumps([{"role": "system", "content": "w90"}, QUESTION])
    steer = [
        "steer",
        "--model",
        chat_folder,
        "--vector",
        vector,
        "--n-new",
        "3",
        "--temperature",
        "0",
    ]
    said = []
    for asked in (["--prompt", turns, "--chat"], ["--prompt", "w40", "--system", "w90"]):
        capsys.readouterr()
        command(*steer, *asked)
        said.append(capsys.readouterr().out.split("\n", 1)[1])
    assert said[0] == said[1]


def test_every_command_that_takes_a_model_can_talk():
    from typer.main import get_command

    from steerscope.cli import app

    def commands(group, name):
        for part, found in getattr(group, "commands", {}).items():
            yield from commands(found, f"{name} {part}")
        if not hasattr(group, "commands"):
            yield name, {p.name for p in group.params}

    taking = {n: p for n, p in commands(get_command(app), "steerscope") if "model" in p}
    assert len(taking) > 10
    silent = {n for n, p in taking.items() if not {"chat", "system", "template", "date"} <= p}
    mute = {
        "steerscope adapter merge",
        "steerscope weights export",
    }  # they say nothing to the model
    by_themselves = {
        "steerscope chat",
        "steerscope serve",
    }  # they put what is said into its template
    assert silent == mute | by_themselves
