"""What a measure is: a number with its interval, out of an experiment's runs, under a name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.statistics import bootstrap_mean, sign_flip_p


@dataclass(frozen=True)
class Measured:
    """A number with its interval, two-sided p of its being zero, what it counts, and its unit."""

    value: float
    low: float
    high: float
    p: float
    n: int
    unit: str
    items: str


Measure = Callable[..., Measured]
MEASURES: dict[str, Measure] = {}


def measure(function: Measure) -> Measure:
    """Register a measure under its own name."""
    MEASURES[function.__name__] = function
    return function


def check_measure(name: str, settings: Mapping[str, Any]) -> Measure:
    """The measure of that name, if it takes exactly these settings.

    Raises:
        UnknownNameError: no such measure, or no such setting of it.
        BadValueError: it needs another setting.
    """
    if name not in MEASURES:
        raise UnknownNameError("measure", name, MEASURES)
    takes = list(inspect.signature(MEASURES[name]).parameters)[1:]
    for setting in settings:
        if setting not in takes:
            raise UnknownNameError(f"setting of the measure {name}", setting, takes)
    missing = [t for t in takes if t not in settings]
    if missing:
        raise BadValueError(f"the measure {name} needs {', '.join(missing)}.")
    return MEASURES[name]


def of_items(items: Float[np.ndarray, " item"], unit: str) -> Measured:
    """Mean over prompts with its bootstrap interval and sign-flip p."""
    found = bootstrap_mean(items)
    p = sign_flip_p(items) if np.ptp(items) else (1.0 if len(items) else math.nan)
    return Measured(found.value, found.low, found.high, p, found.n, unit, "prompts")
