"""What there is on this machine: versions, device, memory, hub, browser; and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from steerscope.cli.shared import Json, finish

_PACKAGES = (
    "steerscope", "torch", "transformer-lens", "transformers", "sae-lens", "numpy", "plotly",
)  # fmt: skip
_EXTRAS = {
    "bench": ("lm_eval",),
    "images": ("kaleido",),
    "judges": ("jsonschema", "vaderSentiment", "py3langid"),
    "ray": ("ray",),
    "serve": ("fastapi", "uvicorn"),
}
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OFF = {"1", "ON", "YES", "TRUE"}


def doctor(*, as_json: Json = False) -> None:
    """Say what this machine has: versions, device, memory, model hub, browser.

    Nothing is downloaded and no connection is opened.

    Examples:
        steerscope doctor
    """
    found = {**_programs(), **_machine(), **_reach(), **_extras()}
    width = max(map(len, found))
    finish(as_json, found, [f"{name.ljust(width)}  {value}" for name, value in found.items()])


def _programs() -> dict[str, str]:
    versions = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **versions}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _machine() -> dict[str, str]:
    """The device that models are put on, and what it has free."""
    import torch

    from steerscope.models.loading import find_device
    from steerscope.models.memory import free_memory, shown

    device = find_device(None)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "memory free": shown(free_memory(device)),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors",
    }


def _reach() -> dict[str, str]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFF
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    return {
        "model hub": "off: HF_HUB_OFFLINE is set, folders and what is cached load"
        if offline
        else "on: hub names are downloaded",
        "browser": browser
        or "none: html figures alone; png, svg and pdf need a Chrome or Chromium",
    }


def _extras() -> dict[str, str]:
    """Which extras are installed, and how to get the others."""
    there = {name: all(find_spec(m) for m in modules) for name, modules in _EXTRAS.items()}
    return {
        f"extra {name}": "installed" if has else f'missing: pip install "steerscope[{name}]"'
        for name, has in there.items()
    }
