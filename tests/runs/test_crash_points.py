"""Killed at any rename, or started twice at once, a command ends with the same result or refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def counts_of(module, *arguments):
    """What a module of these tests counts, of which nothing may be wrong."""
    code = [sys.executable, "-m", f"tests.runs.{module}", *map(str, arguments)]
    said = subprocess.run(code, capture_output=True, text=True, check=False, cwd=ROOT)
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert all(part["wrong"] == [] for part in found.values()), found
    return found


@pytest.mark.slow
def test_every_long_command_survives_a_kill_at_any_rename_and_a_second_one_beside_it(tmp_path):
    found = counts_of("crash_points", tmp_path, 16, 20)
    points = sum(part.get("points", 0) for part in found.values())
    assert points >= 60
    assert sum(part.get("same", 0) for part in found.values()) >= 0.9 * points
    assert found["two at once"]["pairs"] == 20


@pytest.mark.slow
def test_every_long_command_survives_ctrl_c_a_kill_at_any_moment_and_a_full_disk(tmp_path):
    found = counts_of("interruptions", tmp_path, 3)
    assert len(found) == 5
    assert all(part["killed"] == part["interrupted"] == 3 for part in found.values())
    assert all(part["without room"] for part in found.values())
