"""Many workers against one process: time, equal tables, kills, two machines, and overhead per cell.

Writes `benchmarks/results/workers.md`. It needs Ray, two cores and about ten minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil

from steerscope import Run, SweepPlan, run_sweep
from steerscope.studies.many_workers import Cluster, on_ray
from steerscope.studies.workers import Workers

PLAN = SweepPlan(
    max_select=60, n_new=24, doses=(-3.0, -2.0, -1.0, 1.0, 2.0, 3.0), n_sweep_controls=4
)
DOSES = tuple(0.5 + n / 10_000 for n in range(10_000))
TINY = SweepPlan(max_select=2, n_new=1, layers=(3,), doses=DOSES, n_sweep_controls=0)
KILLS, SECONDS = 10, (1.0, 5.0)
Lines = Iterator[tuple[str, str, str]]


def timed(plan: SweepPlan, out: Path, workers: Workers | None = None) -> tuple[Run, float]:
    """The run of a plan and its seconds, the model's load included as in any run."""
    started = time.perf_counter()
    run = run_sweep(plan, out) if workers is None else run_sweep(plan, out, workers=workers)
    return run, time.perf_counter() - started


def equal(one: Run, other: Run) -> str:
    """How equal two runs are, in words."""
    ours, theirs = (run.table().drop(columns="run") for run in (one, other))
    texts = one.texts().equals(other.texts())
    if ours.equals(theirs) and texts:
        return f"{len(ours):,} rows and all texts the same to the bit"
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4, atol=1e-6)
    said = "all texts the same" if texts else "SOME TEXTS DIFFER"
    return f"{len(ours):,} rows the same to 1e-4, {said}"


def warm(workers: Workers, folder: Path) -> None:
    """Have the workers load the model, so that only the work is timed."""
    run_sweep(replace(PLAN, max_select=2, n_new=1, layers=(0, 1)), folder, workers=workers)


def speed(alone: tuple[Run, float], root: Path) -> Lines:
    """One process against one and two workers that have the model."""
    run, seconds = alone
    yield "one process", f"{seconds:.1f} s", f"{len(run.table()):,} rows"
    for n in (1, 2):
        with on_ray(Cluster(workers=n)) as workers:
            warm(workers, root / f"warm-{n}")
            found, seconds = timed(PLAN, root / f"ray-{n}", workers)
        yield f"Ray, workers: {n}", f"{seconds:.1f} s", equal(run, found)


@contextmanager
def killing(killed: list[float], draw: random.Random) -> Iterator[None]:
    """Kill a worker of this process at ten random moments of the block."""
    stop, started = threading.Event(), time.perf_counter()

    def kill() -> None:
        while len(killed) < KILLS and not stop.wait(draw.uniform(*SECONDS)):
            found = [p for p in psutil.Process().children(recursive=True) if is_worker(p)]
            if found:
                os.kill(draw.choice(found).pid, signal.SIGKILL)
                killed.append(time.perf_counter() - started)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        stop.set()
        killer.join()


def is_worker(process: psutil.Process) -> bool:
    """Whether a process is an actor that measures."""
    try:
        return process.name().startswith("ray::_Worker")
    except psutil.Error:
        return False


def kills(alone: tuple[Run, float], root: Path) -> Lines:
    """A worker killed at ten random moments."""
    killed: list[float] = []
    with on_ray(Cluster(workers=2)) as workers:
        warm(workers, root / "warm-killed")
        with killing(killed, random.Random(18)):
            run, seconds = timed(PLAN, root / "killed", workers)
    moments = ", ".join(f"{at:.0f}" for at in killed)
    name = f"2 workers, {len(killed)} killed (after {moments} s)"
    yield name, f"{seconds:.1f} s", equal(alone[0], run)


def driver(alone: tuple[Run, float], root: Path) -> Lines:
    """The command killed when half is done, and given again."""
    out = root / "driver"
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); from workers import PLAN; "
        "from steerscope import run_sweep; "
        "from steerscope.studies.many_workers import Cluster, on_ray\n"
        f"with on_ray(Cluster(workers=2)) as w: run_sweep(PLAN, {str(out)!r}, workers=w)"
    )
    command = [sys.executable, "-c", code]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
    while first.poll() is None and len([*(out / "rows").glob("*.parquet")]) < 3:
        time.sleep(0.1)
    first.kill()
    first.wait()
    parts = len([*(out / "rows").glob("*.parquet")])
    rows = len(Run.open(out).table())
    started = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
    seconds = time.perf_counter() - started
    name = f"command killed after {parts} parts ({rows:,} rows), given again"
    yield name, f"{seconds:.1f} s with its start", equal(alone[0], Run.open(out))


def machines(alone: tuple[Run, float], root: Path) -> Lines:
    """Two machines, each a node of Ray with a core, and a worker on each."""
    import ray
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    try:
        with on_ray(Cluster(address=nodes.address)) as workers:
            warm(workers, root / "warm-nodes")
            run, seconds = timed(PLAN, root / "nodes", workers)
    finally:
        ray.shutdown()
        nodes.shutdown()
    yield "two nodes of Ray, a worker on each", f"{seconds:.1f} s", equal(alone[0], run)


def overhead(root: Path) -> Lines:
    """What a worker costs for each of 10,000 conditions that take next to nothing."""
    here, alone = timed(TINY, root / "tiny")
    yield "10,000 tiny conditions, one process", f"{alone:.1f} s", f"{alone / 10:.2f} ms each"
    with on_ray(Cluster(workers=1)) as workers:
        warm(workers, root / "warm-tiny")
        there, seconds = timed(TINY, root / "tiny-ray", workers)
    each = (seconds - alone) / 10
    yield "the same, one worker", f"{seconds:.1f} s", f"{each:+.2f} ms each; {equal(here, there)}"


def main() -> None:
    """Measure all of it, or the parts that are named."""
    parts = {"speed": speed, "kills": kills, "driver": driver, "machines": machines}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[*parts, "overhead"])
    asked = parser.parse_args().parts
    lines: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        timed(replace(PLAN, max_select=2, n_new=1), root / "first")  # what is slow once
        alone = timed(PLAN, root / "alone")
        for part in asked:
            for line in overhead(root) if part == "overhead" else parts[part](alone, root):
                print(" | ".join(line), flush=True)
                lines.append(line)
    if asked == [*parts, "overhead"]:
        write(lines)


def write(lines: list[tuple[str, str, str]]) -> None:
    """The table, beside the other results."""
    load = os.getloadavg()[1]
    text = [
        "# Many workers",
        "",
        f"`python benchmarks/workers.py` on the bundled model, {os.cpu_count()} processors of a CPU that "
        f"others used as well (load {load:.1f}); a thread each. Workers have loaded the model before.",
        "",
        "| what | time | result |",
        "|---|---|---|",
        *(f"| {' | '.join(line)} |" for line in lines),
    ]
    path = Path(__file__).parent / "results" / "workers.md"
    path.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
