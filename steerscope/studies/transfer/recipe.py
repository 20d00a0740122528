"""How an adapter is made from pairs: which, where, by what loss and training, with defaults that were measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from steerscope.errors import BadValueError, ContrastError, check_name
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import check_weight, weight_matrix
from steerscope.progress import Track, silent
from steerscope.texts.contrasts import ContrastSet
from steerscope.weights.adapter import (
    KINDS,
    AdapterDesign,
    LearnedDesign,
    Objective,
    Sizes,
    TrainingPlan,
    crossed,
    find_objective,
    frozen_ruler,
    train_adapter,
)
from steerscope.weights.adapter.linear import has_matrix
from steerscope.weights.adapter.records import TrainingRecord
from steerscope.weights.adapter.training import Trained
from steerscope.weights.places import Place

SVD = "svd"
KIND = "lora"  # on the bundled world it is not behind the mean difference at one KL, and svd is
_RANK = 96  # of the SVD adapter, where the weights allow as much
_OF_SVD = ("turn", "scaling", "columns", "angle")
_OBJECTIVE = ("coherence", "coherence_margin", "kl", "kl_margin", "monotonicity")
_TRAINING = ("epochs", "weight_decay", "batch_pairs", "accumulate", "patience")


@dataclass(frozen=True, kw_only=True)
class AdapterRecipe:
    """An adapter with all that may be chosen of it; None for what suits the kind, model or aim.

    Attributes:
        kind: `svd` or a name in `weights.adapter.KINDS`.
        matrices: names of weights; None for the attention's and the MLP's outputs, where there are such.
        layers: None for those from an eighth to five eighths of the depth.
        rank: of each matrix; None for 96 of svd and 8 of others.
        block: components turned together, of oft, boft and road.
        turn: of svd, like the next three.
        scaling: see there.
        columns: see there.
        angle: largest rotation at c = 1, in radians.
        aim: as of `Objective`, like the next eight.
        link: see there.
        beta: see there.
        gamma: see there.
        coherence: see there.
        coherence_margin: see there.
        kl: see there.
        kl_margin: see there.
        monotonicity: see there.
        crossed: whether beginnings in one class are continued in either; None for where pairs align.
        pairs: trained on, at most; 0 for all.
        space: of the frozen directions, `activation` or `singular`.
        ruler: layers of the frozen directions; None for one at 0.7 of the depth.
        epochs: at most.
        learning_rate: of AdamW.
        weight_decay: likewise.
        batch_pairs: pairs in one pass.
        accumulate: passes of one step.
        patience: epochs without a lower loss before it stops.

    Raises:
        UnknownNameError: no such kind, weight, aim or link.
        BadValueError: a setting of another kind, or a number outside its range.
    """

    kind: str = KIND
    matrices: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None
    rank: int | None = None
    block: int | None = None
    turn: str | None = None
    scaling: str | None = None
    columns: str | None = None
    angle: float | None = None
    aim: str = "preference"
    link: str = "log_sigmoid"
    beta: float | None = None
    gamma: float | None = None
    coherence: float = 0.0
    coherence_margin: float = 0.1
    kl: float = 3.0
    kl_margin: float = 0.05
    monotonicity: float = 0.1
    crossed: bool | None = None
    pairs: int = 72
    space: str = "activation"
    ruler: tuple[int, ...] | None = None
    epochs: int = 3
    learning_rate: float | None = None
    weight_decay: float = 0.0
    batch_pairs: int = 6
    accumulate: int = 1
    patience: int = 3

    def __post_init__(self) -> None:
        check_name("kind of adapter", self.kind, [SVD, *KINDS])
        for name in self.matrices or ():
            check_weight(name)
        strange = ("block",) if self.kind == SVD else _OF_SVD
        given = [name for name in strange if getattr(self, name) is not None]
        if given:
            raise BadValueError(
                f"{given[0]} is no setting of a {self.kind} adapter; leave it out, or take another kind."
            )
        for name in ("rank", "block"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise BadValueError(f"{name} is {number}; it must be at least 1.")
        if self.pairs < 0:
            raise BadValueError(f"pairs is {self.pairs}; give 0 for all, or how many.")
        _ = self.objective, self.training(0)  # refuse what they cannot be made of

    @property
    def objective(self) -> Objective:
        """What is asked of it."""
        named = (*_OBJECTIVE, *(n for n in ("beta", "gamma") if getattr(self, n) is not None))
        found = find_objective(self.aim, self.link)
        return replace(found, **{n: getattr(self, n) for n in named})

    def training(self, seed: int) -> TrainingPlan:
        """How it is trained."""
        usual = 1e-2 if self.kind == SVD else KINDS[self.kind].learning_rate
        rate = usual if self.learning_rate is None else self.learning_rate
        given: dict[str, Any] = {n: getattr(self, n) for n in _TRAINING}
        return TrainingPlan(learning_rate=rate, seed=seed, **given)

    def design(self, model: LensModel) -> AdapterDesign | LearnedDesign:
        """Which adapter, on a model.

        Raises:
            UnsupportedWeightError: it lacks a weight that was named.
        """
        n = model.shape.n_layers
        chosen = self.layers or tuple(range(n // 8, max(n // 8 + 1, 5 * n // 8)))
        places = _places(model, self.matrices, chosen)
        if self.kind == SVD:
            return AdapterDesign(
                matrices=places,
                rank=_rank_for(model, places) if self.rank is None else self.rank,
                turn=self.turn or "inputs",
                scaling=self.scaling or "exp",
                columns=self.columns or "singular",
                angle=1.0 if self.angle is None else self.angle,
            )
        sizes = Sizes(
            rank=8 if self.rank is None else self.rank,
            block=4 if self.block is None else self.block,
        )
        return LearnedDesign(matrices=places, kind=self.kind, sizes=sizes)

    def shown(
        self, splits: tuple[ContrastSet, ContrastSet], say: Callable[[str], None] = lambda _: None
    ) -> tuple[ContrastSet, ContrastSet]:
        """The pairs as they are trained on and chosen on: crossed if asked or possible, and as many.

        Raises:
            ContrastError: they are to be crossed and do not align.
        """
        fit, select = splits
        if self.crossed is not False:
            try:
                fit, select = crossed(fit), crossed(select)
            except ContrastError:
                if self.crossed:
                    raise
                say("the pairs do not align word by word, so they are trained on as they are")
        if not self.pairs:
            return fit, select
        fewer = max(2, self.pairs // 3)
        return (
            replace(fit, pairs=fit.pairs[: self.pairs]),
            replace(select, pairs=select.pairs[:fewer]),
        )

    def learn(
        self,
        model: LensModel,
        splits: tuple[ContrastSet, ContrastSet],
        *,
        seed: int = 0,
        checkpoint: Path | None = None,
        progress: Track = silent,
        say: Callable[[str], None] = lambda _: None,
    ) -> tuple[Any, Trained]:
        """The adapter with the record of its training, and how that went.

        Args:
            model: the model.
            splits: the pairs to train on, and those that choose the epoch and the sign.
            seed: of the start and of the order of the pairs.
            checkpoint: file that an interrupted training goes on from.
            progress: shows the loop.
            say: is told what happens to the pairs.

        Raises:
            SteerscopeError: as `train_adapter`.
        """
        layers = self.ruler or (7 * model.shape.n_layers // 10,)
        objective, plan = self.objective, self.training(seed)
        found, trained = train_adapter(
            model,
            self.shown(splits, say),
            design=self.design(model),
            ruler=frozen_ruler(model, splits[0], layers, space=self.space),
            objective=objective,
            plan=plan,
            checkpoint=checkpoint,
            progress=progress,
        )
        # of the whole splits: what is made of a pair, and what might have been, says nothing of it later
        record = TrainingRecord.of(splits, asdict(objective), asdict(plan))
        return replace(found, record=record), trained


def _places(
    model: LensModel, matrices: Sequence[str] | None, layers: Sequence[int]
) -> tuple[Place, ...]:
    """Every named weight at every layer; of those that nobody names, the ones that there are."""
    names = [check_weight(name) for name in (matrices or ("o", "down"))]
    places = [Place(name, layer) for name in names for layer in layers]
    there = [p for p in places if matrices is not None or has_matrix(model, p)]
    return tuple(there or places)


def _rank_for(model: LensModel, places: Sequence[Place]) -> int:
    sides = [min(weight_matrix(model, p.name, p.layer).read().shape) for p in places]
    return min(_RANK, *sides)
