"""How much a command says on standard error, beside its result and its errors."""

from __future__ import annotations

import logging
import warnings

from steerscope.cli.endings import Ending
from steerscope.errors import (
    BackboneWarning,
    LeftOutWarning,
    OtherWeightsWarning,
    PureGainWarning,
    TemplateWarning,
)

# Warnings that tell a user something; the others are for programmers, and for `--verbose`.
_NOTED = (BackboneWarning, LeftOutWarning, OtherWeightsWarning, PureGainWarning, TemplateWarning)
_log = logging.getLogger("steerscope")


def send_notes_to(ending: Ending) -> None:
    """Have what the library logs, and its warnings to the user, appear on standard error, once."""

    class _Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ending.aside(record.getMessage())

    def _show_warning(
        message: Warning | str, category: type[Warning], *_: object, **__: object
    ) -> None:
        if issubclass(category, _NOTED) or _log.isEnabledFor(logging.DEBUG):
            ending.aside(str(message), before="note: ")

    _log.handlers, _log.propagate = [_Notes()], False
    _log.setLevel(logging.INFO)
    warnings.showwarning = _show_warning  # pyright: ignore[reportAttributeAccessIssue]


def be_loud() -> None:
    """Say every warning, and what else is logged."""
    _log.setLevel(logging.DEBUG)
    warnings.simplefilter("default")


def be_quiet() -> None:
    """Say nothing but results, warnings and errors; a loop shows no bar."""
    _log.setLevel(logging.WARNING)
