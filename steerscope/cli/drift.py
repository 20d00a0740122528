"""The command that looks at steered text through lenses of one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli import choices
from steerscope.cli.keeping import KeptOut, kept, run_folder
from steerscope.cli.options import Loading, Talk, Writing, grouped
from steerscope.cli.shared import (
    Json,
    Model,
    Prompts,
    ScopeText,
    SiteNames,
    check_vector,
    finish,
    table,
)
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    import pandas as pd


@grouped
def drift(
    *,
    vector: Annotated[str, typer.Option(help="vector file of steerscope or of another tool")],
    lenses: Annotated[
        Path, typer.Option(help="YAML file: under `lenses` a name and its words each")
    ],
    model: Model = DEFAULT_MODEL,
    prompts: Prompts = "mood",
    n_prompts: Annotated[int, typer.Option(help="prompts that are continued, at most")] = 60,
    site: SiteNames = None,
    dose: Annotated[float, typer.Option("--dose", "--coefficient", help="how much")] = 1.0,
    unit: Annotated[
        str,
        typer.Option(
            autocompletion=choices.completing(choices.LENGTHS), help="natural, relative or absolute"
        ),
    ] = "natural",
    scope: ScopeText = "all",
    writing: Writing,
    talk: Talk,
    out: KeptOut = None,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Which topics that nobody asked for a steered model brings in, by vocabularies of one's own.

    Examples:
        steerscope drift --vector joyful.safetensors --lenses lenses.yaml --dose 2 --out runs/drift
    """
    from steerscope.progress import bar
    from steerscope.steering.scopes import Scope
    from steerscope.studies.lenses.findings import lens_table
    from steerscope.studies.lenses.measure import run_lenses
    from steerscope.studies.lenses.plan import LensPlan
    from steerscope.studies.lenses.vocabularies import read_lenses

    plan = LensPlan(
        model=model,
        vector=vector,
        lenses=str(lenses),
        prompts=prompts or "mood",
        sites=None if site is None else tuple(site),
        dose=dose,
        unit=unit,
        scope=scope,
        n_prompts=n_prompts,
        **asdict(writing),
        **loading.settings(),
    )
    Scope.parse(scope)
    read_lenses(lenses)
    check_vector(vector)
    with run_folder(out) as folder:
        loaded = loading.load(model)
        run = run_lenses(folder, plan, chat=talk.asked(), model=loaded, progress=bar)
        _report(lens_table(run), kept(run, out), as_json=as_json)


def _report(found: pd.DataFrame, written: list[str], *, as_json: bool) -> None:
    """Print what each lens shows."""
    from steerscope.studies.lenses.wording import lenses_in_words

    rows = [
        (
            r.lens, f"{r.plain:.2f}", f"{r.steered:.2f}", f"{r.change:+.2f} [{r.low:+.2f}, {r.high:+.2f}]",
            f"{r.threshold:.2f}", r.says,
        )
        if r.n
        else (r.lens, "", "", "", "", "not known")
        for r in found.itertuples()
    ]  # fmt: skip
    columns = ("lens", "plain", "steered", "change", "threshold", "says")
    said = lenses_in_words(found)
    result = {"lenses": found.to_dict("records"), "said": said}
    lines = [*table("weighted words in 100:", columns, rows), *said, *written]
    finish(as_json, result, lines)
