"""What an experiment file may say: every key with its kind, none that is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from steerscope.calls import told
from steerscope.directions import check_method
from steerscope.doses import check_unit
from steerscope.engine.sampling import NARROWING, without_usual
from steerscope.errors import BadValueError, SteerscopeError, UnknownNameError
from steerscope.extraction.losses import find_loss
from steerscope.judges.registry import check_judge, judge_of
from steerscope.models.vocabulary import BOS
from steerscope.sites import check_stream
from steerscope.steering.scopes import Scope
from steerscope.studies.methods.places import Place
from steerscope.studies.rows import METRICS
from steerscope.studies.steering.plan import SEARCHES
from steerscope.studies.transfer.recipe import AdapterRecipe
from steerscope.texts.about import about
from steerscope.texts.chats import as_chat
from steerscope.texts.numbers import LARGEST_SEED

FIGURE_FORMATS = ("html", "png", "svg", "pdf")
OWN = "own"  # judge: that which each contrast set names
WITHOUT_PAIRS = frozenset({"budget", "drift", "routing"})  # jobs
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


def _number(value: Any) -> Any:
    """Refuse what YAML reads as something else than a number: yes, on, "1"."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {value!r}")
    if isinstance(value, int) and abs(value) > LARGEST_SEED:
        raise ValueError("must have at most 18 digits")
    if not math.isfinite(value):
        raise ValueError(f"must be finite, not {value!r}")
    return value


def _text(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a text, not {value!r}")
    return value


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError(f"must be above 0, not {value:g}")
    return value


def _listed(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list; write [{value}]")
    if not value:
        raise ValueError("must not be an empty list")
    twice = [v for i, v in enumerate(value) if v in value[:i]]
    if twice:
        raise ValueError(f"names {twice[0]!r} twice")
    return value


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """A validator out of a check of ours, whose errors pydantic does not know."""

    def validate(value: str) -> str:
        try:
            check(value)
        except SteerscopeError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(validate)


def own_judge(contrasts: str) -> str | None:
    """The judge that a contrast set names; None for the oracle.

    Raises:
        BadValueError: it names none, or one that is none.
    """
    if not (named := about(contrasts).judge):
        raise BadValueError(f"judge: {contrasts} names no judge of its own; name one for all.")
    try:
        check_judge(named)
    except SteerscopeError as error:
        raise BadValueError(f"judge: {contrasts} names {named!r} as its own; {error}") from None
    return judge_of(contrasts)


def _check_judge(name: str) -> None:
    if name != OWN:
        check_judge(name)


def _one_of(kind: str, known: Iterable[str]) -> AfterValidator:
    names = tuple(known)

    def check(value: str) -> None:
        if value not in names:
            raise UnknownNameError(kind, value, names)

    return _checked(check)


def _plain_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "must be a name of at most 100 of a-z, 0-9, _ and -, since it names a folder; got "
            f"{value[:100]!r}"
        )
    return value


def _places(value: Any) -> Any:
    """A list of places for the part that holds them."""
    return {"places": value} if isinstance(value, list | tuple) else value


def _adapter(value: dict[str, Any]) -> dict[str, Any]:
    """What an `AdapterRecipe` is made of."""
    known = list(AdapterRecipe.__dataclass_fields__)
    for name in value:
        if name not in known:
            raise ValueError(str(UnknownNameError("setting of an adapter", name, known)))
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    try:
        told(AdapterRecipe)(**given)
    except SteerscopeError as error:
        raise ValueError(str(error)) from None
    return given


_MOST = 10**9  # of anything that is counted


def _talk(value: bool | dict[str, Any]) -> bool | dict[str, Any]:
    """True, false, or the parts of a `Chat`."""
    try:
        as_chat(value)
    except SteerscopeError as error:
        raise ValueError(str(error)) from None
    return value


Text = Annotated[str, BeforeValidator(_text)]
Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Number, AfterValidator(_positive)]
Count = Annotated[int, BeforeValidator(_number), Field(ge=1, le=_MOST)]
Natural = Annotated[int, BeforeValidator(_number), Field(ge=0, le=LARGEST_SEED)]


class Part(BaseModel):
    """A part of an experiment: fixed once read, and no key in it that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sites(Part):
    """Where is steered.

    A list in place of this part, such as `[resid_post, k, up]`, is a list of places.

    Attributes:
        stream: such as `resid_post`.
        layers: 0-based; None for all that have the stream.
        places: where the job compares several, as `Place.parse` reads them.
    """

    stream: Annotated[Text, _checked(check_stream)] = "resid_post"
    layers: Annotated[tuple[Natural, ...], BeforeValidator(_listed)] | None = None
    places: (
        Annotated[tuple[Annotated[Text, _checked(Place.parse)], ...], BeforeValidator(_listed)]
        | None
    ) = None


class MethodOptions(Part):
    """How methods find their directions; what is left out is as each method has it.

    Attributes:
        loss: whose gradients are taken, of `gradient_*` and `fisher_*`.
        target: block at whose output a loss of activations reads them, of the same.
        damping: of the Fisher information, of `fisher_*`.
        rank: singular directions that are kept, of `sspace_*`.
    """

    loss: Annotated[Text, _checked(find_loss)] | None = None
    target: Natural | None = None
    damping: Positive | None = None
    rank: Count | None = None


class Doses(Part):
    """How hard.

    Attributes:
        values: in `unit`; for a study and for predictors positive, as both signs are measured.
        unit: `natural`, `relative` or `absolute`.
        reference: one of the values, at which layers and controls are compared.
    """

    values: Annotated[tuple[Number, ...], BeforeValidator(_listed)] | None = None
    unit: Annotated[Text, _checked(check_unit)] | None = None
    reference: Positive | None = None


class Decoding(Part):
    """How continuations are made.

    Attributes:
        n_new: new tokens.
        temperature: 0 for the most likely token.
        samples: texts of each prompt, where the job writes several.
        top_k: which tokens may be drawn, as in `Sample`, like the next three.
        top_p: see there.
        min_p: see there.
        repetition_penalty: see there.
    """

    n_new: Count = 48
    temperature: Annotated[Number, Field(ge=0)] = 0.7
    samples: Count = 1
    top_k: Natural = 0
    top_p: Number = 1.0
    min_p: Number = 0.0
    repetition_penalty: Number = 1.0


class Sample(Part):
    """How much is measured, at most; what is left out is as the job has it.

    Attributes:
        select: prompts of the select split.
        test: prompts of the test split.
        pairs: contrast pairs of each split.
        kl_prompts: prompts on which a KL is matched.
        texts: texts for perplexity, or on which features fire.
        features: of each set that is compared.
        nulls: null directions of each kind where the effect is stated.
        layer_nulls: random directions at each layer of a sweep.
        chosen_nulls: null directions of each kind in a study, each at the layer and dose where it does most.
    """

    select: Count | None = None
    test: Count | None = None
    pairs: Count | None = None
    kl_prompts: Count | None = None
    texts: Count | None = None
    features: Count | None = None
    nulls: Count | None = None
    layer_nulls: Natural | None = None
    chosen_nulls: Natural | None = None


class Matched(Part):
    """At what conditions are compared: nats of KL, and a length in relative units."""

    kl: Positive | None = None
    relative: Positive | None = None


class Edits(Part):
    """How weights are edited.

    Attributes:
        names: of edits, such as `power`.
        matrices: `q`, `k`, `v`, `o`, `gate`, `up`, `down`.
        amounts: α or β of every edit.
    """

    names: Annotated[tuple[Text, ...], BeforeValidator(_listed)] | None = None
    matrices: Annotated[tuple[Text, ...], BeforeValidator(_listed)] | None = None
    amounts: Annotated[tuple[Number, ...], BeforeValidator(_listed)] | None = None


class Experiment(Part):
    """One file in, every table and figure out.

    Attributes:
        name: of the folder that the results go to.
        question: in words.
        job: what is measured; a name in `jobs.JOBS`.
        models: bundled names, folders or hub names.
        contrasts: bundled names or files; none for the jobs that have no pairs.
        prompts: bundled name or file; None for those of the contrast set.
        other: another contrast set, where the job combines or compares two concepts.
        dilemmas: file of dilemmas, where the job asks about them.
        value: whose effect on choices is asked for there.
        begin: how an answer begins there, up to the word that is read.
        autoencoder: bundled name, folder or release, where the job reads features.
        methods: how directions are found.
        method_options: settings of the methods.
        adapter: settings of an adapter, as of `AdapterRecipe`, where the job trains one.
        plan: settings of the job's own plan, for the jobs that take all of them so.
        bos: how texts begin: `auto`, `always` or `never`.
        revision: branch, tag or commit of a model on the hub; None for the newest.
        metrics: what the table of metrics holds; None for all.
        judge: what reads the texts that are written, as in a plan; None for the oracle where it can
            read them, else preference; `own` for the one that each contrast set names.
        judge_labels: file of labelled texts for the judge.
        judge_url: endpoint of the judge `lm`.
        second_model: as in a plan.
        instruction: what is said to the model to ask for the concept, as in a plan of a study.
        examples: positive texts that are shown to the model to ask for it; None for as many as usual.
        search: how a study chooses layer and dose, as in its plan; None for as usual.
        smallest_share: smallest effect of interest, as in a plan of a study; None for as usual.
        smallest_nats: the same on log-odds, in nats.
        seeds: of splits, controls and sampling; each is a run of its own.
        figures: names of the figures to draw, or `all`.
        formats: of the figures.
    """

    name: Annotated[Text, AfterValidator(_plain_name)]
    question: Text
    job: Text
    models: Annotated[tuple[Text, ...], BeforeValidator(_listed)]
    contrasts: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    prompts: Text | None = None
    other: Text | None = None
    dilemmas: Text | None = None
    value: Text = "honesty"
    begin: Text = "Answer:"
    autoencoder: Text | None = None
    methods: Annotated[
        tuple[Annotated[Text, _checked(check_method)], ...], BeforeValidator(_listed)
    ] = ("mean_diff",)
    method_options: MethodOptions = MethodOptions()
    adapter: Annotated[dict[str, Any], AfterValidator(_adapter)] = {}
    plan: dict[str, Any] = {}
    sites: Annotated[Sites, BeforeValidator(_places)] = Sites()
    doses: Doses = Doses()
    matched: Matched = Matched()
    edits: Edits = Edits()
    decoding: Decoding = Decoding()
    sample: Sample = Sample()
    read: Text = "last"
    scope: Annotated[Text, _checked(Scope.parse)] = "all"
    chat: Annotated[bool | dict[str, Any], AfterValidator(_talk)] = False
    backbone: Text = "auto"
    dtype: Text = "float32"
    bos: Annotated[Text, _one_of("bos", BOS)] = "auto"
    revision: Text | None = None
    judge: Annotated[Text, _checked(_check_judge)] | None = None
    judge_labels: Text | None = None
    judge_url: Text | None = None
    second_model: Text | None = None
    instruction: Text | None = None
    examples: Natural | None = None
    search: Annotated[Text, _one_of("search", SEARCHES)] | None = None
    smallest_share: Positive | None = None
    smallest_nats: Positive | None = None
    metrics: (
        Annotated[tuple[Annotated[Text, _one_of("metric", METRICS)], ...], BeforeValidator(_listed)]
        | None
    ) = None
    seeds: Annotated[tuple[Natural, ...], BeforeValidator(_listed)] = (0,)
    figures: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ("all",)
    formats: Annotated[
        tuple[Annotated[Text, _one_of("figure format", FIGURE_FORMATS)], ...],
        BeforeValidator(_listed),
    ] = ("html",)

    @model_validator(mode="after")
    def _has_pairs(self) -> Self:
        if not self.contrasts and self.job not in WITHOUT_PAIRS:
            raise ValueError("the key 'contrasts' is missing; every experiment with pairs needs it")
        return self

    def settings(self) -> frozenset[str]:
        """What the file sets, parts with a dot: `doses.unit`."""
        return frozenset(_set_in(self))

    def loading(self) -> dict[str, Any]:
        """How its models are loaded, under the names of a plan."""
        return {name: getattr(self, name) for name in ("backbone", "dtype", "bos", "revision")}

    def judging(self, contrasts: str) -> dict[str, Any]:
        """What reads the texts of a contrast set, under the names of a plan.

        Raises:
            BadValueError: its own judge is asked for, and it names none, or one that is none.
        """
        return {
            "judge": own_judge(contrasts) if self.judge == OWN else self.judge,
            "judge_labels": self.judge_labels,
            "judge_url": self.judge_url,
        }

    def narrowing(self) -> dict[str, Any]:
        """Which tokens may be drawn, under the names of a plan, as far as anything is left out."""
        found = {name: getattr(self.decoding, name) for name in NARROWING}
        return without_usual(found)

    def given(self, part: str, names: Mapping[str, str]) -> dict[str, Any]:
        """Settings of one part that are not None, under the names that a job has for them."""
        values = getattr(self, part)
        found = {job_name: getattr(values, name) for name, job_name in names.items()}
        return {name: value for name, value in found.items() if value is not None}


def _set_in(part: Part, start: str = "") -> Iterator[str]:
    for name in part.model_fields_set:
        value = getattr(part, name)
        if isinstance(value, Part):
            yield from _set_in(value, f"{start}{name}.")
        else:
            yield start + name
