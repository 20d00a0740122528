"""What a comparison of methods is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from steerscope.directions import METHODS, check_method
from steerscope.engine.matched_kl import Matching
from steerscope.engine.sampling import Sampler, sampler_of
from steerscope.errors import BadValueError
from steerscope.studies.methods.findings import NULLS


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """How methods are compared.

    Attributes:
        methods: names of methods; the null directions come in any case.
        layers: blocks whose outputs are steered; None for all.
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
        BadValueError: a count below 1, fewer than two methods, or a number of the sampling outside
            its range.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    layers: tuple[int, ...] | None = None
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
        _ = self.sampler  # refuses what it cannot be made of

    @property
    def sampler(self) -> Sampler:
        """How the next token is chosen."""
        return sampler_of(self)
