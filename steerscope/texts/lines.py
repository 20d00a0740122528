"""Text files as numbered lines, split where their writers split them, and text that is text."""

from __future__ import annotations

from pathlib import Path

from steerscope.errors import ContrastError
from steerscope.texts.files import read_text

_LFS = b"version https://git-lfs.github.com/spec/"
_NO_TEXT = "is a git-lfs pointer, not the file itself; run `git lfs pull` where it was cloned"


def text_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a UTF-8 file that are not blank, each with its number from 1.

    Lines end at a newline of any system and nowhere else: U+2028, U+2029 and U+0085 may
    stand inside a JSON string. A byte order mark is left out.

    Raises:
        ContrastError: it cannot be read, is without any text, or a git-lfs pointer.
    """
    if is_lfs_pointer(path):
        raise ContrastError(f"{path} {_NO_TEXT}.")
    text = read_text(path, ContrastError)
    found = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not found:
        raise ContrastError(f"{path} is empty; it needs at least one line.")
    return found


def check_text(what: str, text: str) -> None:
    """Refuse half of a surrogate pair, which no tokenizer takes.

    Raises:
        ContrastError: the text holds one; the message says which and where.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise ContrastError(
            f"the {what} holds half of a surrogate pair ({half}, character {error.start + 1}), "
            "which stands for no letter; write the whole character or leave it out."
        ) from None


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is the short text that git-lfs puts in the place of a large one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_LFS)) == _LFS


def lfs_pointer_among(folder: Path) -> str | None:
    """What is wrong with a folder of which a file is a git-lfs pointer; None if none is."""
    found = next((p for p in sorted(folder.iterdir()) if is_lfs_pointer(p)), None)
    return None if found is None else f"{found} {_NO_TEXT}."
