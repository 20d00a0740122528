"""What one method moves at one place: a direction, or one at each of several sites together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steerscope.directions import Direction, check_method, find_direction
from steerscope.doses import Scale
from steerscope.engine.gathering import gather
from steerscope.errors import DegenerateDirectionError, LeftOutWarning
from steerscope.extraction.activations import Contrast
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track
from steerscope.sites import Site
from steerscope.studies.methods.findings import NULLS, OWN
from steerscope.studies.methods.places import Place
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.texts.contrasts import ContrastSet

OTHER = "other_concept"
SEVERAL = -1  # the layer of a bundle that moves several


@dataclass(frozen=True, eq=False)
class Bundle:
    """Directions of one method that are moved together, each at the same relative dose.

    Attributes:
        place: name of the place.
        directions: at least one, of one method and seed.
    """

    place: str
    directions: tuple[Direction, ...]

    @property
    def method(self) -> str:
        """That found them."""
        return self.directions[0].method

    @property
    def seed(self) -> int:
        """Of a method that draws; -1 for none."""
        seed = self.directions[0].provenance.seed
        return -1 if seed is None else seed

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where they are added."""
        return tuple(d.site for d in self.directions)

    @property
    def layer(self) -> int:
        """The block, or `SEVERAL`."""
        layers = {site.layer for site in self.sites}
        return layers.pop() if len(layers) == 1 else SEVERAL

    @property
    def scale(self) -> Scale:
        """Lengths of the move at all sites as one vector: the root of the sum of squares."""
        scales = [d.scale for d in self.directions]
        return Scale(
            natural=math.hypot(*(s.natural for s in scales)),
            relative=math.hypot(*(s.relative for s in scales)),
        )

    def cosine(self, other: Bundle) -> float:
        """Mean cosine over the sites; NaN where these are others."""
        if self.sites != other.sites:
            return math.nan
        pairs = zip(self.directions, other.directions, strict=True)
        return float(np.mean([float(one.unit @ two.unit) for one, two in pairs]))


def find_bundles(
    model: LensModel,
    pairs: ContrastSet,
    other: ContrastSet | None,
    plan: ComparisonPlan,
    progress: Track,
) -> list[Bundle]:
    """Every method, every null with its seeds, and the other concept, at every candidate.

    A block that was not asked for by number and at which a method finds no direction is left out for
    all of them, with a warning.

    Raises:
        UnsupportedSiteError: the model lacks a place.
        DegenerateDirectionError: a method finds no direction.
    """
    places = plan.parsed or (Place(OWN, ("resid_post",)),)
    groups = [(p, sites) for p in places for sites in _there(model, p, plan.layers)]
    every = list(dict.fromkeys(site for _, sites in groups for site in sites))
    methods = [m for m in dict.fromkeys(map(check_method, plan.methods)) if m not in NULLS]
    if other is not None:
        methods = [*dict.fromkeys([*methods, OTHER])]
    found = gather(
        model,
        pairs,
        every,
        [*methods, *NULLS],
        other=other,
        settings=plan.settings,
        progress=progress,
    )
    seeds = {name: range(plan.seed, plan.seed + plan.n_null_seeds) for name in NULLS}
    named = [(name, seed) for name in (*methods, *NULLS) for seed in seeds.get(name, [plan.seed])]
    directions = {site: _all_at(contrast, named, plan) for site, contrast in found.items()}
    bundles: list[Bundle] = []
    for place, sites in groups:
        if plan.layers is None and place.blocks is None:
            there = tuple(s for s in sites if not isinstance(directions[s], Exception))
            sites = there if place.together or len(there) == len(sites) else ()
        bundles += [
            Bundle(place.name, tuple(_known(directions[site])[i] for site in sites))
            for i in range(len(named) if sites else 0)
        ]
    refused = {site: d for site, d in directions.items() if isinstance(d, Exception)}
    lacking = {p.name for p in places} - {b.place for b in bundles}
    if lacking:
        raise DegenerateDirectionError(
            f"no block of {', '.join(sorted(lacking))} has a direction of every method, such as: "
            f"{next(iter(refused.values()))}"
        )
    if refused:
        warnings.warn(
            f"left out {', '.join(map(str, refused))}: {next(iter(refused.values()))}",
            LeftOutWarning,
            stacklevel=2,
        )
    return bundles


def _all_at(
    contrast: Contrast, named: Sequence[tuple[str, int]], plan: ComparisonPlan
) -> list[Direction] | DegenerateDirectionError:
    """The directions of all methods and nulls at a site, or why one of them is none.

    At early keys, say, the last token alone decides, and where it is one word the classes do not vary.
    """
    try:
        return [
            find_direction(name, contrast, seed=seed, settings=plan.settings)
            for name, seed in named
        ]
    except DegenerateDirectionError as error:
        return error


def _known(found: list[Direction] | DegenerateDirectionError) -> list[Direction]:
    if isinstance(found, Exception):
        raise found
    return found


def _there(model: LensModel, place: Place, layers: Sequence[int] | None) -> list[tuple[Site, ...]]:
    """The candidates that the model has; all of them where they were asked for by number."""
    candidates = place.candidates(model.shape.n_layers, layers)
    if layers is None and place.blocks is None and not place.together:
        candidates = [c for c in candidates if all(map(model.has, c))] or candidates[:1]
    for site in (site for c in candidates for site in c):
        model.check(site)
        model.check_module(site)
    return candidates
