"""A direction at each of several layers as one control vector with one coefficient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from steerscope.directions import Direction
from steerscope.doses import Dose, Scale
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.steering.interventions import Rows, Steering
from steerscope.steering.operators import find_operator
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import Constant, Strength, as_strength


@dataclass(frozen=True)
class ControlVector:
    """One direction at each of several sites, all moved by the same number of units of their own.

    A dose of c natural units adds c natural lengths at every site: of an imported file that is c
    times what is stored, the coefficient of repeng and llama.cpp. As a whole it is one vector in
    the space of all sites together, so that its length is √(Σ length²).

    Attributes:
        directions: each at a site of its own.
        dose: how much, as in `Steering`, the same for all.
        operator: a name in `operators.OPERATORS`.
        scope: at which absolute positions.
        strength: share of the change that is made.

    Raises:
        BadValueError: no direction, or two at one site; and what `Steering` raises.
        UnknownNameError: no such operator.

    Source: Zou et al. 2023 (arXiv:2310.01405), representation engineering, and repeng, which add at
    many layers at once.
    """

    directions: tuple[Direction, ...]
    dose: Dose | None = None
    operator: str = "add"
    scope: Scope = Scope.all()  # noqa: RUF009 - scopes are frozen
    strength: float | Strength = 1.0

    def __post_init__(self) -> None:
        sites = [d.site for d in self.directions]
        if not sites:
            raise BadValueError("a control vector needs at least one direction.")
        twice = [s for i, s in enumerate(sites) if s in sites[:i]]
        if twice:
            raise BadValueError(f"two directions at {twice[0]}; a control vector has one for each.")
        assert self.steerings  # each checks itself

    @property
    def steerings(self) -> tuple[Steering, ...]:
        """What is done at each site."""
        return tuple(
            Steering(d, self.dose, self.operator, self.scope, self.strength)
            for d in self.directions
        )

    @property
    def scale(self) -> Scale:
        """Lengths of one natural and one relative unit at all sites together."""
        scales = [d.scale for d in self.directions]
        return Scale(
            math.hypot(*(s.natural for s in scales)), math.hypot(*(s.relative for s in scales))
        )

    @contextmanager
    def attach(self, model: LensModel, rows: Rows | None = None) -> Iterator[None]:
        """Steer at every site while active."""
        with ExitStack() as stack:
            for steering in self.steerings:
                stack.enter_context(steering.attach(model, rows))
            yield

    def first_block(self, prompt_length: int) -> int | None:
        """The first block that any of them changes."""
        found = (s.first_block(prompt_length) for s in self.steerings)
        return min((block for block in found if block is not None), default=None)

    @property
    def reads_keys(self) -> bool:
        """As of `Steering`."""
        return any(s.reads_keys for s in self.steerings)

    def labels(self) -> dict[str, str | float]:
        """As of `Steering`, of all sites together; layer -1, and the layers by number."""
        scale, length, strength = self.scale, self._length, as_strength(self.strength)
        streams = {d.site.stream for d in self.directions}
        seeds = {d.provenance.seed for d in self.directions}
        seed = seeds.pop() if len(seeds) == 1 else None
        labels: dict[str, str | float] = {
            "method": several(self.directions),
            "stream": "+".join(sorted(streams)),
            "layer": -1,
            "head": -1,
            "layers": numbers_in_words([d.site.layer for d in self.directions]),
            "operator": self.operator,
            "scope": str(self.scope),
            "dose_absolute": length,
            "dose_relative": length / scale.relative,
            "dose_natural": length / scale.natural,
            "strength": strength.value if isinstance(strength, Constant) else str(strength),
            "seed": -1 if seed is None else seed,
        }
        angle = self.dose is not None and self.dose.unit == "degrees"
        return labels | ({"dose_degrees": self.dose.value} if angle and self.dose else {})

    @property
    def _length(self) -> float:
        """Signed length of what is added at all sites together; NaN for an angle or none."""
        if self.dose is None or find_operator(self.operator).takes != "length":
            return math.nan
        lengths = [self.dose.absolute(d.scale) for d in self.directions]
        return math.copysign(math.hypot(*lengths), self.dose.value)


def along(
    directions: Sequence[Direction],
    dose: Dose | None = None,
    operator: str = "add",
    scope: Scope = Scope.all(),  # noqa: B008 - scopes are frozen
    strength: float | Strength = 1.0,
) -> Steering | ControlVector:
    """Steering along one direction, or along several as one control vector."""
    if len(directions) == 1:
        return Steering(directions[0], dose, operator, scope, strength)
    return ControlVector(tuple(directions), dose, operator, scope, strength)


def several(directions: Sequence[Direction]) -> str:
    """What rows call the method of these directions together."""
    return at_once(*dict.fromkeys(d.method for d in directions))


def at_once(*methods: str) -> str:
    """What rows call several layers steered together along directions of these methods."""
    return f"several_layers({'+'.join(methods)})"


def numbers_in_words(numbers: Sequence[int]) -> str:
    """Numbers with runs of them as spans: `0-3,5`."""
    spans: list[list[int]] = []
    for n in sorted(set(numbers)):
        if spans and n == spans[-1][-1] + 1:
            spans[-1].append(n)
        else:
            spans.append([n])
    return ",".join(f"{s[0]}-{s[-1]}" if len(s) > 1 else f"{s[0]}" for s in spans)
