"""Directions on the Hugging Face hub: one safetensors file and a card that says what is in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from steerscope.directions.descriptions import check_one_model
from steerscope.directions.direction import Direction
from steerscope.directions.files import load_directions, save_directions
from steerscope.errors import VectorFileError, reason

FILE_NAME = "directions.safetensors"

_CARD = """---
library_name: steerscope
tags:
- steering-vectors
- steerscope
---

# Directions for steering {model}

Found on `{model}` (fingerprint `{fingerprint}`) and refused on any other model.

| direction | place | one natural unit | one relative unit | found from |
|---|---|---|---|---|
{rows}

A direction is a unit vector. A dose moves the activations along it by so many units: a natural unit
is the distance between the means of the two classes, a relative unit the median length of the
activations there. The columns give both as lengths in activation space.

```python
import steerscope as ss

model = ss.load_model({model!r})
directions = ss.from_pretrained({repo_id!r})
dose = ss.Dose(1.0, "natural")
with ss.steer(model, ss.Steering(directions[0], dose)):
    ...
```

Made with {versions}.
"""


def push_to_hub(directions: Sequence[Direction], repo_id: str, *, private: bool = False) -> str:
    """Upload directions with a card generated from what they say of themselves; the address.

    Args:
        directions: of one model.
        repo_id: such as `user/name`; made if it is not there.
        private: whether a repository made now is hidden from others.

    Raises:
        VectorFileError: no direction, two of one label, or the hub refused.
        VectorMismatchError: directions of two models.
    """
    from huggingface_hub import create_repo, upload_folder

    check_one_model(repo_id, directions)
    with tempfile.TemporaryDirectory(prefix="steerscope-") as folder:
        save_directions(Path(folder) / FILE_NAME, directions)
        (Path(folder) / "README.md").write_text(model_card(directions, repo_id), encoding="utf-8")
        with _hub_errors(repo_id):
            address = create_repo(repo_id, private=private, exist_ok=True)
            upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Add directions")
    return str(address)


def from_pretrained(repo_id: str, *, revision: str | None = None) -> list[Direction]:
    """Directions that `push_to_hub` uploaded; without a network, those fetched before.

    Args:
        repo_id: such as `user/name`.
        revision: branch, tag or commit; default the newest.

    Raises:
        VectorFileError: no such repository or file, no access, or not a file of ours.
    """
    from huggingface_hub import hf_hub_download

    with _hub_errors(repo_id):
        path = hf_hub_download(repo_id, FILE_NAME, revision=revision)
    return load_directions(path)


def model_card(directions: Sequence[Direction], repo_id: str) -> str:
    """The card of a repository: what the directions are, where, how long, and how to load them."""
    origin = directions[0].provenance
    rows = [
        f"| `{d.label}` | {d.site.words} | {d.scale.natural:.4g} | {d.scale.relative:.4g} "
        f"| {d.provenance.contrasts}, {d.provenance.n_pairs} pairs, read at {d.provenance.read} |"
        for d in directions
    ]
    return _CARD.format(
        model=origin.model,
        fingerprint=origin.fingerprint,
        repo_id=repo_id,
        rows="\n".join(rows),
        versions=", ".join(f"{name} {number}" for name, number in origin.versions.items()),
    )


@contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """Say what to do where the hub or the network refuses."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    # The bases are OSError and the error of whichever HTTP library the hub's client uses.
    network = cast(tuple[type[Exception], ...], HfHubHTTPError.__bases__)
    refusals: tuple[type[Exception], ...] = (EntryNotFoundError, HFValidationError, *network)
    try:
        yield
    except refusals as error:
        raise VectorFileError(
            f"the hub has no directions at {repo_id!r} that can be reached ({reason(error)}); "
            "check the name, the network, and `hf auth login`."
        ) from error
