"""What is known about a contrast set beside its pairs: what its sides are, and who can judge them.

It stands in `NAME.about.json` beside `NAME.jsonl`, or a table of that name, for bundled sets and for a user's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from steerscope.errors import ContrastError
from steerscope.texts.files import parse_json, read_text
from steerscope.texts.places import STYLE, contrasts_file
from steerscope.texts.records import SUFFIXES

ABOUT_SUFFIX = ".about.json"


@dataclass(frozen=True)
class About:
    """A description of a contrast set; what is not known is empty.

    Attributes:
        positive: what the positive texts do.
        negative: what the negative texts do.
        judge: what could tell the two in a text, such as `length`, `sentiment` or `regex:...`.
        made_by: the command that writes the set.
        licence: of the texts.
        inherent: findings of `steerscope lint` that belong to the concept, each with the reason.
    """

    positive: str = ""
    negative: str = ""
    judge: str = ""
    made_by: str = ""
    licence: str = ""
    inherent: dict[str, str] = field(default_factory=dict)

    @property
    def difference(self) -> str:
        """What a positive text does and a negative one does not."""
        return (
            self.positive and f"{self.positive}{self.negative and f' (and not: {self.negative})'}"
        )


def about(name_or_path: str | Path) -> About:
    """What is known about a bundled set, or about one in a file; empty where nothing was written.

    Raises:
        ContrastError: no such set, or the description is not such a file.
    """
    if str(name_or_path).startswith(STYLE):
        return About()
    pairs = contrasts_file(name_or_path)
    bare = pairs.stem if pairs.suffix.lower() in SUFFIXES else pairs.name
    path = pairs.with_name(bare + ABOUT_SUFFIX)
    if not path.is_file():
        path = pairs.with_name(pairs.name + ABOUT_SUFFIX)
    if not path.is_file():
        return About()
    found = parse_json(read_text(path, ContrastError), str(path), ContrastError)
    known = set(About.__dataclass_fields__)
    if not isinstance(found, dict) or found.keys() - known:
        raise ContrastError(f"{path}: may have the keys {', '.join(sorted(known))} and no other.")
    inherent = found.get("inherent", {})
    texts = [v for k, v in found.items() if k != "inherent"]
    if not isinstance(inherent, dict) or not all(
        isinstance(v, str) for v in (*texts, *inherent.values())
    ):
        raise ContrastError(f"{path}: values are texts, and `inherent` has a text by finding.")
    return About(**found)
