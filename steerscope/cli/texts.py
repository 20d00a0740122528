"""The command that prints what a model wrote: prompt, plain and steered side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli.shared import Json, finish
from steerscope.cli.visible import visible
from steerscope.texts.showing import counted

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

    from steerscope.runs.results import Run

_MARKS = (("[-", "-]"), ("{+", "+}"))  # of plain and steered where there is no colour
_STYLES = ("bold red", "bold green")


def texts(
    run_dir: Annotated[Path, typer.Argument(help="a run directory")],
    layer: Annotated[int | None, typer.Option(help="0-based; default the chosen one")] = None,
    dose: Annotated[
        float | None, typer.Option(help="signed, in natural units; default the chosen one")
    ] = None,
    prompt: Annotated[int | None, typer.Option(help="number of the prompt in its split")] = None,
    method: Annotated[
        str | None, typer.Option(help="such as random or plain; default the run's own")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="such as select; default test where it has such texts")
    ] = None,
    number: Annotated[int, typer.Option(help="texts at most; 0 for all")] = 6,
    as_json: Json = False,
) -> None:
    """What the model wrote: prompt, plain and steered side by side, with every score.

    Examples:
        steerscope texts runs/mine
        steerscope texts runs/mine --layer 5 --dose 3 --split test
    """
    from steerscope.runs.results import Run
    from steerscope.runs.written import all_texts, choose_texts, plain_scores

    run = Run.open(run_dir)
    there = all_texts(run)
    asked = {"method": method, "layer": layer, "dose": dose}
    named = {name: value for name, value in asked.items() if value is not None}
    found = choose_texts(there, **_usual(run, named, split), split=split, prompt=prompt)
    if split is None:
        found = found[found.split == ("test" if "test" in set(found.split) else found.split.min())]
    shown = _results(found.head(number or len(found)), plain_scores(there))
    if as_json:
        finish(True, {"run": str(run.path), "n": len(found), "texts": shown}, [])
    else:
        _print(shown, len(found))


def _usual(run: Run, named: dict[str, Any], split: str | None) -> dict[str, Any]:
    """What is meant where nothing is named: the method of the run, and its choice of layer and dose.

    Of the nulls, which are other methods at layers and doses of their own, all of them.
    """
    from steerscope.studies.steering.findings import find
    from steerscope.studies.steering.nulls import NULL

    if run.configuration.get("kind") not in {"StudyPlan", "SweepPlan"} or split == NULL:
        return named
    usual: dict[str, Any] = {"method": run.configuration["method"]}
    if not named:
        chosen = find(run).chosen
        usual |= {"layer": chosen.layer, "dose": chosen.dose_natural}
    return usual | named


def _results(texts: pd.DataFrame, plain: pd.DataFrame) -> list[dict[str, Any]]:
    from steerscope.runs.written import ABOUT, PLAIN, metrics_of

    metrics = metrics_of(texts)
    found = []
    for row in texts.to_dict("records"):
        at = row["split"], row["prompt"]
        beside = at in plain.index and row["cell"] != PLAIN
        before = plain.loc[at].to_dict() if beside else {}
        about = {name: row[name] for name in ABOUT}
        scores = {name: row[name] for name in metrics}
        found.append(about | {"metrics": scores, "plain_metrics": before})
    return found


def _print(texts: list[dict[str, Any]], n: int) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for text in texts:
        title = f"prompt {text['prompt']} ({text['split']}), {_condition(text)}"
        console.rule(_literal(title), align="left", characters="-")
        console.print(_literal(text["said"]))
        console.print(_sides(text, in_colour=bool(console.color_system) and not console.no_color))
        console.print(_literal(_scores(text)), style="dim")
    more = f"; --number 0 prints all {n}" if len(texts) < n else ""
    console.print(_literal(f"{len(texts)} of {counted(n, 'text')}{more}"))


def _condition(text: dict[str, Any]) -> str:
    named = str(text["cell"]).split("; ")  # of a comparison: place, matching, method, seed
    parts = [*(named[:2] if len(named) == 4 else []), str(text["method"])]
    parts += [f"layer {text['layer']}"] if text["layer"] >= 0 else []
    parts += [f"{text['dose_natural']:+g} natural"] if text["dose_natural"] else []
    parts += [f"seed {text['seed']}"] if text["seed"] >= 0 else []
    return ", ".join(parts)


def _sides(text: dict[str, Any], *, in_colour: bool) -> Table:
    """Plain and steered beside each other, what differs marked; the plain text alone without steering."""
    from rich.table import Table

    from steerscope.runs.written import PLAIN
    from steerscope.texts.changes import changed_words, pieces

    table = Table(box=None, expand=True, padding=(0, 2, 0, 0))
    plain, steered = text["plain"], text["written"]
    if text["cell"] == PLAIN or not isinstance(plain, str):
        table.add_column(str(text["method"]))
        table.add_row(_literal(steered))
        return table
    cells = []
    for side, stretches in enumerate(changed_words(plain, steered)):
        cut = pieces((plain, steered)[side], stretches)
        cells.append(_marked(cut, side, in_colour=in_colour))
        table.add_column(("plain", "steered")[side], ratio=1)
    table.add_row(*cells)
    return table


def _marked(cut: list[tuple[str, bool]], side: int, *, in_colour: bool) -> Text:
    """A text whose marked pieces are in colour, or in brackets where there is none."""
    from rich.text import Text

    before, behind = ("", "") if in_colour else _MARKS[side]
    found = Text()
    for piece, marked in cut:
        if marked:
            found.append(before + visible(piece) + behind, style=_STYLES[side])
        else:
            found.append(visible(piece))
    return found


def _literal(text: str) -> Text:
    """A text of which rich reads no markup and the terminal no command."""
    from rich.text import Text

    return Text(visible(text))


def _scores(text: dict[str, Any]) -> str:
    """Every metric with its number, and that of the plain text; what was measured of neither is left out."""
    before = text["plain_metrics"]
    scores = [
        f"{name} {_number(value)} (plain {_number(before[name])})"
        if name in before
        else f"{name} {_number(value)}"
        for name, value in text["metrics"].items()
        if not (math.isnan(value) and math.isnan(before.get(name, math.nan)))
    ]
    is_ranked = text["split"] == "null"  # of which no KL is measured on these prompts
    kl = (
        [] if is_ranked and math.isnan(text["kl_nats"]) else [f"KL {_number(text['kl_nats'])} nats"]
    )
    return ", ".join([*scores, *kl, f"status {text['status']}"])


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3g}"
