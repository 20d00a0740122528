"""How commands end: exit codes, strict JSON, errors as JSON, one short line whatever is asked."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from steerscope.cli.endings import one_line, strict_json
from steerscope.errors import BadValueError


def refuse_constants(name):
    raise AssertionError(f"{name} is not JSON")


def test_what_no_number_is_becomes_null_and_an_infinity_says_so():
    result = {
        "nan": math.nan,
        "inf": [-math.inf, np.float32("inf")],
        "of numpy": np.float64(0.5),
        "whole": np.int64(3),
        "array": np.array([1.0, np.nan]),
        "tensor": torch.tensor([1, 2]),
        "path": Path("a/b"),
        "flag": np.bool_(True),
        4: (None, "text"),
    }
    text = strict_json(result)
    assert json.loads(text, parse_constant=refuse_constants) == {
        "nan": None,
        "inf": ["-inf", "inf"],
        "of numpy": 0.5,
        "whole": 3,
        "array": [1.0, None],
        "tensor": [1, 2],
        "path": "a/b",
        "flag": True,
        "4": [None, "text"],
    }


def test_a_message_is_one_short_line_without_control_characters():
    line = one_line(f"no file {'x' * 5000}\n\x1b[2J; look " + "again " * 1000)
    assert len(line) < 2000
    assert "(5,000 characters)" in line
    assert line.isprintable()


def test_errors_are_json_where_results_are(run_cli):
    code, said, errors = run_cli("lens", "--json")
    assert (code, said) == (2, "")
    assert json.loads(errors)["error"] == "BadValueError"
    assert "--vector or --prompt" in json.loads(errors)["message"]
    code, _, errors = run_cli("lens", "--json", "--top", "many")
    assert code == 2
    assert "--top" in json.loads(errors)["message"]


def test_a_fault_of_ours_is_json_too(run_cli, monkeypatch):
    import steerscope.models.loading as loading

    def fail(*_, **__):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(loading, "load_model", fail)
    code, said, errors = run_cli("lens", "--prompt", "x", "--json")
    assert (code, said) == (1, "")
    assert "Traceback" in json.loads(errors)["traceback"]


def test_ctrl_c_ends_with_130_and_its_sentence(run_cli, monkeypatch):
    import steerscope.models.loading as loading

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load_model", interrupted)
    code, said, errors = run_cli("lens", "--prompt", "x")
    assert (code, said) == (130, "")
    assert errors == "stopped; what is written is whole, and the same command goes on from it.\n"
    code, _, errors = run_cli("lens", "--prompt", "x", "--json")
    assert code == 130
    assert json.loads(errors) == {"stopped": errors and json.loads(errors)["stopped"]}


@pytest.mark.slow
def test_a_real_interrupt_ends_a_real_process_with_130(tmp_path):
    command = [sys.executable, "-m", "steerscope", "sweep", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    while not (tmp_path / "run" / "run.json").is_file():
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("stopped; ")


def test_what_the_system_refuses_is_a_sentence(run_cli, monkeypatch):
    import steerscope.models.loading as loading

    def full(*_, **__):
        raise OSError(28, "No space left on device", "/somewhere/rows")

    monkeypatch.setattr(loading, "load_model", full)
    code, _, errors = run_cli("lens", "--prompt", "x")
    assert code == 2
    assert errors.startswith("error: the system says 'no space left on device' (/somewhere/rows)")


def test_text_that_is_not_utf8_and_null_characters_are_refused(run_cli):
    for bad, words in (("\udcff", "is not UTF-8"), ("a\0b", "null character")):
        code, said, errors = run_cli("lens", "--prompt", bad)
        assert (code, said) == (2, "")
        assert words in errors


def test_every_message_of_an_error_of_ours_is_shortened(run_cli):
    code, _, errors = run_cli("lens", "--vector", "x" * 9000)
    assert code == 2
    assert len(errors) < 2000
    assert BadValueError.__doc__
