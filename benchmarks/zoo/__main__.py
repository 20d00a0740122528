"""The table of model families in the documentation.

python -m benchmarks.zoo [FAMILY ...]

Builds a tiny random checkpoint of each family, checks it on both backbones and with `auto`, and writes
the table into docs/pages/models.md. With families named, only their rows are made anew.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import sys
import tempfile
import traceback
from pathlib import Path

import torch
import transformers as hf

from benchmarks.zoo.checks import outcome
from benchmarks.zoo.families import FAMILIES, save_family

PAGE = Path(__file__).parents[2] / "docs" / "pages" / "models.md"
BACKBONES = ("hooked", "bridge", "auto")
_START, _END = "<!-- table of families -->\n", "<!-- end of the table -->\n"


def row(family: str) -> str:
    """A row of the table: what comes of a family on each backbone."""
    with tempfile.TemporaryDirectory() as folder:
        save_family(family, Path(folder) / "tiny")
        cells = [_cell(Path(folder) / "tiny", backbone) for backbone in BACKBONES]
    return f"| {' | '.join([family, *(cell.replace('|', '/') for cell in cells)])} |"


def _cell(folder: Path, backbone: str) -> str:
    try:
        return outcome(folder, backbone)
    except Exception as error:  # noqa: BLE001 - a traceback is what the table is there to find
        traceback.print_exc()
        return f"FAILS: {type(error).__name__}: {error}"


def write(rows: dict[str, str]) -> None:
    """Put rows into the table of the page, in the order of the families; the others stay."""
    before, rest = PAGE.read_text().split(_START)
    old, after = rest.split(_END)
    known = {line.split(" | ")[0].removeprefix("| "): line for line in old.strip().splitlines()[2:]}
    known |= rows
    head = [f"| family | {' | '.join(BACKBONES)} |", "|---|---|---|---|"]
    lines = [*head, *(known[family] for family in FAMILIES if family in known)]
    PAGE.write_text("\n".join([before + _START, *lines, "", _END]) + after)


def main(families: list[str]) -> None:
    """Print every row as it comes, and write them into the page."""
    torch.set_num_threads(1)
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    rows = {}
    for family in families or FAMILIES:
        rows[family] = row(family)
        print(rows[family], flush=True)
    write(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
