"""Many workers measure what one process measures, and lose nothing when they are stopped."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import pandas as pd
import psutil
import pytest

from steerscope.errors import BadValueError, ModelLoadError, RunError
from steerscope.runs.results import Run
from steerscope.studies import many_workers
from steerscope.studies.equipment import Equipment
from steerscope.studies.many_workers import Cluster, Share, lacking, on_ray, share_of
from steerscope.studies.steering.measure import run_sweep
from steerscope.studies.steering.plan import SweepPlan

PLAN = SweepPlan(
    max_select=4, n_new=4, layers=(1, 2), doses=(-2.0, -1.0, 1.0, 2.0), n_sweep_controls=8
)
TWO = [{"CPU": 2.0}, {"CPU": 2.0}]
GPUS = [{"CPU": 16.0, "GPU": 8.0}, {"CPU": 8.0}]


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        (TWO, Cluster(), Share(2, 2, 0.0)),
        (TWO, Cluster(workers=3), Share(3, 1, 0.0)),
        ([{"CPU": 5.0}, {"CPU": 5.0}], Cluster(workers=3), Share(3, 2, 0.0)),
        (GPUS, Cluster(), Share(8, 2, 1.0)),
        (GPUS, Cluster(gpus_per_worker=0.5), Share(16, 1, 0.5)),
        (GPUS, Cluster(workers=3, gpus_per_worker=0), Share(3, 8, 0.0)),
        ([{"CPU": 5.0, "GPU": 1.0}], Cluster(gpus_per_worker=0.2), Share(5, 1, 0.2)),
        ([{"CPU": 10.0, "GPU": 1.0}], Cluster(workers=10, gpus_per_worker=0.1), Share(10, 1, 0.1)),
    ],
)
def test_workers_share_their_machines_so_that_all_run_at_once(nodes, asked, expected):
    assert share_of(nodes, asked) == expected


def test_what_others_use_of_a_cluster_is_said():
    share = Share(4, 2, 0.5)
    assert lacking({"CPU": 8.0, "GPU": 2.0}, share) == ""
    assert lacking({"CPU": 8.0, "GPU": 1.5}, share) == "GPUs"
    assert lacking({"CPU": 7.0}, share) == "cores and GPUs"


@pytest.mark.parametrize(
    "asked", [Cluster(workers=5), Cluster(gpus_per_worker=1), Cluster(gpus_per_worker=0.5)]
)
def test_workers_that_do_not_fit_are_refused_with_what_there_is(asked):
    with pytest.raises(BadValueError, match="2 machines with 4 cores and 0 GPUs, room for"):
        share_of(TWO, asked)


@pytest.mark.parametrize(
    "asked", [{"workers": 0}, {"gpus_per_worker": -1}, {"gpus_per_worker": 1.5}]
)
def test_numbers_of_workers_and_gpus_that_mean_nothing_are_refused(asked):
    with pytest.raises(BadValueError, match=next(iter(asked))):
        Cluster(**asked)


def test_without_ray_an_error_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(many_workers, "import_module", missing)
    with pytest.raises(BadValueError, match=r"steerscope\[ray\]"), on_ray():
        pass


def test_an_engine_that_is_unknown_or_has_options_of_the_other_is_refused(run_cli, tmp_path):
    out = tmp_path / "run"
    assert "Known: local, ray" in run_cli("sweep", "-o", out, "--engine", "dask")[2]
    assert "--workers is not used here" in run_cli("sweep", "-o", out, "--workers", 2)[2]
    assert not out.exists()


def same(one, other):
    ours, theirs = (run.table().drop(columns="run") for run in (one, other))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4, atol=1e-6)
    pd.testing.assert_frame_equal(one.texts(), other.texts())


@pytest.fixture(scope="module")
def hired():
    pytest.importorskip("ray", reason="Ray is an extra")
    with on_ray(Cluster(workers=2)) as workers:
        yield workers


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run_sweep(PLAN, tmp_path_factory.mktemp("alone") / "run")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestOnRay:
    def test_two_workers_store_the_rows_and_texts_of_one_process(self, hired, alone, tmp_path):
        same(run_sweep(PLAN, tmp_path / "run", workers=hired), alone)

    def test_a_worker_that_is_killed_is_replaced_and_its_block_repeated(
        self, hired, alone, tmp_path
    ):
        here = psutil.Process()
        stop, killed = threading.Event(), []

        def kill():
            while not stop.wait(2.0) and len(killed) < 3:
                found = [p for p in here.children(recursive=True) if _is_worker(p)]
                if found:
                    os.kill(found[0].pid, signal.SIGKILL)
                    killed.append(found[0].pid)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            found = run_sweep(PLAN, tmp_path / "run", workers=hired)
        finally:
            stop.set()
            killer.join()
        assert killed
        same(found, alone)

    def test_a_second_start_finishes_what_is_missing(self, hired, alone, tmp_path):
        class Stopped(Exception):
            pass

        def one_block(items, label):
            for number, item in enumerate(items):
                yield item
                if label.startswith("measuring") and number == 0:
                    raise Stopped

        with pytest.raises(Stopped):
            run_sweep(PLAN, tmp_path / "run", workers=hired, progress=one_block)
        some = len(Run.open(tmp_path / "run").table())
        assert 0 < some < len(alone.table())
        same(run_sweep(PLAN, tmp_path / "run", workers=hired), alone)

    def test_an_error_on_a_worker_has_its_name_and_words(self, hired, tmp_path, monkeypatch):
        of = Equipment.of
        monkeypatch.setattr(
            Equipment, "of", lambda *given: replace(of(*given), fingerprint="0" * 64)
        )
        with pytest.raises(ModelLoadError, match="other weights than where the run was started"):
            run_sweep(PLAN, tmp_path / "run", workers=hired)

    def test_an_address_where_nobody_answers_is_refused(self):
        ray = pytest.importorskip("ray", reason="Ray is an extra")
        with pytest.raises(RunError, match="no cluster of Ray at 127.0.0.1:1 "):
            many_workers._connect(ray, "127.0.0.1:1")


def _is_worker(process):
    try:
        return process.name().startswith("ray::_Worker")
    except psutil.Error:
        return False
