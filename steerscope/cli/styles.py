"""The command that measures how far style directions are the attention sink: styles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli.options import Talk, Trying, grouped
from steerscope.cli.shared import (
    Json,
    Layers,
    Method,
    Model,
    Seed,
    StreamName,
    finish,
    parse_layers,
    table,
)
from steerscope.texts.bundled import DEFAULT_MODEL
from steerscope.texts.showing import counted

if TYPE_CHECKING:
    import pandas as pd


_WHAT = "a report on styles"


@grouped
def styles(
    *,
    style: Annotated[
        list[str] | None,
        typer.Option(help="built-in style, or 'WANTED | OTHERWISE'; again for more; default all"),
    ] = None,
    model: Model = DEFAULT_MODEL,
    method: Method = "mean_diff",
    stream: StreamName = "resid_post",
    layers: Layers = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the table and the figures")
    ] = None,
    seed: Seed = 0,
    talk: Talk,
    loading: Trying,
    as_json: Json = False,
) -> None:
    """Style directions, and what of them is the attention sink.

    Examples:
        steerscope styles --style terse -m Qwen/Qwen3-0.6B
    """
    from steerscope.directions import check_method
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.runs.outputs import check_folder, marked
    from steerscope.studies.steering.prepare import sites_at
    from steerscope.studies.styles import style_report
    from steerscope.texts.contrasts import style_contrasts
    from steerscope.texts.styles import STYLES, find_style

    if out is not None:
        check_folder(out, own=marked(_WHAT), inputs=[model])
    chosen = [style_contrasts(find_style(text)) for text in style or STYLES]
    method = check_method(method)
    loaded = loading.load(model)
    chosen = [in_chat(loaded, s, talk.asked()) for s in chosen]
    sites = sites_at(loaded, stream, parse_layers(layers))
    found = style_report(loaded, chosen, sites, method=method, seed=seed, progress=bar)
    written = [] if out is None else _write(found, out)
    columns = (
        "layer", "style", "tokens longer", "cosine with the sink", "with position 0",
        "most alike style", "with position 0",
    )  # fmt: skip
    title = f"{method} directions at {stream}, {counted(found.n.iloc[0], 'message')}, mean over the tokens:"
    finish(
        as_json,
        {"numbers": found.to_dict("records"), "written": [str(p) for p in written]},
        [*table(title, columns, _rows(found)), *(f"written: {p}" for p in written)],
    )


def _write(found: pd.DataFrame, out: Path) -> list[Path]:
    """The table, the leak by layer, and the cosines at every site."""
    from steerscope.figures import sink_leak, style_cosines
    from steerscope.runs.outputs import write_mark
    from steerscope.runs.spreadsheets import as_csv
    from steerscope.runs.whole_files import whole_folder, write_whole

    drawn = {"sink_leak": sink_leak(found)}
    drawn |= {f"cosines-{site}": style_cosines(found, site=site) for site in found.site.unique()}
    texts = {"styles.csv": as_csv(found)}
    texts |= {f"{name}.html": f.to_html(include_plotlyjs=True) for name, f in drawn.items()}
    with whole_folder(out) as unfinished:
        for name, text in texts.items():
            write_whole(unfinished / name, text)
        write_mark(unfinished, _WHAT)
    return [out / name for name in texts]


def _rows(found: pd.DataFrame) -> list[list[Any]]:
    """One line for each layer and style: the sink in it, and the style that is most alike."""
    rows = []
    for (layer, name), mine in found[found["style"] != ""].groupby(["layer", "style"], sort=False):
        cosines = found[(found.layer == layer) & (found.quantity == "cosine")]
        about = cosines[(cosines["style"] == name) | (cosines.other == name)]
        sink = about[about.other == "sink"].set_index("read")
        others = about[about.other != "sink"]
        alike = others.loc[others.value.abs().groupby(others["read"]).idxmax()].set_index("read")
        longer = mine.value[mine.quantity == "length_difference"].iloc[0]
        reads = ("mean", "mean+sink")
        in_words = [
            f"{row.value:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
            for part in (sink, alike)
            for row in (part.loc[read] for read in reads if read in part.index)
        ]
        rows.append([layer, name, f"{longer:+.1f}", *in_words, *["-"] * (4 - len(in_words))])
    return rows
