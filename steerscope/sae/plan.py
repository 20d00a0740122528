"""What decides a trained autoencoder, and sae-lens' configuration of each architecture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.sae.dictionary import check_k
from steerscope.texts.numbers import check_seed

_NORMALISATIONS: dict[str, str] = {
    "mean_norm": "expected_average_only_in",
    "layer_norm": "layer_norm",
    "none": "none",
}
_DEFAULT_K = 32.0
_WARM_UP, _DECAY = 0.05, 0.2  # shares of the steps


@dataclass(frozen=True)
class SaePlan:
    """Everything but model, site and text that decides a trained autoencoder.

    Attributes:
        architecture: `standard` (L1), `topk`, `batchtopk` or `jumprelu`.
        n_features: size of the dictionary.
        k: features active at a time: in every activation (topk), on average over a batch
            (batchtopk), or aimed at (jumprelu); None for 32, and `standard` has none.
        penalty: weight of the L1 norm of the code (standard) or of the miss of k (jumprelu); None
            for 1 and 0.3.
        n_activations: seen in training; text that is too short for them is read again.
        batch_size: activations per step.
        learning_rate: of Adam, after a warm-up of 5 % and until a linear decay over the last 20 %.
        normalisation: `mean_norm` scales all activations by one number, so that their mean norm is
            √d, and folds it into the weights afterwards; `layer_norm` takes mean and deviation out
            of each activation and puts them back.
        buffer: activations that are shuffled together.
        dead_after: steps without a word from which a feature gets help (topk, batchtopk, jumprelu).
        seed: of weights and order.

    Raises:
        UnknownNameError: no such architecture or normalisation.
        BadValueError: a number out of range, or a choice that the architecture does not have.
    """

    architecture: str = "topk"
    n_features: int = 1024
    k: float | int | None = None
    penalty: float | int | None = None
    n_activations: int = 1_000_000
    batch_size: int = 1024
    learning_rate: float = 1e-3
    normalisation: str = "mean_norm"
    buffer: int = 65_536
    dead_after: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.architecture not in _CONFIGS:
            raise UnknownNameError("architecture of an autoencoder", self.architecture, _CONFIGS)
        if self.normalisation not in _NORMALISATIONS:
            raise UnknownNameError("normalisation", self.normalisation, _NORMALISATIONS)
        for name in ("n_features", "n_activations", "batch_size", "learning_rate", "dead_after"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadValueError(f"{name} = {getattr(self, name)}; choose a number above 0.")
        check_seed(self.seed)
        if self.buffer < 2 * self.batch_size:
            raise BadValueError(
                f"a buffer of {self.buffer} activations does not mix batches of {self.batch_size}; "
                f"choose at least {2 * self.batch_size}."
            )
        _CHECKS[self.architecture](self)

    @property
    def n_steps(self) -> int:
        """Batches in the training."""
        return math.ceil(self.n_activations / self.batch_size)

    @property
    def warm_up_steps(self) -> int:
        """Steps in which the learning rate rises; sae-lens divides by one less than their number."""
        return max(2, round(_WARM_UP * self.n_steps))

    @property
    def decay_steps(self) -> int:
        """Last steps, in which the learning rate falls to 0."""
        return round(_DECAY * self.n_steps)


def training_config(plan: SaePlan, *, d: int, device: str) -> dict[str, Any]:
    """Sae-lens' configuration of the autoencoder that is trained, as a dictionary."""
    return {
        "architecture": plan.architecture,
        "d_in": d,
        "d_sae": plan.n_features,
        "dtype": "float32",
        "device": device,
        "normalize_activations": _NORMALISATIONS[plan.normalisation],
        **_CONFIGS[plan.architecture](plan),
    }


def _k(plan: SaePlan) -> float:
    return float(min(_DEFAULT_K, plan.n_features) if plan.k is None else plan.k)


def _standard(plan: SaePlan) -> dict[str, Any]:
    penalty = 1.0 if plan.penalty is None else plan.penalty
    return {"l1_coefficient": penalty, "l1_warm_up_steps": plan.warm_up_steps}


def _topk(plan: SaePlan) -> dict[str, Any]:
    return {"k": int(_k(plan))}


def _batchtopk(plan: SaePlan) -> dict[str, Any]:
    """The threshold is a running mean over at most a tenth of the steps, or it lags behind."""
    return {"k": _k(plan), "topk_threshold_lr": max(0.01, 10 / plan.n_steps)}


def _jumprelu(plan: SaePlan) -> dict[str, Any]:
    """Gemma Scope 2's penalty on the distance from the number of features aimed at.

    The kernel is wide because activations here have a mean norm of √d.
    """
    return {
        "jumprelu_sparsity_loss_mode": "quadratic",
        "target_l0": _k(plan),
        "l0_coefficient": 0.3 if plan.penalty is None else plan.penalty,
        "l0_warm_up_steps": plan.warm_up_steps,
        "jumprelu_init_threshold": 0.1,
        "jumprelu_bandwidth": 1.0,
        "pre_act_loss_coefficient": 3e-6,
    }


def _check_standard(plan: SaePlan) -> None:
    if plan.k is not None:
        raise BadValueError(
            "a standard autoencoder has no k; its sparsity follows from the penalty."
        )
    _check_penalty(plan)


def _check_topk(plan: SaePlan) -> None:
    if plan.k is not None and not float(plan.k).is_integer():
        raise BadValueError(f"k = {plan.k} of topk is no whole number; batchtopk takes one.")
    _check_batchtopk(plan)


def _check_batchtopk(plan: SaePlan) -> None:
    check_k(_k(plan), plan.n_features)
    if plan.penalty is not None:
        raise BadValueError(f"{plan.architecture} has no penalty; its sparsity follows from k.")
    if plan.normalisation == "layer_norm":
        raise BadValueError(
            f"sae-lens cannot revive dead features of {plan.architecture} under layer_norm; choose "
            "the normalisation mean_norm."
        )


def _check_jumprelu(plan: SaePlan) -> None:
    check_k(_k(plan), plan.n_features)
    _check_penalty(plan)


def _check_penalty(plan: SaePlan) -> None:
    if plan.penalty is not None and not 0 <= plan.penalty < math.inf:
        raise BadValueError(f"penalty = {plan.penalty}; choose a number from 0.")


_CONFIGS: dict[str, Callable[[SaePlan], dict[str, Any]]] = {
    "standard": _standard,
    "topk": _topk,
    "batchtopk": _batchtopk,
    "jumprelu": _jumprelu,
}
_CHECKS: dict[str, Callable[[SaePlan], None]] = {
    "standard": _check_standard,
    "topk": _check_topk,
    "batchtopk": _check_batchtopk,
    "jumprelu": _check_jumprelu,
}
