"""A small run of the command line."""

from __future__ import annotations

import pytest

from tests.cli.options import SMALL


@pytest.fixture
def small_run(run_cli, tiny_folder, words, tmp_path):
    out = tmp_path / "run"
    code, said, errors = run_cli(
        "report", "--model", tiny_folder("llama"), "--contrasts", words, "--out", out, *SMALL
    )
    assert code == 0, errors
    return out, said
