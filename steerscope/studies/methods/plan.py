"""What a comparison of methods is asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from steerscope.directions import METHODS, Settings, check_method
from steerscope.engine.matched_kl import KL, NORM, Matching
from steerscope.engine.sampling import Sampler, sampler_of
from steerscope.errors import BadValueError, check_name
from steerscope.studies.methods.findings import NULLS
from steerscope.studies.methods.places import Place, parse_places

MATCHINGS = (KL, NORM)


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """How methods are compared.

    Attributes:
        methods: names of methods; the null directions come in any case.
        layers: blocks whose outputs are steered, or among which a place chooses; None for all.
        sites: places to compare, as `Place.parse` reads them; none for the residual stream, at each
            method's own layer and at one for all.
        matchings: what is matched, of `kl` and `norm`.
        settings: of the methods.
        n_null_seeds: directions of each kind of null.
        matching: relative doses that are tried first, the length and the KL that are matched.
        n_pairs: pairs of the select split that choose the layers, at most.
        n_kl_prompts: prompts on which the KL is measured, at most.
        n_test: prompts, or pairs where no oracle reads, of the test split, at most.
        n_new: tokens of each continuation.
        temperature: at which they are sampled.
        top_k: as of `Sample`, like the next three.
        top_p: see there.
        min_p: see there.
        repetition_penalty: see there.
        seed: of splits, nulls, sampling and resamples.

    Raises:
        UnknownNameError: no such method.
        BadValueError: a count below 1, fewer than two methods, a place that cannot be read, or a number of the sampling outside
            its range.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    layers: tuple[int, ...] | None = None
    sites: tuple[str, ...] = ()
    matchings: tuple[str, ...] = MATCHINGS
    settings: Settings = field(default_factory=Settings)
    n_null_seeds: int = 6
    matching: Matching = field(
        default_factory=lambda: Matching((0.05, 0.2, 0.5, 1.25, 4.0), relative=0.5, kl=0.2)
    )
    n_pairs: int = 24
    n_kl_prompts: int = 12
    n_test: int = 160
    n_new: int = 48
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if len({check_method(name) for name in self.methods} - set(NULLS)) < 2:
            raise BadValueError("a comparison needs at least two methods.")
        for name in ("n_null_seeds", "n_pairs", "n_kl_prompts", "n_test", "n_new"):
            if getattr(self, name) < 1:
                raise BadValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for matching in self.matchings:
            check_name("matching", matching, MATCHINGS)
        if not self.matchings:
            raise BadValueError("nothing is matched; give kl, norm or both.")
        self.settings.check([check_method(name) for name in self.methods])
        _ = self.parsed, self.sampler  # refuses what it cannot be made of

    @property
    def parsed(self) -> tuple[Place, ...]:
        """The places; none for the residual stream alone."""
        return parse_places(self.sites)

    @property
    def sampler(self) -> Sampler:
        """How the next token is chosen."""
        return sampler_of(self)


def without_new(settings: dict[str, Any]) -> dict[str, Any]:
    """A plan's fields without those that say what plans from before them meant."""
    usual = {"sites": (), "matchings": MATCHINGS, "settings": asdict(Settings())}
    return {k: v for k, v in settings.items() if k not in usual or v != usual[k]}
