"""Techniques that answer the same pairs with one coefficient: steering, prompting, changed weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from steerscope.directions import Direction, find_direction
from steerscope.doses import Dose
from steerscope.errors import BadValueError
from steerscope.extraction.activations import extract
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.texts.contrasts import ContrastSet
from steerscope.weights.adapter.changes import Adapted, WeightChange
from steerscope.weights.adapter.linear import FullTrainee, LinearChange
from steerscope.weights.adapter.objectives import Objective
from steerscope.weights.adapter.passes import Ruler, Trainee
from steerscope.weights.adapter.training import TrainingPlan, train
from steerscope.weights.places import Place

STEERED = ("random", "mean_diff", "pca_uncentred")
EVERY = "every matrix"
_FEW = 8  # weights that are named one by one


def _no_prefix(coefficient: float) -> str:  # noqa: ARG001 - the same at any
    return ""


@dataclass(frozen=True, eq=False)
class Technique:
    """One way to lead a model to either class.

    Attributes:
        name: of the technique.
        n_parameters: numbers that it keeps.
        cell: the condition at a coefficient c; positive c lead to the positive class.
        prefix: text put before every prompt at a coefficient, for prompting.
        where: the layer or weights, in words.
    """

    name: str
    n_parameters: int
    cell: Callable[[float], Cell]
    prefix: Callable[[float], str] = _no_prefix
    where: str = ""

    @property
    def is_graded(self) -> bool:
        """Whether other coefficients than -1 and 1 mean anything."""
        return self.prefix is _no_prefix


def weights_technique(change: WeightChange, *, every: bool = False) -> Technique:
    """A change of weights; `every` says that it has each matrix of the model."""
    many = len(change.matrices) > _FEW
    where = EVERY if every and many else places_in_words(change.matrices)
    return Technique(
        change.method, change.n_parameters, lambda c: Cell((Adapted(change, c),)), where=where
    )


def places_in_words(places: Sequence[Place]) -> str:
    """Few weights one by one, and many such as `12 matrices: o, down of blocks 1-6`."""
    if len(places) <= _FEW:
        return " ".join(map(str, places))
    names: dict[tuple[int, ...], list[str]] = {}
    for name in dict.fromkeys(p.name for p in places):
        layers = tuple(sorted(p.layer for p in places if p.name == name))
        names.setdefault(layers, []).append(name)
    parts = [
        f"{', '.join(mine)} of block{'s' if len(layers) > 1 else ''} {_spans(layers)}"
        for layers, mine in names.items()
    ]
    return f"{len(places)} matrices: {'; '.join(parts)}"


def _spans(layers: Sequence[int]) -> str:
    """Ascending layers, those without a gap as `1-6`."""
    spans: list[list[int]] = []
    for layer in layers:
        if spans and layer == spans[-1][1] + 1:
            spans[-1][1] = layer
        else:
            spans.append([layer, layer])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def steering_technique(
    model: LensModel, pairs: ContrastSet, method: str, layer: int, *, seed: int = 0
) -> Technique:
    """A direction added at a block's output; c counts in class separations.

    Raises:
        UnknownNameError: no such method.
        UnsupportedSiteError: the model lacks the layer.
    """
    (found,) = steering_techniques(model, pairs, method, [layer], seed=seed)
    return found


def steering_techniques(
    model: LensModel, pairs: ContrastSet, method: str, layers: Sequence[int], *, seed: int = 0
) -> list[Technique]:
    """`steering_technique` at each of some layers."""
    sites = [Site("resid_post", layer) for layer in layers]
    return [
        _along(find_direction(method, contrast, seed=seed), method)
        for contrast in extract(model, pairs, sites).values()
    ]


def _along(direction: Direction, method: str) -> Technique:
    return Technique(
        method,
        len(direction.unit),
        lambda c: Cell((Steering(direction, Dose(c, "natural")),) if c else ()),
        where=str(direction.site),
    )


def prompting(pairs: ContrastSet, *, n_examples: int = 1) -> Technique:
    """Texts of the class put before the prompt: positive ones at c = 1, negative ones at c = -1.

    Raises:
        BadValueError: at another coefficient.
    """

    def prefix(coefficient: float) -> str:
        if coefficient not in (-1, 0, 1):
            raise BadValueError(f"prompting has no coefficient {coefficient}; -1, 0 and 1 it has.")
        chosen = sorted(pairs.pairs, key=lambda p: -len(p.positive))[:n_examples]
        side = "positive" if coefficient > 0 else "negative"
        return " ".join(getattr(p, side) for p in chosen) + " " if coefficient else ""

    return Technique("prompting", 0, lambda c: Cell(), prefix, "before the prompt")  # noqa: ARG005


@runtime_checkable
class LinearTrainee(Trainee, Protocol):
    """A trainee whose change is in proportion to its coefficient."""

    def change(self, seed: int, sign: int) -> LinearChange:
        """What was trained."""
        ...


def trained_technique(
    model: LensModel,
    trainee: LinearTrainee,
    splits: tuple[ContrastSet, ContrastSet],
    *,
    ruler: Ruler,
    objective: Objective,
    plan: TrainingPlan,
    progress: Track = silent,
) -> Technique:
    """LoRA or fine-tuning with the objective of an adapter.

    Args:
        model: the model.
        trainee: `LoraTrainee` or `FullTrainee`.
        splits: pairs to train on, and pairs that choose the epoch and the sign.
        ruler: frozen directions.
        objective: what is asked for.
        plan: how it is trained.
        progress: shows the loop.
    """
    trained = train(
        model, trainee, splits, ruler=ruler, objective=objective, plan=plan, progress=progress
    )
    change = trainee.change(plan.seed, trained.sign)
    return weights_technique(change, every=isinstance(trainee, FullTrainee))
