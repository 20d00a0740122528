"""What who installs and imports the library finds: types, a version, names, and the data in the wheel."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import steerscope

ROOT = Path(__file__).parents[1]
USER = """
import steerscope

model = steerscope.load_model("microworld")
pairs = steerscope.load_contrasts("mood")
site = steerscope.Site("resid_post", 3)
contrast = steerscope.extract(model, pairs, [site])[site]
direction = steerscope.find_direction("mean_diff", contrast)
cell = steerscope.Cell((steerscope.Steering(direction, steerscope.Dose(1.0)),))
texts = steerscope.generate(model, ["A day."], [cell], n_new=5)
reveal_type(model)
reveal_type(pairs)
reveal_type(direction)
reveal_type(steerscope.__version__)
steerscope.load_contrasts(3)
"""
SETTINGS = """
[mypy]
ignore_missing_imports = true
[mypy-torch.*,transformers.*,numpy.*,pandas.*,plotly.*,scipy.*,pydantic.*,typer.*]
follow_imports = skip
"""


def test_the_version_is_that_of_the_installed_package():
    assert steerscope.__version__ == version("steerscope")


def test_completion_shows_the_public_names_and_nothing_else():
    assert dir(steerscope) == sorted([*steerscope.__all__, "__version__"])


def test_a_checker_of_types_finds_every_public_name_where_it_is_loaded_from():
    tree = ast.parse(Path(steerscope.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    homes = {
        alias.name: node.module.removeprefix("steerscope.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert homes == steerscope._HOME


def test_the_ten_lines_of_a_user_have_types(tmp_path):
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    options = ["--config-file", "mypy.ini", "--cache-dir", "cache", "user.py"]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options], cwd=tmp_path, capture_output=True, text=True
    )
    said = found.stdout
    for kind in ("LensModel", "ContrastSet", "Direction", "str"):
        assert f'{kind}"' in said.replace("builtins.", ""), said
    assert 'incompatible type "int"; expected "str | Path | ' in said
    assert "Found 1 error in 1 file" in said


def test_the_wheel_holds_the_mark_of_types_and_the_bundled_data(tmp_path):
    pytest.importorskip("hatchling", reason="the builder of wheels is not installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "steerscope").rglob("*.py")}
    assert modules <= held
    assert "steerscope/py.typed" in held
    assert any(name.startswith("steerscope/data/microworld/") for name in held)
