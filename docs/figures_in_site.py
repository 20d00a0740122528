"""A hook of mkdocs: pages link to figures where they lie in the project, and the site carries a copy of those."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

_FIGURES = Path(__file__).parents[1] / "figures"
_LINK = re.compile(r"\((?:\.\./)+figures/([\w.-]+\.png)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the figures that any page shows."""
    pages = files.documentation_pages()
    for name in sorted({name for page in pages for name in _LINK.findall(page.content_string)}):
        files.append(File.generated(config, f"figures/{name}", abs_src_path=str(_FIGURES / name)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Link to the copy."""
    up = "../" * page.file.src_uri.count("/")
    return _LINK.sub(lambda link: f"({up}figures/{link[1]})", markdown)
