"""A small run of the command line."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout, suppress

import pytest

from steerscope.cli import main
from tests.cli.options import SMALL


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """A contrast file for the tiny models, whose vocabulary is w3 to w95."""
    path = tmp_path_factory.mktemp("words") / "words.jsonl"
    rows = [
        {"positive": f"w{i} w6 w7", "negative": f"w{i} w8 w9", "concept": "c"}
        for i in range(10, 34)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture(scope="session")
def _measured(tiny_folder, words, tmp_path_factory):
    """A report that is measured once: its run directory and what was printed."""
    out, said = tmp_path_factory.mktemp("report") / "run", io.StringIO()
    model = str(tiny_folder("llama"))
    with redirect_stdout(said), redirect_stderr(io.StringIO()) as errors, suppress(SystemExit):
        main(["report", "--model", model, "--contrasts", str(words), "--out", str(out), *SMALL])
    assert "report: " in said.getvalue(), errors.getvalue()
    return out, said.getvalue()


@pytest.fixture
def small_run(_measured, tmp_path):
    """A copy of that report that a test may change, and what was printed."""
    there, said = _measured
    out = tmp_path / "run"
    shutil.copytree(there, out)
    return out, said.replace(str(there), str(out))
