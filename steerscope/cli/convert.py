"""The command that writes a vector file in another tool's format."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from steerscope.cli import choices
from steerscope.cli.options import Talk, Trying, grouped
from steerscope.cli.shared import (
    Force,
    Json,
    Model,
    Prompts,
    check_outputs,
    check_vector,
    finish,
    gguf_lines,
    read_vectors,
    refuse_unused,
    table,
    write_gguf,
)
from steerscope.errors import UnknownNameError
from steerscope.texts.bundled import DEFAULT_MODEL


@grouped
def convert(
    *,
    source: Annotated[str, typer.Argument(help="vector file of steerscope or of another tool")],
    out: Annotated[Path, typer.Option("--out", "-o", help=".safetensors or .gguf file to write")],
    model: Model = DEFAULT_MODEL,
    prompts: Prompts = None,
    dose: Annotated[
        float | None, typer.Option(help="what strength 1 of a .gguf file means; default 1")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            autocompletion=choices.completing(choices.UNITS),
            help="natural, relative or absolute; default natural",
        ),
    ] = None,
    talk: Talk,
    force: Force = False,
    loading: Trying,
    as_json: Json = False,
) -> None:
    """Turn a vector file into another format, checked against the model.

    Examples:
        steerscope convert joyful.safetensors --out joyful.gguf
        steerscope convert repeng.gguf -m gpt2 -o repeng.safetensors
    """
    from steerscope.directions import save_directions
    from steerscope.doses import Dose, check_unit

    amount = Dose(1.0 if dose is None else dose, check_unit("natural" if unit is None else unit))
    if out.suffix not in {".safetensors", ".gguf"}:
        raise UnknownNameError("format to write", out.suffix, [".safetensors", ".gguf"])
    check_outputs({out.suffix: out}, [source, model, prompts], force=force)
    if out.suffix != ".gguf":
        refuse_unused({"dose": dose, "unit": unit}, f"a {out.suffix} file holds no strength")
    if check_vector(source):
        refuse_unused({"prompts": prompts}, "the file says its own lengths")
    directions = read_vectors(source, loading.load(model), prompts, talk.asked())
    written: dict[str, Any] = {}
    if out.suffix == ".gguf":
        written = write_gguf(out, directions, amount, force=force)
    else:
        save_directions(out, directions, force=force)
    said = gguf_lines(written) if written else [f"saved: {out}"]
    columns = ("direction", "natural (length)", "relative (length)")
    rows = [(d.label, f"{d.scale.natural:.4g}", f"{d.scale.relative:.4g}") for d in directions]
    result = {
        "out": str(out),
        **written,
        "directions": [{"site": str(d.site), **asdict(d.scale)} for d in directions],
    }
    finish(as_json, result, [*table(f"directions of {source}:", columns, rows), *said])
