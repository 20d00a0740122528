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
from steerscope.weights.adapter.linear import LinearChange
from steerscope.weights.adapter.objectives import Objective
from steerscope.weights.adapter.passes import Ruler, Trainee
from steerscope.weights.adapter.training import TrainingPlan, train

STEERED = ("random", "mean_diff", "pca_uncentred")


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


def weights_technique(change: WeightChange) -> Technique:
    """A change of weights."""
    where = " ".join(map(str, change.matrices)) if len(change.matrices) < 9 else "every matrix"
    return Technique(
        change.method, change.n_parameters, lambda c: Cell((Adapted(change, c),)), where=where
    )


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
    return weights_technique(trainee.change(plan.seed, trained.sign))
