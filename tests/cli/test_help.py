"""Help that can be typed: every command has an example, and every example can be read."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
from typing import get_args

import pytest
from typer.main import get_command

from steerscope.cli import app, choices
from steerscope.cli.helping import PANELS, examples_of
from steerscope.extraction.losses import LOSSES
from steerscope.progress import bar


def commands(group=None, path=()):
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_examples_that_it_can_read(path):
    examples = examples_of(COMMANDS[path].help)
    assert examples
    for example in examples:
        program, *rest = shlex.split(example)
        assert program == "steerscope"
        assert tuple(rest[: len(path)]) == path
        COMMANDS[path].make_context(path[-1], rest[len(path) :])  # raises where it cannot


def test_every_command_stands_in_a_panel(run_cli):
    _, said, _ = run_cli("-h")
    assert "More:" not in said
    assert set(get_command(app).commands) <= {name for names in PANELS.values() for name in names}
    for panel in PANELS:
        assert f"\n{panel}:" in said


@pytest.mark.parametrize("path", [(), ("report",), ("sae",), ("sae", "train")], ids=" ".join)
def test_short_and_long_ask_for_the_same_help_without_colours(run_cli, path):
    code, said, _ = run_cli(*path, "-h")
    assert (code, said) == run_cli(*path, "--help")[:2]
    assert code == 0
    assert "\x1b" not in said
    assert "Usage" in said


def test_a_short_name_is_the_long_one_and_its_number_is_checked(run_cli, tmp_path):
    code, _, errors = run_cli("report", "-m", "no-such-model", "-o", tmp_path / "run", "-n", "5")
    assert code == 2
    assert "no-such-model" in errors
    code, _, errors = run_cli("report", "-n", "1_0")
    assert code == 2
    assert "cannot read -n" in errors


def test_the_version_is_that_of_the_package(run_cli):
    from importlib.metadata import version

    assert run_cli("--version") == (0, f"steerscope {version('steerscope')}\n", "")


def test_the_names_in_the_help_are_those_that_there_are():
    from steerscope import directions, doses, sites
    from steerscope.figures.files import FORMATS
    from steerscope.figures.looks import THEMES
    from steerscope.models.loading import DType
    from steerscope.steering.operators import OPERATORS

    methods = {*directions.METHODS, *directions.CONTROLS, *directions.ALIASES}
    assert set(choices.METHODS) == methods
    assert choices.STREAMS == sites.STREAMS
    assert set(choices.LOSSES) == set(LOSSES)
    assert set(choices.OPERATORS) == set(OPERATORS)
    assert set(choices.UNITS) == set(doses.UNITS)
    assert (choices.FORMATS, choices.THEMES) == (FORMATS, THEMES)
    assert get_args(DType) == choices.DTYPES
    assert choices.completing(choices.STREAMS)("resid_p") == ["resid_pre", "resid_post"]
    assert "mood" in choices.contrast_names("mo")


@pytest.mark.parametrize(("flag", "notes", "shown"), [("-q", 0, False), ("", 1, True)])
def test_quiet_says_results_alone(run_cli, monkeypatch, flag, notes, shown):
    from steerscope.cli import lint as module

    heard = {}

    def check(*_):
        logging.getLogger("steerscope").info("a note")
        heard["bar"] = bar([], "x") != []
        return []

    monkeypatch.setattr("steerscope.audits.lint.lint", check)
    code, said, errors = run_cli("lint", "mood", *filter(None, [flag]))
    assert code == 0, errors
    assert said
    assert errors.count("a note") == notes
    assert heard["bar"] is shown
    assert module


def test_the_doctor_says_what_is_here(run_cli, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, said, _ = run_cli("doctor", "--json")
    found = json.loads(said)
    assert code == 0
    assert found["model hub"].startswith("off")
    assert found["torch"]
    assert found["device"].startswith(("cpu", "cuda", "mps"))
    assert {"browser", "memory free", "extra images"} <= set(found)


def test_a_folder_to_start_with_can_be_planned_and_is_not_overwritten(
    run_cli, tmp_path, monkeypatch
):
    code, said, _ = run_cli("init", tmp_path / "mine")
    assert code == 0
    assert "--dry-run" in said.splitlines()[-1]
    code, _, errors = run_cli("init", tmp_path / "mine")
    assert code == 2
    assert "pairs.jsonl" in errors
    monkeypatch.chdir(tmp_path / "mine")
    code, said, errors = run_cli("lint", "pairs.jsonl", "--strict")
    assert code == 0, said + errors


def test_the_shell_can_complete_names():
    script = "_STEERSCOPE_COMPLETE=complete_bash COMP_WORDS='steerscope sw' COMP_CWORD=1"
    code = f"{script} {sys.executable} -m steerscope"
    found = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert "sweep" in found.stdout


def test_the_methods_in_the_help_of_a_study_are_those_that_it_takes(run_cli):
    from steerscope.directions import METHODS

    assert set(choices.MEASURED) == set(METHODS)
    for command, controls in (("report", False), ("sweep", False), ("vectors", True)):
        code, said, _ = run_cli(command, "--help")
        assert code == 0
        assert ("label_shuffled" in said) is controls, command
        assert "fisher_difference" in said
