"""Directions at many sites at once, where some define none."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from steerscope.directions import find_direction
from steerscope.directions.direction import Direction
from steerscope.directions.settings import USUAL, Settings
from steerscope.errors import DegenerateDirectionError, LeftOutWarning
from steerscope.extraction.activations import Contrast
from steerscope.sites import Site


def find_directions(
    method: str,
    contrasts: Mapping[Site, Contrast],
    *,
    seed: int = 0,
    every: bool = False,
    settings: Settings = USUAL,
) -> dict[Site, Direction]:
    """The direction at each site; sites where the pairs do not differ are left out with a note.

    Early blocks of convolutions see a few tokens alone, so that pairs which end alike do not differ
    there; neither do they in front of any block, at a token that both sides share.

    Args:
        method: name of the method.
        contrasts: by site.
        seed: of methods that draw.
        every: refuse instead of leaving out, for sites that were asked for by number.
        settings: of methods that have some.

    Raises:
        DegenerateDirectionError: no site has a direction, or one has none and every one is wanted.
        UnknownNameError: no such method.

    Warns:
        LeftOutWarning: which sites were left out.
    """
    found: dict[Site, Direction] = {}
    refused: dict[Site, DegenerateDirectionError] = {}
    for site, contrast in contrasts.items():
        try:
            found[site] = find_direction(method, contrast, seed=seed, settings=settings)
        except DegenerateDirectionError as error:
            refused[site] = error
    if refused and (every or not found):
        raise next(iter(refused.values()))
    if refused:
        warnings.warn(
            f"left out {', '.join(map(str, refused))}: the direction is zero, since the pairs do not "
            "differ there at the token that is read.",
            LeftOutWarning,
            stacklevel=2,
        )
    return found
