"""What a weight writes along the difference of two classes, taken out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import (
    BadValueError,
    DegenerateDirectionError,
    MissingEvidenceError,
    UnsupportedWeightError,
)
from steerscope.extraction.activations import Contrast
from steerscope.sites import Site, Stream
from steerscope.weights.changes import Change
from steerscope.weights.kept import KeptWeight, Weight
from steerscope.weights.places import Place

_STREAMS: dict[str, Stream] = {
    "q": "q", "k": "k", "v": "v", "o": "attn_out", "down": "mlp_out",
}  # fmt: skip


def output_site(place: Place, *, gated: bool = True) -> Site:
    """Where the output of a weight can be read; in an MLP without gate, `up` comes first.

    That of `o` and `down` is read as added to the residual stream: where a norm stands between, behind it.
    """
    inside: dict[str, Stream] = {"gate": "mlp_pre", "up": "mlp_pre_linear" if gated else "mlp_pre"}
    return Site((_STREAMS | inside)[place.name], place.layer)


@dataclass(frozen=True)
class Deflate:
    """W' = W (I - α V Vᵀ), V the k strongest directions in which paired activations differ.

    V are the leading right singular vectors of the paired differences at the output of the weight.
    With k = 1 that is close to their mean; what the classes share is not in it.

    Attributes:
        amount: α; 1 takes the directions out, less than 0 makes more of them.
        rank: k.
        centred: whether the mean difference is taken off first, which leaves the concept itself out;
            as the source does.
        contrasts: activations at the outputs of the weights, one per place.

    Raises:
        BadValueError: α above 1, or k below 1 or above the number of pairs or of outputs.
        MissingEvidenceError: on a weight, no activations of its output.
        UnsupportedWeightError: on a weight whose output can only be read behind a norm.
        DegenerateDirectionError: on a weight, the differences span fewer than k directions.

    Source: the rank-k deflation of the successor of "spectral steering", which centres. Deviation:
    differences at the output of the weight itself, so that any weight can be deflated.
    """

    amount: float
    rank: int = 1
    centred: bool = False
    contrasts: dict[Site, Contrast] = field(default_factory=dict, compare=False, repr=False)
    seed = -1

    def __post_init__(self) -> None:
        if not -float("inf") < self.amount <= 1:
            raise BadValueError(f"the deflation is {self.amount:g}; 1 takes out all there is.")
        if self.rank < 1:
            raise BadValueError(f"the rank of a deflation is {self.rank}; it must be at least 1.")

    @property
    def name(self) -> str:
        """Such as `deflate[2]` or `deflate[2,centred]`."""
        return f"deflate[{self.rank}{',centred' if self.centred else ''}]"

    def change(self, weight: Weight) -> Change:
        """-α (W V) Vᵀ."""
        v = self.directions(weight)
        return Change(-self.amount * (weight.base @ v), v.T)

    def directions(self, weight: Weight) -> Float[Tensor, "d rank"]:
        """V, orthonormal."""
        if isinstance(weight, KeptWeight):
            _refuse_norm(weight)
        places = [output_site(weight.place, gated=gated) for gated in (True, False)]
        found = next((self.contrasts[s] for s in places if s in self.contrasts), None)
        if found is None:
            raise MissingEvidenceError(
                f"deflating {weight.place} needs paired activations at {places[0]}; extract them "
                "and give them as contrasts."
            )
        differences = (found.positive - found.negative).to(weight.base)
        if self.centred:
            differences = differences - differences.mean(dim=0)
        _, s, vh = torch.linalg.svd(differences, full_matrices=False)
        if self.rank > len(s) or float(s[self.rank - 1]) <= 1e-6 * float(s[0]):
            raise DegenerateDirectionError(
                f"the {len(differences)} differences at {found.site} span fewer than {self.rank} "
                "directions; give more pairs or a smaller rank."
            )
        return vh[: self.rank].T


def _refuse_norm(weight: KeptWeight) -> None:
    """Refuse a weight whose output a norm changes before it can be read: its V is another.

    Raises:
        UnsupportedWeightError: there is such a norm.
    """
    if weight.matrix.norm_behind:
        raise UnsupportedWeightError(
            f"deflating {weight.place}: this model has a norm behind it, and its output can only be read after "
            "that, where the directions are others; choose q, k, v, gate or up, or another edit."
        )
