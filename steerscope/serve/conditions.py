"""What a request asks to be done to the model, as the interventions that everything else uses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from steerscope.doses import Dose, check_unit
from steerscope.engine.calibration import dose_in_nats
from steerscope.errors import BadValueError, UnknownNameError, check_name
from steerscope.models.lens_model import LensModel
from steerscope.sae.steering import FeatureEdit, FeatureSteering
from steerscope.serve.shelf import Shelf
from steerscope.steering.control_vectors import along
from steerscope.steering.interventions import Cell, Intervention
from steerscope.steering.operators import find_operator
from steerscope.steering.prompting import Prompting
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import (
    CosineGate,
    Gate,
    ProjectionGate,
    Strength,
    as_strength,
    parse_strength,
)

_GATES: dict[str, type[Gate]] = {"cosine": CosineGate, "projection": ProjectionGate}
_MOST_AT_ONCE = 16
_PART = re.compile(
    r"\+(?P<vector>[A-Za-z0-9][A-Za-z0-9_.-]*)"
    r"(?:@(?P<dose>[+-]?[0-9]{1,9}(?:\.[0-9]{0,9})?)(?::(?P<unit>[a-z]+))?)?"
)


class Strict(BaseModel):
    """Names that are not known are refused, and nothing is made into what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GateAsked(Strict):
    """Steer only where the activation at a site points along a vector.

    Attributes:
        vector: name; default the one that steers.
        site: of that vector; default the steered site.
        kind: `cosine` or `projection`.
        threshold: in units of the kind.
        below: whether it is open under the threshold.
    """

    vector: str | None = None
    site: str | None = None
    kind: str = "cosine"
    threshold: float
    below: bool = False


class SteeringAsked(Strict):
    """One thing to do: a vector with its dose, a feature, or words that are said before the prompt.

    Attributes:
        vector: name of a vector that the server knows.
        sites: of that vector, such as `resid_post.4`; default its own choice.
        dose: how much; default 1, for operators that take a dose.
        unit: natural, relative, absolute, kl or degrees; default natural, or degrees.
        operator: add, project_out, clamp, rotate or rotate_to.
        scope: which positions, such as `generated`.
        strength: share of the change: a number, or such as `ramp:8`.
        gate: when.
        instruction: instead of a vector, words that ask for the same.
        feature: instead of a vector, a feature of the autoencoder that the server has.
        change: of the feature: clamp, scale or add.
        value: of the change; default 1.
    """

    vector: str | None = None
    sites: list[str] | None = Field(default=None, max_length=256)
    dose: float | None = None
    unit: str | None = None
    operator: str = "add"
    scope: str = "all"
    strength: float | str = 1.0
    gate: GateAsked | None = None
    instruction: str | None = Field(default=None, max_length=20_000)
    feature: int | None = Field(default=None, ge=0)
    change: str | None = None
    value: float | None = None


SteeringList = SteeringAsked | list[SteeringAsked] | None


def as_list(asked: SteeringList) -> list[SteeringAsked]:
    """What is asked for, one after the other.

    Raises:
        BadValueError: too much at once.
    """
    found = [] if asked is None else asked if isinstance(asked, list) else [asked]
    if len(found) > _MOST_AT_ONCE:
        raise BadValueError(
            f"steering names {len(found)} changes; at most {_MOST_AT_ONCE} act together."
        )
    return found


def read_alias(name: str, models: Sequence[str]) -> tuple[str, list[SteeringAsked]]:
    """The model and the steering of a name such as `smollm2+joyful@1.5+calm@0.5:relative`.

    Raises:
        UnknownNameError: no such model.
        BadValueError: what follows it cannot be read.
    """
    for model in sorted(models, key=len, reverse=True):
        rest = name.removeprefix(model)
        if not name.startswith(model) or (rest and not rest.startswith("+")):
            continue
        parts = list(_PART.finditer(rest))
        if "".join(p[0] for p in parts) != rest:
            raise BadValueError(
                f"cannot read {rest!r:.80} behind the model {model}; write +VECTOR@DOSE, such as "
                f"{model}+joyful@1.5."
            )
        return model, [
            SteeringAsked(
                vector=p["vector"],
                dose=None if p["dose"] is None else float(p["dose"]),
                unit=p["unit"],
            )
            for p in parts
        ]
    raise UnknownNameError("model", name, models)


def condition(
    model: LensModel, shelf: Shelf, asked: Sequence[SteeringAsked], prompts: Sequence[str] = ()
) -> Cell:
    """The condition that is asked for.

    Args:
        model: for doses in nats, which it is asked about.
        shelf: the vectors.
        asked: what is to act together.
        prompts: that a dose in nats is measured on.

    Raises:
        SteerscopeError: whatever the types find wrong with it.
    """
    return Cell(tuple(_intervention(model, shelf, one, prompts) for one in asked))


def _intervention(
    model: LensModel, shelf: Shelf, asked: SteeringAsked, prompts: Sequence[str]
) -> Intervention:
    kinds = [k for k in ("vector", "instruction", "feature") if getattr(asked, k) is not None]
    if len(kinds) != 1:
        raise BadValueError("steering names either a vector or an instruction or a feature.")
    _refuse_more(asked, kinds[0])
    if asked.instruction is not None:
        return Prompting(asked.instruction)
    if asked.feature is not None:
        return _feature(shelf, asked, asked.feature)
    assert asked.vector is not None
    directions = shelf.get(asked.vector).at(asked.sites)
    for direction in directions:
        model.check(direction.site)
    dose, scope = _dose(asked), Scope.parse(asked.scope)
    strength = _strength(shelf, asked)
    if dose is not None and dose.unit == "kl":
        if not prompts:
            raise BadValueError("a dose in kl is measured on the prompt, which must be a text.")
        dose = dose_in_nats(
            model, directions, dose.value, prompts,
            operator=asked.operator, scope=scope, strength=strength,
        )  # fmt: skip
    return along(directions, dose, asked.operator, scope, strength)


_BELONGS = {
    "instruction": {"instruction"},
    "feature": {"feature", "change", "value", "scope", "strength"},
    "vector": {*SteeringAsked.model_fields} - {"instruction", "feature", "change", "value"},
}


def _refuse_more(asked: SteeringAsked, kind: str) -> None:
    for name in sorted(asked.model_fields_set - _BELONGS[kind]):
        if getattr(asked, name) is not None:
            raise BadValueError(f"steering.{name} does not belong to steering by {kind}.")


def _feature(shelf: Shelf, asked: SteeringAsked, feature: int) -> Intervention:
    if shelf.autoencoder is None:
        raise BadValueError("this server has no autoencoder; start it with --sae.")
    if isinstance(asked.strength, str):
        raise BadValueError("the strength of a feature is a number from 0 to 1.")
    value = 1.0 if asked.value is None else asked.value
    change = FeatureEdit(feature, asked.change or "clamp", value)
    scope = Scope.parse(asked.scope)
    return FeatureSteering(shelf.autoencoder[1], (change,), scope, float(asked.strength))


def _dose(asked: SteeringAsked) -> Dose | None:
    takes = find_operator(asked.operator).takes
    if takes == "nothing":
        if asked.dose is not None or asked.unit is not None:
            raise BadValueError(f"the operator {asked.operator} takes no dose; leave it out.")
        return None
    usual: Literal["degrees", "natural"] = "degrees" if takes == "angle" else "natural"
    unit = usual if asked.unit is None else check_unit(asked.unit)
    return Dose(1.0 if asked.dose is None else float(asked.dose), unit)


def _strength(shelf: Shelf, asked: SteeringAsked) -> Strength:
    given = asked.strength
    found = parse_strength(given) if isinstance(given, str) else as_strength(given)
    if asked.gate is None:
        return found
    gate, kind = asked.gate, _GATES[check_name("gate", asked.gate.kind, _GATES)]
    if gate.vector is None and gate.site is None:
        return found * kind(gate.threshold, gate.below)
    vector = shelf.get(gate.vector or asked.vector or "")
    there = vector.at(None if gate.site is None else [gate.site])
    if len(there) > 1:
        raise BadValueError(
            f"a gate reads one site, and vector {vector.name} acts at {len(there)}; name one."
        )
    return found * kind(gate.threshold, gate.below, there[0])
