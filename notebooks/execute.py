"""Run every notebook of this folder and keep what its cells showed: `python notebooks/execute.py`.

Needs no Jupyter: the cells run one after another, and of the last expression of a cell its page
(`_repr_html_`) and its text are kept, as a notebook would.
"""

from __future__ import annotations

import ast
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def code_of(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells that run."""
    return (cell for cell in notebook["cells"] if cell["cell_type"] == "code")


def run_cell(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """What a cell shows: what it prints, and its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    said, value = io.StringIO(), None
    with redirect_stdout(said):
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    found: list[dict[str, Any]] = []
    if said.getvalue():
        text = said.getvalue().splitlines(keepends=True)
        found.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_") and (page := value._repr_html_()):
            data["text/html"] = page.splitlines(keepends=True)
        found.append(
            {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": data}
        )
    return found


def execute(path: Path) -> dict[str, Any]:
    """The notebook with what its cells show now, run in a folder of its own."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as nowhere, chdir(nowhere):
        for number, cell in enumerate(code_of(notebook), start=1):
            cell["outputs"] = run_cell("".join(cell["source"]), names)
            cell["execution_count"] = number
            for output in cell["outputs"]:
                if "execution_count" in output:
                    output["execution_count"] = number
    return notebook


def main() -> None:
    """Run those that are named, else all."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(HERE.glob("*.ipynb")):
        text = json.dumps(execute(path.resolve()), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
