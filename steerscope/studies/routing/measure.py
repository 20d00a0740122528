"""Every prompt under every vector once, then arms that choose among these texts; all scored alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import Direction, mean_diff
from steerscope.doses import Dose
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import attempt
from steerscope.engine.matched_kl import KL, Matching, matched_doses
from steerscope.engine.sampling import sampler_at
from steerscope.errors import BadValueError
from steerscope.extraction.activations import extract
from steerscope.extraction.reading import ReadToken
from steerscope.judges import Judge, choose_judge
from steerscope.judges.judges import read_all, scored, text_metrics
from steerscope.judges.scorers.searching import compiled, found_in
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.prompting import Prompting
from steerscope.studies.predictors.best_layer import best_layer
from steerscope.studies.routing.findings import (
    ASKED,
    AT_RANDOM,
    BY_CLASSIFIER,
    BY_RULE,
    BY_TRUTH,
    PLAIN,
    best_single,
    routed,
    routing_table,
    single,
)
from steerscope.studies.routing.plan import Phase, RoutePlan, check_phases
from steerscope.texts.contrasts import Prompt

_DOSES = (0.05, 0.2, 0.5, 1.25, 4.0)


@dataclass(frozen=True, eq=False)
class Routing:
    """What was measured.

    Attributes:
        table: every arm against the best single vector.
        reference: that arm, chosen on the select prompts.
        accuracy: of each router on the test prompts.
        scores: by arm one number a test prompt.
        sites: where the vector of each phase acts, with its relative dose.
    """

    table: pd.DataFrame
    reference: str
    accuracy: dict[str, float]
    scores: dict[str, Float[np.ndarray, " prompt"]]
    sites: dict[str, tuple[str, float]]


def compare_routing(
    model: LensModel,
    phases: Sequence[Phase],
    *,
    plan: RoutePlan | None = None,
    judges: Sequence[Judge] | None = None,
    progress: Track = silent,
) -> Routing:
    """Vectors switched by the phase of a prompt against the best single one, asking and plain.

    Every vector acts at one KL on the prompts of all phases. A text counts 1 if the judge of its prompt's
    phase finds what is wanted there and the text is no repetition, under every arm alike; prompts that show
    it already are left out. The best single vector and the classifier come from the select prompts.

    Args:
        model: the model.
        phases: at least two.
        plan: how.
        judges: one for each phase; default the oracle where it can read them.
        progress: shows the loop.

    Raises:
        BadValueError: too few phases or prompts, no judge that reads texts, or a KL out of reach.
    """
    plan, phases = plan or RoutePlan(), tuple(phases)
    check_phases(phases)
    read = tuple(judges) if judges is not None else tuple(map(_usual_judge, phases))
    if not all(judge.effect.is_share for judge in read):
        raise BadValueError("routing is told by what is written; give a judge that reads texts.")
    select, test = (_asked(phases, read, plan, split) for split in ("select", "test"))
    bench = _Bench(model, phases, read, plan, _vectors(model, phases, select, plan, progress))
    names = [phase.name for phase in phases]
    chosen = bench.scores(select, asked=False)
    reference = best_single(chosen, names)
    scores = bench.scores(test, asked=True)
    truth = [names[number] for number, _ in test]
    routes: dict[str, list[str | None]] = {
        BY_TRUTH: [*truth],
        BY_CLASSIFIER: [*_classified(model, phases, select, test, plan)],
        AT_RANDOM: [*np.random.default_rng(plan.seed).choice(names, size=len(test))],
    }
    if all(phase.rule for phase in phases):
        routes[BY_RULE] = [_by_rule(phases, prompt.text) for _, prompt in test]
    by_phase = {name: scores[single(name)] for name in names}
    for arm, route in routes.items():
        scores[arm] = routed(by_phase, route, scores[PLAIN])
    accuracy = {
        arm: float(np.mean([r == t for r, t in zip(route, truth, strict=True)]))
        for arm, route in routes.items()
    }
    table = routing_table(scores, reference, seed=plan.seed)
    places = {n: (str(d.site), dose) for n, (d, dose) in zip(names, bench.vectors, strict=True)}
    return Routing(table, reference, accuracy, scores, places)


_Asked = list[tuple[int, Prompt]]  # the number of its phase, and the prompt


def _usual_judge(phase: Phase) -> Judge:
    return choose_judge(phase.contrasts, phase.prompts.prompts)


def _asked(phases: Sequence[Phase], judges: Sequence[Judge], plan: RoutePlan, split: str) -> _Asked:
    """Prompts of every phase that do not show what is wanted yet."""
    most = plan.n_select if split == "select" else plan.n_test
    found: _Asked = []
    for number, (phase, judge) in enumerate(zip(phases, judges, strict=True)):
        part = getattr(phase.prompts.split(plan.seed), split).prompts
        mine = [p for p in part if scored(judge) or judge.applies(p, 1)][:most]
        if len(mine) < 2:
            raise BadValueError(
                f"the phase {phase.name!r} has too few prompts in its {split} split."
            )
        found += [(number, prompt) for prompt in mine]
    return found


def _vectors(
    model: LensModel, phases: Sequence[Phase], select: _Asked, plan: RoutePlan, progress: Track
) -> list[tuple[Direction, float]]:
    """The mean difference of each phase's concept, with the relative dose of the KL."""
    found = []
    for phase in phases:
        chosen = plan.layer
        layer = (
            best_layer(model, phase.contrasts, seed=plan.seed).layer if chosen is None else chosen
        )
        site = Site("resid_post", layer)
        found.append(mean_diff(extract(model, phase.contrasts.split(plan.seed).fit, site)[site]))
    texts = [prompt.text for _, prompt in select]
    matching = Matching(_DOSES, relative=_DOSES[2], kl=plan.kl)
    table = matched_doses(model, found, texts, matching, progress=progress)
    doses = table[table.matching == KL].sort_values("direction").dose_relative.to_list()
    for phase, dose in zip(phases, doses, strict=True):
        if not np.isfinite(dose):
            raise BadValueError(
                f"the vector of {phase.name!r} does not reach {plan.kl:g} nats; ask for a smaller KL."
            )
    return list(zip(found, doses, strict=True))


@dataclass(frozen=True, eq=False)
class _Bench:
    """Writes and scores."""

    model: LensModel
    phases: Sequence[Phase]
    judges: Sequence[Judge]
    plan: RoutePlan
    vectors: list[tuple[Direction, float]]

    def scores(self, prompts: _Asked, *, asked: bool) -> dict[str, Float[np.ndarray, " prompt"]]:
        """By arm what each prompt's text is worth: plain, one vector everywhere, and if wanted asking."""
        cells = [Cell()]
        cells += [Cell((Steering(d, Dose(dose, "relative")),)) for d, dose in self.vectors]
        names = [PLAIN, *(single(phase.name) for phase in self.phases)]
        written = self._written([p.text for _, p in prompts], cells)
        found = {n: self._worth(prompts, texts) for n, texts in zip(names, written, strict=True)}
        if asked:
            found[ASKED] = self._asked(prompts)
        return found

    def _asked(self, prompts: _Asked) -> Float[np.ndarray, " prompt"]:
        """The same where examples of the phase stand before each prompt, which is told its phase."""
        worth = np.zeros(len(prompts))
        for number, phase in enumerate(self.phases):
            places = [i for i, (n, _) in enumerate(prompts) if n == number]
            fit = phase.contrasts.split(self.plan.seed).fit.pairs
            shown = tuple(pair.positive for pair in fit[: self.plan.n_examples])
            mine = [prompts[i] for i in places]
            [texts] = self._written([p.text for _, p in mine], [Cell((Prompting(examples=shown),))])
            worth[places] = self._worth(mine, texts)
        return worth

    def _written(self, texts: Sequence[str], cells: Sequence[Cell]) -> list[list[Continuation]]:
        sampler = sampler_at(self.plan.temperature, self.plan.seed)
        return attempt(self.model, texts, cells, n_new=self.plan.n_new, sampler=sampler)

    def _worth(
        self, prompts: _Asked, texts: Sequence[Continuation]
    ) -> Float[np.ndarray, " prompt"]:
        """1 for a text that shows what is wanted and does not repeat itself, else 0."""
        worth = np.zeros(len(prompts))
        for number, judge in enumerate(self.judges):
            places = [i for i, (n, _) in enumerate(prompts) if n == number]
            mine = [texts[i] for i in places]
            read = read_all(judge, [prompts[i][1] for i in places], mine)
            for place, text, values in zip(places, mine, read, strict=True):
                shown = np.nan_to_num(values[judge.effect.metric])
                worth[place] = shown * (1 - text_metrics(text.tokens)["degenerate"]) * text.finite
        return worth


def _by_rule(phases: Sequence[Phase], text: str) -> str | None:
    """The first phase whose pattern is in the prompt; None for none."""
    for phase in phases:
        if found_in(compiled(phase.rule, phase.name, whole_words=True), text):
            return phase.name
    return None


def _classified(
    model: LensModel, phases: Sequence[Phase], select: _Asked, test: _Asked, plan: RoutePlan
) -> list[str]:
    """The phase whose mean activation of select prompts lies nearest, under their pooled variance."""
    reader = model.shape.n_layers // 2 if plan.reader is None else plan.reader
    site, token = Site("resid_post", reader), ReadToken.mean()

    def rows(asked: _Asked) -> Tensor:
        found = []
        with torch.no_grad():
            for _, prompt in asked:
                ids = torch.tensor([model.tokens(prompt.text)], device=model.device)
                found.append(token(model.read(ids, [site])[site].float())[0].cpu())
        return torch.stack(found).double()

    taught, seen = rows(select), rows(test)
    labels = torch.tensor([number for number, _ in select])
    means = torch.stack([taught[labels == n].mean(dim=0) for n in range(len(phases))])
    spread = (taught - means[labels]).square().mean(dim=0).sqrt() + 1e-6
    nearest = torch.cdist(seen / spread, means / spread).argmin(dim=1).tolist()
    return [phases[n].name for n in nearest]
