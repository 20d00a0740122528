"""Commands about the ledger of claims: list them, check them, keep the evidence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli.cells import p_value
from steerscope.cli.shared import Json, finish, say_aside, table
from steerscope.errors import BadValueError
from steerscope.runs.digits import edges_of, in_digits

if TYPE_CHECKING:
    from pandas import DataFrame

    from steerscope.claims import Claim, Judged
    from steerscope.experiments import Experiment

claims = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Published claims, the tests that decide them, and their verdicts.",
)

_RUNS = Path("data/runs/experiments")
_BOARD = "a board of claims"
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file", help="claims file or bundled name; again for several; default all bundled"
    ),
]
Runs = Annotated[
    Path | None, typer.Option(help=f"folder with the runs of each experiment; default {_RUNS}")
]


@claims.command("list")
def list_claims(file: Files = None, as_json: Json = False) -> None:
    """Every claim with its source and its test.

    Examples:
        steerscope claims list
    """
    found = _claims_of(file)
    lines = []
    for claim in found:
        test = claim.test if claim.test is not None else f"waits for {claim.waits_for}"
        lines += [f"{claim.name}: {claim.words}", f"  source: {claim.source}", f"  test: {test}"]
        lines += ["  the test was written before its runs"] * claim.tested_first
    finish(as_json, {"claims": [c.model_dump() for c in found]}, lines)


@claims.command()
def check(
    file: Files = None,
    runs: Runs = None,
    run: Annotated[bool, typer.Option("--run", help="make the runs that are missing")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the board: csv and html")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute every verdict again from the rows that are there; leaves with 2 if some cannot be used.

    Examples:
        steerscope claims check
        steerscope claims check --file my-claims.yaml --run
    """
    from steerscope.claims import board, by_model, check_claims
    from steerscope.runs.outputs import check_folder, marked

    if not run:
        _check_there(runs)
    runs = runs or _RUNS
    if out is not None:
        check_folder(out, own=marked(_BOARD), inputs=[*(Path(f) for f in file or ()), runs])
    judged = check_claims(_claims_of(file), runs, make=_make if run else None)
    found = board(judged)
    written = [] if out is None else _write(judged, out)
    rows = [
        (j.verdict, j.claim.name, *_numbers(j, p_holm), j.evidence if j.measured else "-")
        for j, p_holm in zip(judged, found.p_holm, strict=True)
    ]
    numbers = ("measured on", "measured", "interval", "p", "p (Holm)", "n")
    columns = ("verdict", "claim", *numbers, "evidence")
    why = [f"{j.claim.name}: {j.evidence}" for j in judged if j.measured is None]
    alone = (
        f"each claim is decided by itself; p (Holm) allows for their number, {len(judged)}, and a "
        "verdict is about what was measured and nothing else"
    )
    models = by_model(found)
    lines = [
        *table("claims:", columns, rows),
        *_side_by_side(models),
        *why,
        f"{_tally(judged)}; {alone}",
        *(f"written: {p}" for p in written),
    ]
    result = {
        "claims": found.to_dict("records"),
        "by_model": models.to_dict("records"),
        "written": [str(p) for p in written],
    }
    finish(as_json, result, lines)
    if any(j.is_unusable for j in judged):
        raise SystemExit(2)


def _tally(judged: Sequence[Judged]) -> str:
    """How many claims have each verdict; open ones with evidence that cannot be used apart."""
    from steerscope.claims.ledger import UNUSABLE

    verdicts = (f"with {UNUSABLE}" if j.is_unusable else j.verdict for j in judged)
    return ", ".join(f"{n} {verdict}" for verdict, n in Counter(verdicts).most_common())


@claims.command()
def store(
    experiment: Annotated[str, typer.Argument(help="name of a bundled experiment, or a file")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="folder to write, such as data/claims/evidence/NAME")
    ],
    runs: Runs = None,
) -> None:
    """Keep of an experiment's runs the rows that decide claims.

    Examples:
        steerscope claims store layer_sweep --out data/claims/evidence/layer_sweep
    """
    from steerscope.claims import store_evidence
    from steerscope.experiments import load_experiment

    _check_there(runs)
    wanted = load_experiment(experiment)
    store_evidence(wanted, (runs or _RUNS) / wanted.name, out)
    finish(False, {}, [f"stored: {out}"])


def _claims_of(files: list[str] | None) -> list[Claim]:
    """The claims of some files, one after the other."""
    from steerscope.claims import bundled_claims, load_claims

    return [claim for file in files or bundled_claims() for claim in load_claims(file)]


def _side_by_side(models: DataFrame) -> list[str]:
    """Claims that were asked of several models, a column each."""
    from steerscope.claims.by_model import NOT_RUN

    cells = models.drop(columns=["claim", "words"])
    asked = models[(cells != NOT_RUN).sum(axis=1) > 1].drop(columns="words")
    rows = [tuple(row) for row in asked.itertuples(index=False)]
    return table("by model:", tuple(asked.columns), rows) if rows else []


def _check_there(runs: Path | None) -> None:
    """Refuse a folder of runs that is none, rather than judge as if it held nothing.

    Raises:
        BadValueError: it is not there.
    """
    if runs is not None and not runs.is_dir():
        raise BadValueError(f"--runs {runs} is no folder; give the one that holds the runs.")
    if runs == Path():  # also what an empty text is read as
        raise BadValueError(
            "--runs is empty or the place itself; give the folder that holds the runs, such as data/runs."
        )


def _make(experiment: Experiment, out: Path) -> None:
    from steerscope.experiments import run_experiment
    from steerscope.progress import bar

    say_aside(f"experiment {experiment.name}")
    run_experiment(experiment, out, progress=bar, say=say_aside)


def _numbers(judged: Judged, p_holm: float) -> tuple[str, ...]:
    m = judged.measured
    if m is None:
        return ("-",) * 6
    known = not math.isnan(m.value)
    bounded = known and not math.isnan(m.low)
    edges = (
        edges_of(judged.claim.test.direction, judged.claim.test.threshold)
        if judged.claim.test
        else ()
    )
    value = f"{in_digits(m.value, '+.3f', edges)} {m.unit}" if known else "not known"
    ends = [in_digits(end, "+.3f", edges) for end in (m.low, m.high)] if bounded else ["-"]
    interval = " to ".join(ends)
    return judged.measured_on, value, interval, p_value(judged.p), p_value(p_holm), str(m.n)


def _write(judged: list[Judged], out: Path) -> list[Path]:
    from steerscope.claims import board, by_model
    from steerscope.figures import claims_board
    from steerscope.figures.files import Plate, write_plate
    from steerscope.runs.outputs import write_mark
    from steerscope.runs.spreadsheets import as_csv
    from steerscope.runs.whole_files import whole_folder, write_whole

    found = board(judged)
    plate = Plate("claims_board", claims_board(found), "")
    with whole_folder(out) as unfinished:
        tables = {"claims.csv": found, "claims_by_model.csv": by_model(found)}
        for name, rows in tables.items():
            write_whole(unfinished / name, as_csv(rows))
        written = [*(unfinished / name for name in tables), *write_plate(plate, unfinished)]
        write_mark(unfinished, _BOARD)
    return [out / path.name for path in written]
