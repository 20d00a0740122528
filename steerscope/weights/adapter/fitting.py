"""Fit an adapter to contrast pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.extraction.reading import ReadToken
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import weight_matrix
from steerscope.progress import Track, silent
from steerscope.texts.batches import equal_length_batches
from steerscope.texts.contrasts import ContrastSet
from steerscope.weights.adapter.adapter import AdapterDesign, SvdAdapter, untrained
from steerscope.weights.adapter.factors import check_rank, factorise
from steerscope.weights.adapter.learned import LearnedAdapter, LearnedDesign, untrained_numbers
from steerscope.weights.adapter.objectives import Objective
from steerscope.weights.adapter.passes import Ruler, run_with, weight_of
from steerscope.weights.adapter.records import TrainingRecord
from steerscope.weights.adapter.training import Trained, TrainingPlan, train
from steerscope.weights.places import Place

_TEXTS_AT_ONCE = 64


Learned = SvdAdapter | LearnedAdapter


def fresh_learned(model: LensModel, design: LearnedDesign, seed: int = 0) -> LearnedAdapter:
    """An adapter of a kind that changes nothing yet.

    Raises:
        BadValueError: the sizes do not suit a weight.
        UnsupportedWeightError: the model lacks a weight.
    """
    bases = {m: weight_of(model, m).cpu() for m in design.matrices}
    trained, fixed = untrained_numbers(design, bases, seed)
    return LearnedAdapter(design, bases, trained, fixed, model.fingerprint, model.name, seed=seed)


def fresh_adapter(model: LensModel, design: AdapterDesign, pairs: ContrastSet) -> SvdAdapter:
    """An adapter that changes nothing yet; the pairs choose its columns where the data do.

    Raises:
        BadValueError: the rank is larger than a weight allows.
        UnsupportedWeightError: the model lacks a weight.
    """
    weights = {m: weight_of(model, m) for m in design.matrices}
    for matrix, weight in weights.items():
        check_rank(weight, design.rank, f"{matrix} of {model.name}")
    read = output_differences(model, pairs, design.matrices) if design.columns == "data" else {}
    factors = {
        m: factorise(w, design.rank, where=f"{m} of {model.name}", differences=read.get(m))
        for m, w in weights.items()
    }
    return SvdAdapter(design, factors, untrained(design), model.fingerprint, model.name)


@torch.no_grad()
def output_differences(
    model: LensModel, pairs: ContrastSet, matrices: Sequence[Place]
) -> dict[Place, Float[Tensor, "pair out"]]:
    """x₊ W - x₋ W of each pair and weight, x the mean input over the content tokens of a text."""
    texts = [model.tokens(t) for p in pairs.pairs for t in (p.positive, p.negative)]
    found = {}
    for matrix in matrices:
        rows: dict[int, Tensor] = {}
        for batch in equal_length_batches(texts, _TEXTS_AT_ONCE, model.device):
            seen: list[Tensor] = []
            held = weight_matrix(model, matrix.name, matrix.layer)
            with held.adding(seen.append):
                model.run_to(batch.tokens, matrix.layer)
            rows |= zip(batch.indices, ReadToken.mean()(seen[0].float()).cpu(), strict=True)
        inputs = torch.stack([rows[i] for i in range(len(texts))])
        found[matrix] = (inputs[0::2] - inputs[1::2]) @ weight_of(model, matrix)
    return found


@dataclass(eq=False)
class AdapterTrainee:
    """An adapter whose numbers take gradients."""

    model: LensModel
    adapter: Learned

    def __post_init__(self) -> None:
        here = self.adapter.on(self.model.device)
        trained = {
            m: {n: t.clone().requires_grad_() for n, t in part.items()}
            for m, part in here.parameters.items()
        }
        self.adapter = here.with_parameters(trained)

    def __repr__(self) -> str:
        return f"AdapterTrainee({self.adapter.design})"

    def parameters(self) -> dict[str, Tensor]:
        """What is trained, by weight and name."""
        found = self.adapter.parameters.items()
        return {f"{m} {n}": t for m, part in found for n, t in part.items()}

    def run(
        self, tokens: Int[Tensor, "row pos"], coefficient: float, layers: Sequence[int]
    ) -> tuple[Float[Tensor, "row pos vocab"], dict[int, Float[Tensor, "row pos d"]]]:
        """Logits and outputs of blocks at a coefficient."""
        deltas = self.adapter.deltas(coefficient) if coefficient else {}
        return run_with(self.model, deltas, tokens, layers)


def train_adapter(
    model: LensModel,
    splits: tuple[ContrastSet, ContrastSet],
    *,
    design: AdapterDesign | LearnedDesign,
    ruler: Ruler,
    objective: Objective | None = None,
    plan: TrainingPlan | None = None,
    checkpoint: Path | None = None,
    progress: Track = silent,
) -> tuple[Learned, Trained]:
    """An adapter trained on pairs, and how its training went.

    Where the preference on the validation pairs falls with c, the adapter is turned round, so that
    a positive c leads to the positive class.

    Args:
        model: the model; it stays as it is.
        splits: the `fit` part of a contrast set, to train on, and its `select` part, which chooses
            the epoch and the sign.
        design: what may change.
        ruler: frozen directions, from `frozen_ruler`.
        objective: what is asked for.
        plan: how it is trained.
        checkpoint: a file that keeps the state after each epoch, and from which training goes on.
        progress: shows the loop.

    Raises:
        BadValueError: the rank is larger than a weight allows.
        UnsupportedWeightError: the model lacks a weight.
        NotFiniteError: the loss is not finite.
        RunError: the checkpoint is of another training.
    """
    plan, objective = plan or TrainingPlan(), objective or Objective()
    fresh: Learned
    if isinstance(design, LearnedDesign):
        fresh = fresh_learned(model, design, plan.seed)
    else:
        fresh = fresh_adapter(model, design, splits[0])
    trainee = AdapterTrainee(model, fresh)
    trained = train(
        model,
        trainee,
        splits,
        ruler=ruler,
        objective=objective,
        plan=plan,
        checkpoint=checkpoint,
        progress=progress,
    )
    found = trainee.adapter.on(torch.device("cpu"))
    parameters = {m: {n: t.detach() for n, t in p.items()} for m, p in found.parameters.items()}
    record = TrainingRecord.of(splits, asdict(objective), asdict(plan))
    found = found.with_parameters(parameters)
    adapter = replace(found, seed=plan.seed, record=record)
    return (adapter if trained.sign > 0 else adapter.negated()), trained
