"""Which directions belong to which chat template."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from steerscope.directions import Direction
from steerscope.errors import TemplateWarning
from steerscope.models.chat_templates import UNKNOWN
from steerscope.steering.control_vectors import ControlVector
from steerscope.steering.interventions import Cell, Steering


def check_templates(directions: Iterable[Direction], template: str) -> None:
    """Warn of directions that were found in another template than the prompts they are applied to.

    What a direction is depends on the tokens around the text. Nothing is said of the vectors of
    other tools, whose template is not known.

    Args:
        directions: the directions.
        template: `PromptSet.template` of the prompts; empty for plain text.

    Raises:
        BadValueError: what is given are no directions.

    Warns:
        TemplateWarning: once for each template that differs.
    """
    found = {t: d.label for d in directions for t in d.provenance.templates}
    for other in sorted(found.keys() - {template, UNKNOWN}):
        warnings.warn(
            f"{found[other]} was found in {_in_words(other)} and is applied to "
            f"{_in_words(template)}; use the same for both (wrapped in Python, --chat on the "
            "command line).",
            TemplateWarning,
            stacklevel=2,
        )


def directions_of(cells: Iterable[Cell]) -> list[Direction]:
    """The directions that conditions steer along."""
    found: list[Direction] = []
    for intervention in (i for c in cells for i in c.interventions):
        if isinstance(intervention, Steering):
            found.append(intervention.direction)
        elif isinstance(intervention, ControlVector):
            found += intervention.directions
    return found


def _in_words(template: str) -> str:
    return f"texts in the chat template {template}" if template else "plain texts"
