"""Every prompt under every vector once, and where each router sends it, as the rows of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
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
from steerscope.judges.judges import read_all, scored
from steerscope.judges.scorers.searching import compiled, found_in
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.results import NOT_FINITE, Row, Run, measuring, plain_row
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.prompting import Prompting, seen_under
from steerscope.studies.beginnings import load_planned, start_planned
from steerscope.studies.damage import undamaged_texts
from steerscope.studies.judging import find_judge, question_of
from steerscope.studies.predictors.best_layer import best_layer
from steerscope.studies.routing.findings import (
    ASKED,
    AT_RANDOM,
    BY_CLASSIFIER,
    BY_RULE,
    BY_TRUTH,
    NOWHERE,
    PLAIN,
    ROUTE,
    WANTED,
    single,
)
from steerscope.studies.routing.plan import (
    Phase,
    RoutePlan,
    check_phases,
    read_phases,
    texts_of_phases,
)
from steerscope.studies.rows import cell_row
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import Prompt

_DOSES = (0.05, 0.2, 0.5, 1.25, 4.0)


def run_routing(
    path: str | Path,
    plan: RoutePlan,
    *,
    chat: Chat | None = None,
    device: str | None = None,
    memory: str | None = None,
    model: LensModel | None = None,
    progress: Track = silent,
) -> Run:
    """Routers against the best single vector, asking and plain, into a run.

    Args:
        path: the run's folder.
        plan: what is measured.
        chat: puts texts into the chat template; None for plain text.
        device: as in `load_model`.
        memory: as in `load_model`.
        model: the model, if it is loaded already.
        progress: shows the loops.

    Raises:
        BadValueError: as `routing_rows`.
        RunError: the folder holds another run, or something else.
    """
    spoken = read_phases(plan.phases)
    loaded = model or load_planned(plan, device=device, memory=memory)
    phases = tuple(
        replace(
            p,
            contrasts=in_chat(loaded, p.contrasts, chat),
            prompts=in_chat(loaded, p.prompts, chat),
        )
        for p in spoken
    )
    with measuring(path), TemporaryDirectory() as nowhere:
        judges, files = _judges(phases, loaded, plan, Path(nowhere))
        more = {
            "phase_names": [p.name for p in phases],
            "template": phases[0].contrasts.template,
            "texts_sha256": texts_of_phases(spoken),
        }
        run = start_planned(path, plan, loaded, chat, more, files)
        run.append(*routing_rows(loaded, phases, plan=plan, judges=judges, progress=progress))
        run.seal()
    return run


def _judges(
    phases: Sequence[Phase], model: LensModel, plan: RoutePlan, out: Path
) -> tuple[list[Judge] | None, list[str]]:
    """What reads the texts of each phase, and the files that decide what it says.

    None for the oracle where nothing is named.
    """
    if plan.judge is None:
        return None, []
    judging = {k: getattr(plan, k) for k in ("judge", "judge_labels", "judge_url")}
    found = []
    for number, phase in enumerate(phases):
        parts = phase.prompts.split(plan.seed)
        question = question_of(judging, phase.contrasts, parts, plan.n_new, plan.seed)
        found.append(find_judge(question, model, out / str(number)))
    return [j.judge for j in found], list(dict.fromkeys(f for j in found for f in j.files))


def routing_rows(
    model: LensModel,
    phases: Sequence[Phase],
    *,
    plan: RoutePlan,
    judges: Sequence[Judge] | None = None,
    progress: Track = silent,
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows of a run: every prompt under plain, every vector and asking, and where routers send it; and texts.

    Every vector acts at one KL on the prompts of all phases. A text counts 1 if the judge of its prompt's
    phase finds what is wanted there and the text is undamaged, within the spread of the plain texts of its
    phase, under every arm alike; what is asked for need not be likely unasked. Prompts that show it
    already are left out. The select prompts are for choosing the best single vector, and teach the
    classifier.

    Args:
        model: the model.
        phases: at least two.
        plan: how.
        judges: one for each phase; default the oracle where it can read them.
        progress: shows the loop.

    Raises:
        BadValueError: too few phases or prompts, no judge that reads texts, or a KL out of reach.
    """
    phases = tuple(phases)
    check_phases(phases)
    read = tuple(judges) if judges is not None else tuple(map(_usual_judge, phases))
    if not all(judge.effect.is_share for judge in read):
        raise BadValueError("routing is told by what is written; give a judge that reads texts.")
    select, test = (_asked(phases, read, plan, split) for split in ("select", "test"))
    bench = _Bench(model, phases, read, plan, _vectors(model, phases, select, plan, progress))
    parts = bench.measured(select, "select"), bench.measured(test, "test")
    rows = [row for part in parts for row in part[0]]
    texts = [text for part in parts for text in part[1]]
    names = [phase.name for phase in phases]
    truth = [names[number] for number, _ in test]
    routes: dict[str, list[str | None]] = {
        BY_TRUTH: [*truth],
        BY_CLASSIFIER: [*_classified(model, phases, select, test, plan)],
        AT_RANDOM: [*np.random.default_rng(plan.seed).choice(names, size=len(test))],
    }
    if all(phase.rule for phase in phases):
        routes[BY_RULE] = [_by_rule(phases, prompt.text) for _, prompt in test]
    for arm, route in routes.items():
        rows += _route_rows(arm, route, truth, names)
    return rows, texts


def _route_rows(
    arm: str, route: Sequence[str | None], truth: Sequence[str], names: Sequence[str]
) -> list[Row]:
    """Where a router sends each prompt, as the place of the phase."""
    return [
        replace(
            plain_row(ROUTE, "phase", NOWHERE if to is None else float(names.index(to))),
            cell=arm,
            method=arm,
            concept=phase,
            prompt=prompt,
        )
        for prompt, (to, phase) in enumerate(zip(route, truth, strict=True))
    ]


_Asked = list[tuple[int, Prompt]]  # the number of its phase, and the prompt
_Measured = tuple[list[Row], list[dict[str, Any]]]  # rows and texts


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
    table = matched_doses(model, found, texts, matching, signs=[1], progress=progress)
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

    def measured(self, prompts: _Asked, split: str) -> _Measured:
        """What each prompt's text is worth: plain, under one vector everywhere, and of the test asked for."""
        cells = {PLAIN: Cell()}
        for phase, (direction, dose) in zip(self.phases, self.vectors, strict=True):
            cells[single(phase.name)] = Cell((Steering(direction, Dose(dose, "relative")),))
        found = self._written([p.text for _, p in prompts], list(cells.values()))
        written = dict(zip(cells, found, strict=True))
        worth = self._worth(prompts, written)
        if split == "test":
            cells[ASKED] = Cell()
            written[ASKED], seen = self._asked(prompts)
            mine = {name: written[name] for name in (PLAIN, ASKED)}
            worth[ASKED] = self._worth(prompts, mine, asked=seen)[ASKED]
        rows = [
            row
            for name, cell in cells.items()
            for row in self._rows((name, cell), prompts, split, worth[name])
        ]
        texts = [t for name, mine in written.items() for t in _texts(name, split, prompts, mine)]
        return rows, texts

    def _asked(self, prompts: _Asked) -> tuple[list[Continuation], list[str]]:
        """What is written where examples of the phase stand before each prompt, and what is seen then."""
        found: dict[int, tuple[Continuation, str]] = {}
        for number, phase in enumerate(self.phases):
            places = [i for i, (n, _) in enumerate(prompts) if n == number]
            fit = phase.contrasts.split(self.plan.seed).fit.pairs
            shown = tuple(pair.positive for pair in fit[: self.plan.n_examples])
            texts, cell = [prompts[i][1].text for i in places], Cell((Prompting(examples=shown),))
            [written] = self._written(texts, [cell])
            seen = [str(seen_under(cell, text)) for text in texts]
            found |= dict(zip(places, zip(written, seen, strict=True), strict=True))
        told = [found[place] for place in range(len(prompts))]
        return [text for text, _ in told], [seen for _, seen in told]

    def _rows(
        self,
        condition: tuple[str, Cell],
        prompts: _Asked,
        split: str,
        worth: Float[np.ndarray, " prompt"],
    ) -> list[Row]:
        name, cell = condition
        return [
            replace(
                cell_row(
                    cell,
                    self.phases[number].name,
                    split,
                    (WANTED, "share", prompt),
                    float(worth[prompt]),
                    status=NOT_FINITE if np.isnan(worth[prompt]) else "ok",
                ),
                cell=name,
            )
            for prompt, (number, _) in enumerate(prompts)
        ]

    def _written(self, texts: Sequence[str], cells: Sequence[Cell]) -> list[list[Continuation]]:
        sampler = sampler_at(self.plan.temperature, self.plan.seed)
        return attempt(self.model, texts, cells, n_new=self.plan.n_new, sampler=sampler)

    def _worth(
        self,
        prompts: _Asked,
        written: Mapping[str, Sequence[Continuation]],
        *,
        asked: Sequence[str] | None = None,
    ) -> dict[str, Float[np.ndarray, " prompt"]]:
        """1 for a text that shows what is wanted and is undamaged, else 0; by condition, plain among them.

        NaN for every text of a condition whose logits are not finite, of which nothing is known.
        """
        worth = {name: np.zeros(len(prompts)) for name in written}
        for number, judge in enumerate(self.judges):
            places = [i for i, (n, _) in enumerate(prompts) if n == number]
            given = [prompts[i][1] for i in places]
            mine = {name: [texts[i] for i in places] for name, texts in written.items()}
            read = {name: read_all(judge, given, texts) for name, texts in mine.items()}
            seen = None if asked is None else [asked[i] for i in places]
            bare = [p.text for p in given]
            whole = undamaged_texts(self.model, bare, mine, read, judge.effect, asked=seen)
            for name in mine:
                shown = np.nan_to_num([values[judge.effect.metric] for values in read[name]])
                worth[name][places] = shown * whole.loc[name].to_numpy(float)
        for name, found in written.items():
            if not all(text.finite for text in found):
                worth[name][:] = np.nan
        return worth


def _texts(
    cell: str, split: str, prompts: _Asked, texts: Sequence[Continuation]
) -> list[dict[str, Any]]:
    return [
        {"cell": cell, "prompt": i, "split": split, "given": prompt.text, "written": text.text}
        for i, ((_, prompt), text) in enumerate(zip(prompts, texts, strict=True))
    ]


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
