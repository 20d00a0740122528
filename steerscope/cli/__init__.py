"""The command line: arguments in, one verb called, a table or JSON out.

Heavy imports wait inside the commands, so that help and usage errors come at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from steerscope.cli import experiments, jobs, sae_use, tools
from steerscope.cli.adapter import adapter
from steerscope.cli.bench import bench
from steerscope.cli.budget import budget
from steerscope.cli.calibrate import calibrate
from steerscope.cli.carry import carry
from steerscope.cli.chat import chat
from steerscope.cli.claims import claims
from steerscope.cli.compare import compare
from steerscope.cli.convert import convert
from steerscope.cli.dilemmas import dilemmas
from steerscope.cli.doctor import doctor
from steerscope.cli.drift import drift
from steerscope.cli.endings import STOPPED, Ending, check_arguments
from steerscope.cli.helping import Group, furnished
from steerscope.cli.init import init
from steerscope.cli.lint import lint
from steerscope.cli.loudness import send_notes_to
from steerscope.cli.numbers import check_numbers
from steerscope.cli.ratings import ratings
from steerscope.cli.rejudge import rejudge
from steerscope.cli.route import route
from steerscope.cli.sae import sae_app
from steerscope.cli.serve import serve
from steerscope.cli.shared import say
from steerscope.cli.styles import styles
from steerscope.cli.texts import texts
from steerscope.cli.tokenizers import tokenizers
from steerscope.cli.weights import weights

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        say(f"steerscope {version('steerscope')}")
        raise typer.Exit


@app.callback()
def _start(
    *,
    version: Annotated[  # noqa: ARG001 - its callback says it
        bool,
        typer.Option("--version", "-V", callback=_say_version, is_eager=True, help="say which"),
    ] = False,
) -> None:
    """Where, how hard, and whether a language model can be steered, with evidence.

    `steerscope report` measures the bundled model and writes a page; `steerscope init FOLDER` makes a
    folder to start with your own model and pairs. `steerscope COMMAND --help` shows its options.
    """


for command in (
    init,
    doctor,
    jobs.report,
    tools.vectors,
    convert,
    lint,
    styles,
    tools.eigengap,
    jobs.sweep,
    compare,
    carry,
    route,
    bench,
    dilemmas,
    tools.steer,
    calibrate,
    budget,
    tools.lens,
    drift,
    tokenizers,
    jobs.figures,
    texts,
    rejudge,
    jobs.audit,
    experiments.run,
    experiments.verify,
    serve,
    chat,
):
    app.command()(command)
app.add_typer(weights, name="weights")
app.add_typer(adapter, name="adapter")
app.add_typer(claims, name="claims")
app.add_typer(ratings, name="ratings")
for of_features in (sae_use.overlap, sae_use.features, sae_use.steer):
    sae_app.command()(of_features)
app.add_typer(sae_app, name="sae")

furnished(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code: 0, 2 for what the user can mend, 1 for our faults."""
    # Threads that wait by spinning take the time of those that work where processors are shared. This
    # many turns cost nothing on idle processors, none at all would; OpenMP reads it when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    given = list(sys.argv[1:] if arguments is None else arguments)
    ending = Ending(as_json="--json" in given)
    send_notes_to(ending)
    try:
        check_arguments(given)
        check_numbers(app, given)
        code = app(args=given or ["--help"], standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except Exception as error:  # noqa: BLE001 - told apart there
        code = ending.failed(error)
    if code == STOPPED:  # typer hands Ctrl-C back as this number
        code = ending.stopped()
    if code:
        sys.exit(code)
