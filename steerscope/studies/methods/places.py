"""Places at which methods are compared: streams of a block that is chosen, or of several at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from steerscope.errors import BadValueError
from steerscope.sites import Site, Stream, check_stream

ALL = "all"
_BLOCKS = re.compile(r"(?P<first>[0-9]{1,4})(?:-(?P<last>[0-9]{1,4}))?")
_ONE = re.compile(r"(?P<streams>.+)\.(?P<block>[0-9]{1,4})")
_FORMS = "write it as k, as k+up, as k@all, as k+up@2-5 or as k.3"


@dataclass(frozen=True)
class Place:
    """Where a vector is added, as one column of the table of methods and places.

    Attributes:
        name: as it was written.
        streams: what is moved in each block, all of them at the same relative dose.
        blocks: which blocks; None for all.
        together: whether all the blocks are moved at once, or one of them that is chosen.
    """

    name: str
    streams: tuple[str, ...]
    blocks: tuple[int, ...] | None = None
    together: bool = False

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place written as `k`, `k+up`, `k@all`, `k+up@2-5` or `k.3`.

        Streams are those of `Site` and the names of published tables: q, k, v, o, gate, up, down.

        Raises:
            BadValueError: it is of no such form, or names a stream twice.
            UnknownNameError: a stream does not exist.
        """
        name = text.strip()
        streams, at, blocks = name.partition("@")
        one = None if at else _ONE.fullmatch(streams)
        if one:
            streams, blocks = one["streams"], one["block"]
        named = [stream.strip() for stream in streams.split("+")]
        if not all(named) or (at and not blocks.strip()):
            raise BadValueError(f"cannot read the place {text!r}; {_FORMS}.")
        known = [check_stream(stream) for stream in named]
        if len(set(known)) < len(known):
            raise BadValueError(f"the place {text!r} names a stream twice; {_FORMS}.")
        return cls(name, tuple(named), _blocks(text, blocks.strip()), bool(at))

    def candidates(
        self, n_layers: int, layers: Sequence[int] | None = None
    ) -> list[tuple[Site, ...]]:
        """What is moved together, one entry for each block that could be chosen.

        Args:
            n_layers: of the model.
            layers: among which blocks are chosen where the place names none; None for all.
        """
        blocks = self.blocks or tuple(layers or range(n_layers))
        sites = [tuple(Site(cast(Stream, s), i) for s in self.streams) for i in blocks]
        return [tuple(site for block in sites for site in block)] if self.together else sites


def parse_places(texts: Sequence[str]) -> tuple[Place, ...]:
    """The places of a comparison, in order.

    Raises:
        BadValueError: one is not readable, or two are the same.
        UnknownNameError: a stream does not exist.
    """
    places = tuple(Place.parse(text) for text in texts)
    seen: dict[tuple[object, ...], Place] = {}
    for place in places:
        same = (*map(check_stream, place.streams), place.blocks, place.together)
        if same in seen:
            raise BadValueError(
                f"the places {seen[same].name!r} and {place.name!r} are the same; leave one out."
            )
        seen[same] = place
    return places


def _blocks(text: str, said: str) -> tuple[int, ...] | None:
    if said in {"", ALL}:
        return None
    match = _BLOCKS.fullmatch(said)
    last = None if match is None else int(match["last"] or match["first"])
    if match is None or last is None or last < int(match["first"]):
        raise BadValueError(f"cannot read the blocks of the place {text!r}; {_FORMS}.")
    return tuple(range(int(match["first"]), last + 1))
