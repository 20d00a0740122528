"""What methods need beyond activations, measured with them and put on the contrast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import NEEDS, check_method
from steerscope.directions.settings import USUAL, Settings
from steerscope.engine.score import log_likelihoods
from steerscope.errors import MissingEvidenceError
from steerscope.extraction.activations import Contrast, extract
from steerscope.extraction.gradients import add_gradients
from steerscope.extraction.reading import ReadToken, as_read
from steerscope.models.lens_model import LensModel
from steerscope.models.weights import site_weight
from steerscope.progress import Track, silent
from steerscope.sites import BySite, Site, SiteLike, as_sites
from steerscope.texts.another import check_another
from steerscope.texts.contrasts import ContrastSet, load_contrasts
from steerscope.texts.given_pairs import PairsLike


@dataclass(frozen=True)
class Question:
    """What was asked of the model, for whoever measures a piece of evidence."""

    model: LensModel
    contrasts: ContrastSet
    sites: tuple[Site, ...]
    read: ReadToken | None
    other: ContrastSet | None
    batch_size: int | None
    progress: Track


def gather(  # noqa: PLR0913 - each is a thing of its own
    model: LensModel,
    contrasts: PairsLike,
    sites: SiteLike | Iterable[SiteLike],
    methods: str | Sequence[str],
    *,
    read: ReadToken | str | int | None = None,
    other: PairsLike | None = None,
    settings: Settings = USUAL,
    batch_size: int | None = None,
    progress: Track = silent,
) -> dict[Site, Contrast]:
    """`extract`, and with it exactly the evidence that the methods need.

    Args:
        model: the model.
        contrasts: the pairs; for a direction, the `fit` part of a contrast set.
        sites: where to read.
        methods: names of the methods and controls that will be asked for a direction.
        read: which token; default the last.
        other: pairs of another concept, for the control `other_concept`.
        settings: loss and target of the gradients, where a method needs them.
        batch_size: texts in one pass; default as many as the memory holds, up to 64.
        progress: shows the loops.

    Raises:
        UnknownNameError: a method that does not exist.
        UnsupportedSiteError: the model lacks a site, or a weight there that a method needs.
        MissingEvidenceError: a method needs `other` and it was not given.
        BadValueError: its pairs are those of this concept.
    """
    contrasts, sites, read = load_contrasts(contrasts), as_sites(sites), as_read(read)
    other = None if other is None else load_contrasts(other)
    methods = [methods] if isinstance(methods, str) else methods
    wanted = {need for name in methods for need in NEEDS.get(check_method(name), ())}
    question = Question(model, contrasts, sites, read, other, batch_size, progress)
    if "other" in wanted and other is None:
        raise MissingEvidenceError(
            "other_concept needs a second contrast set; give it as other=, or --other."
        )
    if "other" in wanted and other is not None:
        check_another(contrasts, other)
    found: dict[Site, Contrast] = extract(
        model, contrasts, sites, read=read, batch_size=batch_size, progress=progress
    )
    for name in sorted(wanted - {"gradients"}):
        values = EVIDENCE[name](question)
        found = {site: replace(c, **{name: values[site]}) for site, c in found.items()}
    if "gradients" in wanted:  # of moving all content tokens, whichever one is read
        found = add_gradients(
            model,
            contrasts,
            found,
            loss=settings.loss or "margin",
            target=settings.target,
            batch_size=batch_size,
            progress=progress,
        )
    return BySite(found)


def _log_likelihood(question: Question) -> dict[Site, Float[Tensor, " pair"]]:
    """Mean log-probability per token of both texts of each pair, the same at every site."""
    texts = [t for p in question.contrasts.pairs for t in (p.positive, p.negative)]
    scores = log_likelihoods(question.model, texts, batch_size=question.batch_size)
    means = torch.stack([score.mean() for score in scores])
    return dict.fromkeys(question.sites, (means[0::2] + means[1::2]) / 2)


def _weight(question: Question) -> dict[Site, Float[Tensor, "row d"]]:
    return {site: site_weight(question.model, site) for site in question.sites}


def _other(question: Question) -> dict[Site, Contrast]:
    assert question.other is not None
    return extract(
        question.model,
        question.other,
        question.sites,
        read=question.read,
        batch_size=question.batch_size,
        progress=question.progress,
    )


EVIDENCE: dict[str, Callable[[Question], dict[Site, Any]]] = {
    "log_likelihood": _log_likelihood,
    "other": _other,
    "weight": _weight,
}
