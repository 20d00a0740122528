"""Ways to find a direction against each other and against nulls, as a job of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, count, product
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope import figures
from steerscope.directions import METHODS, Settings
from steerscope.engine.matched_kl import KL, Matching
from steerscope.engine.sampling import without_usual
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.job import (
    DRAWN,
    JUDGED,
    Job,
    Machine,
    Size,
    Step,
    Tables,
    as_asked,
    label,
    load,
)
from steerscope.figures.files import Plate
from steerscope.judges.effects import SHOWN_UNDAMAGED, Effect
from steerscope.judges.registry import read_card
from steerscope.models.chat_templates import in_chat
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track
from steerscope.runs.keeping import UNFINISHED, KeptIn
from steerscope.runs.results import Run
from steerscope.studies.inputs import stated_inputs
from steerscope.studies.judging import find_judge, question_of
from steerscope.studies.methods.agreement import Asked, order_agreement
from steerscope.studies.methods.findings import COMMON as COMMON_LAYER
from steerscope.studies.methods.findings import NULLS, OWN
from steerscope.studies.methods.measure import compare_methods
from steerscope.studies.methods.plan import MATCHINGS, ComparisonPlan, without_new
from steerscope.studies.methods.pools import Pool, pools
from steerscope.studies.methods.stored import (
    ranking_of_rows,
    rows_of_comparison,
    texts_of_comparison,
)
from steerscope.studies.steering.plan import effect_of
from steerscope.texts.chats import Chat, as_chat
from steerscope.texts.contrasts import load_contrasts, prompts_for, usual_prompts

_FAR = (16.0, 64.0)  # keys and pre-activations may have to move far until the output changes
METHOD_PLACES, TOGETHER = "method-places", "together"
_PLACES = {OWN: "methods", COMMON_LAYER: "methods-common-layer"}


@dataclass(frozen=True)
class ComparisonStep:
    """All methods on one model and concept.

    Attributes:
        model: to be loaded.
        contrasts: the concept.
        other: another concept whose direction is compared as well.
        judging: judge, labels and endpoint under the names of a plan; empty for the usual judge.
    """

    model: str
    contrasts: str
    prompts: str | None
    other: str | None
    plan: ComparisonPlan
    dtype: str
    backbone: str
    chat: Chat | None = None
    judging: Mapping[str, str | None] = field(default_factory=dict)
    bos: str = "auto"
    revision: str | None = None

    @property
    def name(self) -> str:
        """Model, contrast set and seed."""
        return f"{label(self.model)}-{label(self.contrasts)}-{self.plan.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        chat = None if self.chat is None else self.chat.stored()
        settings = as_asked({"kind": "ComparisonStep", **asdict(self), "chat": chat})
        settings["plan"] = without_new(without_usual(settings["plan"]))
        del settings["judging"]
        return settings | {k: v for k, v in self.judging.items() if v and k != "judge_url"}

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Compare all methods; what was measured before an interruption is kept."""
        model = load(self, machine)
        contrasts = load_contrasts(self.contrasts)
        prompts = in_chat(model, prompts_for(contrasts, self.prompts), self.chat)
        contrasts = in_chat(model, contrasts, self.chat)
        asked = prompts.split(self.plan.seed)
        question = question_of(
            self.judging, contrasts, asked, self.plan.n_new, self.plan.seed, self._most_texts()
        )
        judging = find_judge(question, model, out)
        configuration = {
            **self.settings,
            "seed": self.plan.seed,
            "contrasts_sha256": contrasts.sha256,
            "prompts_sha256": prompts.sha256,
            "effect": asdict(judging.judge.effect.undamaged),
            **judging.settings,
        }
        said = provenance_of(model) | stated_inputs(asdict(self))
        run = Run.start(out, configuration, provenance=said)
        judging.keep(run)
        kept = KeptIn(out / UNFINISHED)
        found = compare_methods(
            model,
            contrasts,
            prompts,
            plan=self.plan,
            other=(
                None
                if self.other is None
                else in_chat(model, load_contrasts(self.other), self.chat)
            ),
            judge=judging.judge,
            progress=progress,
            keep=kept,
        )
        run.append(rows_of_comparison(found, contrasts.concept), texts_of_comparison(found))
        run.seal()
        kept.clear()
        return run

    def _most_texts(self) -> int:
        """Texts without steering, and of each direction at both places and by both matchings."""
        p = self.plan
        directions = len(p.methods) + (self.other is not None) + len(NULLS) * p.n_null_seeds
        places = len(p.sites) or len(_PLACES)
        return (1 + len(p.matchings) * places * directions) * p.n_test

    def size(self, n_layers: int) -> Size:
        """Conditions of the screen, and what is stated, in conditions on pairs."""
        p = self.plan
        n = len(p.methods) + 3 * p.n_null_seeds
        layers = n_layers if p.layers is None else len(p.layers)
        matchings, places = len(p.matchings), p.parsed
        candidates = sum(1 if q.together else len(q.blocks or range(layers)) for q in places)
        stated = matchings * (len(places) or len(_PLACES)) * n * round(p.n_test / p.n_pairs)
        screened = 2 * n * (candidates or layers) * len(p.matching.doses)
        return Size(screened + stated, p.n_pairs)

    def reduced(self, n_texts: int) -> ComparisonStep:
        """Two methods at one layer on few texts."""
        layers = (self.plan.layers or (0,))[:1]
        sites = () if not self.plan.sites else ("resid_post",)
        few: dict[str, Any] = {
            "n_null_seeds": 1,
            "n_pairs": n_texts,
            "n_test": n_texts,
            "n_kl_prompts": 4,
        }
        plan = replace(
            self.plan,
            methods=("mean_diff", "pca_centred"),
            layers=layers,
            sites=sites,
            settings=Settings(),
            **few,
        )
        return replace(self, plan=plan, other=None)


def _steps(e: Experiment) -> list[Step]:
    sizes = {"pairs": "n_pairs", "kl_prompts": "n_kl_prompts", "test": "n_test"}
    given = e.given("sample", {**sizes, "nulls": "n_null_seeds"})
    usual = ComparisonPlan().matching
    matched = e.matched
    relative = matched.relative or usual.relative
    tried = {*usual.doses, *(_FAR if e.sites.places else ()), *([relative] if relative else [])}
    doses = e.doses.values or tuple(sorted(tried))
    matching = Matching(doses, relative, matched.kl or usual.kl)
    methods = e.methods if "methods" in e.model_fields_set else tuple(METHODS)
    places = e.sites.places or ()
    at_length = not places or matched.relative is not None  # places are compared at the KL
    return [
        ComparisonStep(
            model,
            contrasts,
            e.prompts or usual_prompts(contrasts),
            e.other,
            ComparisonPlan(
                methods=methods,
                layers=e.sites.layers,
                sites=places,
                matchings=MATCHINGS if at_length else (KL,),
                settings=Settings(**e.method_options.model_dump()),
                matching=matching,
                n_new=e.decoding.n_new,
                temperature=e.decoding.temperature,
                **e.narrowing(),
                seed=seed,
                **given,
            ),
            chat=as_chat(e.chat),
            judging=e.judging(contrasts),
            **e.loading(),
        )
        for model, contrasts, seed in product(e.models, e.contrasts, e.seeds)
    ]


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
    parts: dict[str, list[pd.DataFrame]] = {}
    rankings = []
    counts = [effect_of(run).metric for run in runs]
    for run, metric in zip(runs, counts, strict=True):
        c = run.configuration
        found = ranking_of_rows(run.table(), metric, c["seed"])
        rankings.append((Asked(c["model"], c["contrasts"], c["seed"]), found["ranking"].copy()))
        for name, table in found.items():
            table.insert(0, "run", run.path.name)
            if SHOWN_UNDAMAGED in counts:  # beside runs from before, in which damaged texts counted
                table.insert(1, "counts", metric)
            parts.setdefault(name, []).append(table)
    for called, pool in _named_pools(runs):
        for name, table in ((TOGETHER, pool.ranking), (f"{TOGETHER}_rivals", pool.pairs)):
            told = table.assign(counts=pool.effect.metric, concepts=", ".join(pool.concepts))
            told.insert(0, "runs", called)
            parts.setdefault(name, []).append(told)
    tables = {name: pd.concat(part, ignore_index=True) for name, part in parts.items()}
    agreement = order_agreement(rankings)
    if len(agreement):
        names = [run.path.name for run in runs]
        tables["agreement"] = agreement.assign(
            one=agreement.one.map(names.__getitem__), other=agreement.other.map(names.__getitem__)
        )
    return tables


def _named_pools(runs: Sequence[Run]) -> list[tuple[str, Pool]]:
    """The concepts of each model and seed together, each under a name of its own; the second of one name has a number."""
    called: dict[str, str] = {}
    for model in dict.fromkeys(run.configuration["model"] for run in runs):
        names = chain([label(model)], (f"{label(model)}-{place}" for place in count(2)))
        called[model] = next(name for name in names if name not in called.values())
    found: dict[str, Pool] = {}
    for pool in pools(runs):
        name = f"{called[pool.model]}-{pool.seed}"
        names = chain([name], (f"{name}-{place}" for place in count(2)))
        found[next(each for each in names if each not in found)] = pool
    return list(found.items())


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    found = []
    for run in runs:
        configuration, effect = run.configuration, effect_of(run)
        ranking = ranking_of_rows(run.table(), effect.metric, configuration["seed"])["ranking"]
        card = read_card(run.path)
        said = "" if card is None else f"Judge {configuration['judge']}: {card}."
        for name, draw in _drawings(ranking, effect, configuration["plan"]).items():
            if {"all", name} & set(experiment.figures):
                found.append(Plate(f"{run.path.name}-{name}", draw(), said))
    for called, pool in _named_pools(runs):
        said = (
            f"Held-out prompts of {len(pool.concepts)} concepts together: {', '.join(pool.concepts)}. What one of them "
            "lacks is left out."
        )
        for name, draw in _drawings(pool.ranking, pool.effect, pool.plan).items():
            if {"all", name} & set(experiment.figures):
                found.append(Plate(f"{called}-{TOGETHER}-{name}", draw(), said))
    return found


def _drawings(
    ranking: pd.DataFrame, effect: Effect, plan: Mapping[str, Any]
) -> dict[str, Callable[[], Any]]:
    """What can be drawn of a ranking: a forest of one place, or the table of methods and places."""
    matching, places = plan["matching"], plan.get("sites", ())
    words = {
        "kl": f"KL ({matching['kl']:g} nats)",
        "norm": f"length ({matching['relative']:g} relative)",
    }
    there = {k: v for k, v in words.items() if k in set(ranking.matching)}
    if not places:
        found: dict[str, Callable[[], Any]] = {}
        for place, name in _PLACES.items():
            panels = set(ranking.matching[ranking.place == place])
            if mine := {k: v for k, v in words.items() if k in panels}:
                found[name] = partial(
                    figures.method_forest, ranking, effect, place=place, matchings=mine
                )
        return found
    return {
        f"{METHOD_PLACES}-{matching}": partial(
            figures.method_places, ranking, effect, places, matching=matching, words=said
        )
        for matching, said in there.items()
    }


COMPARISON = Job(
    name="comparison",
    words="ways to find a direction, at a matched KL and a matched length, against nulls",
    takes=frozenset(
        {
            "methods",
            "prompts",
            "other",
            "chat",
            "sites.layers",
            "sites.places",
            "method_options",
            "doses.values",
            "matched",
            *DRAWN,
            "sample.pairs",
            "sample.kl_prompts",
            "sample.test",
            "sample.nulls",
            *JUDGED,
        }
    ),  # fmt: skip
    figures=(*_PLACES.values(), *(f"{METHOD_PLACES}-{m}" for m in MATCHINGS)),
    steps=_steps,
    tables=_tables,
    plates=_plates,
)
