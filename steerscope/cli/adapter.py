"""Commands for SVD adapters: train one, evaluate it against steering, merge it into a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli.options import Loading, Subject, Talk, grouped
from steerscope.cli.shared import (
    Contrasts,
    Force,
    Json,
    Model,
    Seed,
    finish,
    numbers,
    parse_layers,
    refuse_unused,
    say_aside,
    table,
)
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from steerscope.texts.contrasts import ContrastSet
    from steerscope.weights.adapter.records import TrainingRecord
    from steerscope.weights.adapter.training import Epoch
    from steerscope.weights.places import Place

adapter = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Train, evaluate and merge reversible SVD adapters of the weights.",
)

AdapterFile = Annotated[Path, typer.Argument(help="safetensors file that `train` wrote")]


@adapter.command()
@grouped
def train(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="safetensors file to write")],
    model: Model = DEFAULT_MODEL,
    contrasts: Contrasts = "mood",
    matrices: Annotated[
        str, typer.Option(help="q, k, v, o, gate, up, down, with commas")
    ] = "o,down",
    layers: Annotated[
        str | None, typer.Option(help="such as 1-4; default the second quarter and the third")
    ] = None,
    rank: Annotated[int, typer.Option(help="singular triples of each matrix")] = 32,
    turn: Annotated[str, typer.Option(help="inputs, outputs, both or none")] = "inputs",
    scaling: Annotated[str, typer.Option(help="exp, add, tanh or none")] = "exp",
    columns: Annotated[str, typer.Option(help="singular or data")] = "data",
    angle: Annotated[float, typer.Option(help="largest rotation at c = 1, radians")] = 1.0,
    aim: Annotated[str, typer.Option(help="shift, separation or preference")] = "preference",
    link: Annotated[str, typer.Option(help="log_sigmoid or raw")] = "log_sigmoid",
    space: Annotated[str, typer.Option(help="of the frozen directions: activation, singular")] = (
        "activation"
    ),
    ruler: Annotated[
        str | None, typer.Option(help="layers of the frozen directions; default at 0.7 depth")
    ] = None,
    epochs: Annotated[int, typer.Option(help="at most")] = 12,
    learning_rate: Annotated[float, typer.Option(help="of AdamW")] = 2e-2,
    seed: Seed = 0,
    talk: Talk,
    force: Force = False,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Train an adapter on the fit split; a run that was stopped goes on where it was.

    Examples:
        steerscope adapter train --out joyful.adapter.safetensors
    """
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.runs.outputs import check_file
    from steerscope.texts.contrasts import load_contrasts
    from steerscope.weights import adapter

    check_file(out, own=adapter.is_adapter_file, inputs=[model, contrasts], force=force)
    objective = adapter.find_objective(aim, link)
    plan = adapter.TrainingPlan(epochs=epochs, learning_rate=learning_rate, seed=seed)
    loaded = loading.load(model)
    n = loaded.shape.n_layers
    chosen = parse_layers(layers) or tuple(range(n // 4, max(n // 4 + 1, 3 * n // 4)))
    turned = _turning(turn, scaling, columns, angle)
    asked = adapter.AdapterDesign(matrices=_places(matrices, chosen), rank=rank, **turned)
    parts = in_chat(loaded, load_contrasts(contrasts), talk.asked()).split(seed)
    measured = adapter.frozen_ruler(
        loaded, parts.fit, parse_layers(ruler) or (7 * n // 10,), space=space
    )
    with training_of(out) as checkpoint:
        found, trained = adapter.train_adapter(
            loaded, (parts.fit, parts.select), design=asked, ruler=measured, objective=objective,
            plan=plan, checkpoint=checkpoint, progress=bar,
        )  # fmt: skip
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


def _places(matrices: str, layers: Sequence[int]) -> tuple[Place, ...]:
    """Every named weight at every layer."""
    from steerscope.models.matrices import check_weight
    from steerscope.weights.places import Place

    names = [name.strip() for name in matrices.split(",")]
    return tuple(Place(check_weight(name), layer) for name in names for layer in layers)


@contextmanager
def training_of(out: Path) -> Iterator[Path]:
    """The file that a training of an adapter goes on from, this process's alone, gone in the end."""
    from steerscope.runs.ownership import owned_file

    checkpoint = out.with_name(out.name + ".training")
    with owned_file(out):
        yield checkpoint
        checkpoint.unlink(missing_ok=True)


def _training_splits(
    record: TrainingRecord | None,
    trained_on: str | None,
    pairs: ContrastSet,
    seed: int,
    read: Callable[[str], ContrastSet],
) -> tuple[ContrastSet, ContrastSet]:
    """The pairs that the adapter learned from, for what it is compared with to learn from too.

    Raises:
        ContrastError: the pairs to evaluate on were trained on, or those of the training are not here.
    """
    parts = pairs.split(seed)
    if record is None:
        refuse_unused({"trained_on": trained_on}, "the file does not say what it was trained on")
        say_aside("the file does not say what the adapter was trained on: seen pairs are not told")
        return parts.fit, parts.select
    record.check_unseen(parts.test)
    same = record.contrasts == pairs.name and trained_on is None
    return record.splits_of(pairs if same else read(trained_on or record.contrasts))


def _turning(turn: str, scaling: str, columns: str, angle: float) -> dict[str, Any]:
    """What of a design the options name."""
    return {"turn": turn, "scaling": scaling, "columns": columns, "angle": angle}


def _epochs(history: Sequence[Epoch]) -> list[str]:
    """The loss of every epoch."""
    rows = [[e.number, f"{e.training:.4f}", f"{e.validation:.4f}"] for e in history]
    return table("loss per pair:", ("epoch", "training", "validation"), rows)


@adapter.command()
@grouped
def evaluate(  # noqa: PLR0915 - what it writes is checked first
    *,
    path: AdapterFile,
    subject: Subject,
    coefficients: Annotated[
        str, typer.Option(help="positive ones, with commas; both signs are measured")
    ] = "0.5,1,2",
    kl: Annotated[float, typer.Option(help="nats at which techniques are compared")] = 0.1,
    n_prompts: Annotated[int, typer.Option(help="held-out prompts, at most")] = 60,
    trained_on: Annotated[
        str | None,
        typer.Option(help="contrast set of the training, where its name does not find it"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="run directory with its page")
    ] = None,
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """What an adapter does to its target and to all else, beside mean-difference steering.

    Examples:
        steerscope adapter evaluate joyful.adapter.safetensors --out runs/adapter
    """
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.report import write_report
    from steerscope.runs.results import check_run_folder
    from steerscope.studies.transfer.findings import transfer_table
    from steerscope.studies.transfer.measure import steering_by_validation, transfer
    from steerscope.studies.transfer.plan import TransferPlan
    from steerscope.studies.transfer.runs import store_transfer
    from steerscope.studies.transfer.techniques import weights_technique
    from steerscope.studies.transfer.wording import verdicts
    from steerscope.texts.contrasts import load_contrasts, prompts_for
    from steerscope.weights.adapter import load_adapter

    out = out and check_run_folder(out)
    loaded = loading.load(subject.model)
    found_adapter = load_adapter(path, loaded)
    technique = weights_technique(found_adapter)
    ends = numbers(coefficients, float, "coefficients")
    if not all(c > 0 for c in ends):
        raise BadValueError(
            f"coefficients {coefficients!r}: give positive ones; both signs are measured."
        )
    plan = TransferPlan(
        coefficients=tuple(sorted([-c for c in ends] + ends)), kl=kl, n_prompts=n_prompts, seed=seed
    )

    def read(name: str) -> ContrastSet:
        return in_chat(loaded, load_contrasts(name), talk.asked())

    asked = prompts_for(load_contrasts(subject.contrasts), subject.prompts)
    asked, pairs = in_chat(loaded, asked, talk.asked()), read(subject.contrasts)
    splits = _training_splits(found_adapter.record, trained_on, pairs, seed, read)
    steering = steering_by_validation(loaded, pairs, asked, "mean_diff", plan, splits=splits)
    rows = transfer(loaded, [technique, steering], pairs, asked, plan=plan, progress=bar)
    found, said = transfer_table(rows), verdicts(rows, technique.name, kl=kl)
    pages = []
    if out is not None:
        run = store_transfer(out, rows, [technique, steering], loaded, pairs, plan)
        pages = [f"report: {write_report(run)}"]
    lines = [*_conditions(found), *said, *pages]
    finish(as_json, {"table": found.to_dict("records"), "verdict": said}, lines)


def _conditions(found: pd.DataFrame) -> list[str]:
    """Every condition against plain as a table."""
    shown = [
        [r.technique, f"{r.coefficient:g}", "yes" if r.matched else "", r.metric]
        + [f"{r.value:.3f}", f"{r.change:+.3f} [{r.low:+.3f}, {r.high:+.3f}]"]
        for r in found.itertuples()
    ]
    columns = ("technique", "c", "matched", "metric", "value", "change from plain")
    return table("held-out test split:", columns, shown)


@adapter.command()
def merge(
    path: AdapterFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="model folder to write")],
    model: Model = DEFAULT_MODEL,
    coefficient: Annotated[float, typer.Option(help="c; trained from -1 to 1")] = 1.0,
    as_json: Json = False,
) -> None:
    """Write the adapted weights into a plain Hugging Face model folder.

    Examples:
        steerscope adapter merge joyful.adapter.safetensors --out my-model --coefficient 1
    """
    from steerscope.weights.adapter import check_merge, load_adapter
    from steerscope.weights.adapter import merge as merged

    check_merge(model, out, coefficient)
    found = load_adapter(path, Loading(device="cpu").load(model))
    merged(model, found, coefficient, out)
    lines = [f"{model} with {path.name} at c = {coefficient:g}: {out}"]
    finish(as_json, {"model": str(out), "coefficient": coefficient}, lines)
