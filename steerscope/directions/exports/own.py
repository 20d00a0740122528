"""How a file that another tool reads says that steerscope wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

KEY = "steerscope"


def said_by(path: Path, look: Callable[[dict[str, Any]], bool]) -> bool:
    """Whether a `.pt` holds a dictionary of tensors and texts in which we find our own words."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        return isinstance(found, dict) and look(found)
    except Exception:  # noqa: BLE001 - a file of something else fails in ways that cannot be listed
        return False
