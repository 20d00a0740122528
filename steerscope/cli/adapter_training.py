"""The command that trains an adapter, with all that may be chosen of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from steerscope.cli.options import Loading, Talk, grouped
from steerscope.cli.shared import (
    Contrasts,
    Force,
    Json,
    Model,
    Seed,
    finish,
    parse_layers,
    refuse_unused,
    say_aside,
    table,
)
from steerscope.errors import ContrastError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from steerscope.models.lens_model import LensModel
    from steerscope.texts.contrasts import ContrastSet
    from steerscope.weights.adapter import AdapterDesign, LearnedDesign, Objective, TrainingPlan
    from steerscope.weights.adapter.training import Epoch
    from steerscope.weights.places import Place

SVD = "svd"
_RANK = 96  # of the SVD adapter, where the weights allow as much


@dataclass(frozen=True)
class Designing:
    """Which adapter, and where."""

    panel: ClassVar[str] = "Adapter"
    kind: Annotated[
        str,
        typer.Option(help="svd, lora, dora, delora, vera, ia3, bias, oft, boft or road"),
    ] = SVD
    matrices: Annotated[
        str | None, typer.Option(help="q, k, v, o, gate, up, down, with commas; default o,down")
    ] = None
    layers: Annotated[
        str | None, typer.Option(help="such as 1-4; default from an eighth to five of the depth")
    ] = None
    rank: Annotated[
        int | None, typer.Option(help="of each matrix; default 96 of svd, 8 of others")
    ] = None
    block: Annotated[
        int | None, typer.Option(help="components turned together by oft, boft, road; default 4")
    ] = None
    turn: Annotated[
        str | None, typer.Option(help="of svd: inputs, outputs, both or none; default inputs")
    ] = None
    scaling: Annotated[
        str | None, typer.Option(help="of svd: exp, add, tanh or none; default exp")
    ] = None
    columns: Annotated[
        str | None, typer.Option(help="of svd: singular or data; default singular")
    ] = None
    angle: Annotated[
        float | None, typer.Option(help="of svd: largest rotation at c = 1, radians; default 1")
    ] = None

    def check(self) -> None:
        """Refuse what the kind does not use.

        Raises:
            UnknownNameError: no such kind.
            BadValueError: an option of another kind.
        """
        from steerscope.errors import check_name
        from steerscope.weights.adapter import KINDS

        check_name("kind of adapter", self.kind, [SVD, *KINDS])
        of_svd = {n: getattr(self, n) for n in ("turn", "scaling", "columns", "angle")}
        if self.kind == SVD:
            refuse_unused({"block": self.block}, "a svd adapter has no blocks")
        else:
            refuse_unused(of_svd, f"it is of svd adapters and this is {self.kind}")

    def design(self, model: LensModel) -> AdapterDesign | LearnedDesign:
        """The same for a model."""
        from steerscope.weights.adapter import AdapterDesign, LearnedDesign, Sizes

        n = model.shape.n_layers
        chosen = parse_layers(self.layers) or tuple(range(n // 8, max(n // 8 + 1, 5 * n // 8)))
        places = _places(model, self.matrices, chosen)
        if self.kind == SVD:
            return AdapterDesign(
                matrices=places,
                rank=self.rank or _rank_for(model, places),
                turn=self.turn or "inputs",
                scaling=self.scaling or "exp",
                columns=self.columns or "singular",
                angle=1.0 if self.angle is None else self.angle,
            )
        sizes = Sizes(rank=self.rank or 8, block=self.block or 4)
        return LearnedDesign(matrices=places, kind=self.kind, sizes=sizes)

    @property
    def learning_rate(self) -> float:
        """Of AdamW, where nobody says."""
        from steerscope.weights.adapter import KINDS

        return 1e-2 if self.kind == SVD else KINDS[self.kind].learning_rate


@dataclass(frozen=True)
class Aiming:
    """What is asked of an adapter, and how it is trained."""

    panel: ClassVar[str] = "Training"
    aim: Annotated[str, typer.Option(help="shift, separation or preference")] = "preference"
    link: Annotated[str, typer.Option(help="log_sigmoid, hinge, tanh or raw")] = "log_sigmoid"
    beta: Annotated[
        float | None, typer.Option(help="steepness of the link; default what suits the aim")
    ] = None
    gamma: Annotated[
        float | None, typer.Option(help="where the link turns; default what suits the aim")
    ] = None
    coherence: Annotated[
        float, typer.Option(help="weight of what the favoured text loses per token")
    ] = 0.0
    coherence_margin: Annotated[float, typer.Option(help="nats per token of it that are free")] = (
        0.1
    )
    kl: Annotated[float, typer.Option(help="weight of the KL from plain")] = 3.0
    kl_margin: Annotated[float, typer.Option(help="nats of it that are free")] = 0.05
    monotonicity: Annotated[
        float, typer.Option(help="weight of rising from c = -1 over 0 to 1")
    ] = 0.1
    crossed: Annotated[
        bool | None,
        typer.Option(
            "--crossed/--whole",
            help="train on beginnings in one class continued in either; default where pairs align",
        ),
    ] = None
    pairs: Annotated[int, typer.Option(help="pairs trained on, at most; 0 for all")] = 72
    space: Annotated[str, typer.Option(help="of the frozen directions: activation, singular")] = (
        "activation"
    )
    ruler: Annotated[
        str | None, typer.Option(help="layers of the frozen directions; default at 0.7 depth")
    ] = None
    epochs: Annotated[int, typer.Option(help="at most")] = 3
    learning_rate: Annotated[
        float | None, typer.Option(help="of AdamW; default what suits the kind")
    ] = None
    weight_decay: Annotated[float, typer.Option(help="of AdamW, towards no change")] = 0.0
    batch_pairs: Annotated[int, typer.Option(help="pairs in one pass")] = 6
    accumulate: Annotated[int, typer.Option(help="passes of one step")] = 1
    patience: Annotated[int, typer.Option(help="epochs without a lower loss before it stops")] = 3

    def objective(self) -> Objective:
        """What is asked for."""
        from steerscope.weights.adapter import find_objective

        given = {n: getattr(self, n) for n in ("beta", "gamma") if getattr(self, n) is not None}
        named = ("coherence", "coherence_margin", "kl", "kl_margin", "monotonicity")
        found = find_objective(self.aim, self.link)
        return replace(found, **given, **{n: getattr(self, n) for n in named})

    def plan(self, learning_rate: float, seed: int) -> TrainingPlan:
        """How it is trained."""
        from steerscope.weights.adapter import TrainingPlan

        named = ("epochs", "weight_decay", "batch_pairs", "accumulate", "patience")
        rate = learning_rate if self.learning_rate is None else self.learning_rate
        given: dict[str, Any] = {n: getattr(self, n) for n in named}
        return TrainingPlan(learning_rate=rate, seed=seed, **given)

    def shown(self, splits: tuple[ContrastSet, ContrastSet]) -> tuple[ContrastSet, ContrastSet]:
        """The pairs as they are trained on and chosen on: crossed if asked or possible, and as many."""
        fit, select = splits
        if self.crossed is not False:
            from steerscope.weights.adapter import crossed

            try:
                fit, select = crossed(fit), crossed(select)
            except ContrastError:
                if self.crossed:
                    raise
                say_aside("the pairs do not align word by word, so they are trained on as they are")
        if not self.pairs:
            return fit, select
        fewer = max(2, self.pairs // 3)
        return (
            replace(fit, pairs=fit.pairs[: self.pairs]),
            replace(select, pairs=select.pairs[:fewer]),
        )


@grouped
def train(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="safetensors file to write")],
    model: Model = DEFAULT_MODEL,
    contrasts: Contrasts = "mood",
    designing: Designing,
    aiming: Aiming,
    seed: Seed = 0,
    talk: Talk,
    force: Force = False,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Train an adapter on the fit split; a run that was stopped goes on where it was.

    Examples:
        steerscope adapter train --out joyful.adapter.safetensors
        steerscope adapter train --kind lora --rank 4 --out joyful.lora.safetensors
    """
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.runs.outputs import check_file
    from steerscope.texts.contrasts import load_contrasts
    from steerscope.weights import adapter
    from steerscope.weights.adapter.records import TrainingRecord

    check_file(out, own=adapter.is_adapter_file, inputs=[model, contrasts], force=force)
    designing.check()
    objective, plan = aiming.objective(), aiming.plan(designing.learning_rate, seed)
    loaded = loading.load(model)
    asked = designing.design(loaded)
    parts = in_chat(loaded, load_contrasts(contrasts), talk.asked()).split(seed)
    layers = parse_layers(aiming.ruler) or (7 * loaded.shape.n_layers // 10,)
    measured = adapter.frozen_ruler(loaded, parts.fit, layers, space=aiming.space)
    splits = (parts.fit, parts.select)
    with training_of(out) as checkpoint:
        found, trained = adapter.train_adapter(
            loaded, aiming.shown(splits), design=asked, ruler=measured, objective=objective,
            plan=plan, checkpoint=checkpoint, progress=bar,
        )  # fmt: skip
        # of the whole splits: what is made of a pair, and what might have been, says nothing of it later
        record = TrainingRecord.of(splits, asdict(objective), asdict(plan))
        found = replace(found, record=record)
        adapter.save_adapter(out, found, force=force)
    lines = _epochs(trained.history)
    lines += [f"{found.n_parameters:,} numbers in {len(found.matrices)} matrices; saved: {out}"]
    result: dict[str, Any] = {"adapter": str(out), "parameters": found.n_parameters}
    result["sign"] = trained.sign
    result["history"] = [asdict(e) for e in trained.history]
    finish(as_json, result, lines, _after_training(out, model))


def _after_training(out: Path, model: str) -> tuple[str, str]:
    """What to do with a new adapter."""
    this = f"{quote(str(out))} -m {quote(model)}"
    return (
        f"steerscope adapter evaluate {this} -o {quote(f'{out}-run')}",
        f"steerscope adapter merge {this} -o {quote(f'{out}-model')}",
    )


def _places(model: LensModel, matrices: str | None, layers: Sequence[int]) -> tuple[Place, ...]:
    """Every named weight at every layer; of those that nobody names, the ones that there are."""
    from steerscope.models.matrices import check_weight
    from steerscope.weights.adapter.linear import has_matrix
    from steerscope.weights.places import Place

    names = [check_weight(name.strip()) for name in (matrices or "o,down").split(",")]
    places = [Place(name, layer) for name in names for layer in layers]
    there = [p for p in places if matrices is not None or has_matrix(model, p)]
    return tuple(there or places)


def _rank_for(model: LensModel, places: Sequence[Place]) -> int:
    from steerscope.models.matrices import weight_matrix

    sides = [min(weight_matrix(model, p.name, p.layer).read().shape) for p in places]
    return min(_RANK, *sides)


@contextmanager
def training_of(out: Path) -> Iterator[Path]:
    """The file that a training of an adapter goes on from, this process's alone, gone in the end."""
    from steerscope.runs.ownership import owned_file

    checkpoint = out.with_name(out.name + ".training")
    with owned_file(out):
        yield checkpoint
        checkpoint.unlink(missing_ok=True)


def _epochs(history: Sequence[Epoch]) -> list[str]:
    """The loss of every epoch."""
    rows = [[e.number, f"{e.training:.4f}", f"{e.validation:.4f}"] for e in history]
    return table("loss per pair:", ("epoch", "training", "validation"), rows)
