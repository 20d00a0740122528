"""Time contenders in turns, each in a process of its own, and compare medians."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE / ".venv/bin/python"
RESULTS = HERE / "results"
Seconds = dict[str, list[float]]


class Worker:
    """A contender in its own process, with the model loaded."""

    def __init__(self, name: str, script: str, folder: Path, *, is_peer: bool) -> None:
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open while the process runs
        self.process = subprocess.Popen(
            [str(PEERS) if is_peer else sys.executable, str(HERE / "contenders" / script), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)},
        )
        self.ready = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(f"the contender {self.name} has ended: {self.errors.read()[-2000:]}")
        return json.loads(line)

    def run(self) -> dict[str, Any]:
        """One timed run: its seconds, its peak memory in bytes so far, and its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def interleaved(
    contenders: Mapping[str, tuple[str, bool]], folder: Path, repetitions: int
) -> tuple[Seconds, dict[str, Any]]:
    """Seconds of every repetition, after a first run to warm up, and the answers of that run.

    Args:
        contenders: name to script and whether it runs in the peers' environment.
        folder: where the task lies.
        repetitions: timed runs of each.
    """
    workers = [Worker(n, script, folder, is_peer=p) for n, (script, p) in contenders.items()]
    seconds: Seconds = {w.name: [] for w in workers}
    answers = {w.name: w.run()["answer"] for w in workers}
    for _ in range(repetitions):
        for worker in workers:
            seconds[worker.name].append(worker.run()["seconds"])
    for worker in workers:
        worker.stop()
    return seconds, answers


def ratios(seconds: Seconds) -> dict[str, float]:
    """Each contender's median over ours."""
    ours = statistics.median(seconds["steerscope"])
    return {
        name: statistics.median(values) / ours
        for name, values in seconds.items()
        if name != "steerscope"
    }


def table(title: str, seconds: Seconds, notes: Mapping[str, str]) -> str:
    """Ratios of the medians, with the fastest and slowest repetition."""
    lines = [f"{title}: contender's time over ours (medians)"]
    ours = statistics.median(seconds["steerscope"])
    for name, ratio in ratios(seconds).items():
        values = [v / ours for v in seconds[name]]
        spread = f"[{min(values):.2f}, {max(values):.2f}]"
        lines.append(f"  {name:20s} {ratio:6.2f}  {spread}  {notes.get(name, '')}")
    return "\n".join(lines)


def write_result(name: str, result: Mapping[str, Any]) -> None:
    """Write one result file, whole."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
