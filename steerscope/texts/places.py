"""Where a set of pairs or prompts lies: bundled under a name, or in a file of the user's own."""

from __future__ import annotations

from pathlib import Path

from steerscope.errors import ContrastError
from steerscope.texts.bundled import bundled_contrasts

STYLE = "style:"  # what a set begins with that is made of instructions and lies nowhere


def contrasts_file(name_or_path: str | Path) -> Path:
    """The file of a bundled contrast set, or the one at a path.

    Raises:
        ContrastError: there is neither; the message lists the bundled names.
    """
    return find_file(name_or_path, bundled_contrasts(), "contrast set")


def find_file(name_or_path: str | Path, bundled: dict[str, Path], kind: str) -> Path:
    """The file of a bundled set, or the one at a path.

    Args:
        name_or_path: which.
        bundled: name and file of every bundled one.
        kind: what it is, for a message.

    Raises:
        ContrastError: there is neither; the message lists the bundled names.
    """
    if str(name_or_path) in bundled:
        return bundled[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_dir():
        raise ContrastError(
            f"{path} is a folder; a {kind} is a file of JSON lines, as which data sets of other tools "
            "can be saved."
        )
    if not path.is_file():
        raise ContrastError(
            f"no {kind} {str(name_or_path)!r}: no such file, and the bundled names are "
            f"{', '.join(bundled) or '(none)'}."
        )
    return path
