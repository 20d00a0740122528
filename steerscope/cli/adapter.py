"""Commands for adapters: train one, evaluate it against steering, merge it into a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli.adapter_training import train
from steerscope.cli.cells import estimate, number
from steerscope.cli.options import Judged, Loading, Subject, Talk, grouped
from steerscope.cli.shared import (
    Json,
    Model,
    Seed,
    finish,
    numbers,
    refuse_unused,
    say_aside,
    table,
)
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from steerscope.texts.contrasts import ContrastSet
    from steerscope.weights.adapter.records import TrainingRecord

adapter = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Train, evaluate and merge reversible adapters of the weights.",
)

AdapterFile = Annotated[Path, typer.Argument(help="safetensors file that `train` wrote")]


adapter.command()(train)


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
    judged: Judged,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """What an adapter does to its target and to all else, beside mean-difference steering.

    Examples:
        steerscope adapter evaluate joyful.adapter.safetensors --out runs/adapter
        steerscope adapter evaluate kind.adapter.safetensors -m gpt2 -c sentiment --judge sentiment
    """
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.report import write_report
    from steerscope.runs.results import check_run_folder
    from steerscope.studies.judging import card_in_words, question_of
    from steerscope.studies.transfer.matching import steering_by_validation
    from steerscope.studies.transfer.plan import TransferPlan
    from steerscope.studies.transfer.runs import run_transfer
    from steerscope.studies.transfer.techniques import weights_technique
    from steerscope.studies.transfer.wording import verdicts
    from steerscope.texts.contrasts import load_contrasts, prompts_for
    from steerscope.weights.adapter import load_adapter

    out = out and check_run_folder(out)
    loaded = loading.load(subject.model)
    found_adapter = load_adapter(path, loaded)
    technique = weights_technique(found_adapter)
    signed = _with_both_signs(coefficients)
    chat = talk.asked()
    labels = {"judge_labels": judged.judge_labels} if judged.judge_labels else {}
    told = {"model": subject.model, "chat": chat and chat.stored(), **loading.settings(), **labels}
    plan = TransferPlan(coefficients=signed, kl=kl, n_prompts=n_prompts, seed=seed, about=told)
    plan = replace(plan, named=subject.settings() | {"trained_on": trained_on})

    def read(name: str) -> ContrastSet:
        return in_chat(loaded, load_contrasts(name), chat)

    asked = prompts_for(load_contrasts(subject.contrasts), subject.asked)
    asked, pairs = in_chat(loaded, asked, chat), read(subject.contrasts)
    splits = _training_splits(found_adapter.record, trained_on, pairs, seed, read)
    steering = steering_by_validation(loaded, pairs, asked, "mean_diff", plan, splits=splits)
    both = [technique, steering]
    most = (1 + 2 * (len(plan.coefficients) + 2)) * n_prompts  # plain, and both techniques
    question = question_of(
        judged.settings(subject.contrasts), pairs, asked.split(seed), plan.n_new, seed, most
    )
    rows, judging, run = run_transfer(loaded, both, (pairs, asked), plan, question, out, bar)
    notes = [] if judging.known is None else [card_in_words(judging.known)]
    notes += [] if run is None else [f"report: {write_report(run)}"]
    card = None if judging.known is None else judging.known.card
    said = verdicts(rows, technique.name, kl=kl, card=card)
    _finish(rows, said, notes, as_json=as_json)


def _with_both_signs(coefficients: str) -> tuple[float, ...]:
    ends = numbers(coefficients, float, "coefficients")
    if not all(c > 0 for c in ends):
        raise BadValueError(
            f"coefficients {coefficients!r}: give positive ones; both signs are measured."
        )
    return tuple(sorted([-c for c in ends] + ends))


def _finish(rows: pd.DataFrame, said: list[str], pages: list[str], *, as_json: bool) -> None:
    """Print what the items of an evaluation show."""
    import pandas as pd

    from steerscope.studies.transfer.findings import odd_and_even, transfer_table

    found = transfer_table(rows)
    parts = pd.concat([odd_and_even(rows, m).assign(metric=m) for m in sorted(set(rows.metric))])
    lines = [*_conditions(found), *_curves(parts), *said, *pages]
    result = {"table": found.to_dict("records"), "curves": parts.to_dict("records")}
    finish(as_json, result | {"verdict": said}, lines)


def _conditions(found: pd.DataFrame) -> list[str]:
    """Every condition against plain as a table."""
    shown = [
        [r.technique, f"{r.coefficient:g}", "yes" if r.matched else "", r.metric]
        + [number(r.value, ".3f"), estimate(r.change, r.low, r.high, "+.3f")]
        for r in found.itertuples()
    ]
    columns = ("technique", "c", "matched", "metric", "value", "change from plain")
    return table("held-out test split:", columns, shown)


def _curves(parts: pd.DataFrame) -> list[str]:
    """What turns round with the sign of c, and what does not, as a table."""
    shown = [
        [
            r.technique,
            r.metric,
            f"{r.coefficient:g}",
            estimate(r.odd, r.odd_low, r.odd_high, "+.3f"),
            estimate(r.even, r.even_low, r.even_high, "+.3f"),
        ]
        for r in parts.itertuples()
    ]
    columns = ("technique", "metric", "|c|", "turns with the sign of c", "does not")
    return table("curves over c:", columns, shown)


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
