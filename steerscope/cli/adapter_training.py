"""The command that trains an adapter, with all that may be chosen of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from steerscope.cli.options import Loading, Talk, grouped, typed
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
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from steerscope.studies.transfer.recipe import AdapterRecipe
    from steerscope.weights.adapter.training import Epoch

KIND = "lora"  # as of the recipe, which loads torch
_CONTRASTS = "mood"


@dataclass(frozen=True)
class Designing:
    """Which adapter, and where."""

    panel: ClassVar[str] = "Adapter"
    kind: Annotated[
        str,
        typer.Option(help="svd, lora, dora, delora, vera, ia3, bias, oft, boft or road"),
    ] = KIND
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


def recipe_of(designing: Designing, aiming: Aiming) -> AdapterRecipe:
    """The same for a study.

    Raises:
        UnknownNameError: no such kind, weight, aim or link.
        BadValueError: an option of another kind, or a number outside its range.
    """
    from steerscope.studies.transfer.recipe import AdapterRecipe
    from steerscope.weights.adapter import KINDS

    named = designing.matrices
    given = asdict(designing) | asdict(aiming)
    given["matrices"] = None if named is None else tuple(n.strip() for n in named.split(","))
    given |= {name: parse_layers(given[name]) for name in ("layers", "ruler")}
    recipe = AdapterRecipe(**given)
    if recipe.kind in KINDS:  # svd, which is none of them, refuses a block by itself
        unread = {n: given[n] for n in ("rank", "block") if n not in KINDS[recipe.kind].sizes}
        refuse_unused(unread, f"an adapter of the kind {recipe.kind} has none")
    return recipe


def _matrices(n: int) -> str:
    return f"{n} matri{'x' if n == 1 else 'ces'}"


@grouped
def train(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="safetensors file to write")],
    model: Model = DEFAULT_MODEL,
    contrasts: Contrasts = _CONTRASTS,
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

    check_file(out, own=adapter.is_adapter_file, inputs=[model, contrasts], force=force)
    recipe = recipe_of(designing, aiming)
    loaded = loading.load(model)
    parts = in_chat(loaded, load_contrasts(contrasts), talk.asked()).split(seed)
    with training_of(out) as checkpoint:
        found, trained = recipe.learn(
            loaded,
            (parts.fit, parts.select),
            seed=seed,
            checkpoint=checkpoint,
            progress=bar,
            say=say_aside,
        )
        adapter.save_adapter(out, found, force=force)
    lines = _epochs(trained.history)
    after = f"after epoch {trained.kept}" if trained.kept else "which change nothing"
    lines += [
        f"{found.n_parameters:,} numbers in {_matrices(len(found.matrices))}, {after}; saved: {out}"
    ]
    result: dict[str, Any] = {"adapter": str(out), "parameters": found.n_parameters}
    result |= {"sign": trained.sign, "epoch": trained.kept}
    result["history"] = [asdict(e) for e in trained.history]
    same = typed(talk, loading, {"contrasts": (contrasts, _CONTRASTS), "seed": (seed, 0)})
    finish(as_json, result, lines, _after_training(out, model, same))


def _after_training(out: Path, model: str, same: str) -> tuple[str, str]:
    """What to do with a new adapter: judge it on what it was trained for, and write it out."""
    this = f"{quote(str(out))} -m {quote(model)}"
    return (
        f"steerscope adapter evaluate {this}{same} -o {quote(f'{out}-run')}",
        f"steerscope adapter merge {this} -o {quote(f'{out}-model')}",
    )


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
    rows = [
        [e.number, f"{e.training:.4f}" if e.number else "", f"{e.validation:.4f}"] for e in history
    ]
    return table("loss per pair:", ("epoch", "training", "validation"), rows)
