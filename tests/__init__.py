"""The checker of shapes and types that the tests run the package under."""

from __future__ import annotations

import inspect
from typing import Any

from beartype import BeartypeConf, beartype

# An int where a float is annotated is right, as PEP 484 has it.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))
_made: dict[tuple[str, str, str], Any] = {}


def checked(what: Any) -> Any:
    """A function whose arguments are checked; one that is defined within another is made ready once.

    What jaxtyping gives of a function is its signature alone, so that all that are defined at one place
    share what checks them. Making that anew for every hook takes longer than what the hook does.
    """
    name = getattr(what, "__qualname__", "")
    if "<locals>" not in name or inspect.isclass(what):
        return _check(what)
    key = (what.__module__, name, str(inspect.signature(what)))
    if key not in _made:
        _made[key] = _check(what)
    return _made[key]
