"""Every change to a model, and the one way to make it: `with steer(model, *interventions)`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerscope.directions import Direction
from steerscope.doses import Dose, Scale, Unit
from steerscope.errors import (
    BadValueError,
    OtherWeightsWarning,
    UnsupportedSiteError,
    VectorMismatchError,
)
from steerscope.models.clock import Clock
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import HookFunction, LensModel
from steerscope.sites import READ_ONLY_STREAMS, Site
from steerscope.steering.operators import find_operator
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import Constant, Moment, Strength, as_strength


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
        """The first block that runs otherwise than plain over a prompt; None for no change at all.

        A change of the stream after a block is one for the next block.
        """
        ...

    def labels(self) -> dict[str, str | float]:
        """What a row of results says about this intervention."""
        ...


@dataclass(frozen=True, init=False)
class Steering:
    """Move the activations at a direction's site: x <- x + strength * (operator(x) - x).

    Attributes:
        direction: where and which way.
        dose: how much, in a unit that the operator takes; a number alone is in natural units, or in
            degrees where the operator turns; None for operators without a dose.
        operator: a name in `operators.OPERATORS`.
        scope: at which absolute positions; also as text, such as `generated`.
        strength: share of the change that is made: a number from 0 to 1, a schedule or a gate.
        allow_other_weights: whether it may come from a sibling of the model; a warning says so.

    Raises:
        UnknownNameError: no such operator.
        BadValueError: a dose where none belongs, none where one does or one of another kind; a
            strength outside 0..1 or a gate that the site does not suit.
    Source: Turner et al. 2023 (arXiv:2308.10248); ablation: Arditi et al. 2024 (arXiv:2406.11717).
    """

    direction: Direction
    dose: Dose | None = None
    operator: str = "add"
    scope: Scope = Scope.all()  # noqa: RUF009 - scopes are frozen
    strength: float | Strength = 1.0
    allow_other_weights: bool = False

    def __init__(  # noqa: PLR0913 - the fields, in the forms that may be given
        self,
        direction: Direction,
        dose: Dose | float | None = None,
        operator: str = "add",
        scope: Scope | str = Scope.all(),  # noqa: B008 - scopes are frozen
        strength: float | Strength = 1.0,
        allow_other_weights: bool = False,
    ) -> None:
        unit: Unit = "degrees" if find_operator(operator).takes == "angle" else "natural"
        hold = partial(object.__setattr__, self)
        hold("direction", direction)
        hold("dose", dose if dose is None or isinstance(dose, Dose) else Dose(dose, unit))
        hold("operator", operator)
        hold("scope", Scope.parse(scope) if isinstance(scope, str) else scope)
        hold("strength", strength)
        hold("allow_other_weights", allow_other_weights)
        find_operator(operator).check(self.dose)
        as_strength(self.strength).check(self.direction.site)

    @property
    def scale(self) -> Scale:
        """Lengths of one natural and one relative unit."""
        return self.direction.scale

    def labels(self) -> dict[str, str | float]:
        """Direction, operator, scope, strength and the dose in its three lengths, NaN without one."""
        return dict(self._labels)

    @cached_property
    def _labels(self) -> dict[str, str | float]:
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
        """That of the site or of what a gate reads; None if no prompt position is in scope."""
        if not changes_prompt(self.scope, prompt_length):
            return None
        blocks = (site.first_block for site in (self.direction.site, *self._read_elsewhere))
        return min((*blocks, *as_strength(self.strength).key_layers))

    @property
    def _read_elsewhere(self) -> tuple[Site, ...]:
        """The sites that the strength reads and this steering does not change."""
        sites = (c.site for c in as_strength(self.strength).conditions)
        return tuple(dict.fromkeys(s for s in sites if s != self.direction.site))

    def _check(self, model: LensModel) -> None:
        """Refuse what does not suit the model."""
        strength = as_strength(self.strength)
        check_scope(self.scope, model)
        for direction in (self.direction, *strength.conditions):
            check_direction(direction, model, allow_other_weights=self.allow_other_weights)
        strength.check_model(self.direction.site, model.shape)

    @contextmanager
    def attach(self, model: LensModel, rows: Rows | None = None) -> Iterator[None]:
        """Hook the site of the direction, and any other that the strength reads.

        Raises:
            UnsupportedSiteError: the model lacks a site.
            VectorMismatchError: a direction is of another model or width.
            BadValueError: the scope or the strength does not suit the model.
        """
        self._check(model)
        strength, operator = as_strength(self.strength), find_operator(self.operator)
        site, unit = self.direction.site, self.direction.unit.to(model.dtype)
        amount = operator.amount(self.dose, self.direction.scale)
        seen: dict[Site, Tensor] = {}  # of the pass in progress, emptied at the steered site

        def move(x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"] | None:
            nonlocal unit
            elsewhere = dict(seen)
            seen.clear()
            if rows is not None and not len(rows.index):
                return None
            unit = unit.to(x.device)  # once: blocks may lie on several devices, a site on one
            index = None if rows is None else rows.index.to(x.device)
            positions, prompt_length = _when(model.clock, x, index)
            inside = _where(self.scope, model.clock, x, index).includes(positions, prompt_length)
            if not bool(inside.any()):
                return None
            part = x if index is None else x[index]
            elsewhere[site] = part
            keys = partial(_keys_so_far, model, rows)
            moment = Moment(site, unit, positions - prompt_length + 1, elsewhere, keys)
            share = (strength.share(moment).to(x.device) * inside).to(x.dtype)
            if not bool(share.any()):
                return None
            moved = torch.lerp(part, operator.apply(part, unit, amount), share[..., None])
            return moved if index is None else x.index_copy(0, index, moved)

        with ExitStack() as stack:
            if strength.key_layers:
                stack.enter_context(model.reading_keys())
            for other in self._read_elsewhere:
                stack.enter_context(model.hook(other, _keep(seen, other, rows)))
            stack.enter_context(model.hook(site, move))
            yield

    @property
    def reads_keys(self) -> bool:
        """Whether it looks at the keys of earlier tokens, so that its rows must be equally long."""
        return bool(as_strength(self.strength).key_layers)

    @property
    def only_adds(self) -> bool:
        """Whether this adds one vector at every position in scope and looks at nothing."""
        return self.operator == "add" and as_strength(self.strength) == Constant(1.0)


def changes_prompt(scope: Scope, prompt_length: int) -> bool:
    """Whether a position of a prompt may be in scope; a scope that reads tokens always may."""
    if scope.reads_tokens:
        return True
    return bool(scope.includes(torch.arange(prompt_length), prompt_length).any())


def holds_some(scope: Scope, tokens: Sequence[int]) -> bool:
    """Whether a position of a prompt of these tokens is in scope."""
    n = len(tokens)
    there = scope.given(torch.tensor([tokens])) if scope.reads_tokens else scope
    return bool(there.includes(torch.arange(n)[None], n).any())


def inside_scope(
    scope: Scope, clock: Clock, x: Float[Tensor, "batch pos d"], rows: Int[Tensor, " row"] | None
) -> Bool[Tensor, "#row pos"]:
    """Which positions of our rows of the pass in progress are in scope; one row for all if alike."""
    return _where(scope, clock, x, rows).includes(*_when(clock, x, rows))


def _when(
    clock: Clock, x: Float[Tensor, "batch pos d"], rows: Int[Tensor, " row"] | None
) -> tuple[Int[Tensor, "#row pos"], int | Int[Tensor, "row 1"]]:
    """Positions of our rows in this pass and the prompt length, one for each row where they differ."""
    length = clock.prompt_length
    if isinstance(length, Tensor):
        length = length.to(x.device)
        length = (length if rows is None else length[rows])[:, None]
    return clock.positions(x.shape[1], x.device, rows), length


def _keys_so_far(
    model: LensModel, rows: Rows | None, layer: int
) -> Float[Tensor, "row head token d"]:
    """Keys of a layer up to the last token of the pass, of our rows."""
    if isinstance(stop := model.clock.stop, Tensor):
        raise BadValueError(
            "a strength that reads the keys of all tokens so far needs rows without padding before "
            "the texts; give them one by one, or pad them on the right."
        )
    keys = model.keys_so_far(layer, stop)
    return keys if rows is None else keys[rows.index.to(keys.device)]


def _where(
    scope: Scope, clock: Clock, x: Float[Tensor, "batch pos d"], rows: Int[Tensor, " row"] | None
) -> Scope:
    """The scope, by the tokens of our rows if it depends on them."""
    if not scope.reads_tokens:
        return scope
    tokens = clock.tokens(*x.shape[:2]).to(x.device)
    return scope.given(tokens if rows is None else tokens[rows])


def _keep(seen: dict[Site, Tensor], site: Site, rows: Rows | None) -> HookFunction:
    """A hook that notes the activations of our rows at a site."""

    def keep(x: Float[Tensor, "batch pos d"]) -> None:
        # A copy, since some backbones write a later change of this site into the same memory.
        seen[site] = x.clone() if rows is None else x[rows.index.to(x.device)]

    return keep


def check_scope(scope: Scope, model: LensModel) -> None:
    """Refuse a scope that begins at a token that the model does not have.

    Raises:
        BadValueError: a token id is outside the vocabulary, so that no text holds it.
    """
    most = model.shape.n_vocab - 1
    if beyond := [i for i in scope.looks_for if i > most]:
        raise BadValueError(
            f"scope {scope}: {model.name} has no token {beyond[0]}; give ids of 0 to {most}."
        )


def check_direction(
    direction: Direction, model: LensModel, *, allow_other_weights: bool = False
) -> None:
    """Refuse a direction of another model or another width.

    One of other weights passes with a warning if that is allowed, here or by `model.accepts`.

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
    if same_weights(origin.fingerprint, model.fingerprint):
        return
    found = (
        f"the direction {direction.label} was found on {origin.model} "
        f"({origin.fingerprint[:12]}), not on {model.name} ({model.fingerprint[:12]})"
    )
    if not (allow_other_weights or any(same_weights(origin.fingerprint, a) for a in model.accepts)):
        raise VectorMismatchError(
            f"{found}; find it again on this model, or allow other weights if the two are siblings "
            "(allow_other_weights=True, --allow-other-weights)."
        )
    warnings.warn(
        f"{found}; its lengths and its effect are those of the other model.",
        OtherWeightsWarning,
        stacklevel=2,
    )


def as_intervention(given: object) -> Intervention:
    """The intervention itself, or one natural unit of a direction.

    Raises:
        BadValueError: it is neither.
    """
    if isinstance(given, Direction):
        return Steering(given, Dose(1.0))
    if isinstance(given, Intervention):
        return given
    raise BadValueError(
        f"cannot steer with {type(given).__name__} {given!r:.60}; give a direction, or "
        "Steering(direction, 2.0) for two natural units of it."
    )


@contextmanager
def steer(model: LensModel, *interventions: Intervention | Direction) -> Iterator[LensModel]:
    """Change the model while active; afterwards, also after an exception, it is as it was.

    Interventions act in the order given. Any way of running the model is steered: its own forward,
    `generate`, or TransformerLens' methods on `model.transformer`.

    Args:
        model: the model; the `with` statement hands it on.
        interventions: steerings, edits of weights, adapters or features; a direction alone is one
            natural unit of it, and none leaves the model plain.

    Raises:
        BadValueError: what is given is no intervention.
        VectorMismatchError: an intervention belongs to another model.
        ModelBusyError: another thread has the model and is idle.
        NeverRanError: at the end, if the model ran and an intervention was passed by.
        SteerscopeError: whatever else an intervention finds wrong with this model.
    """
    with model.turn.holding(), ExitStack() as stack:
        for intervention in interventions:
            stack.enter_context(as_intervention(intervention).attach(model))
        yield model


@dataclass(frozen=True, init=False)
class Cell:
    """One condition of an experiment: the interventions that act together, none for plain.

    Attributes:
        interventions: in the order in which they act; their effects need not add up. One alone may
            be given without a tuple, and a direction for one natural unit of it.
    """

    interventions: tuple[Intervention, ...] = ()

    def __init__(
        self, interventions: Intervention | Direction | Sequence[Intervention | Direction] = ()
    ) -> None:
        several = interventions if isinstance(interventions, Sequence) else (interventions,)
        object.__setattr__(self, "interventions", tuple(map(as_intervention, several)))

    def first_block(self, prompt_length: int, n_blocks: int) -> int:
        """The first block that runs otherwise than plain over a prompt; `n_blocks` for none."""
        found = (i.first_block(prompt_length) for i in self.interventions)
        return min((block for block in found if block is not None), default=n_blocks)

    @cached_property
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
