"""Several directions at once or in turn, and how much they interfere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import Direction
from steerscope.doses import Dose, Scale
from steerscope.errors import BadValueError, DegenerateDirectionError, VectorMismatchError
from steerscope.extraction.activations import Provenance
from steerscope.models.fingerprints import same_weights
from steerscope.statistics import Estimate, bootstrap_mean
from steerscope.steering.interventions import Steering
from steerscope.steering.scopes import Scope

Part = tuple[Direction, Dose]
_SMALLEST_REST = 1e-4  # share of a unit vector that must be left beside the others


def vector_sum(parts: Sequence[Part]) -> Part:
    """V = Σ length_i unit_i as one direction with one dose: adding it adds all parts.

    One natural unit of the sum is one natural unit of every part, each with the sign of its dose; where
    these cancel and the parts do not, its natural length is the mean of theirs.

    Args:
        parts: each a direction with its dose, a length in any unit.

    Raises:
        BadValueError: no part, or a dose that is no length.
        VectorMismatchError: the parts are not at one site of one model.
        DegenerateDirectionError: the parts cancel.
    """
    directions = [direction for direction, _ in parts]
    _check_alike(directions)
    lengths = [dose.absolute(direction.scale) for direction, dose in parts]
    total = _weighted(directions, lengths)
    words = ", ".join(
        f"{dose.to('natural', d.scale).value:+.3g} {d.provenance.contrasts}:{d.method}"
        for d, dose in parts
    )
    smallest = _SMALLEST_REST * sum(map(abs, lengths))
    length = float(total.norm())
    if length <= smallest:
        raise DegenerateDirectionError(f"the sum of {words} is zero; the parts cancel.")
    scale = Scale(_natural(directions, lengths), directions[0].scale.relative)
    composed = Direction(
        directions[0].site, total / length, scale, f"sum({words})", _origin(directions)
    )
    return composed, Dose(length, "absolute")


def _natural(directions: Sequence[Direction], lengths: Sequence[float]) -> float:
    """The natural length of a sum of directions at these lengths."""
    each = [d.scale.natural for d in directions]
    signed = [float(np.sign(n)) * unit for n, unit in zip(lengths, each, strict=True)]
    together = float(_weighted(directions, signed).norm())
    return together if together > _SMALLEST_REST * sum(each) else sum(each) / len(each)


def renormalised_sum(parts: Sequence[Part]) -> Part:
    """The sum of the parts at the mean of their absolute lengths, so that it costs what one does.

    Args:
        parts: each a direction with its dose, a length in any unit.

    Raises:
        BadValueError: no part, or a dose that is no length.
        VectorMismatchError: the parts are not at one site of one model.
        DegenerateDirectionError: the parts cancel.

    Source: the composition of Shumatsurontek/steering-research, which scales to the length of the
    first vector and so depends on the order.
    """
    direction, _ = vector_sum(parts)
    lengths = [abs(dose.absolute(part.scale)) for part, dose in parts]
    return direction, Dose(sum(lengths) / len(lengths), "absolute")


def orthogonalised(directions: Sequence[Direction]) -> tuple[Direction, ...]:
    """Gram-Schmidt in the order given: each direction without its components along those before.

    With r_i the length of what is left of unit i, the natural length becomes natural_i r_i: the
    class separation along the new unit, as far as the classes differ along the old one.

    Args:
        directions: at one site of one model; the first stays as it is.

    Raises:
        BadValueError: no direction.
        VectorMismatchError: the directions are not at one site of one model.
        DegenerateDirectionError: a direction lies in the span of those before.
    """
    _check_alike(directions)
    kept: list[Direction] = []
    for direction in directions:
        rest = direction.unit.double()
        for _ in range(2):  # twice, against rounding
            for before in kept:
                along = before.unit.double()
                rest = rest - (rest @ along) * along
        length = float(rest.norm())
        if length <= _SMALLEST_REST:
            raise DegenerateDirectionError(
                f"{direction.label} lies in the span of the directions before it; leave it out."
            )
        if not kept:
            kept.append(direction)
            continue
        scale = Scale(direction.scale.natural * length, direction.scale.relative)
        unit = (rest / length).to(direction.unit.dtype)
        kept.append(
            replace(direction, unit=unit, scale=scale, method=f"orthogonalised({direction.method})")
        )
    return tuple(kept)


def switched(steerings: Sequence[Steering], starts: Sequence[int]) -> tuple[Steering, ...]:
    """One steering after the other: number i acts from generated token `starts[i]` to the next.

    The first generated token is number 1; the last steering goes on to the end. The pass over token
    t decides token t + 1, and the prompt, which decides the first, stays plain; steer it by one more
    steering with the scope `prompt`.

    Args:
        steerings: in the order in which they act.
        starts: the generated token, from 1, at which each begins; ascending.

    Raises:
        BadValueError: the starts do not ascend from 1 or more, there are not as many of them as
            steerings, or a steering has a narrower scope of its own.
    """
    if len(steerings) != len(starts) or not steerings:
        raise BadValueError(f"{len(steerings)} steerings need as many starts, got {len(starts)}.")
    if starts[0] < 1 or any(b <= a for a, b in zip(starts, starts[1:], strict=False)):
        raise BadValueError(f"starts {list(starts)} must ascend from 1 or more.")
    for steering in steerings:
        if steering.scope not in (Scope.all(), Scope.generated()):
            raise BadValueError(
                f"a switched steering is scoped by its step; take out its scope {steering.scope}."
            )
    return tuple(
        replace(steering, scope=Scope.steps(start, stop))
        for steering, start, stop in zip(steerings, starts, [*starts[1:], None], strict=True)
    )


def gram(directions: Sequence[Direction]) -> Float[Tensor, "direction other"]:
    """Cosines of the units of directions at one site.

    Raises:
        BadValueError: no direction.
        VectorMismatchError: the directions are not at one site of one model.
    """
    _check_alike(directions)
    units = torch.stack([d.unit.double() for d in directions])
    return (units @ units.T).float()


@dataclass(frozen=True)
class Interference:
    """How far the effect of two steerings together is from the sum of their effects.

    Attributes:
        measured: mean of E(a+b) - E(a) - E(b) over items, E the difference from plain.
        predicted: the same for a metric that is quadratic in the change and the same in every
            direction; a metric linear in the change has 0.
        cosine: of the two units.
    """

    measured: Estimate
    predicted: float
    cosine: float


def interference(
    first: Part,
    second: Part,
    *,
    plain: Float[np.ndarray, " _"],
    with_first: Float[np.ndarray, " _"],
    with_second: Float[np.ndarray, " _"],
    with_both: Float[np.ndarray, " _"],
    seed: int = 0,
) -> Interference:
    """Measured non-additivity of a metric, beside what the geometry of the vectors predicts.

    For small changes KL is quadratic: E(δ) = k ‖δ‖² if no direction matters more than another. Then
    E(a+b) - E(a) - E(b) = 2 k a·b with k = (E(a) + E(b)) / (‖a‖² + ‖b‖²). What the measurement adds
    to that comes from the model, not from overlapping vectors.

    Args:
        first: direction and dose of the first steering.
        second: of the second.
        plain: the metric of every item under the plain model.
        with_first: under the first steering, items in the same order.
        with_second: under the second.
        with_both: under both.
        seed: of the bootstrap over items.

    Raises:
        BadValueError: the arrays differ in length, or both doses are zero.
        VectorMismatchError: the directions are not at one site of one model.
    """
    if len({len(a) for a in (plain, with_first, with_second, with_both)}) != 1:
        raise BadValueError("the four measurements must be of the same items.")
    cosine = float(gram([first[0], second[0]])[0, 1])
    a, b = (dose.absolute(direction.scale) for direction, dose in (first, second))
    if a == b == 0:
        raise BadValueError("two doses of zero do not interfere; give at least one.")
    alone = float(np.nanmean(with_first - plain) + np.nanmean(with_second - plain))
    measured = bootstrap_mean(with_both - with_first - with_second + plain, seed=seed)
    return Interference(measured, 2 * a * b * cosine * alone / (a**2 + b**2), cosine)


def _weighted(directions: Sequence[Direction], weights: Sequence[float]) -> Float[Tensor, " d"]:
    units = torch.stack([d.unit for d in directions])
    return torch.tensor(weights, dtype=units.dtype, device=units.device) @ units


def _origin(directions: Sequence[Direction]) -> Provenance:
    """Provenance of what is made of several directions."""
    origins = [d.provenance for d in directions]
    joined = "".join(o.contrasts_sha256 for o in origins)
    return replace(
        origins[0],
        contrasts="+".join(o.contrasts for o in origins),
        contrasts_sha256=hashlib.sha256(joined.encode()).hexdigest(),
        read="+".join(dict.fromkeys(o.read for o in origins)),
        n_pairs=sum(o.n_pairs for o in origins),
        template="+".join(dict.fromkeys(t for o in origins for t in o.templates)),
        bos=origins[0].bos if len({o.bos for o in origins}) == 1 else "",
    )


def _check_alike(directions: Sequence[Direction]) -> None:
    if not directions:
        raise BadValueError("there is no direction to compose; give at least one.")
    first = directions[0]
    for other in directions[1:]:
        same = other.site == first.site and len(other.unit) == len(first.unit)
        one, another = first.provenance.fingerprint, other.provenance.fingerprint
        if not (same and same_weights(one, another)):
            raise VectorMismatchError(
                f"{first.label} and {other.label} are not at one site of one model; steer with each "
                "at its own site instead."
            )
