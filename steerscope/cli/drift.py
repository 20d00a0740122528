"""The command that looks at steered text through lenses of one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli import choices
from steerscope.cli.options import Talk, Trying, Writing, grouped
from steerscope.cli.shared import (
    Json,
    Model,
    Prompts,
    ScopeText,
    SiteNames,
    check_vector,
    finish,
    read_several,
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
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the dot plot and its numbers")
    ] = None,
    loading: Trying,
    as_json: Json = False,
) -> None:
    """Which topics that nobody asked for a steered model brings in, by vocabularies of one's own.

    Examples:
        steerscope drift --vector joyful.safetensors --lenses lenses.yaml --dose 2 --out drift
    """
    from steerscope.doses import Dose, check_unit
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.steering.control_vectors import along
    from steerscope.steering.interventions import Cell
    from steerscope.steering.scopes import Scope
    from steerscope.steering.strengths import parse_strength
    from steerscope.studies.lenses.measure import measure_drift
    from steerscope.studies.lenses.plan import LensPlan
    from steerscope.studies.lenses.vocabularies import read_lenses
    from steerscope.texts.contrasts import load_prompts

    amount, where = Dose(dose, check_unit(unit)), Scope.parse(scope)
    plan = LensPlan(n_prompts=n_prompts, **asdict(writing))
    asked = read_lenses(lenses)
    check_vector(vector)
    loaded = loading.load(model)
    moved = along(read_several(vector, site, loaded), amount, "add", where, parse_strength("1.0"))
    texts = [p.text for p in in_chat(loaded, load_prompts(prompts or "mood"), talk.asked()).prompts]
    found = measure_drift(loaded, asked, texts, Cell((moved,)), plan=plan, progress=bar)
    _report(found, out, as_json=as_json)


def _report(found: pd.DataFrame, out: Path | None, *, as_json: bool) -> None:
    """Print what each lens shows, and draw it where there is a folder."""
    from steerscope.studies.lenses.wording import lenses_in_words

    written = [] if out is None else _drawn(found, out)
    rows = [
        (
            r.lens, f"{r.plain:.2f}", f"{r.steered:.2f}", f"{r.change:+.2f} [{r.low:+.2f}, {r.high:+.2f}]",
            f"{r.threshold:.2f}", r.says,
        )
        for r in found.itertuples()
    ]  # fmt: skip
    columns = ("lens", "plain", "steered", "change", "threshold", "says")
    said = lenses_in_words(found)
    result = {"lenses": found.to_dict("records"), "said": said, "written": written}
    lines = [*table("weighted words in 100:", columns, rows), *said]
    finish(as_json, result, [*lines, *(f"written: {p}" for p in written)])


def _drawn(found: pd.DataFrame, out: Path) -> list[str]:
    """Write the dot plot with its numbers."""
    from steerscope import figures
    from steerscope.figures.files import Plate, write_plate
    from steerscope.runs.outputs import check_writable

    check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    plate = Plate("lenses", figures.lens_dots(found), "")
    return [str(p) for p in write_plate(plate, out, ("html",))]
