"""Train a change of weights on pairs: seeded, stopped by a validation split, resumable.

An epoch is a function of the seed, its number and the state before it. So a training that was killed
goes on from its last whole epoch and ends with the same numbers, to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from steerscope.errors import BadValueError, NotFiniteError, RunError
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.texts.contrasts import ContrastSet
from steerscope.weights.adapter.files import read_tensors, write_tensors
from steerscope.weights.adapter.objectives import Objective, Response
from steerscope.weights.adapter.passes import (
    Ruler,
    Texts,
    Trainee,
    pairs_by_length,
    respond,
    texts_of,
)

_SIGNS = (1, -1)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How a change is trained.

    Attributes:
        epochs: at most.
        batch_pairs: pairs in one pass.
        accumulate: passes whose gradients are added up before each step.
        learning_rate: of AdamW.
        weight_decay: of AdamW, towards no change.
        patience: epochs without a lower validation loss before it stops.
        longest_gradient: gradients of a step are scaled down to this norm.
        seed: of the order of the pairs.

    Raises:
        BadValueError: a number outside its range.
    """

    epochs: int = 12
    batch_pairs: int = 12
    accumulate: int = 1
    learning_rate: float = 1e-2
    weight_decay: float = 0.0
    patience: int = 3
    longest_gradient: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_pairs", "accumulate", "patience"):
            if getattr(self, name) < 1:
                raise BadValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name, smallest in (("learning_rate", True), ("weight_decay", False)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (smallest and value == 0):
                raise BadValueError(f"{name} is {value}; it must be a positive number.")


@dataclass(frozen=True)
class Epoch:
    """Mean losses of one epoch, per pair."""

    number: int
    training: float
    validation: float


@dataclass(frozen=True, eq=False)
class Trained:
    """What came out of a training.

    Attributes:
        parameters: those of the epoch with the lowest validation loss, by name.
        history: the epochs, the first being that of no change.
        sign: +1, or -1 where c had to be turned round to follow the validation pairs.
    """

    parameters: Mapping[str, Tensor]
    history: tuple[Epoch, ...]
    sign: int

    @property
    def kept(self) -> int:
        """Number of the epoch that the parameters are of; 0 where no epoch was better than no change."""
        return min(self.history, key=lambda epoch: epoch.validation).number


@dataclass(eq=False)
class _State:
    """Where a training stands."""

    best: dict[str, Tensor]
    history: list[Epoch] = field(default_factory=list)

    @property
    def best_loss(self) -> float:
        return min((e.validation for e in self.history), default=math.inf)

    def waited(self) -> int:
        """Epochs since the best."""
        losses = [e.validation for e in self.history]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def train(
    model: LensModel,
    trainee: Trainee,
    splits: tuple[ContrastSet, ContrastSet],
    *,
    ruler: Ruler,
    objective: Objective,
    plan: TrainingPlan,
    checkpoint: Path | None = None,
    progress: Track = silent,
) -> Trained:
    """Lower the objective of the pairs at c = +1 and c = -1 with AdamW.

    Args:
        model: for its tokens.
        trainee: what is trained; its parameters end at those of the best epoch.
        splits: pairs to train on, and pairs that choose the epoch and the sign of c, none of which
            is stated later.
        ruler: frozen directions.
        objective: what is asked for.
        plan: how.
        checkpoint: a file that keeps the state after each epoch, and from which it goes on.
        progress: shows the loop.

    Raises:
        NotFiniteError: the loss is not finite.
        RunError: the checkpoint is of another training, or cannot be read.
    """
    work = _Work(trainee, ruler, objective, plan)
    parts, held_out = (work.parts(model, pairs) for pairs in splits)
    optimiser = torch.optim.AdamW(
        list(trainee.parameters().values()), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    identity = _identity(model, trainee, splits, (ruler, objective, plan))
    state = _resumed(checkpoint, identity, trainee, optimiser) if checkpoint else None
    if state is None:
        state = _State(work.snapshot())
        state.history.append(Epoch(0, math.nan, work.mean_loss(held_out)))
    for number in progress(range(len(state.history), plan.epochs + 1), "training"):
        if state.waited() >= plan.patience:
            break
        training = work.epoch(number, parts, optimiser)
        found = Epoch(number, training, work.mean_loss(held_out))
        if found.validation < state.best_loss:
            state.best = work.snapshot()
        state.history.append(found)
        if checkpoint:
            _keep(checkpoint, identity, trainee, optimiser, state)
    work.restore(state.best)
    trained = Trained(state.best, tuple(state.history), work.sign(held_out))
    if trained.kept == 0:
        _log.warning(
            "no epoch has a lower validation loss than no change at all, which is what is kept: the model is plain at "
            "every coefficient. Train with more pairs, another learning rate or another aim."
        )
    return trained


@dataclass(frozen=True, eq=False)
class _Part:
    """Some pairs, and what the plain model makes of them."""

    texts: Texts
    plain: Response
    log_p: Tensor | None


@dataclass(frozen=True, eq=False)
class _Work:
    """The passes of a training."""

    trainee: Trainee
    ruler: Ruler
    objective: Objective
    plan: TrainingPlan

    def snapshot(self) -> dict[str, Tensor]:
        return {n: t.detach().clone() for n, t in self.trainee.parameters().items()}

    @torch.no_grad()
    def restore(self, kept: Mapping[str, Tensor]) -> None:
        for name, tensor in self.trainee.parameters().items():
            tensor.copy_(kept[name])

    @torch.no_grad()
    def parts(self, model: LensModel, pairs: ContrastSet) -> list[_Part]:
        """The pairs in parts of about one length, each run plain once for the whole training."""
        found = []
        for some in pairs_by_length(model, pairs.pairs, self.plan.batch_pairs):
            texts = texts_of(model, some)
            plain, log_p = respond(self.trainee, texts, 0.0, self.ruler)
            found.append(_Part(texts, plain, log_p if self.objective.kl else None))
        return found

    def losses(self, part: _Part, sign: int) -> Tensor:
        """The loss of each pair at c = sign."""
        now, _ = respond(self.trainee, part.texts, float(sign), self.ruler, part.log_p)
        return self.objective(now, part.plain, sign)

    @torch.no_grad()
    def mean_loss(self, parts: Sequence[_Part]) -> float:
        found = [self.losses(part, sign) for part in parts for sign in _SIGNS]
        return float(torch.cat(found).double().mean())

    @torch.enable_grad()
    def epoch(self, number: int, parts: Sequence[_Part], optimiser: torch.optim.Optimizer) -> float:
        """One pass over the parts in an order of its own; the mean loss per pair."""
        generator = torch.Generator().manual_seed(100_003 * self.plan.seed + number)
        order = torch.randperm(len(parts), generator=generator).tolist()
        parameters = list(self.trainee.parameters().values())
        total, seen = 0.0, 0
        for start in range(0, len(order), self.plan.accumulate):
            group = [parts[i] for i in order[start : start + self.plan.accumulate]]
            count = len(_SIGNS) * sum(len(part.texts) for part in group)
            optimiser.zero_grad(set_to_none=True)
            for part in group:
                for sign in _SIGNS:
                    loss = self.losses(part, sign).sum()
                    if not bool(torch.isfinite(loss)):
                        raise NotFiniteError(
                            f"the loss is {float(loss)} in epoch {number}; lower the learning rate."
                        )
                    (loss / count).backward()
                    total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(parameters, self.plan.longest_gradient)
            optimiser.step()
            seen += count
        return total / seen

    @torch.no_grad()
    def sign(self, parts: Sequence[_Part]) -> int:
        """Which way round c raises the preference for the positive texts."""
        difference = 0.0
        for part in parts:
            for sign in _SIGNS:
                found, _ = respond(self.trainee, part.texts, float(sign), self.ruler)
                gap = found.likelihood[:, 0] - found.likelihood[:, 1]
                difference += sign * float(gap.double().sum())
        return -1 if difference < 0 else 1


def _identity(
    model: LensModel,
    trainee: Trainee,
    splits: tuple[ContrastSet, ContrastSet],
    asked: tuple[Ruler, Objective, TrainingPlan],
) -> str:
    """A hash that differs for any other training."""
    ruler, objective, plan = asked
    content = {
        "model": model.fingerprint,
        "parameters": {n: list(t.shape) for n, t in trainee.parameters().items()},
        "what": repr(trainee),
        "pairs": [pairs.sha256 for pairs in splits],
        "ruler": {layer: vector.tolist() for layer, vector in ruler.vectors.items()},
        "objective": asdict(objective),
        "plan": asdict(plan),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _keep(
    path: Path, identity: str, trainee: Trainee, optimiser: torch.optim.Optimizer, state: _State
) -> None:
    """Write the state after an epoch, whole or not at all."""
    tensors = {f"best {n}": t for n, t in state.best.items()}
    for name, tensor in trainee.parameters().items():
        tensors[f"now {name}"] = tensor.detach()
        tensors |= {f"{key} {name}": value for key, value in optimiser.state[tensor].items()}
    history = [asdict(e) | {"training": _stored(e.training)} for e in state.history]
    write_tensors(path, tensors, {"training": identity, "history": history}, RunError)


def _resumed(
    path: Path, identity: str, trainee: Trainee, optimiser: torch.optim.Optimizer
) -> _State | None:
    """The state that a checkpoint holds, with parameters and optimiser set to it; None for none."""
    if not path.is_file():
        return None
    tensors, described = read_tensors(path, RunError)
    if described.get("training") != identity:
        raise RunError(
            f"{path} holds the state of another training; give another place, or delete it."
        )
    with torch.no_grad():
        for name, tensor in trainee.parameters().items():
            tensor.copy_(tensors[f"now {name}"])
            kept = {
                key.split(" ", 1)[0]: value
                for key, value in tensors.items()
                if key.split(" ", 1)[1] == name and key.split(" ", 1)[0] not in {"now", "best"}
            }
            optimiser.state[tensor] = kept
    best = {n: tensors[f"best {n}"].to(t.device) for n, t in trainee.parameters().items()}
    history = [
        Epoch(e["number"], _read(e["training"]), e["validation"]) for e in described["history"]
    ]
    return _State(best, history)


def _stored(loss: float) -> float | None:
    """A loss as JSON has it: the epoch of no change has none, which is no number."""
    return None if math.isnan(loss) else loss


def _read(loss: float | None) -> float:
    return math.nan if loss is None else loss
