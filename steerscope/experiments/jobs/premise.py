"""The premise of the eigengap, as a job: is attention kernel ridge regression, and how wide are its gaps?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from steerscope import figures
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.job import Job, Machine, Size, Step, Tables, as_asked, label, load
from steerscope.figures.files import Plate
from steerscope.models.chat_templates import in_chat
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track
from steerscope.report.tables_only import PREMISE as FRAMES
from steerscope.report.tables_only import of_all_runs
from steerscope.runs.results import Run
from steerscope.studies.inputs import stated_inputs
from steerscope.studies.premise.findings import head_fits, parts_of, premise_summary
from steerscope.studies.premise.measure import premise_rows
from steerscope.studies.premise.plan import PremisePlan
from steerscope.texts.chats import Chat, as_chat
from steerscope.texts.contrasts import load_contrasts, prompts_for, usual_prompts

FIGURE = "ridge-heads"


@dataclass(frozen=True)
class PremiseStep:
    """One model on the prompts of one concept."""

    plan: PremisePlan
    chat: Chat | None = None

    @property
    def name(self) -> str:
        """Model, contrast set and seed."""
        return f"{label(self.plan.model)}-{label(self.plan.contrasts)}-{self.plan.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        stored = None if self.chat is None else self.chat.stored()
        return as_asked({"kind": type(self.plan).__name__, **asdict(self.plan), "chat": stored})

    @property
    def model(self) -> str:
        """The model that it loads."""
        return self.plan.model

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Read every prompt once."""
        plan = self.plan
        model = load(plan, machine)
        contrasts = load_contrasts(plan.contrasts)
        prompts = in_chat(model, prompts_for(contrasts, plan.prompts), self.chat)
        settings = self.settings | {
            "contrasts_sha256": in_chat(model, contrasts, self.chat).sha256,
            "prompts_sha256": prompts.sha256,
        }
        said = provenance_of(model) | stated_inputs(asdict(plan))
        run = Run.start(out, settings, provenance=said)
        asked = prompts.split(plan.seed).select
        run.store(premise_rows(model, asked, plan, concept=contrasts.concept, progress=progress))
        run.seal()
        return run

    def size(self, n_layers: int) -> Size:
        """Every layer on every prompt."""
        layers = n_layers if self.plan.layers is None else len(self.plan.layers)
        return Size(layers, self.plan.n_prompts)

    def reduced(self, n_texts: int) -> PremiseStep:
        """One layer on few prompts."""
        few = replace(self.plan, layers=(self.plan.layers or (0,))[:1], n_prompts=max(4, n_texts))
        return replace(self, plan=few)


def _steps(e: Experiment) -> list[Step]:
    given = e.given("sample", {"select": "n_prompts"})
    return [
        PremiseStep(
            PremisePlan(
                model=model,
                contrasts=contrasts,
                prompts=e.prompts or usual_prompts(contrasts),
                layers=e.sites.layers,
                **e.loading(),
                seed=seed,
                **given,
            ),
            as_chat(e.chat),
        )
        for model, contrasts, seed in product(e.models, e.contrasts, e.seeds)
    ]


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
    return of_all_runs(FRAMES, runs, first=True)


def _seed(run: Run) -> int:
    return int(run.configuration["seed"])


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    if not {"all", FIGURE} & set(experiment.figures):
        return []
    found = []
    for run in runs:
        parts, seed = parts_of(run.table()), _seed(run)
        drawn = figures.ridge_heads(head_fits(parts, seed=seed), premise_summary(parts, seed=seed))
        found.append(Plate(f"{run.path.name}-{FIGURE}", drawn, ""))
    return found


PREMISE = Job(
    name="premise",
    words="whether attention is kernel ridge regression, head by head, and the gaps of its probabilities",
    takes=frozenset({"prompts", "chat", "sites.layers", "sample.select"}),
    figures=(FIGURE,),
    steps=_steps,
    tables=_tables,
    plates=_plates,
)
