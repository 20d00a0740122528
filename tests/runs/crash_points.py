"""Commands killed before and after every rename, and two at once on one output; counts as JSON.

Run as `python -m tests.runs.crash_points FOLDER POINTS PAIRS`. All is imported once and every command
is a child of this process, so that a kill costs little. A tiny random model is measured.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import steerscope.experiments
import steerscope.report
import steerscope.sae
import steerscope.studies.steering.measure
import steerscope.studies.weights.measure
import steerscope.verification  # noqa: F401 - imported before the children are made
from steerscope.cli import main
from steerscope.runs.results import Run
from steerscope.verification import verify
from tests.conftest import word_tokenizer
from tests.helpers import tiny_model

REFUSED = 2
_EXPERIMENT = """\
name: small
question: Is it the same again?
job: sweep
models: [{model}]
contrasts: [{words}]
sites: {{layers: [1, 2]}}
doses: {{values: [1.0]}}
sample: {{select: 3, layer_nulls: 0}}
decoding: {{n_new: 2}}
figures: [kl_by_depth]
seeds: [0, 1]
"""


@dataclass(frozen=True)
class Command:
    """A long command, without its output, and what is the same whenever it ends well."""

    name: str
    arguments: list[str]
    result: Callable[[Path], object]


def commands(folder: Path) -> list[Command]:
    model, words, texts = _inputs(folder)
    subject = ["--model", model, "--contrasts", words]
    few = ["--n-new", "2", "--max-select", "3"]
    edits = ["--edits", "power", "--alphas", "0.3", "--capability", words, "--max-test", "3"]
    trained = ["--site", "resid_post.1", "--text", texts, "--features", "32", "--k", "4"]
    experiment = folder / "small.yaml"
    experiment.write_text(_EXPERIMENT.format(model=model, words=words))
    return [
        Command("sweep", ["sweep", *subject, *few, "--layers", "1,2", "--doses", "1"], _table),
        Command(
            "weights sweep", ["weights", "sweep", *subject, *few, *edits, "--layers", "1"], _table
        ),
        Command(
            "adapter train",
            ["adapter", "train", *subject, "--layers", "1", "--matrices", "o", "--rank", "4"]
            + ["--epochs", "4"],
            Path.read_bytes,
        ),
        Command(
            "sae train",
            ["sae", "train", "--model", model, *trained, "--activations", "1000", "--batch", "64"],
            lambda out: (out / "sae_weights.safetensors").read_bytes(),
        ),
        Command("run", ["run", str(experiment)], _printed),
    ]


def _inputs(folder: Path) -> tuple[str, str, str]:
    model, words, texts = folder / "model", folder / "words.jsonl", folder / "texts.txt"
    pid = os.fork()  # threads that torch starts here would be missing in every later child
    if pid == 0:
        tiny_model("llama").save_pretrained(model)
        word_tokenizer().save_pretrained(model)
        os._exit(0)
    assert ended(pid) == 0
    pairs = [
        {
            "positive": f"w{i} w{i + 1} w{i + 2} w6 w7",
            "negative": f"w{i} w{i + 1} w{i + 2} w8 w9",
            "concept": "c",
        }
        for i in range(10, 34)
    ]
    words.write_text("".join(json.dumps(p) + "\n" for p in pairs))
    lines = [" ".join(f"w{3 + (7 * i + j) % 90}" for j in range(30)) for i in range(60)]
    texts.write_text("\n".join(lines) + "\n")
    return str(model), str(words), str(texts)


def _table(out: Path) -> object:
    differing = verify(out, weights=False).differences
    assert not differing, [str(d) for d in differing]
    return Run.open(out).table().drop(columns="run").to_csv()


def _printed(out: Path) -> object:
    differing = verify(out, weights=False).differences
    assert not differing, [str(d) for d in differing]
    return {p.name: p.read_bytes() for p in (out / "tables").iterdir()}


def start(command: Command, out: Path, at: int | None = None, limit: int | None = None) -> int:
    """The command in a child, killed at a moment: 2n before and 2n + 1 after its rename n.

    With a limit, no file of the child may have more bytes, as on a disk without room.
    """
    pid = os.fork()
    if pid:
        return pid
    said = os.open(f"{out}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    renamed, replace = 0, os.replace

    def counted(source, target):
        nonlocal renamed
        if at == 2 * renamed:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if at == 2 * renamed + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        renamed += 1
        Path(f"{out}.renamed").write_text(str(renamed))

    os.replace = counted
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that it is an error and no death
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        main([*command.arguments, "--out", str(out)])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        code = 1
    os._exit(code)


def ended(pid: int) -> int:
    """The exit code of a child; minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def crash(command: Command, folder: Path, n_points: int) -> dict[str, object]:
    """Kill a command at so many of its moments, start it again, and compare what it made."""
    whole = folder / "whole"
    assert ended(start(command, whole)) == 0, Path(f"{whole}.said").read_text()
    expected = command.result(whole)
    moments = 2 * int(Path(f"{whole}.renamed").read_text())
    chosen = sorted({round(i * (moments - 1) / max(1, n_points - 1)) for i in range(n_points)})
    same, refused, wrong = 0, 0, []
    for moment in chosen:
        out = folder / f"at-{moment}"
        killed = ended(start(command, out, moment))
        code = ended(start(command, out))
        said = Path(f"{out}.said").read_text()
        left = [str(p) for p in folder.rglob(f"{out.name}*") if p.name.endswith(".unfinished")]
        left += [str(p) for p in out.rglob("*.unfinished")] if out.is_dir() else []
        if killed != -signal.SIGKILL or code not in (0, REFUSED) or "Traceback" in said or left:
            wrong.append(f"{moment}: {killed}, {code}, {left} {said[-600:]}")
        elif code == REFUSED:
            refused += 1
        elif command.result(out) == expected:
            same += 1
        else:
            wrong.append(f"{moment}: another result")
        shutil.rmtree(out, ignore_errors=True)
    counts = {"moments": moments, "points": len(chosen), "same": same, "refused": refused}
    return {**counts, "wrong": wrong}


def twice(command: Command, folder: Path, n_pairs: int) -> dict[str, object]:
    """Start a command twice at once, so many times, with a little longer between them each time."""
    whole = folder / "alone"
    assert ended(start(command, whole)) == 0, Path(f"{whole}.said").read_text()
    expected = command.result(whole)
    both, refused, wrong = 0, 0, []
    for number in range(n_pairs):
        out = folder / f"pair-{number}"
        first = start(command, out)
        time.sleep(0.02 * number)
        codes = [ended(pid) for pid in (first, start(command, out))]
        said = Path(f"{out}.said").read_text()
        clear = codes.count(REFUSED) == said.count("is being written by another process")
        if not clear or "Traceback" in said or 0 not in codes or {*codes} - {0, REFUSED}:
            wrong.append(f"{number}: {codes} {said[-600:]}")
        elif command.result(out) != expected:
            wrong.append(f"{number}: another result")
        elif REFUSED in codes:
            refused += 1
        else:
            both += 1
        shutil.rmtree(out, ignore_errors=True)
    return {"pairs": n_pairs, "one refused": refused, "one after the other": both, "wrong": wrong}


def report(folder: Path, n_points: int, n_pairs: int) -> dict[str, object]:
    """All commands at so many points each, and so many pairs of the first."""
    found: dict[str, object] = {}
    every = commands(folder)
    for command in every:
        place = folder / command.name.replace(" ", "-")
        place.mkdir()
        found[command.name] = crash(command, place, n_points)
    found["two at once"] = twice(every[0], folder, n_pairs)
    return found


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve()
    where.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(json.dumps(report(where, int(sys.argv[2]), int(sys.argv[3])), indent=1) + "\n")
