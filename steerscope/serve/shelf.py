"""The vectors that a server knows by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steerscope.directions import Direction
from steerscope.errors import BadValueError, OutputError, UnknownNameError
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sites import Site

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MOST_VECTORS = 256


@dataclass(frozen=True)
class Vector:
    """Directions that go by one name, each at a site of its own.

    Attributes:
        name: how requests call it.
        directions: by site.
        default: the sites that act where a request names none.
    """

    name: str
    directions: dict[Site, Direction]
    default: tuple[Site, ...]

    def at(self, sites: Sequence[str] | None) -> list[Direction]:
        """The directions at these sites, or at the default ones.

        Raises:
            UnknownNameError: there is none at a site; the message lists those that are there.
        """
        if sites is None:
            return [self.directions[site] for site in self.default]
        if not sites:
            raise BadValueError(f"sites of vector {self.name} is empty; name one or leave it out.")
        known = {str(site): direction for site, direction in self.directions.items()}
        wanted = list(dict.fromkeys(str(Site.parse(site)) for site in sites))
        for site in wanted:
            if site not in known:
                raise UnknownNameError(f"site of vector {self.name}", site, known)
        return [known[site] for site in wanted]

    def facts(self) -> dict[str, Any]:
        """What is known of it, for whoever lists vectors."""
        origin = next(iter(self.directions.values())).provenance
        return {
            "id": self.name,
            "object": "vector",
            "model": origin.model,
            "fingerprint": origin.fingerprint,
            "contrasts": origin.contrasts,
            "n_pairs": origin.n_pairs,
            "read": origin.read,
            "template": origin.template,
            "default": [str(site) for site in self.default],
            "sites": [
                {
                    "site": str(site),
                    "words": site.words,
                    "stream": site.stream,
                    "layer": site.layer,
                    "method": d.method,
                    "natural": d.scale.natural,
                    "relative": d.scale.relative,
                }
                for site, d in self.directions.items()
            ],
        }


class Shelf:
    """Vectors by name; requests name them and never a file.

    Attributes:
        autoencoder: whose features may be steered, and what it was called at the start; None for none.
    """

    def __init__(self) -> None:
        self._vectors: dict[str, Vector] = {}
        self.autoencoder: tuple[str, SparseAutoencoder] | None = None

    def __iter__(self) -> Any:
        return iter(list(self._vectors.values()))

    def put(
        self, name: str, directions: Sequence[Direction], default: Sequence[Site] | None = None
    ) -> Vector:
        """A new vector.

        Args:
            name: how requests call it.
            directions: each at a site of its own.
            default: the sites that act where a request names none; None for all.

        Raises:
            BadValueError: a name that cannot stand in an address, too many vectors, or several
                directions at one site.
            OutputError: there is one of that name.
        """
        check_vector_name(name)
        if name in self._vectors:
            raise OutputError(
                f"there is a vector {name!r} already; remove it first, or choose another name."
            )
        if len(self._vectors) >= MOST_VECTORS:
            raise BadValueError(f"there are {MOST_VECTORS} vectors already; remove one first.")
        by_site: dict[Site, Direction] = {}
        for direction in directions:
            if (other := by_site.setdefault(direction.site, direction)) is not direction:
                one = "METHOD#SEED" if other.method == direction.method else "METHOD"
                raise BadValueError(
                    f"vector {name} has {other.label} and {direction.label} at one site; choose a "
                    f"method: {name}={one}@FILE at the start, or &method={one} where it is uploaded."
                )
        found = Vector(name, by_site, tuple(dict.fromkeys(default or by_site)))
        self._vectors[name] = found
        return found

    def get(self, name: str) -> Vector:
        """The vector of that name.

        Raises:
            UnknownNameError: there is none; the message lists those that are there.
        """
        if name not in self._vectors:
            raise UnknownNameError("vector", name, self._vectors)
        return self._vectors[name]

    def remove(self, name: str) -> None:
        """Forget a vector; what is being written with it goes on.

        Raises:
            UnknownNameError: there is none.
        """
        self.get(name)
        del self._vectors[name]


def check_vector_name(name: str) -> str:
    """A name that may stand in an address and in the name of a model.

    Raises:
        BadValueError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise BadValueError(
            f"{name!r:.80} cannot be the name of a vector; take up to 64 letters, digits, dots, "
            "hyphens and underscores."
        )
    return name
