"""Files as people have them: tables of spreadsheets, capitals in a suffix, words one in a line, dates of YAML."""

from __future__ import annotations

import datetime
import json

import pytest

from steerscope.cli.shared import _spoken
from steerscope.errors import BadValueError, ContrastError, ExperimentError
from steerscope.experiments import load_experiment
from steerscope.judges.scorers.words import read_words
from steerscope.studies.dilemmas.data import read_dilemmas
from steerscope.studies.routing.plan import read_phases
from steerscope.texts.about import about
from steerscope.texts.chats import FIXED_DATE, as_chat
from steerscope.texts.contrasts import load_contrasts, load_prompts
from steerscope.texts.yaml_files import read_yaml

HEAD = "name: e\nquestion: q?\njob: study\nmodels: [microworld]\ncontrasts: [mood]\n"
PAIRS = [("she smiled", "she wept", "mood"), ("he laughed", "he cried", "mood")]


def table(path, between):
    head = ("positive", "negative", "concept")
    path.write_text("\n".join(between.join(row) for row in (head, *PAIRS)) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "between"),
    [("p.csv", ","), ("p.CSV", ","), ("p.csv", ";"), ("p.tsv", "\t"), ("p.TSV", "\t")],
)
def test_pairs_of_a_table_are_read_however_it_was_saved(tmp_path, name, between):
    found = load_contrasts(table(tmp_path / name, between))
    assert [(p.positive, p.negative, p.concept) for p in found.pairs] == PAIRS


@pytest.mark.parametrize("name", ["p.ndjson", "p.JSONL"])
def test_json_lines_are_no_prompts_themselves(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"prompt": "She felt"}\n{"prompt": "He was"}\n')
    assert [p.text for p in load_prompts(path).prompts] == ["She felt", "He was"]


def test_what_is_known_of_a_table_stands_beside_it_under_its_name(tmp_path):
    (tmp_path / "pairs.about.json").write_text(
        json.dumps({"positive": "is glad", "judge": "length"})
    )
    for name, between in (("pairs.csv", ","), ("pairs.tsv", "\t")):
        assert about(table(tmp_path / name, between)).judge == "length"


def test_a_file_of_words_one_in_a_line_counts_them(tmp_path):
    path = tmp_path / "joyful.txt"
    path.write_text("# of joy\nhappy\njoy\n\nvery glad\n")
    assert read_words(path).positive == {"happy": 1.0, "joy": 1.0, "very glad": 1.0}
    path.write_text("positive: [happy]\nnegative: [sad]\n")
    assert (read_words(path).positive, read_words(path).negative) == ({"happy": 1.0}, {"sad": 1.0})


def test_a_date_of_yaml_is_a_date_and_what_is_no_text_is_refused():
    assert as_chat({"date": datetime.date(2025, 3, 1)}).date == "2025-03-01"
    assert as_chat({"system": None}).date == FIXED_DATE
    for strange in (
        {"date": 5},
        {"system": 5},
        {"arguments": "enable_thinking=false"},
        {"arguments": [5]},
    ):
        with pytest.raises(BadValueError, match="of a chat must be"):
            as_chat(strange)


def test_an_experiment_may_give_the_date_without_quotes(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(HEAD + "chat: {date: 2025-03-01}\n")
    assert as_chat(load_experiment(path).chat).date == "2025-03-01"
    path.write_text(HEAD + "chat: {system: 5}\n")
    with pytest.raises(ExperimentError, match="system of a chat must be a text"):
        load_experiment(path)


def test_a_value_with_nan_in_its_name_keeps_it(tmp_path):
    path = tmp_path / "d.csv"
    row = "1,\"Sell?\",{kind},act,\"['financial responsibility', 'good governance', nan]\"\n"
    head = "idx,dilemma_situation,action_type,action,values_names\n"
    path.write_text(
        head + row.format(kind="to_do") + row.format(kind="not_to_do").replace("financial", "no")
    )
    [found] = read_dilemmas(path)
    assert found.labels == {"financial responsibility": 1, "no responsibility": -1}


def test_a_conversation_may_be_printed_over_several_lines():
    pretty = json.dumps([{"role": "user", "content": "Hello"}], indent=2)
    assert _spoken(pretty) == _spoken(json.dumps(json.loads(pretty))) != pretty
    assert _spoken("[ not a conversation") == "[ not a conversation"


@pytest.mark.parametrize("value", ["!!bool maybe", "!!timestamp foo", '!!int ""'])
def test_a_value_that_is_not_of_its_tag_is_named(value):
    with pytest.raises(ContrastError, match="a value cannot be read"):
        read_yaml(f"key: {value}\n", "file.yaml", ContrastError)


def test_the_prompts_of_a_phase_are_one_name(tmp_path):
    path = tmp_path / "phases.yaml"
    path.write_text("phases:\n  plan: {contrasts: formal, prompts: [a.txt, b.txt]}\n")
    with pytest.raises(ExperimentError, match="`prompts` is a name or file"):
        read_phases(path)
