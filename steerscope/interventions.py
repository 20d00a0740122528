"""Every change to a model, and the one way to make it: `with steer(model, *interventions)`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.errors import UnsupportedSiteError, VectorMismatchError
from steerscope.model import Clock, HookFunction, LensModel
from steerscope.operators import find_operator
from steerscope.scopes import Scope
from steerscope.sites import READ_ONLY_STREAMS, Site
from steerscope.strengths import Constant, Moment, Strength, as_strength


@dataclass(eq=False)
class Rows:
    """Which rows of the batch in progress belong to a condition; its owner may change them."""

    index: Int[Tensor, " row"]


@runtime_checkable
class Intervention(Protocol):
    """Whatever changes a model for a while and leaves it as it was."""

    def attach(self, model: LensModel, rows: Rows | None = None) -> AbstractContextManager[None]:
        """Change the model while active; with `rows`, for those rows of a batch alone."""
        ...

    def first_block(self, prompt_length: int) -> int | None:
        """The first block that runs otherwise than plain over a prompt; None for none."""
        ...

    def labels(self) -> dict[str, str | float]:
        """What a row of results says about this intervention."""
        ...


@dataclass(frozen=True)
class Steering:
    """Move the activations at a direction's site: x <- x + strength * (operator(x) - x).

    Attributes:
        direction: where and which way.
        dose: how much, in a unit that the operator takes; None for operators without a dose.
        operator: a name in `operators.OPERATORS`.
        scope: at which absolute positions.
        strength: share of the change that is made: a number from 0 to 1, a schedule or a gate.

    Raises:
        UnknownNameError: no such operator.
        BadValueError: a dose where none belongs, none where one does or one of another kind; a
            strength outside 0..1 or a gate that the site does not suit.
    """

    direction: Direction
    dose: Dose | None = None
    operator: str = "add"
    scope: Scope = Scope.all()  # noqa: RUF009 - scopes are frozen
    strength: float | Strength = 1.0

    def __post_init__(self) -> None:
        find_operator(self.operator).check(self.dose)
        as_strength(self.strength).check(self.direction.site)

    def labels(self) -> dict[str, str | float]:
        """Direction, operator, scope, strength and the dose in its three lengths, NaN without one."""
        site, scale = self.direction.site, self.direction.scale
        angle = self.dose is not None and self.dose.unit == "degrees"
        length = math.nan if self.dose is None or angle else self.dose.absolute(scale)
        strength = as_strength(self.strength)
        seed = self.direction.provenance.seed
        labels: dict[str, str | float] = {
            "method": self.direction.method,
            "stream": site.stream,
            "layer": site.layer,
            "head": -1 if site.head is None else site.head,
            "operator": self.operator,
            "scope": str(self.scope),
            "dose_absolute": length,
            "dose_relative": length / scale.relative,
            "dose_natural": length / scale.natural,
            "strength": strength.value if isinstance(strength, Constant) else str(strength),
            "seed": -1 if seed is None else seed,
        }
        return labels | ({"dose_degrees": self.dose.value} if angle and self.dose else {})

    def first_block(self, prompt_length: int) -> int | None:
        """The block of the site or of a gate's condition; None if no prompt position is in scope."""
        if not self.scope.reads_tokens:
            inside = self.scope.includes(torch.arange(prompt_length), prompt_length)
            if not bool(inside.any()):
                return None
        return min(site.layer for site in (self.direction.site, *self._read_elsewhere))

    @property
    def _read_elsewhere(self) -> tuple[Site, ...]:
        """The sites that the strength reads and this steering does not change."""
        sites = (c.site for c in as_strength(self.strength).conditions)
        return tuple(dict.fromkeys(s for s in sites if s != self.direction.site))

    @contextmanager
    def attach(self, model: LensModel, rows: Rows | None = None) -> Iterator[None]:
        """Hook the site of the direction, and any other that the strength reads.

        Raises:
            UnsupportedSiteError: the model lacks a site.
            VectorMismatchError: a direction is of another model or width.
        """
        strength = as_strength(self.strength)
        for direction in (self.direction, *strength.conditions):
            check_direction(direction, model)
        site = self.direction.site
        unit = self.direction.unit.to(model.device, model.dtype)
        operator = find_operator(self.operator)
        amount = operator.amount(self.dose, self.direction.scale)
        seen: dict[Site, Tensor] = {}  # of the pass in progress, emptied at the steered site

        def move(x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"] | None:
            elsewhere = dict(seen)
            seen.clear()
            if rows is not None and not len(rows.index):
                return None
            positions, prompt_length = self._when(model.clock, x, rows)
            inside = self._where(model.clock, x, rows).includes(positions, prompt_length)
            if not bool(inside.any()):
                return None
            part = x if rows is None else x[rows.index]
            elsewhere[site] = part
            moment = Moment(site, unit, positions - prompt_length + 1, elsewhere)
            share = (strength.share(moment) * inside).to(x.dtype)
            if not bool(share.any()):
                return None
            moved = torch.lerp(part, operator.apply(part, unit, amount), share[..., None])
            return moved if rows is None else x.index_copy(0, rows.index, moved)

        with ExitStack() as stack:
            for other in self._read_elsewhere:
                stack.enter_context(model.hook(other, _keep(seen, other, rows)))
            stack.enter_context(model.hook(site, move))
            yield

    def _where(self, clock: Clock, x: Float[Tensor, "batch pos d"], rows: Rows | None) -> Scope:
        """The scope, by the tokens of our rows if it depends on them."""
        if not self.scope.reads_tokens:
            return self.scope
        tokens = clock.tokens(*x.shape[:2])
        return self.scope.given(tokens if rows is None else tokens[rows.index])

    def _when(
        self, clock: Clock, x: Float[Tensor, "batch pos d"], rows: Rows | None
    ) -> tuple[Int[Tensor, "1 pos"], int | Int[Tensor, "row 1"]]:
        """Positions of this pass and the prompt length, one for each row where they differ."""
        positions = clock.positions(x.shape[1], x.device)[None]
        length = clock.prompt_length
        if isinstance(length, Tensor):
            length = (length if rows is None else length[rows.index])[:, None]
        return positions, length


def _keep(seen: dict[Site, Tensor], site: Site, rows: Rows | None) -> HookFunction:
    """A hook that notes the activations of our rows at a site."""

    def keep(x: Float[Tensor, "batch pos d"]) -> None:
        # A copy, since some backbones write a later change of this site into the same memory.
        seen[site] = x.clone() if rows is None else x[rows.index]

    return keep


def check_direction(direction: Direction, model: LensModel) -> None:
    """Refuse a direction of another model or another width.

    Raises:
        UnsupportedSiteError: the model lacks the site, or the site can only be read.
        VectorMismatchError: width or model differ.
    """
    if direction.site.stream in READ_ONLY_STREAMS:
        raise UnsupportedSiteError(
            f"site {direction.site} can be read but not steered; use the keys before rotation, k."
        )
    width = model.width(direction.site)
    if len(direction.unit) != width:
        raise VectorMismatchError(
            f"the direction {direction.label} has {len(direction.unit)} components, "
            f"{model.name} has {width} at {direction.site}; use a vector of this model."
        )
    origin = direction.provenance
    if origin.fingerprint != model.fingerprint:
        raise VectorMismatchError(
            f"the direction {direction.label} was found on {origin.model} "
            f"({origin.fingerprint[:12]}), not on {model.name} ({model.fingerprint[:12]}); find it "
            "again on this model."
        )


@contextmanager
def steer(model: LensModel, *interventions: Intervention) -> Iterator[LensModel]:
    """Change the model while active; afterwards, also after an exception, it is as it was.

    Interventions act in the order given. Any way of running the model is steered: its own forward,
    `generate`, or TransformerLens' methods on `model.transformer`.
    """
    with ExitStack() as stack:
        for intervention in interventions:
            stack.enter_context(intervention.attach(model))
        yield model


@dataclass(frozen=True)
class Cell:
    """One condition of an experiment: the interventions that act together, none for plain."""

    interventions: tuple[Intervention, ...] = ()

    def first_block(self, prompt_length: int, n_blocks: int) -> int:
        """The first block that runs otherwise than plain over a prompt; `n_blocks` for none."""
        found = (i.first_block(prompt_length) for i in self.interventions)
        return min((block for block in found if block is not None), default=n_blocks)

    @property
    def key(self) -> str:
        """A text that is the same for the same condition."""
        parts = (
            ", ".join(
                f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}"
                for k, v in i.labels().items()
            )
            for i in self.interventions
        )
        return " + ".join(parts) or "plain"
