"""What every script here shares: its options, the run that most figures are drawn from, its output."""

from __future__ import annotations

import argparse
from pathlib import Path

import plotly.graph_objects as go

from steerscope import Run, StudyPlan, run_study
from steerscope.errors import SteerscopeError
from steerscope.figures.files import Plate, write_plate
from steerscope.figures.looks import parse_look
from steerscope.progress import bar
from steerscope.report import plates, write_report
from steerscope.runs.tables import Table, write_table

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "figures"


def options(description: str | None) -> argparse.ArgumentParser:
    """The options of a script that draws; each may add its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="microworld", help="bundled name, folder or hub name")
    parser.add_argument("--contrasts", default="mood", help="bundled name or file")
    parser.add_argument("--format", default="html,png", help="html, png, svg, pdf with commas")
    parser.add_argument("--theme", default="light", help="light or dark")
    parser.add_argument("--columns", type=int, default=None, help="1 or 2, for a paper")
    return parser


def name_of(chosen: argparse.Namespace) -> str:
    """Model and contrast set, as file names begin."""
    return f"{Path(chosen.model).name}-{Path(chosen.contrasts).stem}"


def shared_run(chosen: argparse.Namespace) -> Run:
    """The stored run of the main job, measured first where there is none."""
    path = ROOT / "data/runs" / name_of(chosen)
    if (path / "report.html").is_file():  # written last, so nothing is missing
        return Run.open(path)
    plan = StudyPlan(model=chosen.model, contrasts=chosen.contrasts)
    run = run_study(plan, path, progress=bar)
    write_report(run)
    return run


def draw(plate: Plate, chosen: argparse.Namespace) -> None:
    """Write a figure into `figures/`: the page first, then what needs a browser, if there is one."""
    named = Plate(f"{name_of(chosen)}-{plate.name}", plate.figure, plate.caption)
    look = parse_look(chosen.theme, chosen.columns)
    for formats in sorted(
        ([f.strip()] for f in chosen.format.split(",")), key=lambda f: f != ["html"]
    ):
        try:
            written = write_plate(named, FIGURES, formats, look)
        except SteerscopeError as error:
            print(error)
        else:
            print(written[-1].relative_to(ROOT))


def save(name: str, figure: go.Figure, image_format: str) -> None:
    """Write one figure and its numbers into `figures/`; as a page where pictures need a browser."""
    plate = Plate(name, figure, "")
    try:
        written = write_plate(plate, FIGURES, [image_format])
    except SteerscopeError as error:
        print(error)
        written = write_plate(plate, FIGURES, ["html"])
    print(written[-1].relative_to(ROOT))


def draw_from_run(names: tuple[str, ...], description: str | None) -> None:
    """Draw figures that the rows of the shared run give."""
    chosen = options(description).parse_args()
    for plate in plates(shared_run(chosen)):
        if plate.name in names:
            draw(plate, chosen)


def write(table: Table, chosen: argparse.Namespace) -> None:
    """Write a table beside the figures."""
    named = Table(f"{name_of(chosen)}-{table.name}", table.frame, table.columns, table.caption)
    for path in write_table(named, FIGURES):
        print(path.relative_to(ROOT))
