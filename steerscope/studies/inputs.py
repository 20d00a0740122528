"""The sets and files that a run is made from, each with the hash of what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerscope.judges import WORLDS
from steerscope.runs.continuing import INPUTS
from steerscope.texts.contrasts import load_contrasts, load_prompts

_SETS = ("contrasts", "other", "capability", "trained_on")
_TEXTS = ("prompts", "texts")
NAMED = (*_SETS, *_TEXTS)


def stated_inputs(named: Mapping[str, Any]) -> dict[str, dict[str, dict[str, str]]]:
    """What the provenance of a run says of the contrast sets and texts that it names.

    The hashes are of what they hold before any chat template, so that they can be compared without a
    model.

    Args:
        named: settings of the run; of them those in `NAMED`, each a name or a file, or None.

    Raises:
        ContrastError: one cannot be read.
    """
    asked = {use: named.get(use) for use in NAMED}
    return {
        INPUTS: {
            use: {"name": str(name), "sha256": content_sha256(use, str(name))}
            for use, name in asked.items()
            if is_read(name)
        }
    }


def is_read(name: Any) -> bool:
    """Whether it is a set or file, and no bundled world that makes its texts afresh."""
    return name is not None and name not in WORLDS


def content_sha256(use: str, name: str) -> str:
    """SHA-256 of what a set or file holds now.

    Args:
        use: what it is for, one of `NAMED`.
        name: bundled, or a file.

    Raises:
        ContrastError: it cannot be read.
    """
    return (load_contrasts(name) if use in _SETS else load_prompts(name)).sha256
