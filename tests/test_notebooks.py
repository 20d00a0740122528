"""Every notebook runs from the first cell to the last, and is kept with what its cells showed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def execution():
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_with_its_outputs_and_names_no_folder_of_this_machine(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = list(execution().code_of(notebook))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
    assert "/tmp/" not in path.read_text(encoding="utf-8")
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_from_the_first_cell_to_the_last(path):
    found = execution().execute(path)
    kept = json.loads(path.read_text(encoding="utf-8"))
    for now, then in zip(found["cells"], kept["cells"], strict=True):
        assert bool(now.get("outputs")) == bool(then.get("outputs")), now["source"]


@pytest.mark.slow
def test_the_first_steps_of_a_newcomer_lead_to_a_steered_text(tmp_path):
    folder = FOLDER.parent / "examples"
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in (
        [sys.executable, str(folder / "first_steps.py")],
        ["sh", str(folder / "first_steps.sh"), "microworld", "resid_post.4", "mine"],
    ):
        found = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PATH": beside},
            capture_output=True,
            text=True,
        )
        assert found.returncode == 0, found.stderr
        assert "plain:" in found.stdout
        assert "natural" in found.stdout
