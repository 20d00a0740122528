"""The command line: arguments in, one verb called, a table or JSON out.

Heavy imports wait inside the commands, so that help and usage errors come at once.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

import typer

from steerscope.cli import experiments, jobs, sae_use, tools
from steerscope.cli.adapter import adapter
from steerscope.cli.claims import claims
from steerscope.cli.sae import sae_app
from steerscope.cli.styles import styles
from steerscope.cli.weights import weights
from steerscope.errors import BackboneWarning, PureGainWarning, SteerscopeError, TemplateWarning

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
    styles,
    tools.eigengap,
    jobs.sweep,
    tools.steer,
    tools.lens,
    jobs.figures,
    jobs.audit,
    experiments.run,
    experiments.verify,
):
    app.command()(command)
app.add_typer(weights, name="weights")
app.add_typer(adapter, name="adapter")
app.add_typer(claims, name="claims")
for of_features in (sae_use.overlap, sae_use.features, sae_use.steer):
    sae_app.command()(of_features)
app.add_typer(sae_app, name="sae")


def _show_warning(
    message: Warning | str, category: type[Warning], *_: object, **__: object
) -> None:
    if issubclass(category, BackboneWarning | PureGainWarning | TemplateWarning):
        sys.stderr.write(f"note: {message}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code: 0, 2 for what the user can mend, 1 for our faults."""
    # Threads that wait by spinning take the time of those that work where processors are shared. This
    # many turns cost nothing on idle processors, none at all would; OpenMP reads it when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    notes = logging.getLogger("steerscope")  # what the library logs, on standard error, once
    notes.handlers, notes.propagate = [logging.StreamHandler()], False
    notes.setLevel(logging.INFO)
    warnings.showwarning = _show_warning  # pyright: ignore[reportAttributeAccessIssue]
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=given or ["--help"], standalone_mode=False)
    except SteerscopeError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("stopped; what was measured is kept, and the same command continues.\n")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - a fault of ours, unless it is a usage error
        # typer may carry its own click, whose error classes it does not export
        say = getattr(error, "format_message", None)
        if say is None:
            traceback.print_exc()
            sys.exit(1)
        sys.stderr.write(f"error: {' '.join(say().split())}\n")
        sys.exit(2)
