"""What a look through lenses is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from steerscope.errors import BadValueError, check_name
from steerscope.studies.planned import OfModel


@dataclass(frozen=True, kw_only=True)
class LensPlan(OfModel):
    """How texts are written and looked at.

    Attributes:
        vector: file of what is added to the activations.
        lenses: YAML file of vocabularies.
        prompts: bundled name or file.
        sites: of the vector file; None for all in it.
        dose: how much, in `unit`.
        unit: natural, relative or absolute.
        scope: which tokens are steered.
        n_prompts: prompts that are continued, at most.
        n_new: tokens of a text.
        temperature: at which they are sampled; above 0, or the plain texts of a prompt are one.

    Raises:
        UnknownNameError: no such unit.
        BadValueError: fewer than two prompts, no token, a dose that is no number, or a temperature that is
            not above 0.
    """

    FILES: ClassVar[tuple[str, ...]] = ("vector", "lenses")

    vector: str
    lenses: str
    prompts: str = "mood"
    sites: tuple[str, ...] | None = None
    dose: float = 1.0
    unit: str = "natural"
    scope: str = "all"
    n_prompts: int = 60
    n_new: int = 48
    temperature: float = 0.7

    def __post_init__(self) -> None:
        check_name("dose unit", self.unit, ("natural", "relative", "absolute"))
        if not math.isfinite(self.dose):
            raise BadValueError(f"the dose is {self.dose}; give a number.")
        if self.n_prompts < 2 or self.n_new < 1:
            raise BadValueError("lenses need at least 2 prompts, and texts of at least 1 token.")
        if not self.temperature > 0:
            raise BadValueError(
                "at temperature 0 the plain texts of a prompt are one, which says nothing of chance; "
                "give a temperature above 0."
            )
