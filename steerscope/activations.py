"""Read activations of contrast pairs at chosen sites and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.batches import equal_length_batches
from steerscope.contrasts import ContrastSet
from steerscope.errors import NotFiniteError, UnsupportedSiteError, VectorMismatchError
from steerscope.model import HookFunction, LensModel
from steerscope.progress import Track, silent
from steerscope.reading import ReadToken
from steerscope.sites import Site


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a number."""
    names = ("steerscope", "torch", "transformer-lens", "transformers", "numpy")
    return {name: version(name) for name in names}


@dataclass(frozen=True)
class Provenance:
    """Where a direction comes from: enough to refuse it on another model and to make it again."""

    model: str
    fingerprint: str
    contrasts: str
    contrasts_sha256: str
    read: str
    n_pairs: int
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=package_versions)


# What a contrast holds row by row; the rest belongs to the site.
_BY_PAIR = ("positive", "negative", "log_likelihood")


@dataclass(frozen=True, eq=False)
class Contrast:
    """Activations of contrast pairs at one site; row i of both classes is pair i.

    What some methods need beyond the activations is None until `evidence.gather` measures it.

    Attributes:
        relative: median L2 norm of the activations over the content tokens of all texts, position 0
            excluded, in activation units.
        log_likelihood: mean log-probability per token of the texts of a pair, in nats.
        weight: a weight matrix that reads from the site or writes to it, its rows in the site's
            space.
        other: another concept at the same site.
    """

    site: Site
    positive: Float[Tensor, "pair d"]
    negative: Float[Tensor, "pair d"]
    relative: float
    provenance: Provenance
    log_likelihood: Float[Tensor, " pair"] | None = None
    weight: Float[Tensor, "row d"] | None = None
    other: Contrast | None = None

    def __post_init__(self) -> None:
        for name in (*_BY_PAIR, "weight"):
            value = getattr(self, name)
            if value is not None and not torch.isfinite(value).all():
                what = f"{name} activations" if name in {"positive", "negative"} else name
                raise NotFiniteError(
                    f"the {what} at {self.site} hold a NaN or an infinity; "
                    "check the model's weights and number format."
                )
        if self.other is not None and self.other.site != self.site:
            raise VectorMismatchError(
                f"the other concept was read at {self.other.site}, this one at {self.site}; "
                "read both at one site."
            )

    @property
    def differences(self) -> Float[Tensor, "pair d"]:
        """Positive minus negative, pair by pair."""
        return self.positive - self.negative

    def take(self, pairs: Int[Tensor, " chosen"]) -> Contrast:
        """The contrast of these pairs alone, in this order, with the lengths of the whole."""
        rows = {n: getattr(self, n)[pairs] for n in _BY_PAIR if getattr(self, n) is not None}
        return replace(self, **rows, provenance=replace(self.provenance, n_pairs=len(pairs)))


@torch.no_grad()
def extract(
    model: LensModel,
    contrasts: ContrastSet,
    sites: Sequence[Site],
    *,
    read: ReadToken | None = None,
    batch_size: int = 64,
    progress: Track = silent,
) -> dict[Site, Contrast]:
    """Activations of both texts of every pair at every site, in float32.

    Args:
        model: the model.
        contrasts: the pairs; for a direction, the `fit` part of a contrast set.
        sites: where to read.
        read: which token; default the last.
        batch_size: texts in one pass.
        progress: shows the loop.

    Raises:
        UnsupportedSiteError: the model lacks a site, or its hook never ran.
    """
    read = read or ReadToken.last()
    for site in sites:
        model.check(site)
    texts = [model.tokens(t) for p in contrasts.pairs for t in (p.positive, p.negative)]
    reader = _Reader(model, tuple(dict.fromkeys(sites)), read, len(texts))
    with reader:
        batches = equal_length_batches(texts, batch_size, model.device)
        for batch in progress(batches, "reading activations"):
            reader.rows = batch.indices
            model.run_to(batch.tokens, max(s.layer for s in sites))
    provenance = Provenance(
        model.name,
        model.fingerprint,
        contrasts.name,
        contrasts.sha256,
        str(read),
        len(contrasts),
    )
    return {
        site: Contrast(
            site, rows[0::2], rows[1::2], float(torch.cat(reader.norms[site]).median()), provenance
        )
        for site, rows in reader.read_rows().items()
    }


class _Reader:
    """Collects, while active, one vector per text and the norms of all content tokens."""

    def __init__(
        self, model: LensModel, sites: tuple[Site, ...], read: ReadToken, n_texts: int
    ) -> None:
        self.model, self.sites, self.read, self.n_texts = model, sites, read, n_texts
        self.rows: tuple[int, ...] = ()
        self.values = {s: torch.full((n_texts, model.width(s)), torch.nan) for s in sites}
        self.norms: dict[Site, list[Tensor]] = {s: [] for s in sites}
        self._stack = ExitStack()

    def __enter__(self) -> None:
        for site in self.sites:
            self._stack.enter_context(self.model.hook(site, self._collector(site)))

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _collector(self, site: Site) -> HookFunction:
        def collect(activation: Float[Tensor, "batch pos d"]) -> None:
            activation = activation.float()
            self.values[site][list(self.rows)] = self.read(activation).cpu()
            self.norms[site].append(activation[:, 1:].norm(dim=-1).flatten().cpu())

        return collect

    def read_rows(self) -> dict[Site, Float[Tensor, "text d"]]:
        """What was read, by site; a hook that never ran is an error."""
        for site in self.sites:
            if not self.norms[site]:
                raise UnsupportedSiteError(
                    f"the hook point of {site} never ran on {self.model.name} "
                    f"({self.model.backbone} backbone); choose another stream."
                )
        return self.values
