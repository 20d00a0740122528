"""How a measurement of a model begins: the model that its plan names, and a run that says all of the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.models.provenance import provenance_of
from steerscope.runs.distinct import GROUPS
from steerscope.runs.results import Run
from steerscope.studies.loading import Loading, Named
from steerscope.studies.planned import OfModel
from steerscope.texts.chats import Chat


def load_planned(plan: Named, *, device: str | None = None, memory: str | None = None) -> LensModel:
    """The model of a plan; device and memory as in `load_model`."""
    return Loading.of(plan, device, memory).load()


def settings_of(plan: OfModel, chat: Chat | None) -> dict[str, Any]:
    """All that decides the numbers but the content of files."""
    stored = None if chat is None else chat.stored()
    return {"kind": type(plan).__name__, **asdict(plan), "chat": stored}


def start_planned(
    path: str | Path,
    plan: OfModel,
    model: LensModel,
    chat: Chat | None,
    more: Mapping[str, Any],
    files: Sequence[str] = (),
    groups: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Run:
    """The run of a plan, new or as it was left.

    Args:
        path: the run's folder.
        plan: what is measured.
        model: the model of the plan.
        chat: as texts were put to it; None for plain text.
        more: what else the run says, such as hashes of its texts.
        files: that decide the numbers beside those that the plan names.
        groups: what of its items is distinct, as `Groups` has it.

    Raises:
        RunError: the folder holds another run, or something else.
        BadValueError: a file of the plan cannot be read.
    """
    named = [str(getattr(plan, field)) for field in plan.FILES]
    hashes = {name: file_hash(name) for name in [*named, *files]}
    configuration = {**settings_of(plan, chat), "files": hashes, **more}
    said = provenance_of(model) | ({} if groups is None else {GROUPS: groups})
    return Run.start(path, configuration, provenance=said)


def file_hash(path: str) -> str:
    """SHA-256 of what a file holds.

    Raises:
        BadValueError: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise BadValueError(f"cannot read {path} ({error.strerror}).") from None
