"""Where a weight is edited, and plans of several edits written as text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from steerscope.errors import BadValueError
from steerscope.models.matrices import WeightName, check_weight
from steerscope.texts.numbers import read_real

_PART = re.compile(
    r"\s*(?P<name>[\w.]+?):(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?:(?P<amount>[^:\s]+)\s*"
)
_WHOLE = re.compile(r"\s*(?P<place>[\w.]+\.[0-9][\w.]*):(?P<amount>[^:]+?)\s*")
_OURS = re.compile(r"(?P<name>[A-Za-z_]\w*)\.(?P<layer>[0-9]{1,5})")
_MODULE = re.compile(
    r"(?:[A-Za-z]\w*\.)*(?:layers|h|blocks|block|layer)\.(?P<layer>[0-9]{1,5})\.(?P<name>[\w.]+)"
)


@dataclass(frozen=True)
class Place:
    """One weight matrix of one block, such as `down.15`.

    Attributes:
        name: `q`, `k`, `v`, `o`, `gate`, `up` or `down`.
        layer: of the block, 0-based.

    Raises:
        UnknownNameError: no such weight.
        BadValueError: the layer is negative.
    """

    name: WeightName
    layer: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_weight(self.name))
        if self.layer < 0:
            raise BadValueError(f"layer {self.layer} is negative; layers count from 0.")

    def __str__(self) -> str:
        return f"{self.name}.{self.layer}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place written as `down.15`, or as the module of transformers or TransformerLens.

        Such as `model.layers.15.mlp.down_proj` and `blocks.15.mlp.W_out`.

        Raises:
            BadValueError: the text is of no such form.
            UnknownNameError: no such weight.
        """
        match = _OURS.fullmatch(text.strip()) or _MODULE.fullmatch(text.strip())
        if match is None:
            raise BadValueError(
                f"cannot read weight {text!r}; write it as weight.layer, such as down.15, or as a "
                "module of one block, such as model.layers.15.mlp.down_proj."
            )
        return cls(check_weight(match["name"]), int(match["layer"]))


def _amount(text: str) -> float | None:
    try:
        return read_real(text)
    except ValueError:
        return None


def parse_places(text: str) -> tuple[tuple[Place, float], ...]:
    """Places with amounts, written as `down:15:-0.2,down:16-24:+0.3`.

    One place may be written as its module, too: `model.layers.15.mlp.down_proj:-0.2`.

    Raises:
        BadValueError: the text is not of that form, or names a place twice.
        UnknownNameError: no such weight.
    """
    found: dict[Place, float] = {}
    for piece in text.split(","):
        whole = _WHOLE.fullmatch(piece)
        if whole is not None:
            place = Place.parse(whole["place"])
            piece = f"{place.name}:{place.layer}:{whole['amount']}"
        match = _PART.fullmatch(piece)
        amount = None if match is None else _amount(match["amount"])
        if match is None or amount is None:
            raise BadValueError(
                f"cannot read {piece.strip()!r} in {text!r}; write WEIGHT:LAYERS:AMOUNT, such as "
                "down:15:-0.2 or down:16-24:+0.3, with commas between."
            )
        first = int(match["first"])
        name = check_weight(match["name"])
        for layer in range(first, int(match["last"] or first) + 1):
            place = Place(name, layer)
            if place in found:
                raise BadValueError(f"{place} comes twice in {text!r}; give it one amount.")
            found[place] = amount
        if int(match["last"] or first) < first:
            raise BadValueError(f"layers {first}-{match['last']} in {text!r} run backwards.")
    return tuple(found.items())
