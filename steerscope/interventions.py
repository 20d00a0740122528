"""Every change to a model, and the one way to make it: `with steer(model, *interventions)`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.errors import BadValueError, UnsupportedSiteError, VectorMismatchError
from steerscope.model import Clock, LensModel
from steerscope.operators import find_operator
from steerscope.scopes import Scope
from steerscope.sites import READ_ONLY_STREAMS


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
        dose: how much; operators without a dose take None.
        operator: `add` or `project_out`.
        scope: at which absolute positions.
        strength: share of the change that is made, 0 to 1.

    Raises:
        UnknownNameError: no such operator.
        BadValueError: a dose where none belongs or none where one does; a strength outside 0..1.
    """

    direction: Direction
    dose: Dose | None = None
    operator: str = "add"
    scope: Scope = Scope("all")
    strength: float = 1.0

    def __post_init__(self) -> None:
        needs = find_operator(self.operator).needs_dose
        if needs and self.dose is None:
            raise BadValueError(f"operator {self.operator!r} needs a dose; give one.")
        if not needs and self.dose is not None:
            raise BadValueError(
                f"operator {self.operator!r} takes no dose; use strength to do less of it."
            )
        if not 0.0 <= self.strength <= 1.0:
            raise BadValueError(f"strength {self.strength} is outside 0..1.")

    def labels(self) -> dict[str, str | float]:
        """Direction, operator, scope and the dose in its three units, NaN without a dose."""
        site, scale = self.direction.site, self.direction.scale
        length = math.nan if self.dose is None else self.dose.absolute(scale)
        seed = self.direction.provenance.seed
        return {
            "method": self.direction.method,
            "stream": site.stream,
            "layer": site.layer,
            "head": -1 if site.head is None else site.head,
            "operator": self.operator,
            "scope": str(self.scope),
            "dose_absolute": length,
            "dose_relative": length / scale.relative,
            "dose_natural": length / scale.natural,
            "strength": self.strength,
            "seed": -1 if seed is None else seed,
        }

    def first_block(self, prompt_length: int) -> int | None:
        """The block of the site; None if no position of the prompt is in scope."""
        inside = self.scope.includes(torch.arange(prompt_length), prompt_length)
        return self.direction.site.layer if bool(inside.any()) else None

    @contextmanager
    def attach(self, model: LensModel, rows: Rows | None = None) -> Iterator[None]:
        """Hook the site of the direction.

        Raises:
            UnsupportedSiteError: the model lacks the site.
            VectorMismatchError: the direction is of another model or width.
        """
        check_direction(self.direction, model)
        unit = self.direction.unit.to(model.device, model.dtype)
        length = 0.0 if self.dose is None else self.dose.absolute(self.direction.scale)
        apply = find_operator(self.operator).apply

        def move(x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"] | None:
            if rows is not None and not len(rows.index):
                return None
            share = self.strength * self._inside(model.clock, x, rows).to(x.dtype)
            if not bool(share.any()):
                return None
            part = x if rows is None else x[rows.index]
            moved = torch.lerp(part, apply(part, unit, length), share[..., None])
            return moved if rows is None else x.index_copy(0, rows.index, moved)

        with model.hook(self.direction.site, move):
            yield

    def _inside(
        self, clock: Clock, x: Float[Tensor, "batch pos d"], rows: Rows | None
    ) -> Bool[Tensor, "row pos"]:
        """Which positions of which rows are in scope; one row stands for all where they agree."""
        positions = clock.positions(x.shape[1], x.device)[None]
        length = clock.prompt_length
        if isinstance(length, Tensor):
            length = (length if rows is None else length[rows.index])[:, None]
        return self.scope.includes(positions, length)


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
