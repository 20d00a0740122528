"""What a model offers, once it has been examined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steerscope.sites import Stream

Place = tuple[Stream, int]  # a stream of a block, all heads together


@dataclass(frozen=True)
class Offer:
    """What of a model may be used; without an examination, all that its backbone claims.

    Attributes:
        lacking: streams whose hook point is there but is not what it says, and why.
        widths: of the streams of MLPs that are as wide as no other.
        no_cache: why keys and values may not be kept between tokens; empty if they may.
        no_unembedding: why no logits can be made of a residual stream; empty if they can.
        unseen: width of an attention window, in tokens, that no examined text went past; 0 if none.
    """

    lacking: Mapping[Place, str] = field(default_factory=dict)
    widths: Mapping[Place, int] = field(default_factory=dict)
    no_cache: str = ""
    no_unembedding: str = ""
    unseen: int = 0
