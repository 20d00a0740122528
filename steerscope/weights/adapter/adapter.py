"""The SVD adapter: chosen singular vectors of a weight are turned and their values scaled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.weights.adapter.cayley import bounded, cayley, n_planes, skew
from steerscope.weights.adapter.factors import Factors, check_columns
from steerscope.weights.adapter.records import TrainingRecord
from steerscope.weights.changes import Change
from steerscope.weights.places import Place

Scaling = Literal["exp", "add", "tanh", "none"]
Turned = Literal["inputs", "outputs", "both", "none"]


@dataclass(frozen=True, kw_only=True)
class AdapterDesign:
    """What of a model an adapter may change.

    Attributes:
        matrices: the weights, such as `down.3`.
        rank: singular triples of each weight.
        turn: which singular vectors turn: those of the `inputs` (V), of the `outputs` (U), `both`
            or `none`.
        scaling: how the values S follow c: `exp` S e^(cλ), `add` S + cλ, `tanh` S (1 + c tanh λ) or
            `none`.
        columns: the triples with the largest values (`singular`), or those that the two texts of a
            pair use most differently (`data`).
        angle: radians; no plane turns further at c = 1.

    Raises:
        UnknownNameError: a name that does not exist.
        BadValueError: no weight, a weight twice, or a number outside its range.
    """

    matrices: tuple[Place, ...]
    rank: int = 16
    turn: str = "inputs"
    scaling: str = "exp"
    columns: str = "data"
    angle: float = 1.0

    def __post_init__(self) -> None:
        check_columns(self.columns)
        for kind, name, known in (
            ("scaling", self.scaling, get_args(Scaling)),
            ("choice of what turns", self.turn, get_args(Turned)),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if not self.matrices or len(set(self.matrices)) < len(self.matrices):
            raise BadValueError("an adapter needs at least one weight matrix, each named once.")
        if self.rank < 1:
            raise BadValueError(f"rank {self.rank}; it must be at least 1.")
        if not 0 < self.angle < math.pi:
            raise BadValueError(f"angle {self.angle}; it must lie between 0 and π radians.")
        if self.turn == self.scaling == "none":
            raise BadValueError("an adapter that neither turns nor scales changes nothing.")


# What is trained of one weight, by name: `turn_inputs`, `turn_outputs`, `scale`.
Parameters = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class SvdAdapter:
    """W(c) = W - V S Uᵀ + (V R_v(c)) S(c) (U R_u(c))ᵀ on each of its weights.

    R(c) is Cayley's rotation of c times a bounded skew matrix, so R(-c) = R(c)ᵀ; at c = 0, and at
    any c before training, W(c) = W exactly.

    Attributes:
        design: what may change.
        factors: V, S and U of each weight.
        parameters: what is trained of each weight; all zero before training.
        fingerprint: of the model.
        model: its name.
        seed: of the training.
        method: what a table calls it.
        record: what it was trained on; None for a file from before that was kept.

    Source: InnerPiSSA of wassname's journal, with a bound on the angle itself and without the
    random start, which a loss that is odd in c does not need.
    """

    design: AdapterDesign
    factors: Mapping[Place, Factors]
    parameters: Mapping[Place, Parameters]
    fingerprint: str
    model: str
    seed: int = 0
    method: str = "svd_adapter"
    record: TrainingRecord | None = None

    @property
    def matrices(self) -> tuple[Place, ...]:
        """The weights that it changes."""
        return self.design.matrices

    @property
    def n_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(t.numel() for part in self.parameters.values() for t in part.values())

    def core(self, matrix: Place, coefficient: float) -> Float[Tensor, "rank rank"]:
        """R_v(c) S(c) R_u(c)ᵀ - S, in float64: the change within the chosen triples."""
        values = self.factors[matrix].values.double()
        given = self.parameters[matrix]
        core = torch.diag(_scaled(values, given.get("scale"), coefficient, self.design.scaling))
        if "turn_inputs" in given:
            core = self.rotation(given["turn_inputs"], coefficient) @ core
        if "turn_outputs" in given:
            core = core @ self.rotation(given["turn_outputs"], coefficient).T
        return core - torch.diag(values)

    def rotation(
        self, upper: Float[Tensor, " plane"], coefficient: float
    ) -> Float[Tensor, "rank rank"]:
        """R(c) of the numbers that are trained, in float64."""
        matrix = skew(upper.double(), self.design.rank)
        return cayley(coefficient * bounded(matrix, self.design.angle))

    def deltas(self, coefficient: float) -> dict[Place, Change]:
        """What is added to each weight: V (R_v(c) S(c) R_u(c)ᵀ - S) Uᵀ."""
        found = {}
        for matrix, factors in self.factors.items():
            core = self.core(matrix, coefficient).to(factors.inputs.dtype)
            found[matrix] = Change(factors.inputs @ core, factors.outputs.T)
        return found

    def on(self, device: torch.device) -> SvdAdapter:
        """The same with all its numbers on a device."""
        moved = {m: {n: t.to(device) for n, t in p.items()} for m, p in self.parameters.items()}
        factors = {
            m: replace(f, **{n: t.to(device) for n, t in vars(f).items()})
            for m, f in self.factors.items()
        }
        return replace(self, parameters=moved, factors=factors)

    def with_parameters(self, parameters: Mapping[Place, Parameters]) -> SvdAdapter:
        """The same adapter with other numbers."""
        return replace(self, parameters=parameters)

    def negated(self) -> SvdAdapter:
        """The adapter whose c is minus this one's."""
        turned = {m: {n: -t for n, t in part.items()} for m, part in self.parameters.items()}
        return self.with_parameters(turned)


def untrained(design: AdapterDesign) -> dict[Place, dict[str, Tensor]]:
    """The numbers of an adapter that changes nothing yet."""
    names = {"inputs": ["turn_inputs"], "outputs": ["turn_outputs"], "none": []}
    turned = names.get(design.turn, ["turn_inputs", "turn_outputs"])
    sizes = dict.fromkeys(turned, n_planes(design.rank))
    if design.scaling != "none":
        sizes["scale"] = design.rank
    return {m: {name: torch.zeros(size) for name, size in sizes.items()} for m in design.matrices}


def _scaled(
    values: Float[Tensor, " rank"], scale: Float[Tensor, " rank"] | None, c: float, how: str
) -> Float[Tensor, " rank"]:
    """S(c)."""
    if scale is None:
        return values
    scale = scale.double()
    if how == "exp":
        return values * torch.exp(c * scale)
    if how == "add":
        return values + c * scale
    return values + c * torch.tanh(scale) * values
