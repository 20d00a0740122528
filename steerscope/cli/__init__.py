"""The command line: arguments in, one verb called, a table or JSON out.

Heavy imports wait inside the commands, so that help and usage errors come at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence

import typer

from steerscope.cli import experiments, jobs, sae_use, tools
from steerscope.cli.adapter import adapter
from steerscope.cli.bench import bench
from steerscope.cli.calibrate import calibrate
from steerscope.cli.claims import claims
from steerscope.cli.endings import STOPPED, Ending, check_arguments
from steerscope.cli.lint import lint
from steerscope.cli.numbers import check_numbers
from steerscope.cli.ratings import ratings
from steerscope.cli.sae import sae_app
from steerscope.cli.styles import styles
from steerscope.cli.texts import texts
from steerscope.cli.weights import weights
from steerscope.errors import (
    BackboneWarning,
    LeftOutWarning,
    OtherWeightsWarning,
    PureGainWarning,
    TemplateWarning,
)

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Where, how hard, and whether a language model can be steered, with proof.",
)

for command in (
    jobs.report,
    tools.vectors,
    tools.convert,
    lint,
    styles,
    tools.eigengap,
    jobs.sweep,
    bench,
    tools.steer,
    calibrate,
    tools.lens,
    jobs.figures,
    texts,
    jobs.audit,
    experiments.run,
    experiments.verify,
):
    app.command()(command)
app.add_typer(weights, name="weights")
app.add_typer(adapter, name="adapter")
app.add_typer(claims, name="claims")
app.add_typer(ratings, name="ratings")
for of_features in (sae_use.overlap, sae_use.features, sae_use.steer):
    sae_app.command()(of_features)
app.add_typer(sae_app, name="sae")

# Warnings that tell a user something; the others are for programmers.
_NOTED = (BackboneWarning, LeftOutWarning, OtherWeightsWarning, PureGainWarning, TemplateWarning)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code: 0, 2 for what the user can mend, 1 for our faults."""
    # Threads that wait by spinning take the time of those that work where processors are shared. This
    # many turns cost nothing on idle processors, none at all would; OpenMP reads it when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    given = list(sys.argv[1:] if arguments is None else arguments)
    ending = Ending(as_json="--json" in given)
    _send_notes_to(ending)
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


def _send_notes_to(ending: Ending) -> None:
    """Have what the library logs, and its warnings to the user, appear on standard error, once."""

    class _Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ending.aside(record.getMessage())

    def _show_warning(
        message: Warning | str, category: type[Warning], *_: object, **__: object
    ) -> None:
        if issubclass(category, _NOTED):
            ending.aside(str(message), before="note: ")

    notes = logging.getLogger("steerscope")
    notes.handlers, notes.propagate = [_Notes()], False
    notes.setLevel(logging.INFO)
    warnings.showwarning = _show_warning  # pyright: ignore[reportAttributeAccessIssue]
