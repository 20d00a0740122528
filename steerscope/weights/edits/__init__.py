"""Edits of a weight by name: a new one is a file and an entry here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.activations import Contrast
from steerscope.sites import Site
from steerscope.weights.edits.band import Band
from steerscope.weights.edits.deflate import Deflate, output_site
from steerscope.weights.edits.edit import Edit
from steerscope.weights.edits.gain import Gain
from steerscope.weights.edits.mp_shrink import MPShrink, noise_edge
from steerscope.weights.edits.power import Power
from steerscope.weights.edits.zscore import ZScore

__all__ = [
    "EDITS",
    "Band",
    "Deflate",
    "Edit",
    "Gain",
    "MPShrink",
    "Power",
    "ZScore",
    "find_edit",
    "needs_pairs",
    "noise_edge",
    "output_site",
]

_NAME = re.compile(r"(?P<name>\w+)(?:\[(?P<option>[^\]]*)\])?")
Contrasts = Mapping[Site, Contrast]


def _band(amount: float, option: str, _: Contrasts) -> Edit:
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{0,5})", option)
    if match is None:
        raise BadValueError(f"band needs a range of indices, such as band[0-8], not {option!r}.")
    return Band(amount, int(match[1]), int(match[2]) if match[2] else None)


def _deflate(amount: float, option: str, contrasts: Contrasts) -> Edit:
    match = re.fullmatch(r"([0-9]{0,5}),?(centred)?", option)
    if match is None:
        raise BadValueError(
            f"deflate takes a rank, such as deflate[2] or deflate[2,centred], not {option!r}."
        )
    return Deflate(amount, int(match[1] or 1), match[2] is not None, dict(contrasts))


def _zscore(amount: float, option: str, _: Contrasts) -> Edit:
    if option not in {"", "clamp"}:
        raise UnknownNameError("option of zscore", option, ["clamp"])
    return ZScore(amount, clamp=option == "clamp")


def _plain(kind: Callable[[float], Edit]) -> Callable[[float, str, Contrasts], Edit]:
    def make(amount: float, option: str, _: Contrasts) -> Edit:
        if option:
            raise BadValueError(f"this edit takes no option, so not [{option}].")
        return kind(amount)

    return make


EDITS: dict[str, Callable[[float, str, Contrasts], Edit]] = {
    "gain": _plain(Gain),
    "zscore": _zscore,
    "power": _plain(Power),
    "band": _band,
    "deflate": _deflate,
    "mp_shrink": _plain(MPShrink),
}


def find_edit(name: str, amount: float, *, contrasts: Contrasts | None = None) -> Edit:
    """The edit of that name, with its option in brackets, by that amount.

    Args:
        name: such as `gain`, `power`, `zscore[clamp]`, `band[0-8]` or `deflate[2]`.
        amount: α or β of the edit.
        contrasts: activations at the outputs of the weights, for `deflate`.

    Raises:
        UnknownNameError: no such edit.
        BadValueError: an amount or option that the edit does not take.
    """
    known, option = _split(name)
    return EDITS[known](amount, option, contrasts or {})


def needs_pairs(name: str) -> bool:
    """Whether the edit of that name looks at paired activations."""
    return _split(name)[0] == "deflate"


def _split(name: str) -> tuple[str, str]:
    match = _NAME.fullmatch(name.strip())
    if match is None or match["name"] not in EDITS:
        raise UnknownNameError("edit", name, EDITS)
    return match["name"], match["option"] or ""
