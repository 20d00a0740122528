"""Commands that steer by weights: `steerscope weights sweep | export`."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli.cells import estimate, number
from steerscope.cli.options import Judged, Loading, Subject, Talk, Writing, grouped
from steerscope.cli.shared import (
    Json,
    Layers,
    MaxSelect,
    MaxTest,
    Model,
    finish,
    numbers,
    parse_layers,
    table,
)
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    import pandas as pd

    from steerscope.judges.effects import Effect
    from steerscope.runs.results import Run

weights = typer.Typer(help="Steer by weights: edits of spectra, judged.", add_completion=False)


@weights.callback()
def _weights() -> None:
    """Steer by weights: edits of spectra, judged."""


@weights.command()
@grouped
def sweep(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="run directory to write")],
    subject: Subject,
    edits: Annotated[
        str,
        typer.Option(help="gain, zscore, power, band[0-8], deflate[2] or mp_shrink, with commas"),
    ] = "gain,zscore,power",
    weights: Annotated[
        str, typer.Option(help="q, k, v, o, gate, up or down, with commas")
    ] = "down",
    layers: Layers = None,
    alphas: Annotated[str, typer.Option(help="amounts of every edit, signed, with commas")] = (
        "-0.3,-0.1,0.1,0.3"
    ),
    together: Annotated[
        list[str] | None,
        typer.Option(help="several places at once, as down:15:-0.2,down:16-24:+0.3"),
    ] = None,
    capability: Annotated[
        str | None,
        typer.Option(
            help="contrast set whose positive text a capable model prefers, such as facts"
        ),
    ] = None,
    texts: Annotated[str | None, typer.Option(help="file of texts for perplexity")] = None,
    writing: Writing,
    judged: Judged,
    max_select: MaxSelect = 60,
    max_test: MaxTest = 160,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Measure edits of weight spectra: behaviour, capability and perplexity, with controls.

    Examples:
        steerscope weights sweep --out runs/weights --layers 4-6 --edits power,gain
    """
    from steerscope.progress import bar
    from steerscope.studies.weights.measure import run_weight_sweep
    from steerscope.studies.weights.plan import WeightSweepPlan

    plan = WeightSweepPlan(
        **subject.settings(),
        **writing.settings(),
        **judged.settings(subject.contrasts),
        **loading.settings(),
        capability=capability,
        texts=texts,
        edits=_names(edits),
        weights=_names(weights),
        layers=parse_layers(layers),
        amounts=tuple(numbers(alphas, float, "alphas")),
        together=tuple(together or ()),
        max_select=max_select,
        max_test=max_test,
        chat=talk.asked(),
    )
    run = run_weight_sweep(plan, out, **loading.machine(), progress=bar)
    _tell(run, as_json)


@weights.command()
def export(
    places: Annotated[
        str, typer.Argument(help="weights, layers and amounts, as down:15:-0.2,down:16-24:+0.3")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="model folder to write")],
    model: Model = DEFAULT_MODEL,
    edit: Annotated[
        str, typer.Option(help="gain, zscore, power, band[0-8] or mp_shrink")
    ] = "power",
    as_json: Json = False,
) -> None:
    """Write an edited model into a plain Hugging Face folder.

    Examples:
        steerscope weights export down:4:0.3 --edit power --out my-model
    """
    from steerscope.weights.adapter import check_merge
    from steerscope.weights.adapter import merge as merged
    from steerscope.weights.adapter.fixed import FixedEdit
    from steerscope.weights.edits import needs_pairs
    from steerscope.weights.weight_edit import WeightEdit

    check_merge(model, out, 1.0)
    if needs_pairs(edit):
        raise BadValueError(f"the edit {edit} looks at pairs, and is made in Python; take another.")
    wanted = WeightEdit.parse(edit, places)
    loaded = Loading(device="cpu", dtype="float32").load(model)
    merged(model, FixedEdit(wanted, loaded), 1.0, out)
    finish(as_json, {"model": str(out), "edit": str(wanted)}, [f"{model} with {wanted}: {out}"])


def _tell(run: Run, as_json: bool) -> None:
    """Write the page of a sweep and print its verdict."""
    from steerscope.report import write_report
    from steerscope.report.weights import sweep_in_words
    from steerscope.runs.distinct import groups_of
    from steerscope.studies.steering.plan import effect_of
    from steerscope.studies.weights.findings import front_table

    page, effect = write_report(run), effect_of(run)
    rows = front_table(run.table(), effect, "test", groups_of(run))
    verdict = sweep_in_words(run, rows)
    finish(
        as_json,
        {
            "run": str(run.path),
            "report": str(page),
            "verdict": verdict,
            "conditions": rows.to_dict("records"),
        },
        [*_stated(rows, effect), *verdict, f"report: {page}"],
        (f"steerscope figures {quote(str(run.path))}", f"steerscope verify {quote(str(run.path))}"),
    )


def _stated(rows: pd.DataFrame, effect: Effect) -> list[str]:
    """The conditions of the test split as a table."""
    points, unit = (100.0, "points") if effect.is_share else (1.0, "nats")
    change, form = f"effect ({unit}, minus plain)", "+.1f" if effect.is_share else "+.2f"
    columns = (
        "edit",
        "target",
        change,
        "capability (points)",
        "perplexity ratio",
        "KL (nats)",
        "front",
    )
    shown = [
        (
            r.cell.partition("edit=")[2] or f"{r.method} {r.layer}",
            r.target,
            estimate(points * r.effect, points * r.low, points * r.high, form),
            number(100 * r.capability_change, "+.1f", "not measured"),
            number(r.perplexity_ratio, ".2f"),
            number(r.kl_nats, ".3f"),
            "front" if r.front else "-",
        )
        for r in rows.itertuples()
    ]
    return table(f"{effect.words}, on the test split:", columns, shown)


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between, none within brackets."""
    return tuple(name.strip() for name in re.split(r",(?![^\[]*\])", text))
