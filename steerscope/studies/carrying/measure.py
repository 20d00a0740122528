"""Find a vector on one model, map it to another, and judge it there beside the other's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from steerscope.directions import Direction, find_direction, mean_diff
from steerscope.engine.gathering import gather
from steerscope.engine.matched_kl import KL, Matching
from steerscope.errors import BadValueError, DegenerateDirectionError
from steerscope.extraction.activations import extract
from steerscope.extraction.reading import ReadToken
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.results import Row, Run, measuring, plain_row
from steerscope.sites import Site
from steerscope.studies.beginnings import load_planned, start_planned
from steerscope.studies.carrying.findings import (
    COSINE,
    FOUND_AT,
    LEFT,
    N_FIT,
    OF_CONCEPT,
    PAIR,
    RIDGE,
    RIDGE_USED,
    SPREAD,
    LinearMap,
    MapSquares,
    ReadTexts,
    fit_maps,
    permuted,
    squares_of_maps,
)
from steerscope.studies.carrying.plan import CarryPlan
from steerscope.studies.methods.bundles import Bundle
from steerscope.studies.methods.findings import NULLS
from steerscope.studies.methods.measure import Comparison, compare_bundles, usual_judge
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.studies.methods.stored import rows_of_comparison, texts_of_comparison
from steerscope.studies.predictors.best_layer import best_layer
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import (
    ContrastPair,
    ContrastSet,
    PromptSet,
    load_contrasts,
    prompts_for,
    usual_prompts,
)

OWN, CARRIED, MIXED = "own mean_diff", "carried by {0}", "carried by a permuted map"
_DOSES = (0.05, 0.2, 0.5, 1.25, 4.0)


@dataclass(frozen=True, eq=False)
class Carried:
    """What became of a vector.

    Attributes:
        source: where it was found.
        target: where it was carried to.
        maps: what the maps leave over of held-out texts.
        comparison: what the vectors do there at one KL, with null directions and standings.
        directions: the carried vectors and the model's own, by their names.
    """

    source: Site
    target: Site
    maps: dict[str, MapSquares]
    comparison: Comparison
    directions: dict[str, Direction]

    @property
    def cosines(self) -> dict[str, float]:
        """Of each vector with the other model's own."""
        own = self.directions[OWN].unit
        return {name: float(d.unit @ own) for name, d in self.directions.items()}


def run_carrying(
    path: str | Path,
    plan: CarryPlan,
    *,
    chat: Chat | None = None,
    device: str | None = None,
    memory: str | None = None,
    models: tuple[LensModel, LensModel] | None = None,
    progress: Track = silent,
) -> Run:
    """The mean difference of one model, mapped to another and judged there, into a run.

    Args:
        path: the run's folder.
        plan: what is measured.
        chat: how texts are put into the chat template of the model that reads them, each into its own; None
            for bare texts.
        device: as in `load_model`.
        memory: as in `load_model`.
        models: source and target, if they are loaded already.
        progress: shows the loops.

    Raises:
        BadValueError: too few texts for a map.
        DegenerateDirectionError: a map takes the vector to nothing.
        RunError: the folder holds another run, or something else.
    """
    contrasts = load_contrasts(plan.contrasts)
    prompts = prompts_for(contrasts, plan.prompts or usual_prompts(plan.contrasts))
    taught = contrasts if plan.texts is None else load_contrasts(plan.texts)
    if models is None:
        target = load_planned(plan, device=device, memory=memory)
        source = load_planned(replace(plan, model=plan.source), device=device, memory=memory)
    else:
        source, target = models
    judge = usual_judge(
        in_chat(target, contrasts, chat),
        in_chat(target, prompts, chat),
        ComparisonPlan(seed=plan.seed),
    )
    more = {
        "contrasts_sha256": contrasts.sha256,
        "asked_sha256": prompts.sha256,
        "taught_sha256": taught.sha256,
        "source_fingerprint": source.fingerprint,
        "effect": asdict(judge.effect.undamaged),
    }
    with measuring(path):
        run = start_planned(path, plan, target, chat, more)
        found = carry_vector(
            (source, target), contrasts, prompts, plan, texts=taught, chat=chat, progress=progress
        )
        same = taught.concept == contrasts.concept or bool(_said(taught) & _said(contrasts))
        of_concept = replace(plain_row(OF_CONCEPT, "number", float(same)), cell="map texts")
        rows = [*carried_rows(found, contrasts.concept), of_concept]
        run.append(rows, texts_of_comparison(found.comparison))
        run.seal()
    return run


def carried_rows(found: Carried, concept: str) -> list[Row]:
    """Rows of a run: what each map leaves of each text, the cosines, and the comparison of the vectors."""
    rows: list[Row] = []
    for name, squares in found.maps.items():
        rows += [
            replace(plain_row(metric, unit, value), cell=f"map {name}", method=name)
            for metric, unit, value in (
                (RIDGE_USED, "mean variances", squares.ridge),
                (N_FIT, "texts", float(squares.n_fit)),
            )
        ]
        for number, each in enumerate((squares.squares, *squares.permuted), start=-1):
            cell = f"map {name}" + (f" permuted {number}" if number >= 0 else "")
            rows += [
                replace(
                    plain_row(metric, "squared activation units", float(value)),
                    cell=cell,
                    method=name,
                    prompt=text,
                    seed=number,
                )
                for metric, values in zip((LEFT, SPREAD), each, strict=True)
                for text, value in enumerate(values)
            ]
    pairs = next(iter(found.maps.values())).pair
    rows += [
        replace(
            plain_row(PAIR, "number", float(pair)),
            cell=f"map {name} texts",
            method=name,
            prompt=text,
        )
        for name in found.maps
        for text, pair in enumerate(pairs)
    ]
    layer = found.target.layer
    rows += [
        replace(plain_row(COSINE, "ratio", value), cell=f"vector {name}", method=name, layer=layer)
        for name, value in found.cosines.items()
    ]
    at = found.source.layer
    rows.append(replace(plain_row(FOUND_AT, "block", float(at)), cell="vector", layer=at))
    return [*rows, *rows_of_comparison(found.comparison, concept)]


def carry_vector(
    models: tuple[LensModel, LensModel],
    contrasts: ContrastSet,
    prompts: PromptSet,
    plan: CarryPlan,
    *,
    texts: ContrastSet | None = None,
    chat: Chat | None = None,
    progress: Track = silent,
) -> Carried:
    """The mean difference of one model, mapped to another and judged there beside the other's own.

    Args:
        models: that the vector is found on, and that it is carried to.
        contrasts: the concept.
        prompts: continued by the target.
        plan: how.
        texts: pairs whose texts both models read to learn the map; None for the pairs themselves, whose classes teach
            the map the target's own vector, whatever that of the source is.
        chat: as in `run_carrying`.
        progress: shows the loops.

    Raises:
        BadValueError: too few texts for a map.
        DegenerateDirectionError: a map takes the vector to nothing.
    """
    source, target = models
    given = contrasts if texts is None else texts
    read_by_source, contrasts = (in_chat(m, contrasts, chat) for m in models)
    prompts = in_chat(target, prompts, chat)
    at = _site(source, read_by_source, plan.source_layer, plan.seed)
    to = _site(target, contrasts, plan.layer, plan.seed)
    read = [_texts_of(in_chat(m, given, chat), plan.seed) for m in models]
    fit, held_out = (
        ReadTexts(
            _activations(source, mine.texts, at, plan.read),
            _activations(target, theirs.texts, to, plan.read),
            mine.positive,
            mine.pair,
        )
        for mine, theirs in zip(*read, strict=True)
    )
    maps = fit_maps(fit, plan.ridges, seed=plan.seed)
    own = gather(
        target, contrasts.split(plan.seed).fit, to, ["mean_diff", *NULLS], progress=progress
    )[to]
    found = mean_diff(extract(source, read_by_source.split(plan.seed).fit, at)[at])
    named = {CARRIED.format(name): linear for name, linear in maps.items()}
    named[MIXED] = permuted(RIDGE, fit, plan.ridges, seed=plan.seed)
    every = _carried(mean_diff(own), found, named)
    seeds = range(plan.seed, plan.seed + plan.n_null_seeds)
    nulls = [find_direction(name, own, seed=seed) for name in NULLS for seed in seeds]
    comparing = _comparison(plan, str(to))
    compared = compare_bundles(
        target,
        [Bundle(str(to), (d,)) for d in (*every.values(), *nulls)],
        (contrasts, prompts),
        comparing,
        judge=usual_judge(contrasts, prompts, comparing),
        progress=progress,
    )
    squares = squares_of_maps(maps, fit, held_out, plan.ridges, n_permuted=plan.n_permuted)
    return Carried(at, to, squares, compared, every)


def _carried(
    straight: Direction, found: Direction, named: dict[str, LinearMap]
) -> dict[str, Direction]:
    """The target's own vector, and the source's by every map."""
    vector = found.scale.natural * found.unit.double().cpu().numpy()
    carried = {name: _direction(straight, m, vector, name) for name, m in named.items()}
    return {OWN: replace(straight, method=OWN), **carried}


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


def _said(given: ContrastSet) -> set[str]:
    return {text for pair in given.pairs for text in (pair.positive, pair.negative)}


@dataclass(frozen=True, eq=False)
class _Texts:
    """The texts of some pairs, each once, as `ReadTexts` has them."""

    texts: list[str]
    positive: Bool[np.ndarray, " text"]
    pair: Int[np.ndarray, " text"]


def _texts_of(given: ContrastSet, seed: int) -> tuple[_Texts, _Texts]:
    """Texts to fit a map on, and others to judge it on."""
    parts = given.split(seed)
    fit, held_out = (_each_once(part.pairs) for part in (parts.fit, parts.select))
    if min(len(fit.texts), len(held_out.texts)) < 2:
        raise BadValueError("a map needs at least 2 texts to be judged on; give more pairs.")
    return fit, held_out


def _each_once(pairs: Sequence[ContrastPair]) -> _Texts:
    """Each text with the class in which it comes first; pairs that share a text have one number."""
    positive: dict[str, bool] = {}
    number: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        both = {pair.positive: True, pair.negative: False}
        shared = {number[text] for text in both if text in number}
        number |= {text: place for text, n in number.items() if n in shared}
        number |= dict.fromkeys(both, place)
        positive = both | positive
    texts = list(number)
    return _Texts(
        texts, np.array([positive[t] for t in texts]), np.array([number[t] for t in texts])
    )


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
