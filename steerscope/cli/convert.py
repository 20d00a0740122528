"""The command that writes a vector file in another tool's format."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from steerscope.directions import Direction
    from steerscope.doses import Dose


@grouped
def convert(
    *,
    source: Annotated[str, typer.Argument(help="vector file of steerscope or of another tool")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help=".safetensors or .gguf file, or with --to .pt or .json"),
    ],
    to: Annotated[
        str | None, typer.Option(help="another tool to write for: lm-eval, hotwire or vllm-lens")
    ] = None,
    model: Model = DEFAULT_MODEL,
    prompts: Prompts = None,
    dose: Annotated[
        float | None,
        typer.Option(help="what strength 1 of a .gguf file or of another tool means; default 1"),
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
        steerscope convert joyful.safetensors --to lm-eval --dose 2 --out joyful.pt
    """
    from steerscope.doses import Dose, check_unit

    amount = Dose(1.0 if dose is None else dose, check_unit("natural" if unit is None else unit))
    _check(out, to, [source, model, prompts], force=force)
    if to is None and out.suffix != ".gguf":
        refuse_unused({"dose": dose, "unit": unit}, f"a {out.suffix} file holds no strength")
    if check_vector(source):
        refuse_unused({"prompts": prompts}, "the file says its own lengths")
    directions = read_vectors(source, loading.load(model), prompts, talk.asked())
    written, said = _written(out, to, directions, amount, model, force=force)
    columns = ("direction", "natural (length)", "relative (length)")
    rows = [(d.label, f"{d.scale.natural:.4g}", f"{d.scale.relative:.4g}") for d in directions]
    result = {
        "out": str(out),
        **written,
        "directions": [{"site": str(d.site), **asdict(d.scale)} for d in directions],
    }
    finish(as_json, result, [*table(f"directions of {source}:", columns, rows), *said])


def _check(out: Path, to: str | None, inputs: list[str | None], *, force: bool) -> None:
    """Refuse a file that must not be written, before a model is loaded for it."""
    from steerscope.directions.exports import FORMATS, check_export
    from steerscope.runs.outputs import check_file

    if to is not None:
        check_file(out, own=check_export(out, to).is_ours, inputs=inputs, force=force)
        return
    if out.suffix in {f.suffix for f in FORMATS.values()}:
        tools = ", ".join(n for n, f in FORMATS.items() if f.suffix == out.suffix)
        raise BadValueError(f"say with --to for which tool {out} is: {tools}.")
    if out.suffix not in {".safetensors", ".gguf"}:
        raise UnknownNameError("format to write", out.suffix, [".safetensors", ".gguf"])
    check_outputs({out.suffix: out}, inputs, force=force)


def _written(
    out: Path,
    to: str | None,
    directions: list[Direction],
    dose: Dose,
    model: str,
    *,
    force: bool,
) -> tuple[dict[str, Any], list[str]]:
    """What was written, and lines that say it with what the file cannot carry."""
    from steerscope.directions import save_directions
    from steerscope.directions.exports import export_directions
    from steerscope.models.block_paths import block_paths

    if to is not None:
        found = export_directions(
            out, directions, to=to, blocks=block_paths(model), dose=dose, force=force
        )
        lines = [f"saved: {out}, strength 1 = {found.dose}", f"use: {found.use}"]
        return asdict(found), [*lines, *(f"not carried, {lost}" for lost in found.lost)]
    if out.suffix == ".gguf":
        written = write_gguf(out, directions, dose, force=force)
        return written, gguf_lines(written)
    save_directions(out, directions, force=force)
    return {}, [f"saved: {out}"]
