"""Commands run in this process, and a small run of theirs."""

from __future__ import annotations

import json

import pytest

from steerscope.cli import main
from tests.cli.options import SMALL


@pytest.fixture
def run_cli(capsys):
    """Run a command in this process: exit code, standard output, standard error."""

    def call(*arguments):
        code = 0
        try:
            main(list(map(str, arguments)))
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def words(tmp_path):
    """A contrast file for the tiny models, whose vocabulary is w3 to w95."""
    path = tmp_path / "words.jsonl"
    rows = [
        {"positive": f"w{i} w6 w7", "negative": f"w{i} w8 w9", "concept": "c"}
        for i in range(10, 34)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def small_run(run_cli, tiny_folder, words, tmp_path):
    out = tmp_path / "run"
    code, said, errors = run_cli(
        "report", "--model", tiny_folder("llama"), "--contrasts", words, "--out", out, *SMALL
    )
    assert code == 0, errors
    return out, said
