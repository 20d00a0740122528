"""Whether a run may go on: what is asked for now, against what it was begun with."""

from __future__ import annotations

from typing import Any

from steerscope.models.fingerprints import same_weights

# Of the provenance: the sets and files that a run was made from, by what they are for.
INPUTS = "inputs"
_WEIGHTS = {"fingerprint": "model weights", "second_model": "weights of the second model"}


def differing_settings(there: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What keeps a run from going on, in words: settings, weights, and what the sets and files hold.

    Args:
        there: description of the run.
        wanted: description of what is asked for.
    """
    before, now = (d["configuration"] for d in (there, wanted))
    found = sorted(k for k in {*now, *before} if now.get(k) != before.get(k))
    origins = there["provenance"], wanted["provenance"]
    for name, words in _WEIGHTS.items():
        one, other = (origin.get(name) for origin in origins)
        if one != other and not same_weights(one, other):
            found.append(words)
    held, holds = (stated(origin) for origin in origins)
    both = sorted(held.keys() & holds.keys())  # a run from before they were stated knows none
    return found + [f"content of {k}" for k in both if held[k]["sha256"] != holds[k]["sha256"]]


def stated(provenance: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Of each set and file that a run says it was made from, its `name` and its `sha256`."""
    found = provenance.get(INPUTS)
    return {
        str(k): v
        for k, v in (found.items() if isinstance(found, dict) else ())
        if isinstance(v, dict) and {"name", "sha256"} <= v.keys()
    }
