"""Killed at any rename, or started twice at once, a command ends with the same result or refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_long_command_survives_a_kill_at_any_rename_and_a_second_one_beside_it(tmp_path):
    code = [sys.executable, "-m", "tests.runs.crash_points", str(tmp_path), "16", "20"]
    root = Path(__file__).parents[2]
    said = subprocess.run(code, capture_output=True, text=True, check=False, cwd=root)
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert all(part["wrong"] == [] for part in found.values()), found
    points = sum(part.get("points", 0) for part in found.values())
    assert points >= 60
    assert sum(part.get("same", 0) for part in found.values()) >= 0.9 * points
    assert found["two at once"]["pairs"] == 20
