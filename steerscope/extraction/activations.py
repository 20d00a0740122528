"""Read activations of contrast pairs at chosen sites and tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import NotFiniteError, UnsupportedSiteError, VectorMismatchError
from steerscope.extraction.losses import Moves
from steerscope.extraction.reading import ReadToken, as_read, count_content
from steerscope.models.lens_model import HookFunction, LensModel
from steerscope.models.memory import fit, pass_bytes
from steerscope.models.provenance import package_versions
from steerscope.models.vocabulary import as_bos
from steerscope.progress import Track, silent
from steerscope.sites import BySite, Site, SiteLike, as_sites
from steerscope.texts.batches import equal_length_batches
from steerscope.texts.contrasts import ContrastSet, load_contrasts
from steerscope.texts.given_pairs import PairsLike
from steerscope.texts.showing import counted_pairs

_PAIRS_AT_ONCE = 256  # read before anything is added up
_TEXTS_AT_ONCE = 64
_ITEM = 4  # bytes of a float32


@dataclass(frozen=True)
class Provenance:
    """Where a direction comes from: enough to refuse it on another model and to make it again.

    Attributes:
        template: name of the chat template that the texts were in; empty for plain text, `unknown`
            for the vectors of other tools; of several, with `+` between them.
        bos: how the texts began, `auto`, `always` or `never`; empty where nobody has said.
    """

    model: str
    fingerprint: str
    contrasts: str
    contrasts_sha256: str
    read: str
    n_pairs: int
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=package_versions)
    template: str = ""
    bos: str = ""

    @property
    def templates(self) -> list[str]:
        """The chat templates, one by one, the empty name of plain text among them."""
        return self.template.split("+")


# What a contrast holds row by row; the rest belongs to the site.
_BY_PAIR = ("positive", "negative", "log_likelihood")


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of a preference loss at one site; row i of both classes is pair i.

    Attributes:
        positive: of the loss of a pair with respect to the activation of its positive text.
        negative: the same for the negative text.
        output_norm: L2 norm of the gradient at what the loss reads of a text, its logits or its
            last activation; column 0 is the positive text, column 1 the negative.
        loss: name of the loss.
        moves: whether the loss judges one displacement of both texts (`together`), or positives
            moved by +v and negatives by -v (`apart`).
        read: the token at which the activation is displaced.

    Raises:
        NotFiniteError: a gradient is not finite.
    """

    positive: Float[Tensor, "pair d"]
    negative: Float[Tensor, "pair d"]
    output_norm: Float[Tensor, "pair 2"]
    loss: str
    moves: Moves
    read: str

    def __repr__(self) -> str:
        return f"Gradients(of {self.loss}, {len(self.positive)} pairs, read at {self.read})"

    def __post_init__(self) -> None:
        for part in ("positive", "negative", "output_norm"):
            if not torch.isfinite(getattr(self, part)).all():
                raise NotFiniteError(
                    f"the gradients of the loss {self.loss} are not finite ({part}); "
                    "check the model's weights and number format."
                )

    def take(self, pairs: Int[Tensor, " chosen"]) -> Gradients:
        """The gradients of these pairs alone, in this order."""
        parts = ("positive", "negative", "output_norm")
        return replace(self, **{part: getattr(self, part)[pairs] for part in parts})

    @property
    def descents(self) -> tuple[Float[Tensor, "pair d"], Float[Tensor, "pair d"]]:
        """Steepest descent of the loss at each positive and each negative text, as v sees it.

        To first order, v changes the loss of pair i by -(d₊ᵢ + d₋ᵢ)·v: it is added to both texts if
        they move together, and taken from the negative one if they move apart.
        """
        return -self.positive, self.negative if self.moves == "apart" else -self.negative


@dataclass(frozen=True, eq=False)
class Contrast:
    """Activations of contrast pairs at one site; row i of both classes is pair i.

    What some methods need beyond the activations is None until `gather` measures it.

    Attributes:
        site: where they were read.
        positive: of the positive texts, in float32 and activation units.
        negative: of the negative texts.
        relative: median L2 norm of the activations over the content tokens of all texts, position 0
            excluded, in activation units.
        gradients: of a preference loss, for the methods that need them.
        provenance: the model, pairs, token and template that they come from.
        log_likelihood: mean log-probability per token of the texts of a pair, in nats.
        weight: a weight matrix that reads from the site or writes to it, its rows in the site's
            space.
        other: another concept at the same site.

    Raises:
        VectorMismatchError: `other` is at another site.
        NotFiniteError: an activation is not finite.
    """

    site: Site
    positive: Float[Tensor, "pair d"]
    negative: Float[Tensor, "pair d"]
    relative: float
    provenance: Provenance
    gradients: Gradients | None = None
    log_likelihood: Float[Tensor, " pair"] | None = None
    weight: Float[Tensor, "row d"] | None = None
    other: Contrast | None = None

    def __post_init__(self) -> None:
        for name in (*_BY_PAIR, "weight"):
            value = getattr(self, name)
            if value is not None and not torch.isfinite(value).all():
                what = f"{name} activations" if name in {"positive", "negative"} else name
                raise NotFiniteError(
                    f"the {what} at {self.site} are not finite; "
                    "check the model's weights and number format."
                )
        if self.other is not None and self.other.site != self.site:
            raise VectorMismatchError(
                f"the other concept was read at {self.other.site}, this one at {self.site}; "
                "read both at one site."
            )

    def __repr__(self) -> str:
        return _named("Contrast", self.site, self.provenance)

    @property
    def differences(self) -> Float[Tensor, "pair d"]:
        """Positive minus negative, pair by pair."""
        return self.positive - self.negative

    @property
    def mean_difference(self) -> Float[Tensor, " d"]:
        """Mean of the positive minus mean of the negative activations."""
        return self.differences.mean(dim=0)

    @property
    def noise(self) -> float:
        """tr S / n: what noise adds to the squared length of the mean difference; 0 for one pair."""
        squares = float(self.differences.double().square().sum())
        return _noise(squares, self.mean_difference, len(self.positive))

    def take(self, pairs: Int[Tensor, " chosen"]) -> Contrast:
        """The contrast of these pairs alone, in this order, with the lengths of the whole."""
        rows = {n: getattr(self, n)[pairs] for n in _BY_PAIR if getattr(self, n) is not None}
        if self.gradients is not None:
            rows["gradients"] = self.gradients.take(pairs)
        return replace(self, **rows, provenance=replace(self.provenance, n_pairs=len(pairs)))


def _named(kind: str, site: Site, origin: Provenance) -> str:
    """What was read, where and of what, on one line."""
    return f"{kind}({site} of {origin.model}, {counted_pairs(origin.n_pairs, origin.contrasts)})"


def _noise(squares: float, mean: Float[Tensor, " d"], n: int) -> float:
    """tr S / n of differences with this sum of squared lengths and this mean."""
    if n < 2:
        return 0.0
    return max(0.0, squares - n * float(mean.double().square().sum())) / (n - 1) / n


@dataclass(frozen=True, eq=False)
class Moments:
    """What is left of a contrast when its pairs are not kept: enough for the difference of means.

    Attributes:
        site: where they were read.
        provenance: as in `Contrast`.
        positive: mean activation of the positive class.
        negative: mean activation of the negative class.
        relative: as in `Contrast`.
        noise: as in `Contrast`.

    Raises:
        NotFiniteError: a mean is not finite.
    """

    site: Site
    positive: Float[Tensor, " d"]
    negative: Float[Tensor, " d"]
    relative: float
    provenance: Provenance
    noise: float = 0.0

    def __repr__(self) -> str:
        return _named("Moments", self.site, self.provenance)

    @property
    def mean_difference(self) -> Float[Tensor, " d"]:
        """Mean of the positive minus mean of the negative activations."""
        return self.positive - self.negative


@torch.no_grad()
def extract(
    model: LensModel,
    contrasts: PairsLike,
    sites: SiteLike | Iterable[SiteLike],
    *,
    read: ReadToken | str | int | None = None,
    batch_size: int | None = None,
    bos: str | None = None,
    progress: Track = silent,
) -> BySite[Contrast]:
    """Activations of both texts of every pair at every site, in float32.

    The model runs up to the last layer that is asked for and no further.

    Args:
        model: the model.
        contrasts: the pairs, in any form that `ContrastSet.from_pairs` reads; for a direction, the
            `fit` part of a contrast set.
        sites: where to read, also as `resid_post.5` or 5; one alone is one.
        read: which token, also as `mean` or -2; default the last.
        batch_size: texts in one pass; default as many as the memory holds, up to 64.
        bos: how texts begin: `auto`, `always` or `never`; default as the model's do.
        progress: shows the loop.

    Raises:
        UnsupportedSiteError: the model lacks a site, or its hook never ran.
        TooLittleDataError: no text has more than one token.
        MemoryBudgetError: the activations do not fit into the memory; `extract_moments` keeps none.
    """
    contrasts = load_contrasts(contrasts)
    stream = _Stream(model, contrasts, as_sites(sites), as_read(read), batch_size, bos)
    width = sum(model.width(s) for s in stream.sites)
    stream.plan(kept=2 * len(contrasts) * width * _ITEM)
    shape = len(contrasts), 2
    values = {s: torch.full((*shape, model.width(s)), torch.nan) for s in stream.sites}
    for pairs, found in stream.run(progress):
        for site, rows in found.items():
            values[site][pairs] = rows
    return BySite(
        (site, Contrast(site, x[:, 0], x[:, 1], stream.relative(site), stream.provenance))
        for site, x in values.items()
    )


@torch.no_grad()
def extract_moments(
    model: LensModel,
    contrasts: PairsLike,
    sites: SiteLike | Iterable[SiteLike],
    *,
    read: ReadToken | str | int | None = None,
    batch_size: int | None = None,
    bos: str | None = None,
    progress: Track = silent,
) -> BySite[Moments]:
    """Class means at every site, without keeping the activations of the pairs.

    As `extract`, for any number of pairs: what grows with it is the texts and one norm a token.

    Args:
        model: the model.
        contrasts: the pairs, in any form that `ContrastSet.from_pairs` reads.
        sites: where to read, also as `resid_post.5` or 5; one alone is one.
        read: which token, also as `mean` or -2; default the last.
        batch_size: texts in one pass; default as many as the memory holds, up to 64.
        bos: how texts begin: `auto`, `always` or `never`; default as the model's do.
        progress: shows the loop.

    Raises:
        UnsupportedSiteError: the model lacks a site, or its hook never ran.
        TooLittleDataError: no text has more than one token.
        MemoryBudgetError: not one text fits into the memory.
    """
    contrasts = load_contrasts(contrasts)
    stream = _Stream(model, contrasts, as_sites(sites), as_read(read), batch_size, bos)
    stream.plan(kept=0)
    sums = {s: torch.zeros(2, model.width(s), dtype=torch.float64) for s in stream.sites}
    squares = dict.fromkeys(stream.sites, 0.0)
    for _, found in stream.run(progress):
        for site, rows in found.items():
            sums[site] += rows.double().sum(dim=0)
            squares[site] += float((rows[:, 0] - rows[:, 1]).double().square().sum())
    moments = BySite[Moments]()
    for site, x in sums.items():
        mean = (x / len(contrasts)).float()
        noise = _noise(squares[site], (x[0] - x[1]) / len(contrasts), len(contrasts))
        moments[site] = Moments(
            site, mean[0], mean[1], stream.relative(site), stream.provenance, noise
        )
    return moments


class _Stream:
    """Reads contrast pairs in chunks: one vector per text and site, and the norm of every token."""

    def __init__(
        self,
        model: LensModel,
        contrasts: ContrastSet,
        sites: tuple[Site, ...],
        read: ReadToken | None,
        batch_size: int | None,
        bos: str | None,
    ) -> None:
        for site in sites:
            model.check(site)
        begun = as_bos(bos, model.bos)
        self.model, self.sites, self.read = model, sites, read or ReadToken.last()
        self.batch_size = batch_size or _TEXTS_AT_ONCE
        self.pairs = [
            (model.tokens(p.positive, bos=begun), model.tokens(p.negative, bos=begun))
            for p in contrasts.pairs
        ]
        n_content = count_content(contrasts.name, self.pairs, model.name)
        # Laid out beforehand: small pieces that stay would keep freed memory from being used again.
        self.norms = {s: torch.empty(n_content) for s in sites}
        self._n_norms = dict.fromkeys(sites, 0)
        self.provenance = Provenance(
            model.name,
            model.fingerprint,
            contrasts.name,
            contrasts.sha256,
            str(self.read),
            len(contrasts),
            template=contrasts.template,
            bos=begun,
        )
        self._n_texts, self._rows = 0, list[int]()
        self._values: dict[Site, Tensor] = {}

    def plan(self, *, kept: int) -> None:
        """Choose how many texts run at once beside what is kept of them."""
        longest = max((len(text) for pair in self.pairs for text in pair), default=1)
        width = sum(self.model.width(s) for s in self.sites)
        read = 2 * min(len(self.pairs), _PAIRS_AT_ONCE) * width * _ITEM
        norms = 2 * len(self.pairs) * longest * len(self.sites) * _ITEM
        self.batch_size = fit(
            self.model,
            f"reading {len(self.pairs)} pairs at {len(self.sites)} sites",
            shared=kept + read + norms,
            row=longest * pass_bytes(self.model),
            at_most=self.batch_size,
        ).rows

    def run(self, progress: Track) -> Iterator[tuple[list[int], dict[Site, Tensor]]]:
        """Numbers of some pairs and their activations [pair, 2, d], until all are read."""
        order = sorted(range(len(self.pairs)), key=lambda i: tuple(map(len, self.pairs[i])))
        steps = []
        for start in range(0, len(order), _PAIRS_AT_ONCE):
            chunk = order[start : start + _PAIRS_AT_ONCE]
            texts = [text for i in chunk for text in self.pairs[i]]
            batches = equal_length_batches(texts, self.batch_size, self.model.device)
            steps += [(chunk, batch, batch is batches[-1]) for batch in batches]
        deepest = max(s.layer for s in self.sites)
        with ExitStack() as stack:
            for site in self.sites:
                stack.enter_context(self.model.hook(site, self._collector(site)))
            for chunk, batch, ends_chunk in progress(steps, "reading activations"):
                self._n_texts, self._rows = 2 * len(chunk), list(batch.indices)
                self.model.run_to(batch.tokens, deepest)
                if ends_chunk:
                    yield chunk, {s: x.unflatten(0, (-1, 2)) for s, x in self._values.items()}
                    self._values = {}

    def _collector(self, site: Site) -> HookFunction:
        def collect(activation: Float[Tensor, "batch pos d"]) -> None:
            vectors = self.read(activation).float().cpu()
            if site not in self._values:
                self._values[site] = torch.full((self._n_texts, vectors.shape[-1]), torch.nan)
            self._values[site][self._rows] = vectors
            norms = torch.linalg.vector_norm(activation[:, 1:], dim=-1, dtype=torch.float32)
            done = self._n_norms[site]
            self._n_norms[site] = done + norms.numel()
            self.norms[site][done : self._n_norms[site]] = norms.flatten().cpu()

        return collect

    def relative(self, site: Site) -> float:
        """Median norm over the content tokens of all texts; a hook that never ran is an error."""
        if not self._n_norms[site]:
            raise UnsupportedSiteError(
                f"the hook point of {site} never ran on {self.model.name} "
                f"({self.model.backbone} backbone); choose another stream."
            )
        return float(self.norms[site][: self._n_norms[site]].median())
