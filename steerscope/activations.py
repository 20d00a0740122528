"""Read activations of contrast pairs at chosen sites and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.batches import equal_length_batches
from steerscope.contrasts import ContrastSet
from steerscope.errors import BadValueError, NotFiniteError, UnsupportedSiteError
from steerscope.losses import Moves
from steerscope.model import HookFunction, LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a number."""
    names = ("steerscope", "torch", "transformer-lens", "transformers", "numpy")
    return {name: version(name) for name in names}


@dataclass(frozen=True)
class ReadToken:
    """Which token of a text to read: one position, or the mean over the content tokens.

    Attributes:
        kind: `index` for one token, `mean` for all content tokens (position 0 excluded).
        index: the token; negative counts from the end, so -1 is the last.
    """

    kind: Literal["index", "mean"] = "index"
    index: int = -1

    @classmethod
    def last(cls) -> ReadToken:
        """The last token."""
        return cls("index", -1)

    @classmethod
    def at(cls, index: int) -> ReadToken:
        """One token; negative counts from the end."""
        return cls("index", index)

    @classmethod
    def mean(cls) -> ReadToken:
        """Mean over the content tokens."""
        return cls("mean")

    @classmethod
    def parse(cls, text: str) -> ReadToken:
        """The token written as `last`, `mean` or an index.

        Raises:
            BadValueError: none of these.
        """
        if text in {"last", "mean"}:
            return cls.last() if text == "last" else cls.mean()
        if not text.removeprefix("-").isdigit():
            raise BadValueError(
                f"cannot read token {text!r}; write last, mean or an index like -2."
            )
        return cls.at(int(text))

    def __str__(self) -> str:
        return "mean" if self.kind == "mean" else f"token {self.index}"

    def __call__(self, activation: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch d"]:
        """The activation at this token.

        Raises:
            BadValueError: the text is too short, or the token is position 0, the attention sink.
        """
        n_tokens = activation.shape[1]
        if self.kind == "mean":
            if n_tokens < 2:
                raise BadValueError("a text of one token has no content tokens; use a longer text.")
            return activation[:, 1:].mean(dim=1)
        at = self.index if self.index >= 0 else n_tokens + self.index
        if not 0 < at < n_tokens:
            raise BadValueError(
                f"cannot read {self} of a text of {n_tokens} tokens: position 0 is the attention "
                "sink and not read; use a longer text or another token."
            )
        return activation[:, at]


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
    """

    positive: Float[Tensor, "pair d"]
    negative: Float[Tensor, "pair d"]
    output_norm: Float[Tensor, "pair 2"]
    loss: str
    moves: Moves
    read: str

    def __post_init__(self) -> None:
        for part in ("positive", "negative", "output_norm"):
            if not torch.isfinite(getattr(self, part)).all():
                raise NotFiniteError(
                    f"the gradients of the loss {self.loss} hold a NaN or an infinity ({part}); "
                    "check the model's weights and number format."
                )

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

    Attributes:
        relative: median L2 norm of the activations over the content tokens of all texts, position 0
            excluded, in activation units.
        gradients: of a preference loss, for the methods that need them.
    """

    site: Site
    positive: Float[Tensor, "pair d"]
    negative: Float[Tensor, "pair d"]
    relative: float
    provenance: Provenance
    gradients: Gradients | None = None

    def __post_init__(self) -> None:
        for side in ("positive", "negative"):
            if not torch.isfinite(getattr(self, side)).all():
                raise NotFiniteError(
                    f"the {side} activations at {self.site} hold a NaN or an infinity; "
                    "check the model's weights and number format."
                )

    @property
    def differences(self) -> Float[Tensor, "pair d"]:
        """Positive minus negative, pair by pair."""
        return self.positive - self.negative


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
