"""What a study or a sweep is asked to do, and how to read it back from a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

import pandas as pd

from steerscope.engine.sampling import Sampler, check_samples, sampler_of
from steerscope.errors import BadValueError, RunError, UnknownNameError, check_name
from steerscope.judges import stored_effect
from steerscope.judges.effects import Effect
from steerscope.judges.registry import check_judge, check_judge_url
from steerscope.runs.results import Run
from steerscope.sites import Site, Stream
from steerscope.steering.scopes import Scope
from steerscope.studies.steering.verdict import ENOUGH_NULLS
from steerscope.texts.bundled import DEFAULT_MODEL
from steerscope.texts.chats import Chat, as_chat
from steerscope.texts.contrasts import CONTRAST, GROUPINGS
from steerscope.texts.numbers import check_seed, check_temperature

GRID, RACE, AUTO = "grid", "adaptive", "auto"
SEARCHES = (AUTO, GRID, RACE)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What both a study and a sweep fix.

    Attributes:
        model: bundled name, folder or hub name.
        contrasts: bundled name or file.
        prompts: bundled name or file; None for those of the same name as the contrast set, and
            where there are none, the openings of the held-out pairs.
        backbone: `auto`, `hooked` or `bridge`.
        dtype: `float32`, `bfloat16`, `float16`, or `auto` as in `load_model`; a run says which.
        method: how directions are found.
        stream: where they are read and added.
        layers: the layers to measure; None for all.
        read: token of the contrast texts that is read: `last`, `mean` or an index.
        scope: positions that are steered, as `Scope.parse` reads them.
        n_new: tokens of each continuation.
        temperature: of sampling; 0 for the most likely token.
        samples: texts of each prompt; intervals are over prompts.
        top_k: as of `Sample`, like the next three.
        top_p: see there.
        min_p: see there.
        repetition_penalty: see there.
        max_select: prompts of the select split to use at most.
        max_test: prompts of the test split to use at most.
        n_sweep_controls: random directions at each layer on the select split.
        seed: of splits, controls and sampling.
        bos: how texts begin: `auto`, `always` or `never`.
        revision: branch, tag or commit of a model on the hub; None for the newest.
        all_layers: whether all layers are steered at once as well, each with its share of the dose.
        chat: how pairs and prompts are put into the model's chat template: true for as it is, a
            `Chat` for a system message, arguments or a date; None for plain text.
        grouping: what splits keep together, as `ContrastSet.split` reads it.
        judge: what reads the texts that are written, as `judges.registry` knows it; None for the
            oracle where it can read them, else preference.
        judge_labels: file of labelled texts for the judge; None for replies to a style, else the pairs.
        second_model: bundled name, folder or hub name of a model under which what is written has to be
            about as likely as what is written without steering; None for the steered model alone.
        judge_url: OpenAI-compatible endpoint of the judge `lm`; None for models on this machine. Not
            part of a run, which may go on with another.

    Raises:
        UnknownNameError: no such stream, scope, grouping or judge.
        BadValueError: a scope that cannot be read, a count below 1, a temperature below 0, a seed
            outside 0..2⁶³-1, a number of the sampling outside its range, or several samples at
            temperature 0.
    """

    module: ClassVar[str] = ""  # of transformers, by which the stream was named; see `Site`
    model: str = DEFAULT_MODEL
    contrasts: str = "mood"
    prompts: str | None = None
    backbone: str = "auto"
    dtype: str = "auto"
    method: str = "mean_diff"
    stream: str = "resid_post"
    layers: tuple[int, ...] | None = None
    read: str = "last"
    scope: str = "all"
    n_new: int = 48
    temperature: float = 0.7
    samples: int = 1
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    n_sweep_controls: int = 2
    max_select: int = 120
    max_test: int = 240
    seed: int = 0
    bos: str = "auto"
    revision: str | None = None
    chat: bool | Chat | None = None
    grouping: str = CONTRAST
    all_layers: bool = False
    judge: str | None = None
    judge_labels: str | None = None
    judge_url: str | None = None
    second_model: str | None = None

    def __post_init__(self) -> None:
        named = Site(cast(Stream, self.stream), 0)
        object.__setattr__(self, "stream", named.stream)
        object.__setattr__(self, "module", named.module)
        object.__setattr__(self, "chat", as_chat(self.chat))
        if self.grouping not in GROUPINGS:
            raise UnknownNameError("grouping", self.grouping, GROUPINGS)
        if self.judge is not None:
            check_judge(self.judge)
        check_judge_url(self.judge, self.judge_url)
        Scope.parse(self.scope)
        check_temperature(self.temperature)
        check_seed(self.seed)
        check_samples(self.samples, self.sampler)
        for name in ("n_new", "max_select", "max_test"):
            if getattr(self, name) < 1:
                raise BadValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")

    @property
    def sampler(self) -> Sampler:
        """How the next token is chosen."""
        return sampler_of(self)


@dataclass(frozen=True, kw_only=True)
class StudyPlan(Plan):
    """Everything that decides the numbers of a study but the files themselves.

    What it shares with a sweep is in `help(ss.StudyPlan.__base__)`.

    Attributes:
        doses: positive, in natural units; both signs are measured.
        reference_dose: one of the doses, at which layers and controls are compared.
        n_controls: random and label-shuffled directions on the test split, each.
        nulls: null directions of each kind, each at the layer and dose where it does most to the likelihood of
            the pairs; fewer than 19 test nothing, and the sentence says so.
        smallest_share: the smallest effect of interest on a share, as a difference from plain.
        smallest_nats: the same on log-odds, in nats.
        search: `grid` for every layer and dose on every prompt, `adaptive` for a race in which the best
            go on to more prompts, `auto` for a race where the texts of the grid take more than 10^13
            operations, as of any model above some ten million parameters.
        other: contrast set of another concept, whose direction is shown beside; bundled name or file,
            None for none.
        instruction: what is said to the model to ask for the concept, beside which steering is set;
            None for what a style wants, and where there is none, for no instruction.
        examples: positive texts of the fit split that are shown to the model to ask for it; 0 for none.

    Raises:
        BadValueError: a dose that is not positive, a reference that is not among them, fewer than 0
            nulls or examples, an instruction that is empty, or a smallest effect that is not positive.
    """

    doses: tuple[float, ...] = (0.5, 1.0, 2.0, 2.5, 3.0, 4.0)
    reference_dose: float = 2.0
    n_controls: int = 3
    nulls: int = ENOUGH_NULLS
    smallest_share: float = 0.10
    smallest_nats: float = 0.50
    other: str | None = None
    search: str = AUTO
    instruction: str | None = None
    examples: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.instruction is not None and not self.instruction.strip():
            raise BadValueError("the instruction is empty; write a sentence, or leave it out.")
        if self.examples < 0:
            raise BadValueError(f"examples is {self.examples}; it must be at least 0.")
        if self.search not in SEARCHES:
            raise UnknownNameError("search", self.search, SEARCHES)
        if self.nulls < 0:
            raise BadValueError(f"nulls is {self.nulls}; it must be at least 0.")
        if not (0 < self.smallest_share < 1 and 0 < self.smallest_nats < math.inf):
            raise BadValueError(
                "the smallest effect of interest must be a share between 0 and 1, and positive nats."
            )
        if not self.doses or not all(0 < d < math.inf for d in self.doses):
            raise BadValueError("doses must be positive numbers; both signs are measured anyway.")
        if self.reference_dose not in self.doses:
            raise BadValueError(
                f"the reference dose {self.reference_dose:g} must be one of the doses "
                f"{', '.join(f'{d:g}' for d in self.doses)}."
            )


@dataclass(frozen=True, kw_only=True)
class SweepPlan(Plan):
    """A grid of layers and signed doses, measured on the select split.

    What it shares with a study is in `help(ss.SweepPlan.__base__)`.

    Attributes:
        doses: signed, in `unit`; zero is the plain model, which is measured anyway.
        unit: `natural`, `relative` or `absolute`.

    Raises:
        UnknownNameError: no such unit.
        BadValueError: a dose that is not finite, or none that is positive, of which the choice is made.
    """

    doses: tuple[float, ...] = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
    unit: str = "natural"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("dose unit", self.unit, LENGTHS)
        if not any(self.doses) or not all(map(math.isfinite, self.doses)):
            raise BadValueError("doses must be finite numbers, at least one dose that is not 0.")
        if max(self.doses) <= 0:
            raise BadValueError(
                "doses need at least one positive dose, since the layer and dose are chosen among those; "
                "to steer the other way swap the classes of the pairs."
            )


LENGTHS = ("natural", "relative", "absolute")  # units that every row has its dose in

# What runs did that do not name it, since they are from before it could be chosen.
_BEFORE: dict[str, Any] = {"grouping": "text", "nulls": 0, "search": GRID}


def is_race(plan: Plan) -> bool:
    """Whether the layer and dose were raced for, so that most conditions have the first prompts alone."""
    return isinstance(plan, StudyPlan) and plan.search == RACE


def dose_unit(plan: Plan) -> str:
    """The unit in which all layers have the same doses, of those that rows are labelled by."""
    unit = plan.unit if isinstance(plan, SweepPlan) else "natural"
    return unit if unit in LENGTHS else "natural"


def reference_dose(plan: Plan, doses: pd.Series) -> float:
    """The dose at which layers are compared, in `dose_unit`: of a sweep the positive one nearest to 1.

    Args:
        plan: of the run; a study names it.
        doses: those of the conditions, in that unit.
    """
    if isinstance(plan, StudyPlan):
        return plan.reference_dose
    positive = doses[doses > 0]
    return float(positive.loc[(positive - 1).abs().idxmin()])


def smallest_effect(plan: Plan, effect: Effect) -> float:
    """The smallest effect of interest, in the unit of the effect; the default for a sweep."""
    name = "smallest_share" if effect.is_share else "smallest_nats"
    return float(getattr(plan, name, getattr(StudyPlan, name)))


def effect_of(run: Run) -> Effect:
    """The effect that a run measured."""
    return stored_effect(run.configuration["effect"])


def plan_of(run: Run) -> StudyPlan | SweepPlan:
    """The plan that a run followed.

    Raises:
        RunError: the run is of a kind that this steerscope does not know.
    """
    kinds = {kind.__name__: kind for kind in (StudyPlan, SweepPlan)}
    kind = kinds.get(run.configuration.get("kind", ""))
    if kind is None:
        raise RunError(
            f"{run.path} is no run of a study or sweep; its run.json names no such kind."
        )
    names = [f.name for f in fields(kind) if f.name in run.configuration]
    stored: dict[str, Any] = {k: v for k, v in _BEFORE.items() if k in kind.__dataclass_fields__}
    stored |= {name: run.configuration[name] for name in names}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    return kind(**values | {"chat": as_chat(stored.get("chat"))})
