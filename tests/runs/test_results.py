from __future__ import annotations

import math
import shutil
import subprocess
import sys
import threading

import pandas as pd
import pytest

from steerscope.errors import BusyError, RunConflictError, RunError
from steerscope.runs.ownership import owned
from steerscope.runs.parts import lost_parts
from steerscope.runs.results import COLUMNS, FORMAT_VERSION, Run, measuring
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
    start(tmp_path / "r").append([row()])
    assert start(tmp_path / "r").configuration["doses"] == [1.0, 2.0]
    with pytest.raises(RunError, match="other settings .seed."):
        start(tmp_path / "r", seed=1)
    with pytest.raises(RunError, match="model weights"):
        Run.start(tmp_path / "r", CONFIGURATION, provenance={"fingerprint": "other"})
    with pytest.raises(RunError, match="weights of the second model"):
        Run.start(tmp_path / "r", CONFIGURATION, provenance=ORIGIN | {"second_model": "other"})


def test_a_run_of_a_later_format_is_refused_and_one_of_an_earlier_is_read(tmp_path):
    run = start(tmp_path / "r")
    run.append([row()])
    said, now = (run.path / "run.json").read_text(), f'"format_version": {FORMAT_VERSION}'
    assert now in said
    for version in (FORMAT_VERSION + 1, 0, '"2"', "null"):
        (run.path / "run.json").write_text(said.replace(now, f'"format_version": {version}'))
        with pytest.raises(RunError, match="is a run of format .* this steerscope reads up to"):
            Run.open(run.path)
        with pytest.raises(RunError, match="is a run of format"):
            start(run.path)
    for earlier in ('"format_version": 1,', ""):
        (run.path / "run.json").write_text(said.replace(f"{now},", earlier))
        assert len(Run.open(run.path).table()) == 1


def test_what_could_not_be_written_is_not_taken_for_stored(tmp_path, monkeypatch):
    run = start(tmp_path / "r")

    def full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("steerscope.runs.results.write_part", full)
        with pytest.raises(OSError, match="no space"):
            run.append([row()])
    assert not run.has([("plain", 0, "select", "flipped")])
    run.append([row()])
    assert len(Run.open(run.path).table()) == 1


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


_WRITERS = """
import os, signal, sys, time
from pathlib import Path
from steerscope.runs.results import Run
from tests.helpers import row

def write(path, pause=0.0):  # in a child, which need import nothing again
    child = os.fork()
    if child:
        return child
    run = Run.start(path, {"seed": 0}, provenance={})
    for cell in range(30):
        rows = [row(cell=f"c{cell}", prompt=p, value=cell + p / 7) for p in range(40)]
        if not run.has(r.key for r in rows):
            run.append(rows)
        time.sleep(pause)
    os._exit(0)

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

home = Path(sys.argv[1])
assert ended(write(home / "whole")) == 0
for wanted in (3, 9, 17):
    child, rows = write(home / "broken", 0.05), home / "broken" / "rows"
    while not rows.is_dir() or len(list(rows.iterdir())) < wanted:
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
assert len(Run.open(home / "broken").table()) < 30 * 40
assert ended(write(home / "broken")) == 0
"""


def test_killed_in_the_middle_and_started_again_it_has_the_table_of_an_unbroken_run(tmp_path):
    said = subprocess.run([sys.executable, "-c", _WRITERS, str(tmp_path)], check=False, timeout=300)
    assert said.returncode == 0
    whole, broken = (Run.open(tmp_path / n).table() for n in ("whole", "broken"))
    assert len(whole) == 30 * 40
    pd.testing.assert_frame_equal(whole.drop(columns="run"), broken.drop(columns="run"))


def test_a_part_that_was_never_finished_is_not_read(tmp_path):
    run = start(tmp_path / "r")
    run.append([row()])
    half = tmp_path / "r" / "rows" / "00001.parquet.0123.unfinished"
    half.write_bytes(b"half a file")
    assert len(Run.open(tmp_path / "r").table()) == 1
    start(tmp_path / "r").append([row(prompt=1)])
    assert len(Run.open(tmp_path / "r").table()) == 2
    assert not half.exists()


def test_a_run_of_which_nothing_is_measured_may_become_another(tmp_path):
    start(tmp_path / "r", doses=(-1.0,))
    assert start(tmp_path / "r").configuration["doses"] == [1.0, 2.0]
    assert Run.open(tmp_path / "r").configuration["doses"] == [1.0, 2.0]
    (tmp_path / "r" / "run.json").write_text("{")
    start(tmp_path / "r").append([row()])
    (tmp_path / "r" / "run.json").write_text("{")
    with pytest.raises(RunError, match="not JSON .*; delete the folder"):
        start(tmp_path / "r")


def test_a_part_replaces_no_other_whatever_was_deleted_before(tmp_path):
    run = start(tmp_path / "r")
    for prompt in range(3):
        run.append([row(prompt=prompt)])
    first, *others = sorted((tmp_path / "r" / "rows").iterdir())
    kept = {p.name: p.read_bytes() for p in others}
    first.unlink()
    again = start(tmp_path / "r")
    again.append([row(prompt=prompt) for prompt in range(4)])
    assert again.table().prompt.tolist() == [0, 1, 2, 3]
    assert {n: (tmp_path / "r" / "rows" / n).read_bytes() for n in kept} == kept
    again.seal()
    assert not lost_parts(tmp_path / "r")


def test_a_lost_part_of_a_finished_run_is_measured_again_and_not_blessed(tmp_path, caplog):
    run = start(tmp_path / "r")
    run.append([row()])
    run.append([row(prompt=1)])
    run.seal()
    whole = run.table()
    next((tmp_path / "r" / "rows").iterdir()).unlink()
    with pytest.raises(RunError, match="is lost"):
        Run.open(tmp_path / "r").seal()
    again = start(tmp_path / "r")
    assert "is lost; what it held is measured again" in caplog.text
    assert not (tmp_path / "r" / "manifest.json").exists()
    again.append([row(), row(prompt=1)])
    again.seal()
    pd.testing.assert_frame_equal(Run.open(tmp_path / "r").table(), whole)


def test_a_damaged_and_a_foreign_part_are_named_with_what_mends_them(tmp_path):
    run = start(tmp_path / "r")
    run.append([row()])
    [part] = (tmp_path / "r" / "rows").iterdir()
    whole = part.read_bytes()
    part.write_bytes(whole[:-40])
    with pytest.raises(RunError, match=f"{part.name} cannot be read .*; delete it and measure"):
        run.table()
    with pytest.raises(RunError, match=f"{part.name} is not as it was measured; delete it and"):
        start(tmp_path / "r")
    part.unlink()
    start(tmp_path / "r").append([row()])
    foreign = part.with_name("00000.parquet")
    foreign.write_bytes(whole)
    with pytest.raises(RunError, match="is no part of this run, since it has no seal; move it"):
        start(tmp_path / "r")


def test_a_second_process_and_a_second_thread_are_told_at_once(tmp_path):
    run = start(tmp_path / "r")
    code = "import sys; from steerscope.runs.results import Run; "
    code += "Run.start(sys.argv[1], {}, provenance={})"
    refused = []

    def other():
        try:
            run.append([row()])
        except RunError as error:
            refused.append(str(error))

    with owned(tmp_path / "r", ours=True):
        start(tmp_path / "r").append([row()])  # the owner itself goes on
        command = [sys.executable, "-c", code, str(tmp_path / "r")]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "is being written by another process; wait until it has ended" in said.stderr
    assert len(refused) == 1
    run.append([row(prompt=1)])
    assert len(Run.open(tmp_path / "r").table()) == 2


def test_figures_are_drawn_by_one_at_a_time(tmp_path, run_cli):
    run = start(tmp_path / "r")
    run.append([row()])
    said = []
    with owned(run.path, ours=True):
        thread = threading.Thread(target=lambda: said.append(run_cli("figures", run.path)))
        thread.start()
        thread.join()
    [(code, _, errors)] = said
    assert code == 2
    assert "is being written by another process" in errors


def test_a_run_that_fails_before_anything_is_measured_leaves_nothing(tmp_path):
    def fail(path):
        with measuring(path):
            run = start(path)
            if path.name == "measured":
                run.append([row()])
            raise InterruptedError

    for name in ("new", "measured"):
        with pytest.raises(InterruptedError):
            fail(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["measured"]


def test_who_is_refused_leaves_the_owners_folder_alone(tmp_path):
    begun, refused = threading.Event(), threading.Event()

    def own():
        with measuring(tmp_path / "r"):
            start(tmp_path / "r")
            begun.set()
            refused.wait(20)

    thread = threading.Thread(target=own)

    def come_too_late():
        with measuring(tmp_path / "r"):  # it was not there yet
            thread.start()
            begun.wait(20)
            start(tmp_path / "r")

    with pytest.raises(BusyError):
        come_too_late()
    refused.set()
    thread.join()
    assert Run.open(tmp_path / "r").configuration["seed"] == 0


def test_two_writers_of_one_run_in_turn_see_each_others_rows(tmp_path):
    one, other = start(tmp_path / "r"), start(tmp_path / "r")
    one.append([row()])
    other.append([row(), row(prompt=1)])
    one.append([row(prompt=1), row(prompt=2)])
    assert one.table().prompt.tolist() == [0, 1, 2]
    with pytest.raises(RunConflictError):
        other.append([row(prompt=2, value=0.7)])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"configuration": 1}', "\x00", "[" * 10**5, "\udcff"]
)
def test_a_damaged_description_is_an_error_of_ours(text, tmp_path):
    run = start(tmp_path / "r")
    run.append([row()])
    (tmp_path / "r" / "run.json").write_text(text, errors="surrogateescape")
    with pytest.raises(RunError):
        Run.open(tmp_path / "r")


def test_runs_of_numbered_parts_and_of_none_sealed_still_load_and_continue(tmp_path):
    run = start(tmp_path / "r")
    run.append([row()])
    [part] = (tmp_path / "r" / "rows").iterdir()
    part.rename(part.with_name("00000.parquet"))
    [seal] = (tmp_path / "r" / "seals" / "rows").iterdir()
    seal.rename(seal.with_name("00000.txt"))
    start(tmp_path / "r").append([row(prompt=1)])
    shutil.rmtree(tmp_path / "r" / "seals")
    start(tmp_path / "r").append([row(prompt=2)])
    assert Run.open(tmp_path / "r").table().prompt.tolist() == [0, 1, 2]


def test_a_text_that_was_asked_for_in_words_says_what_the_model_read(tmp_path):
    run = start(tmp_path / "r")
    text = {"cell": "plain", "prompt": 0, "split": "test", "given": "Hello.", "written": "Hi."}
    asked = {**text, "cell": "asked", "seen": "Be terse.\n\nHello."}
    run.append([row(prompt=0)], [text])
    run.append([row(prompt=1)], [asked])
    assert run.texts().set_index("cell").seen.to_dict() == {
        "plain": "Hello.",
        "asked": "Be terse.\n\nHello.",
    }
