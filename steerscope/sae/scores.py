"""What a feature listens to and what it says: input score, output score, and do they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.diagnostics.lens import RESIDUAL_STREAMS
from steerscope.engine.score import under_each
from steerscope.errors import BadValueError, UnsupportedSiteError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits
from steerscope.sae.spans import check_count
from steerscope.sae.steering import FeatureEdit, FeatureSteering
from steerscope.sae.stream import activations_of, token_ids
from steerscope.sae.vectors import check_features
from steerscope.statistics import Correlation, rank_correlation
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.texts.contrasts import ContrastSet

_FEATURES_AT_ONCE = 256
_CELLS_AT_ONCE = 64
# Openings that say nothing in particular; the first is that of the paper.
NEUTRAL = ("From my experience,", "I think that", "There was a", "And then")


@torch.no_grad()
def output_effects(
    model: LensModel, sae: SparseAutoencoder, features: Sequence[int] | None = None
) -> Float[Tensor, "row vocab"]:
    """What each decoder row says about the next token by the direct path, in logits.

    W_U (gain * w) * sqrt(d), the mean over the vocabulary removed: the odd part of final norm and
    unembedding for a stream of typical length that holds the row alone. Later blocks may turn it
    into something else, which `output_scores` measures.

    Args:
        model: the model.
        sae: at a site of the residual stream.
        features: which; default all, in order.

    Raises:
        UnsupportedSiteError: the site is not in the residual stream.
        AutoencoderMismatchError: the autoencoder is for another model.
        BadValueError: no such feature.
    """
    check_fits(sae, model=model)
    if sae.site.stream not in RESIDUAL_STREAMS:
        raise UnsupportedSiteError(
            f"decoder rows at {sae.site} do not reach the output directly; output effects need one "
            f"of {', '.join(sorted(RESIDUAL_STREAMS))}."
        )
    chosen = list(range(sae.n_features) if features is None else features)
    check_features(sae, chosen)
    rows = (sae.decoder[chosen] * sae.d**0.5).to(model.device, model.dtype)
    found = []
    for part in rows.split(_FEATURES_AT_ONCE):
        both = model.unembed(torch.stack([part, -part]), capped=False).float()
        logits = (both[0] - both[1]) / 2
        found.append((logits - logits.mean(dim=-1, keepdim=True)).cpu())
    return torch.cat(found)


@dataclass(frozen=True)
class ScorePlan:
    """How features are scored.

    Attributes:
        n_tokens: tokens that a feature speaks for most, which stand for what it says.
        n_examples: of its strongest activations, how many the input score looks at.
        at_least: activations below which a feature has no input score.
        amplitude: added to the code for the output score, in largest codes at the steered token.
        prompts: that say nothing in particular, for the output score.

    Raises:
        BadValueError: a number below 1, an amplitude that is not positive, or no prompt.
    """

    n_tokens: int = 20
    n_examples: int = 100
    at_least: int = 10
    amplitude: float = 10.0
    prompts: tuple[str, ...] = NEUTRAL

    def __post_init__(self) -> None:
        if min(self.n_tokens, self.n_examples, self.at_least) < 1 or not self.amplitude > 0:
            raise BadValueError("counts must be at least 1 and the amplitude positive.")
        if not self.prompts:
            raise BadValueError("output scores need at least one prompt.")


@torch.no_grad()
def input_scores(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[TextOrIds],
    features: Sequence[int],
    said: Float[Tensor, "row vocab"],
    *,
    plan: ScorePlan | None = None,
) -> dict[int, float]:
    """Share of a feature's strongest activations that are at a token which the feature speaks for.

    Each text counts once, at the token where the feature is strongest in it. A feature that fewer
    than `at_least` texts activate has no score and is left out.

    Args:
        model: the model.
        sae: the autoencoder.
        texts: to look for activations in.
        features: which.
        said: `output_effects` of these features.
        plan: how.

    Raises:
        BadValueError: no such feature, or more tokens than there are.
        AutoencoderMismatchError: the autoencoder is for another model.

    Source: Arad, Mueller & Belinkov 2025 (arXiv:2505.20063), S_in. They take the activations that
    Neuronpedia stores and tokenise the strongest token's text anew; here the texts are given and the
    token is the model's own.
    """
    plan = plan or ScorePlan()
    check_fits(sae, model=model)
    check_features(sae, list(features))
    check_count(plan.n_tokens, said.shape[1])
    rows = token_ids(model, texts)
    codes = torch.zeros(len(rows), len(features))
    tokens = torch.zeros(len(rows), len(features), dtype=torch.long)
    for indices, x, kept in activations_of(model, sae.site, rows):
        found = sae.encode(x)[..., list(features)] * kept[..., None].to(x.dtype)
        strongest = found.max(dim=1)
        ids = torch.tensor([rows[i] for i in indices])
        codes[list(indices)] = strongest.values.cpu()
        tokens[list(indices)] = ids.gather(1, strongest.indices.cpu())
    spoken_for = said.topk(plan.n_tokens, dim=1).indices
    scores = {}
    for number, feature in enumerate(features):
        order = codes[:, number].topk(min(plan.n_examples, len(rows))).indices
        order = order[codes[order, number] > 0]
        if len(order) >= plan.at_least:
            hit = torch.isin(tokens[order, number], spoken_for[number])
            scores[feature] = float(hit.float().mean())
    return scores


@torch.no_grad()
def output_scores(
    model: LensModel,
    sae: SparseAutoencoder,
    features: Sequence[int],
    said: Float[Tensor, "row vocab"],
    *,
    plan: ScorePlan | None = None,
) -> dict[int, float]:
    """How far a feature that is turned up makes the model say what its decoder row says.

    (1 - r / |V|) p at the last token of a neutral prompt, mean over prompts: r is the best rank
    (0 first) that any of the feature's tokens gets, and p the largest probability of them.

    Args:
        model: the model.
        sae: the autoencoder.
        features: which.
        said: `output_effects` of these features.
        plan: how.

    Raises:
        BadValueError: no such feature, more tokens than there are, or a prompt at which no feature
            speaks.
        AutoencoderMismatchError: the autoencoder is for another model.

    Source: Arad, Mueller & Belinkov 2025 (arXiv:2505.20063), S_out. They use one prompt; here are
    several. As with them the code at the last token grows by the amplitude times the largest code
    there, and the reconstruction error stays.
    """
    plan = plan or ScorePlan()
    check_features(sae, list(features))
    check_count(plan.n_tokens, said.shape[1])
    spoken_for = said.topk(plan.n_tokens, dim=1).indices
    total = torch.zeros(len(features))
    for ids in token_ids(model, plan.prompts):
        tokens = torch.tensor([ids], device=model.device)
        loudest = sae.encode(model.read(tokens, [sae.site])[sae.site][:, -1].float()).max()
        if not loudest > 0:
            raise BadValueError(f"no feature speaks at the end of {model.text(ids)!r}.")
        amount = plan.amplitude * float(loudest)
        cells = [
            Cell((FeatureSteering(sae, (FeatureEdit(i, "add", amount),), Scope.last(1)),))
            for i in features
        ]
        plain = model.plain_pass(tokens)
        for which, _, logits in under_each(plain, cells, at_most=_CELLS_AT_ONCE, last=1):
            p = torch.softmax(logits[:, -1].float(), dim=-1).cpu()
            mine = p.gather(1, spoken_for[which])
            rank = (p[:, None] > mine[..., None]).sum(dim=-1).amin(dim=1)
            total[which] += (1 - rank / p.shape[1]) * mine.amax(dim=1)
    return dict(zip(features, (total / len(plan.prompts)).tolist(), strict=True))


def feature_scores(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[TextOrIds],
    features: Sequence[int],
    *,
    plan: ScorePlan | None = None,
) -> pd.DataFrame:
    """Input and output score of features, one row each: feature, input_score, output_score.

    Features that too few texts activate are left out.

    Raises:
        BadValueError: no such feature, or more tokens than there are.
        AutoencoderMismatchError: the autoencoder is for another model.
        UnsupportedSiteError: the autoencoder is not at the residual stream.
    """
    said = output_effects(model, sae, features)
    heard = input_scores(model, sae, texts, features, said, plan=plan)
    kept = [place for place, feature in enumerate(features) if feature in heard]
    spoken = output_scores(model, sae, [features[i] for i in kept], said[kept], plan=plan)
    return pd.DataFrame(
        {
            "feature": list(spoken),
            "input_score": [heard[i] for i in spoken],
            "output_score": list(spoken.values()),
        }
    )


def agreement(scores: pd.DataFrame, *, seed: int = 0) -> Correlation:
    """Rank correlation of input and output score over features, with interval and permutation p."""
    return rank_correlation(
        scores.input_score.to_numpy(float), scores.output_score.to_numpy(float), seed=seed
    )


@torch.no_grad()
def output_target(model: LensModel, contrasts: ContrastSet) -> Float[Tensor, " vocab"]:
    """What the positive class makes likelier as the next token, in nats, its mean removed.

    Mean over pairs of log p(next | positive) - log p(next | negative) at the last token.
    """
    total = torch.zeros(model.shape.n_vocab)
    for pair in contrasts.pairs:
        for sign, text in ((1, pair.positive), (-1, pair.negative)):
            tokens = torch.tensor([model.tokens(text)], device=model.device)
            logits = model.forward(tokens, last=1)[0, -1].float()
            total += sign * torch.log_softmax(logits, dim=-1).cpu()
    mean = total / len(contrasts)
    return mean - mean.mean()


def concept_scores(
    effects: Float[Tensor, "feature vocab"], target: Float[Tensor, " vocab"]
) -> Float[Tensor, " feature"]:
    """Correlation over the vocabulary of what each decoder row says with what is wanted.

    Both are centred, so that what every row says alike does not count, and the effects come after the
    final norm's gain: without either, the cosine is that of common modes of the unembedding.
    """
    one = effects - effects.mean(dim=-1, keepdim=True)
    other = target - target.mean()
    lengths = one.norm(dim=-1) * other.norm()
    return (one @ other) / lengths.clamp_min(torch.finfo(one.dtype).tiny)
