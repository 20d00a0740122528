"""A plan with everything it names loaded and checked, directions found and the run started."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from steerscope.directions import METHODS, Direction
from steerscope.directions.finding import find_directions
from steerscope.engine.gathering import gather
from steerscope.engine.generation import Continuation, generation_plan
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.activations import Contrast
from steerscope.extraction.reading import ReadToken
from steerscope.judges import Judge
from steerscope.judges.second_model import SecondModel
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.models.loading import load_model
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run, check_run_folder
from steerscope.sites import Site, Stream
from steerscope.steering.interventions import Cell, check_scope
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import Bench, Decoding, Material
from steerscope.studies.equipment import Equipment
from steerscope.studies.inputs import stated_inputs
from steerscope.studies.judging import Judging, Question, find_judge
from steerscope.studies.loading import Loading
from steerscope.studies.steering.likelihood import asked_as
from steerscope.studies.steering.nulls import NULL, numbers_of_few
from steerscope.studies.steering.plan import GRID, RACE, Plan, StudyPlan
from steerscope.studies.steering.search import resolved
from steerscope.studies.steering.texts import Texts, load_texts, most_texts
from steerscope.studies.workers import HERE, Workers
from steerscope.texts.chats import as_chat
from steerscope.texts.contrasts import ContrastSet, load_contrasts, usual_prompts
from steerscope.texts.showing import counted

_UNSEEN = (
    "prompt",
    "generated",
    "steps",
    "last",
)  # scopes by where a prompt ends and writing begins
_FEW_PROMPTS = 6  # distinct ones, on which a clear difference has too few to be told
_SAMPLING = ("samples", "top_k", "top_p", "min_p", "repetition_penalty")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A plan with everything it names loaded and checked, directions found, the run started.

    Attributes:
        plain: what the model wrote without steering so far, by prompt and number of the sample.
        asked: the way of asking whose texts say how unlikely a text may be; None for plain texts.
    """

    plan: Plan
    model: LensModel
    texts: Texts
    judge: Judge
    found: dict[Site, Contrast]
    directions: dict[int, Direction]
    run: Run
    progress: Track
    second: SecondModel | None
    workers: Workers = HERE
    plain: dict[tuple[str, int], Continuation] = field(default_factory=dict)
    asked: Cell | None = None

    @property
    def search(self) -> str:
        """How the layer and dose are searched for."""
        return self.plan.search if isinstance(self.plan, StudyPlan) else GRID

    def measure(self, split: str, cells: Sequence[Cell], first: int | None = None) -> None:
        """Measure conditions on one split, or on its first so many prompts."""
        self.bench(self.material(split, first)).measure(cells, progress=self.progress)

    def material(self, split: str, first: int | None = None) -> Material:
        """The texts of one split, or its first so many prompts.

        Beside a judge of texts, preference is read on the select split alone, and in a race on few
        pairs: a pair takes as long as a text.
        """
        of = "test" if split == NULL else split
        prompts, pairs = (getattr(part, of) for part in (self.texts.prompts, self.texts.pairs))
        beside: tuple[int, ...] | None = None
        if of != "select":
            beside = ()
        elif self.search == RACE:
            beside = numbers_of_few(pairs, race=True)
        asked = None if split == NULL else self.asked  # nulls are ranked as they are
        return Material(split, prompts, pairs, first, beside, asked, judged_alone=split == NULL)

    def with_asked(self, asking: Sequence[Cell]) -> Prepared:
        """The same, once it is known from the select split whose texts say how unlikely a text may be."""
        run, effect = self.run, self.judge.effect
        key = asked_as(run.table(), effect, "select", groups_of(run))
        return replace(self, asked=next((cell for cell in asking if cell.key == key), None))

    def bench(self, material: Material) -> Bench:
        """What measures conditions on these texts, into the run."""
        plan = self.plan
        decoding = Decoding(plan.n_new, plan.sampler, plan.samples)
        return Bench(
            self.model,
            self.judge,
            material,
            self.run,
            decoding,
            plain=self.plain,
            second=self.second,
            workers=self.workers,
        )


def prepare(
    plan: Plan,
    out: str | Path,
    machine: tuple[str | None, str | None],
    progress: Track,
    workers: Workers = HERE,
) -> Prepared:
    """Load and check what a plan names, find its directions and start or continue its run.

    Args:
        plan: what decides the numbers.
        out: the run directory.
        machine: device and memory, as in `load_model`.
        progress: shows the loops.
        workers: who measures.

    Raises:
        SteerscopeError: any of the input errors; nothing is written before the input is checked.
    """
    if plan.method not in METHODS:
        raise UnknownNameError("method", plan.method, METHODS)
    read = ReadToken.parse(plan.read)
    check_run_folder(out)
    stream = plan.module or plan.stream
    plan = replace(plan, prompts=plan.prompts or usual_prompts(plan.contrasts))
    texts = load_texts(plan)
    loading = Loading.of(plan, *machine)
    model = loading.load()
    again, second = _second_model(plan, machine[0])
    plan = replace(plan, dtype=model.dtype_name)
    source = texts.contrasts.sha256
    texts = texts.in_chat(model, plan.chat).repeated(plan.samples)
    sites = sites_at(model, stream, plan.layers)
    plan = _with_search(plan, model, len(sites) * len(texts.prompts.select.prompts))
    judging = find_judge(question_of(plan, texts, len(sites)), model, out)
    judge = judging.judge
    _check_scope(plan, model, judge)
    _say_beforehand(plan, model, texts, judge)
    other = _other_pairs(plan, model)
    methods = [plan.method, *(["other_concept"] if other else [])]
    found = gather(
        model, texts.pairs.fit, sites, methods, read=read, other=other, progress=progress
    )
    there = find_directions(plan.method, found, seed=plan.seed, every=plan.layers is not None)
    found = {site: found[site] for site in there}
    directions = {site.layer: direction for site, direction in there.items()}
    run = _start(out, plan, (model, texts, source), judging, second)
    judging.keep(run)
    loaded = (replace(loading, dtype=plan.dtype), model)
    able = workers.equipped(partial(Equipment.of, loaded, judging, plan.judge_url, again))
    return Prepared(plan, model, texts, judge, found, directions, run, progress, second, able)


def _say_beforehand(plan: Plan, model: LensModel, texts: Texts, judge: Judge) -> None:
    """What generation needs, and that there are hardly any prompts, before anything is measured on them."""
    longest = texts.longest(model, plan.n_new)
    _log.info("memory: %s", generation_plan(model, longest, plan.n_new, sampler=plan.sampler)[0])
    select, test = (len(set(part.groups)) for part in (texts.prompts.select, texts.prompts.test))
    if judge.effect.is_share and min(select, test) < _FEW_PROMPTS:
        _log.warning(
            "%s to choose on and %d to state on, with which hardly anything can be told; give "
            "more with --prompts, or pairs that begin in more ways",
            counted(select, "distinct prompt"),
            test,
        )


def _second_model(
    plan: Plan, device: str | None
) -> tuple[tuple[Loading, LensModel] | None, SecondModel | None]:
    """The second model, and how workers load it again: in the number format that it has here."""
    if plan.second_model is None:
        return None, None
    model = load_model(plan.second_model, dtype=plan.dtype, device=device)
    again = Loading(plan.second_model, dtype=model.dtype_name, device=device)
    return (again, model), SecondModel(model)


def _start(
    out: str | Path,
    plan: Plan,
    given: tuple[LensModel, Texts, str],
    judging: Judging,
    second: SecondModel | None,
) -> Run:
    """The run of a plan; `given` holds the hash of the contrast set before any chat template."""
    model, texts, source = given
    judge = judging.judge
    parts = ("fit", "select", "test")
    return Run.start(
        out,
        {
            "kind": type(plan).__name__,
            **_settings(plan),
            "contrasts_sha256": texts.contrasts.sha256,
            "prompts_sha256": [texts.prompts.select.sha256, texts.prompts.test.sha256],
            "effect": asdict(judge.effect),
            **judging.settings,
        },
        provenance=provenance_of(model)
        | stated_inputs(asdict(plan))
        | ({} if second is None else {"second_model": second.model.fingerprint})
        | {
            "n_pairs": {part: len(getattr(texts.pairs, part)) for part in parts},
            "n_prompts": {part: len(getattr(texts.prompts, part)) for part in parts[1:]},
            "groups": {
                part: {
                    "pairs": getattr(texts.pairs, part).groups,
                    "prompts": getattr(texts.prompts, part).groups,
                }
                for part in parts[1:]
            },
            "contrasts_source_sha256": source,
        },
    )


def _with_search(plan: Plan, model: LensModel, texts_of_a_dose: int) -> Plan:
    """The plan with the search that it comes to, which is a part of what a run is."""
    if not isinstance(plan, StudyPlan):
        return plan
    n_parameters = sum(p.numel() for p in model.transformer.parameters())
    n_texts = 2 * len(plan.doses) * texts_of_a_dose
    return replace(plan, search=resolved(plan.search, n_texts, plan.n_new, n_parameters))


def question_of(plan: Plan, texts: Texts, n_layers: int) -> Question:
    """What a judge is to tell."""
    return Question(
        plan.judge,
        plan.judge_labels,
        texts.contrasts,
        texts.pairs,
        texts.all_prompts,
        plan.n_new,
        plan.seed,
        plan.judge_url,
        most_texts(plan, texts, n_layers),
    )


def _check_scope(plan: Plan, model: LensModel, judge: Judge) -> None:
    """Refuse a scope that no text has, or at which texts that are given are not steered as what is written."""
    check_scope(Scope.parse(plan.scope), model)
    blind = [kind for kind in _UNSEEN if kind in plan.scope]
    if blind and not judge.effect.is_share:
        raise BadValueError(
            f"scope {plan.scope}: without a judge of text the effect is read off pairs that are given "
            f"and not written, where {blind[0]!r} means something else; use the scope all, or a "
            "contrast set that a judge can read."
        )


def _other_pairs(plan: Plan, model: LensModel) -> ContrastSet | None:
    """The fit pairs of another concept, if the plan names one."""
    if not isinstance(plan, StudyPlan) or plan.other is None:
        return None
    pairs = load_contrasts(plan.other).split(plan.seed, plan.grouping).fit
    return in_chat(model, pairs, plan.chat)


def _settings(plan: Plan) -> dict[str, Any]:
    """The plan without what is not asked for, so that runs from before it could be asked continue."""
    usual: dict[str, Any] = {"chat": None, "bos": "auto", "revision": None, "all_layers": False}
    usual |= {"judge": None, "judge_labels": None, "instruction": None, "second_model": None}
    usual |= {"examples": StudyPlan.examples}
    usual |= {name: getattr(Plan, name) for name in _SAMPLING}
    usual |= {"search": GRID}
    chat = as_chat(plan.chat)
    settings = asdict(plan) | {"chat": None if chat is None else chat.stored()}
    del settings["judge_url"]  # where the judge is asked, not what it says
    return {k: v for k, v in settings.items() if k not in usual or v != usual[k]}


def sites_at(model: LensModel, stream: str, layers: Sequence[int] | None) -> list[Site]:
    """Sites of one stream at the given layers; None for every layer that has it.

    Raises:
        UnknownNameError: no such stream.
        UnsupportedSiteError: a layer is out of range, or no layer has the stream.
    """
    name = cast(Stream, stream)  # or that of a module, of which `check` knows more
    sites = [Site(name, layer) for layer in layers or range(model.shape.n_layers)]
    if layers is None:
        sites = [s for s in sites if model.has(s)] or sites[:1]
    for site in sites:
        model.check(site)
    return sites
