"""Find a vector on one model, map it to another, and judge it there beside the other's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64

from steerscope.directions import Direction, find_direction, mean_diff
from steerscope.engine.gathering import gather
from steerscope.engine.matched_kl import KL, Matching
from steerscope.errors import BadValueError, DegenerateDirectionError
from steerscope.extraction.activations import extract
from steerscope.extraction.reading import ReadToken
from steerscope.judges import Judge
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site
from steerscope.studies.carrying.findings import LinearMap, fit_maps, map_table, permuted
from steerscope.studies.carrying.plan import CarryPlan
from steerscope.studies.methods.bundles import Bundle
from steerscope.studies.methods.findings import NULLS
from steerscope.studies.methods.measure import Comparison, compare_bundles, usual_judge
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.studies.predictors.best_layer import best_layer
from steerscope.texts.contrasts import ContrastSet, PromptSet, load_contrasts
from steerscope.texts.given_pairs import PairsLike

OWN, CARRIED, MIXED = "own mean_diff", "carried by {0}", "carried by a permuted map"
_DOSES = (0.05, 0.2, 0.5, 1.25, 4.0)


@dataclass(frozen=True, eq=False)
class Carried:
    """What became of a vector.

    Attributes:
        source: where it was found.
        target: where it was carried to.
        maps: R² of the maps on held-out texts, as `map_table` gives it.
        cosines: of each carried vector with the other model's own, one row a vector.
        comparison: what they do there at one KL, with null directions and standings.
        directions: the carried vectors, by their names.
    """

    source: Site
    target: Site
    maps: pd.DataFrame
    cosines: pd.DataFrame
    comparison: Comparison
    directions: dict[str, Direction]


def carry_vector(
    source: LensModel,
    target: LensModel,
    contrasts: ContrastSet,
    prompts: PromptSet,
    *,
    texts: PairsLike | None = None,
    plan: CarryPlan | None = None,
    judge: Judge | None = None,
    progress: Track = silent,
) -> Carried:
    """The mean difference of one model, mapped to another and judged there beside the other's own.

    Args:
        source: the model that the vector is found on.
        target: the model that it is carried to.
        contrasts: the concept; the vector is found on its fit split, and stated on its test split.
        prompts: continued by the target.
        texts: pairs whose texts both models read to learn the map, split likewise; default the pairs
            themselves, so that the map has seen texts of the concept. Others say more.
        plan: how.
        judge: reads continuations; default the oracle where it can, else preference.
        progress: shows the loops.

    Raises:
        BadValueError: too few texts for a map.
        DegenerateDirectionError: a map takes the vector to nothing.
    """
    plan = plan or CarryPlan()
    given = load_contrasts(contrasts if texts is None else texts)
    read_by_source, contrasts = (in_chat(m, contrasts, plan.chat) for m in (source, target))
    prompts = in_chat(target, prompts, plan.chat)
    at = _site(source, read_by_source, plan.source_layer, plan.seed)
    to = _site(target, contrasts, plan.layer, plan.seed)
    read = [_texts_of(in_chat(m, given, plan.chat), plan.seed) for m in (source, target)]
    both = [
        (_activations(source, mine, at, plan.read), _activations(target, theirs, to, plan.read))
        for mine, theirs in zip(*read, strict=True)
    ]
    maps = fit_maps(both[0], plan.ridges, seed=plan.seed)
    fit = contrasts.split(plan.seed).fit
    own = gather(target, fit, to, ["mean_diff", *NULLS], progress=progress)[to]
    found = mean_diff(extract(source, read_by_source.split(plan.seed).fit, at)[at])
    straight = mean_diff(own)
    vector = found.scale.natural * found.unit.double().cpu().numpy()
    named = {CARRIED.format(name): linear for name, linear in maps.items()}
    named[MIXED] = permuted(both[0], maps["ridge"], seed=plan.seed)
    every = {OWN: replace(straight, method=OWN)}
    every |= {name: _direction(straight, m, vector, name) for name, m in named.items()}
    seeds = range(plan.seed, plan.seed + plan.n_null_seeds)
    nulls = [find_direction(name, own, seed=seed) for name in NULLS for seed in seeds]
    bundles = [Bundle(str(to), (d,)) for d in (*every.values(), *nulls)]
    comparing = _comparison(plan, str(to))
    compared = compare_bundles(
        target,
        bundles,
        (contrasts, prompts),
        comparing,
        judge=judge or usual_judge(contrasts, prompts, comparing),
        progress=progress,
    )
    cosines = [(name, float(d.unit @ straight.unit)) for name, d in every.items()]
    return Carried(
        at,
        to,
        map_table(maps, *both, n_permuted=plan.n_permuted, seed=plan.seed),
        pd.DataFrame(cosines, columns=["vector", "cosine_to_own"]),
        compared,
        every,
    )


def _comparison(plan: CarryPlan, place: str) -> ComparisonPlan:
    return ComparisonPlan(
        sites=(place,),
        matchings=(KL,),
        n_null_seeds=plan.n_null_seeds,
        matching=Matching(_DOSES, relative=0.5, kl=plan.kl),
        n_pairs=plan.n_pairs,
        n_kl_prompts=plan.n_kl_prompts,
        n_test=plan.n_test,
        n_new=plan.n_new,
        temperature=plan.temperature,
        seed=plan.seed,
    )


def _site(model: LensModel, contrasts: ContrastSet, layer: int | None, seed: int) -> Site:
    """The residual stream of a layer; by itself that whose pairs agree most."""
    found = best_layer(model, contrasts, seed=seed).layer if layer is None else layer
    return Site("resid_post", found)


def _texts_of(given: ContrastSet, seed: int) -> tuple[list[str], list[str]]:
    """Texts to fit a map on, and others to judge it on."""
    parts = given.split(seed)
    found = [
        list(dict.fromkeys(t for p in part.pairs for t in (p.positive, p.negative)))
        for part in (parts.fit, parts.select)
    ]
    if min(map(len, found)) < 2:
        raise BadValueError("a map needs at least 2 texts to be judged on; give more pairs.")
    return found[0], found[1]


def _activations(
    model: LensModel, texts: Sequence[str], site: Site, read: str
) -> Float64[np.ndarray, "text d"]:
    """What one model makes of each text at a site, by one reading of its tokens."""
    token = ReadToken.parse(read)
    rows = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([model.tokens(text)], device=model.device)
            rows.append(token(model.read(ids, [site])[site].float())[0].cpu())
    return torch.stack(rows).double().numpy()


def _direction(
    like: Direction, found: LinearMap, vector: Float64[np.ndarray, " source"], name: str
) -> Direction:
    """A carried vector at the target's site, with the target's own lengths."""
    there = torch.from_numpy(found.carried(vector)).to(like.unit.dtype)
    norm = float(there.norm())
    if not norm > torch.finfo(torch.float32).eps * like.scale.relative:
        raise DegenerateDirectionError(f"the {found.kind} map takes the vector to nothing.")
    return replace(like, unit=(there / norm).to(like.unit.device), method=name)
