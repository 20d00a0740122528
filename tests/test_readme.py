"""The README keeps its word: its Python runs and its files exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_python_of_the_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    printed = capsys.readouterr().out
    [shown] = re.findall(r"```text\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert printed.startswith(shown)
    assert shown.splitlines()[-1].endswith(printed.splitlines()[-1].strip())


@pytest.mark.parametrize("path", ["README.md", "data/contrasts/README.md"])
def test_what_a_page_links_to_exists(path):
    page = README.parent / path
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


def test_the_commands_of_the_readme_exist():
    from typer.main import get_command

    from steerscope.cli import app

    named = set(re.findall(r"^\| `steerscope (\w+)` \|", README.read_text(), flags=re.MULTILINE))
    assert named == set(get_command(app).commands)


def test_the_methods_of_the_readme_are_those_that_there_are():
    from steerscope.directions import ALIASES, CONTROLS, METHODS

    page = README.read_text()
    for heading, known in (("method", METHODS), ("control", CONTROLS)):
        table = page.split(f"| {heading} | what it ")[1].split("\n\n")[0]
        assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == list(known)
    assert all(f"`{alias}`" in page for alias in ALIASES)


def test_the_operators_scopes_and_strengths_of_the_readme_are_those_that_there_are():
    from steerscope.steering.operators import OPERATORS
    from steerscope.steering.scopes import Scope
    from steerscope.steering.strengths import STRENGTHS, parse_strength

    section = README.read_text().split("## Ways to apply it")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, flags=re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == list(OPERATORS)
    words = section.split("Scopes are")[1]
    for text in re.findall(r"`([a-z_]+(?::[A-Z0-9.]+)*)`", words.split("Strengths")[0]):
        for letters, number in (("ID", "7"), ("N", "2"), ("A", "2"), ("B", "5")):
            text = text.replace(letters, number)
        Scope.parse(text)
    shown = {
        parse_strength(text).name
        for text in re.findall(r"`([a-z_]+(?::[0-9.]+)+)`", words.split("Strengths")[1])
    }
    assert shown == set(STRENGTHS) - {"constant", "eigengap"}


def test_the_speeds_of_the_readme_are_those_that_were_measured():
    """Each number of the table is a ratio in a file of the benchmarks, and none is left out."""
    rows = README.read_text().split("| the same job |")[1].split("\n\n")[0].splitlines()[2:]
    results = README.parent / "benchmarks/results"
    lengths = {}
    for found in json.loads((results / "cpu-lengths.json").read_text()):
        task = found["task"]
        scope = [task["scope"]] if task.get("scope", "everywhere") != "everywhere" else []
        key = (found["shape"], task["prompt_tokens"], task["new_tokens"], *scope)
        lengths[key] = found["ratios"]
    loops = {
        name: json.loads((results / f"cpu-{name}.json").read_text())["ratios"]
        for name in ("gpt2-124m", "microworld", "gpt2-124m-score", "gpt2-124m-extract")
    }
    short = {name: lengths[name, 16, 24] for name in ("gpt2-124m", "microworld")}
    of_rows = [
        *((loops[name], ratios["transformers_batch"]) for name, ratios in short.items()),
        *(
            (r, r["transformers_batch"])
            for key, r in lengths.items()
            if key not in {(name, 16, 24) for name in short}
        ),
        (loops["gpt2-124m-score"], None),
        (loops["gpt2-124m-extract"], None),
    ]
    for row, (ratios, one_batch) in zip(rows, of_rows, strict=True):
        looped = ratios.get("hooked_loop", ratios.get("hooked_forwards"))
        measured = [ratios.get("steering_vectors"), ratios.get("repeng"), looped]
        first, *cells = [cell.strip() for cell in row.split("|")[2:6]]
        assert first == ("" if one_batch is None else f"{one_batch:.2f}"), row
        assert cells == ["" if ratio is None else f"{ratio:.1f}" for ratio in measured], row


def test_the_sentences_of_the_readme_are_those_of_the_studies():
    said = pd.read_csv(README.parent / "figures/smollm2-answers.csv").sentence
    quotes = re.findall(r"(?:^> .*\n)+", README.read_text(), flags=re.MULTILINE)
    assert len(quotes) == 2
    for quote in quotes:
        assert " ".join(line[2:] for line in quote.splitlines()) in set(said)


def test_the_shares_of_a_real_model_are_those_of_the_studies():
    answers = pd.read_csv(README.parent / "figures/smollm2-answers.csv")
    page = (README.parent / "docs/pages/a_real_model.md").read_text()
    table = page.split("| concept | chosen |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == len(answers)
    for row, (_, a) in zip(table, answers.iterrows(), strict=True):
        share, low, high = (100 * a[k] for k in ("shows_and_undamaged", "low", "high"))
        chosen, shows, plain, asked, answer = (cell.strip() for cell in row.split("|")[2:7])
        assert chosen == f"layer {a.layer}, {a.dose_natural:+g}"
        assert shows == f"{share:.1f} % [{low:.1f}, {high:.1f}]"
        assert (plain, asked) == (f"{100 * a.plain:.1f} %", f"{100 * a.asked:.1f} %")
        assert a.sentence.startswith(f"{answer}: "), row
