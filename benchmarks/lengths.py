"""The grid against its contenders at short and long prompts and texts: `python benchmarks/lengths.py`.

Writes `benchmarks/results/<device>-lengths.md`, and with it the seconds of every repetition as JSON. A
setting that is in the JSON already is not measured again, so that a stopped command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from itertools import product
from pathlib import Path
from typing import Any

from grid import CONTENDERS, SCOPES, measure
from interleaved import RESULTS

PROMPTS, NEW = (16, 128, 512), (8, 24, 96)
SCOPE_WORDS = {"everywhere": "every token", "generated": "what is written"}
USUAL_WAIT = "as usual"  # spinning, where OMP_WAIT_POLICY does not say otherwise
USUAL = ("steerscope", "transformers_batch", "transformers_loop", "hooked_loop", "matmul_bound")
WORDS = {
    "transformers_batch": "one batch of transformers",
    "transformers_loop": "a loop of transformers",
    "hooked_loop": "a loop of HookedTransformer",
    "steering_vectors": "steering-vectors",
    "repeng": "repeng",
    "matmul_bound": "matrix products alone",
}


def row(found: dict[str, Any]) -> str:
    """A line of the table: our seconds, and each contender's time over ours with its spread."""
    task, seconds = found["task"], found["seconds"]
    ours = statistics.median(seconds["steerscope"])
    cells = [
        found["shape"],
        str(task["prompt_tokens"]),
        str(task["new_tokens"]),
        str(task["cells"]),
        SCOPE_WORDS[task.get("scope", SCOPES[0])],
        str(len(seconds["steerscope"])),
        found.get("waiting", USUAL_WAIT),
        spread(seconds["steerscope"], 1.0, " s"),
    ]
    for name in WORDS:
        cells.append(spread(seconds[name], ours, "x") if name in seconds else "-")
    same = min(found["texts_identical"].values(), default=float("nan"))
    return f"| {' | '.join([*cells, f'{same:.0%}'])} |"


def spread(values: list[float], over: float, unit: str) -> str:
    """The median, with the fastest and the slowest."""
    found = [v / over for v in (statistics.median(values), min(values), max(values))]
    return f"{found[0]:.2f}{unit} [{found[1]:.2f}, {found[2]:.2f}]"


def in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings of a model together, from short to long, models as they came first."""
    models = list(dict.fromkeys(f["shape"] for f in found))
    return sorted(found, key=lambda f: (models.index(f["shape"]), *setting(f)[1:]))


def setting(found: dict[str, Any]) -> tuple[str, str, int, int]:
    """What tells one measured setting from another."""
    task = found["task"]
    scope = task.get("scope", SCOPES[0])
    return found["shape"], scope, task["prompt_tokens"], task["new_tokens"]


def write(path: Path, found: list[dict[str, Any]]) -> None:
    """The table of all settings so far, and what it is of."""
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    head = [
        "model",
        "prompt",
        "new",
        "conditions",
        "vectors added to",
        "times",
        "OpenMP waits",
        "steerscope",
        *WORDS.values(),
        "same texts, at least",
    ]
    task = found[0]["task"]
    lines = [
        "# Short and long prompts and texts",
        "",
        f"Each condition on {task['prompts']} prompts, greedy, {found[0]['dtype']} on "
        f"{found[0]['device']}, {found[0]['threads']} threads; contenders in turns, so many "
        "times each. Their time over our median, with the fastest and the slowest of them; above 1x we are "
        "faster.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *map(row, found),
    ]
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Measure what is missing of the settings that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=["gpt2-124m"], help="shapes, or model folders")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--contenders", nargs="+", default=[*USUAL], choices=CONTENDERS)
    parser.add_argument("--cells", type=int, default=36)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--lengths", type=int, nargs="+", default=[*PROMPTS])
    parser.add_argument("--new", type=int, nargs="+", default=[*NEW])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scope", default=SCOPES[0], choices=SCOPES)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    path = options.out or RESULTS / f"{options.device}-lengths.md"
    kept = path.with_suffix(".json")
    found: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else []
    for shape, n_prompt, n_new in product(options.shapes, options.lengths, options.new):
        options.prompt_tokens, options.n_new = n_prompt, n_new
        name = Path(shape).name
        if (name, options.scope, n_prompt, n_new) in map(setting, found):
            continue
        waiting = os.environ.get("OMP_WAIT_POLICY", USUAL_WAIT).lower()
        newest = measure(shape, options) | {"shape": name, "waiting": waiting}
        found.append(newest)
        found = in_order(found)
        write(path, found)
        print(row(newest), flush=True)


if __name__ == "__main__":
    main()
