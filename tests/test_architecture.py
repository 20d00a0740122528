"""The shape of the program: who may import whom, one door per heavy library, nothing too large."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import steerscope

PACKAGE = Path(steerscope.__file__).parent
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "data" not in p.relative_to(PACKAGE).parts)

# From the ground up: a room imports only rooms of earlier lines.
ORDER = (
    "errors progress metrics doses sites",
    "calls",
    "statistics",
    "texts",
    "models",
    "microworld",
    "runs",
    "eigengaps",
    "extraction",
    "directions",
    "steering",
    "weights",
    "engine",
    "diagnostics",
    "judges",
    "sae",
    "studies",
    "audits",
    "figures",
    "report",
    "experiments",
    "verification",
    "claims",
    "serve",
    "cli",
    "__init__ __main__",
)
FLOORS = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms.split()}

DOORS = {
    "transformer_lens": {"models"},
    "sae_lens": {"sae"},
    "plotly": {"figures", "report"},
    "pyarrow": set(),
    "typer": {"cli"},
    "rich": {"progress.py", "cli/texts.py", "cli/chat.py"},
    "safetensors": {"directions", "weights/adapter/files.py", "sae"},
    "peft": {"weights/adapter/lora.py"},
    "lm_eval": {"studies/benchmarks"},
    "gguf": {"directions/gguf.py", "models/lean_loading.py"},
    "huggingface_hub": {"directions/hub.py"},
    "pydantic": {"directions", "experiments", "claims", "sae", "serve"},
    "yaml": {"texts/yaml_files.py", "experiments"},
    "sklearn": {"judges/scorers/classifier.py"},
    "transformers": {"models", "microworld"},
    "ray": {"studies/many_workers.py"},
    "fastapi": {"serve"},
    "starlette": {"serve"},
    "uvicorn": {"cli/serve.py"},
}
STUDIES = sorted(p.parent for p in PACKAGE.glob("studies/*/__init__.py"))
WITHOUT_TORCH = {
    "statistics",
    "runs",
    "studies/steering/choice.py",
    "studies/steering/responses.py",
    "studies/steering/phases.py",
    "studies/steering/drift.py",
    *(f"studies/{p.name}/{n}.py" for p in STUDIES for n in ("plan", "findings", "wording")),
    "studies/geometry.py",
    "audits",
    "figures",
    "report",
}
# Functions that a library calls, with arguments of its own.
CALLED_BY_OTHERS = {
    "_show_warning", "watched", "chosen", "called",
    "tok_encode", "_loglikelihood_tokens", "custom_dataset",
}  # fmt: skip
MAY_PRINT = {"cli", "microworld"}


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@cache
def imports(path: Path) -> list[tuple[str, int]]:
    """Imported modules outside `if TYPE_CHECKING`, with their line."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.lineno))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_below_it(path):
    room = top(path).removesuffix(".py")
    for module, line in imports(path):
        if module.startswith("steerscope."):
            other = module.split(".")[1]
            assert other == room or FLOORS[other] <= FLOORS[room], f"{path}:{line} imports {module}"


def test_the_top_of_the_package_holds_the_words_that_all_use_and_folders():
    files = {p.stem for p in PACKAGE.glob("*.py")}
    assert files == {*ORDER[0].split(), "__init__", "__main__"}


@pytest.mark.parametrize("library", DOORS)
def test_each_heavy_library_has_its_doors(library):
    for path in MODULES:
        inside = path.relative_to(PACKAGE)
        doors = {str(inside), *map(str, inside.parents)}
        if not doors & DOORS[library]:
            assert all(m.split(".")[0] != library for m, _ in imports(path)), (path, library)


def test_tables_statistics_and_figures_know_no_torch():
    for path in MODULES:
        inside = path.relative_to(PACKAGE)
        if {str(inside), *map(str, inside.parents)} & WITHOUT_TORCH:
            assert all(m.split(".")[0] != "torch" for m, _ in imports(path)), path


@pytest.mark.parametrize("study", STUDIES, ids=lambda p: p.name)
def test_who_has_read_one_study_finds_her_way_in_all(study):
    names = {p.stem for p in study.glob("*.py")}
    assert {"measure", "findings", "wording"} <= names
    for path in study.glob("*.py"):
        plans = re.findall(r"^class (\w*Plan)\b", path.read_text(), flags=re.M)
        assert not plans or path.stem == "plan", f"{path} holds {plans}"


def test_only_the_edges_write_to_standard_output():
    for path in MODULES:
        if top(path) not in MAY_PRINT:
            text = path.read_text()
            assert not re.search(r"(?<!\w)print\(", text), path
            assert "sys.stdout" not in text, path


def functions(tree: ast.AST):
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_too_large_and_no_argument_is_swallowed(path):
    assert len(path.read_text().splitlines()) <= 420, path
    for function in functions(ast.parse(path.read_text())):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= 70, f"{path}: {function.name} has {length} lines"
        if function.name not in CALLED_BY_OTHERS:
            assert function.args.kwarg is None, (
                f"{path}: {function.name} takes **{function.args.kwarg}"
            )


def test_the_public_names_are_sorted_complete_and_importable():
    assert list(steerscope.__all__) == sorted(steerscope.__all__)
    assert set(steerscope.__all__) == set(steerscope._HOME)
    for name in steerscope.__all__:
        assert getattr(steerscope, name).__name__.split(".")[-1] == name
    modules = {p.stem for p in PACKAGE.iterdir()}  # importing one would hide the name
    assert not modules & set(steerscope.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        steerscope.nonsense  # noqa: B018


def test_nothing_is_pickled_and_no_hook_name_escapes():
    for path in MODULES:
        text = path.read_text()
        assert "pickle" not in text, path
        for call in re.findall(r"torch\.load\(.*", text):
            assert "weights_only=True" in call, path
        if top(path) not in {"sites.py", "models"}:
            assert not re.search(r"hook_(resid|attn|mlp|pre|post|[qkvz]\b)", text), path


@pytest.mark.parametrize("arguments", [["-c", "import steerscope"], ["-m", "steerscope", "--help"]])
def test_importing_the_package_and_asking_for_help_load_no_torch(arguments):
    code = [sys.executable, "-X", "importtime", *arguments]
    seen = subprocess.run(code, capture_output=True, text=True, check=True).stderr
    loaded = {line.split("|")[-1].strip() for line in seen.splitlines()}
    assert "steerscope" in loaded
    assert not loaded & {"torch", "transformers", "transformer_lens", "plotly", "pandas", "numpy"}
