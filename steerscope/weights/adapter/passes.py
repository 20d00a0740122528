"""What a model makes of pairs of texts while some change of its weights is on; differentiable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerscope.directions import find_direction
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.activations import extract
from steerscope.extraction.reading import ReadToken
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import weight_matrix
from steerscope.sites import Site
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from steerscope.weights.adapter.changes import adding
from steerscope.weights.adapter.factors import factorise
from steerscope.weights.adapter.objectives import Response
from steerscope.weights.changes import Change
from steerscope.weights.places import Place

SPACES = ("activation", "singular")


@dataclass(frozen=True, eq=False)
class Ruler:
    """Frozen vectors, one for each layer, along which activations are measured.

    Attributes:
        vectors: by layer, at the output of that block; the class means lie 1 apart along each.
    """

    vectors: Mapping[int, Float[Tensor, " d"]]

    def __post_init__(self) -> None:
        if not self.vectors:
            raise BadValueError("activations are measured at one layer at least; name it.")

    @property
    def sites(self) -> dict[int, Site]:
        """Where it measures."""
        return {layer: Site("resid_post", layer) for layer in self.vectors}

    def __call__(
        self,
        states: Mapping[int, Float[Tensor, "row pos d"]],
        content: Bool[Tensor, "row pos"],
    ) -> Float[Tensor, " row"]:
        """Mean over the content tokens of each text and over the layers, in class separations."""
        share = content / content.sum(dim=1, keepdim=True)
        found = [
            ((states[layer].float() @ vector.to(states[layer].device)) * share).sum(dim=1)
            for layer, vector in self.vectors.items()
        ]
        return torch.stack(found).mean(dim=0)


def frozen_ruler(
    model: LensModel,
    pairs: ContrastSet,
    layers: Sequence[int],
    *,
    space: str = "activation",
    rank: int = 32,
) -> Ruler:
    """The mean difference of the content tokens at each layer, measured as it is or in S-space.

    In S-space an activation h counts as Uᵀh / S, with U and S the strongest singular triples of the
    block's `down`: directions that the block writes with a large gain count less. With
    w = mean(Uᵀ(h₊ - h₋) / S), the coordinate along w is again a product with one vector of
    activation space, U (w / S).

    Args:
        model: the model.
        pairs: those that the adapter is fitted on.
        layers: at whose outputs is measured, 0-based.
        space: `activation` or `singular`.
        rank: singular triples of S-space.

    Raises:
        UnknownNameError: no such space.
    """
    if space not in SPACES:
        raise UnknownNameError("space", space, SPACES)
    sites = [Site("resid_post", layer) for layer in layers]
    found = extract(model, pairs, sites, read=ReadToken.mean())
    vectors = {}
    for site, contrast in found.items():
        mean = contrast.mean_difference.double()
        vector = find_direction("mean_diff", contrast).unit.double()
        if space == "singular":
            where = Place("down", site.layer)
            factors = factorise(weight_of(model, where), rank, where=str(where))
            outputs, values = factors.outputs.double(), factors.values.double()
            vector = outputs @ ((outputs.T @ mean) / values.square())
        vectors[site.layer] = (vector / (vector @ mean)).float()
    return Ruler(vectors)


def weight_of(model: LensModel, matrix: Place) -> Float[Tensor, "d out"]:
    """The weight W of y = x W, in float32."""
    return weight_matrix(model, matrix.name, matrix.layer).read().float()


@dataclass(frozen=True, eq=False)
class Texts:
    """Both texts of some pairs, padded on the right; positive and negative take turns.

    Padding on the right leaves what a causal model makes of the tokens before it as it is.
    """

    tokens: Int[Tensor, "row pos"]
    lengths: Int[Tensor, " row"]

    def __len__(self) -> int:
        return len(self.tokens) // 2

    @property
    def content(self) -> Bool[Tensor, "row pos"]:
        """Which positions hold content tokens: all but the first, and no padding."""
        positions = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return (positions[None] < self.lengths[:, None]) & (positions[None] > 0)


def pairs_by_length(
    model: LensModel, pairs: Sequence[ContrastPair], size: int
) -> list[list[ContrastPair]]:
    """Parts of pairs of about one length, so that little is padded."""
    lengths = [sum(len(model.tokens(t)) for t in (p.positive, p.negative)) for p in pairs]
    order = sorted(range(len(pairs)), key=lambda i: lengths[i])
    ordered = [pairs[i] for i in order]
    return [ordered[start : start + size] for start in range(0, len(pairs), size)]


def texts_of(model: LensModel, pairs: Sequence[ContrastPair]) -> Texts:
    """The texts of pairs as one batch."""
    ids = [model.tokens(t) for p in pairs for t in (p.positive, p.negative)]
    lengths = torch.tensor([len(i) for i in ids])
    tokens = torch.full((len(ids), int(lengths.max())), ids[0][0])
    for row, text in zip(tokens, ids, strict=True):
        row[: len(text)] = torch.tensor(text)
    return Texts(tokens.to(model.device), lengths.to(model.device))


@runtime_checkable
class Trainee(Protocol):
    """A model with something to train."""

    def parameters(self) -> dict[str, Tensor]:
        """What is trained, by name."""
        ...

    def run(
        self, tokens: Int[Tensor, "row pos"], coefficient: float, layers: Sequence[int]
    ) -> tuple[Float[Tensor, "row pos vocab"], dict[int, Float[Tensor, "row pos d"]]]:
        """Logits, and the outputs of some blocks, at a coefficient; 0 is the plain model."""
        ...


def run_with(
    model: LensModel,
    deltas: Mapping[Place, Change],
    tokens: Int[Tensor, "row pos"],
    layers: Sequence[int],
) -> tuple[Float[Tensor, "row pos vocab"], dict[int, Float[Tensor, "row pos d"]]]:
    """`Trainee.run` of a model whose weights have deltas added."""
    states: dict[int, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(adding(model, deltas))
        for layer in layers:

            def keep(x: Tensor, layer: int = layer) -> None:
                states[layer] = x

            stack.enter_context(model.hook(Site("resid_post", layer), keep))
        logits = model.forward(tokens)
    return logits, states


def respond(
    trainee: Trainee,
    texts: Texts,
    coefficient: float,
    ruler: Ruler,
    plain: Float[Tensor, "row pos vocab"] | None = None,
) -> tuple[Response, Float[Tensor, "row pos vocab"]]:
    """What the trainee makes of texts, and its log-probabilities; `plain` are those at c = 0."""
    logits, states = trainee.run(texts.tokens, coefficient, tuple(ruler.vectors))
    log_p = torch.log_softmax(logits.float(), dim=-1)
    content = texts.content
    chosen = log_p[:, :-1].gather(-1, texts.tokens[:, 1:, None]).squeeze(-1)
    likelihood = torch.where(content[:, 1:], chosen, 0.0).sum(dim=1)
    count = content.sum(dim=1)
    kl = torch.zeros_like(likelihood)
    if plain is not None:
        by_position = torch.linalg.vecdot(log_p.exp(), log_p - plain)
        kl = torch.where(content, by_position, 0.0).sum(dim=1) / count
    found = Response(
        likelihood.reshape(-1, 2),
        (likelihood / count).reshape(-1, 2),
        ruler(states, content).reshape(-1, 2),
        kl.reshape(-1, 2),
    )
    return found, log_p
