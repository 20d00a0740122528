from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from steerscope.errors import RunConflictError, RunError
from steerscope.runs.results import COLUMNS, Run
from tests.helpers import row

CONFIGURATION = {"model": "m", "doses": (1.0, 2.0), "seed": 0}
ORIGIN = {"fingerprint": "abc"}


def start(path, **changes):
    return Run.start(path, {**CONFIGURATION, **changes}, provenance=ORIGIN)


def test_rows_are_read_back_in_order_with_the_run_in_front(tmp_path):
    run = start(tmp_path / "r")
    run.append([row(prompt=1, value=0.5), row(prompt=0, value=math.nan)])
    run.append([row(cell="a", prompt=0, value=2.0)])
    table = Run.open(tmp_path / "r").table()
    assert tuple(table.columns) == ("run", *COLUMNS)
    assert table.cell.tolist() == ["a", "plain", "plain"]
    assert table.prompt.tolist() == [0, 0, 1]
    assert table.value.tolist()[::2] == [2.0, 0.5]
    assert math.isnan(table.value[1])


def test_the_same_measurement_again_is_left_out_and_another_value_is_a_conflict(tmp_path):
    run = start(tmp_path / "r")
    run.append([row(value=0.5), row(prompt=1, value=math.nan)])
    reopened = start(tmp_path / "r")
    reopened.append([row(value=0.5), row(prompt=1, value=math.nan)])
    assert len(reopened.table()) == 2
    assert len(list((tmp_path / "r" / "rows").iterdir())) == 1
    with pytest.raises(RunConflictError, match="was 0.5 and is now 0.6"):
        reopened.append([row(value=0.6)])
    with pytest.raises(RunConflictError):
        Run.open(tmp_path / "r").append([row(prompt=1, value=0.0)])


def test_a_run_continues_only_with_the_same_settings_and_weights(tmp_path):
    start(tmp_path / "r")
    assert start(tmp_path / "r").configuration["doses"] == [1.0, 2.0]
    with pytest.raises(RunError, match="other settings .seed."):
        start(tmp_path / "r", seed=1)
    with pytest.raises(RunError, match="model weights"):
        Run.start(tmp_path / "r", CONFIGURATION, provenance={"fingerprint": "other"})


def test_a_folder_that_is_no_run_is_not_touched(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(RunError, match="is not a run; choose another"):
        start(tmp_path / "letters")
    assert [p.name for p in (tmp_path / "letters").iterdir()] == ["a.txt"]
    with pytest.raises(RunError, match="has no run.json"):
        Run.open(tmp_path / "letters")
    (tmp_path / "letters" / "run.json").write_text("{")
    with pytest.raises(RunError, match="not JSON"):
        Run.open(tmp_path / "letters")


def test_a_run_without_rows_says_so(tmp_path):
    with pytest.raises(RunError, match="no rows yet"):
        start(tmp_path / "r").table()


def test_texts_lie_beside_the_rows_once(tmp_path):
    run = start(tmp_path / "r")
    text = {"cell": "plain", "prompt": 0, "split": "select", "given": "a", "written": "b"}
    run.append([row(prompt=0)], [text])
    run.append([row(prompt=1)], [text, {**text, "prompt": 1}])
    assert run.texts().prompt.tolist() == [0, 1]


_WRITER = """
import sys, time
from steerscope.runs.results import Run
from tests.helpers import row
run = Run.start(sys.argv[1], {"seed": 0}, provenance={})
for cell in range(30):
    rows = [row(cell=f"c{cell}", prompt=p, value=cell + p / 7) for p in range(40)]
    if not run.has(r.key for r in rows):
        run.append(rows)
    time.sleep(float(sys.argv[2]))
"""


def test_killed_in_the_middle_and_started_again_it_has_the_table_of_an_unbroken_run(tmp_path):
    def write(path, pause):
        return subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(pause)])

    assert write(tmp_path / "whole", 0).wait() == 0
    killed = 0
    for wanted in (3, 9, 17):
        process = write(tmp_path / "broken", 0.05)
        rows = tmp_path / "broken" / "rows"
        while process.poll() is None and (not rows.is_dir() or len(list(rows.iterdir())) < wanted):
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 3
    assert len(Run.open(tmp_path / "broken").table()) < 30 * 40
    assert write(tmp_path / "broken", 0).wait() == 0
    whole, broken = (Run.open(tmp_path / n).table() for n in ("whole", "broken"))
    pd.testing.assert_frame_equal(whole.drop(columns="run"), broken.drop(columns="run"))


def test_a_part_that_was_never_finished_is_not_read(tmp_path):
    run = start(tmp_path / "r")
    run.append([row()])
    (tmp_path / "r" / "rows" / "00001.unfinished").write_bytes(b"half a file")
    assert len(Run.open(tmp_path / "r").table()) == 1
    Run.open(tmp_path / "r").append([row(prompt=1)])
    assert len(Run.open(tmp_path / "r").table()) == 2
