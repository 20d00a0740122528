"""Groups of options that several commands take, each written once.

A command takes a group as one argument; `grouped` puts the options of the group in its place, so
that the command line and its help know the options alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import asdict, dataclass, fields, is_dataclass
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args, get_type_hints

import typer

from steerscope.cli import choices
from steerscope.cli.shared import (
    Backbone,
    Bos,
    ChatDate,
    ChatFlag,
    Check,
    Contrasts,
    Device,
    DeviceMap,
    DType,
    Examples,
    Instruction,
    JudgeLabels,
    JudgeName,
    JudgeUrl,
    Layers,
    MeasuredMethod,
    Memory,
    Method,
    MinP,
    Model,
    NNew,
    Prompts,
    Read,
    RepetitionPenalty,
    Revision,
    Samples,
    Seed,
    StreamName,
    System,
    Temperature,
    TemplateArguments,
    TopK,
    TopP,
    TrustRemoteCode,
    parse_layers,
    refuse_unused,
)
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from steerscope.engine.sampling import Sampler
    from steerscope.models.lens_model import LensModel
    from steerscope.serve.shelf import Shelf
    from steerscope.texts.chats import Chat


@dataclass(frozen=True)
class Loading:
    """How a model is loaded, and onto what."""

    panel: ClassVar[str] = "Model"
    backbone: Backbone = "auto"
    dtype: DType = "auto"
    device: Device = None
    memory: Memory = None
    bos: Bos = "auto"
    revision: Revision = None
    device_map: DeviceMap = None
    trust_remote_code: TrustRemoteCode = False

    def load(self, model: str) -> LensModel:
        """The model of that name."""
        return self._loaded(model, check=True)

    def _loaded(self, model: str, *, check: bool) -> LensModel:
        from steerscope.models.loading import load_model

        return load_model(
            model,
            backbone=self.backbone,
            dtype=self.dtype,
            device=self.device,
            memory=self.memory,
            bos=self.bos,
            revision=self.revision,
            device_map=self.device_map,
            trust_remote_code=self.trust_remote_code,
            check=check,
        )

    def settings(self) -> dict[str, Any]:
        """What of it is part of a plan: it decides the numbers."""
        return {
            "backbone": self.backbone,
            "dtype": self.dtype,
            "bos": self.bos,
            "revision": self.revision,
        }

    def machine(self) -> dict[str, Any]:
        """What of it is about the computer alone.

        Raises:
            BadValueError: an option that no run takes.
        """
        if self.device_map is not None or self.trust_remote_code:
            raise BadValueError(
                "a run takes neither --device-map nor --trust-remote-code; save the model to a "
                "folder that needs neither, or measure it in Python."
            )
        return {"device": self.device, "memory": self.memory}


@dataclass(frozen=True)
class Trying(Loading):
    """The same for a command that judges nothing, so that its model may go unexamined."""

    check: Check = True

    def load(self, model: str) -> LensModel:
        """The model of that name."""
        return self._loaded(model, check=self.check)


@dataclass(frozen=True)
class Subject:
    """What is asked of which model: the pairs, and the prompts if they are others."""

    panel: ClassVar[str] = "What is asked"
    model: Model = DEFAULT_MODEL
    contrasts: Contrasts = "mood"
    prompts: Prompts = None

    def settings(self) -> dict[str, Any]:
        """The same, for a plan."""
        return asdict(self) | {"prompts": self.asked}

    @property
    def asked(self) -> str | None:
        """The prompts that are named, else those that the contrast set is stated on; None for its own."""
        from steerscope.texts.contrasts import usual_prompts

        return self.prompts or usual_prompts(self.contrasts)


@dataclass(frozen=True)
class Recipe:
    """How directions are found, and where."""

    panel: ClassVar[str] = "Direction"
    method: Method = "mean_diff"
    stream: StreamName = "resid_post"
    layers: Layers = None
    read: Read = "last"

    def settings(self) -> dict[str, Any]:
        """The same, for a plan."""
        return asdict(self) | {"layers": parse_layers(self.layers)}


@dataclass(frozen=True)
class Measured(Recipe):
    """How directions are found that are measured, and where."""

    method: MeasuredMethod = "mean_diff"

    def together(self, all_layers: bool) -> bool:
        """Whether all layers are steered at once as well.

        Raises:
            BadValueError: one layer alone is named, so that there is nothing to steer together.
        """
        if all_layers and len(parse_layers(self.layers) or (0, 1)) == 1:
            refuse_unused({"all_layers": True}, f"one layer alone is named, {self.layers}")
        return all_layers


@dataclass(frozen=True)
class Finding:
    """Settings of the methods that have some."""

    panel: ClassVar[str] = "Direction"
    loss: Annotated[
        str | None,
        typer.Option(
            autocompletion=choices.completing(choices.LOSSES),
            help=f"whose gradients are taken, of gradient_* and fisher_*: {choices.listed(choices.LOSSES)}; default margin",
        ),
    ] = None
    target: Annotated[
        int | None,
        typer.Option(
            help="block at whose output a loss of activations reads them; default the last"
        ),
    ] = None
    damping: Annotated[
        float | None,
        typer.Option(help="of fisher_*, in mean eigenvalues of the Fisher information; default 1"),
    ] = None
    rank: Annotated[
        int | None,
        typer.Option(help="singular directions kept, of sspace_*; default a quarter"),
    ] = None

    def settings(self) -> dict[str, Any]:
        """What is set, for an experiment."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Writing:
    """How continuations are written."""

    panel: ClassVar[str] = "Texts that are written"
    n_new: NNew = 48
    temperature: Temperature = 0.7
    seed: Seed = 0

    def sampler(self) -> Sampler:
        """Sampling with the seed, or the most likely token at temperature 0."""
        from steerscope.engine.sampling import sampler_at

        return sampler_at(self.temperature, self.seed)

    def settings(self) -> dict[str, Any]:
        """The same, for a plan."""
        return asdict(self)


@dataclass(frozen=True)
class Drawing:
    """Which tokens may be drawn, and how many texts of each prompt."""

    panel: ClassVar[str] = "Texts that are written"
    samples: Samples = 1
    top_k: TopK = 0
    top_p: TopP = 1.0
    min_p: MinP = 0.0
    repetition_penalty: RepetitionPenalty = 1.0

    def settings(self) -> dict[str, Any]:
        """The same, for a plan."""
        return asdict(self)

    def sampler(self, writing: Writing) -> Sampler:
        """Sampling as is asked for, or the most likely token at temperature 0."""
        from steerscope.engine.sampling import sampler_at

        narrowing = {k: v for k, v in asdict(self).items() if k != "samples"}
        return sampler_at(writing.temperature, writing.seed, **narrowing)


@dataclass(frozen=True)
class Vectors:
    """The vectors that a talk or a server begins with."""

    panel: ClassVar[str] = "Vectors"
    vector: Annotated[
        list[str] | None,
        typer.Option(
            help="vector file, or NAME=FILE; METHOD@FILE where it has several methods; again for several"
        ),
    ] = None
    find: Annotated[
        list[str] | None,
        typer.Option(help="find a vector at the start: NAME=CONTRASTS@SITE; again for several"),
    ] = None

    def put(self, shelf: Shelf, model: LensModel, name: str) -> list[str]:
        """Put them on the shelf; those that are found, as NAME=CONTRASTS@SITE.

        Args:
            shelf: takes them.
            model: finds them.
            name: by which the model was asked for; the bundled one has a vector of its own.
        """
        from steerscope.progress import bar
        from steerscope.serve.starting import add_files, add_found, usual_finds

        add_files(shelf, model, self.vector or [])
        found = [*usual_finds(name, self.vector, self.find)]
        add_found(shelf, model, found, progress=bar)
        return found


@dataclass(frozen=True)
class Judged:
    """What reads the texts that are written."""

    panel: ClassVar[str] = "Judge"
    judge: JudgeName = None
    judge_labels: JudgeLabels = None
    judge_url: JudgeUrl = None

    def settings(self, contrasts: str) -> dict[str, Any]:
        """The same, for a plan; unless another is named, the judge is the contrast set's own."""
        from steerscope.judges.registry import judge_of

        return asdict(self) | {"judge": self.judge or judge_of(contrasts)}


@dataclass(frozen=True)
class Asking:
    """How the model is asked in words, beside which steering is set."""

    panel: ClassVar[str] = "Asking in words"
    instruction: Instruction = None
    examples: Examples = 4

    def settings(self) -> dict[str, Any]:
        """The same, for a plan."""
        return asdict(self)


@dataclass(frozen=True)
class Talk:
    """How texts are put into the model's chat template; any of the others asks for it as well."""

    panel: ClassVar[str] = "Chat template"
    chat: ChatFlag = False
    system: System = None
    template: TemplateArguments = None
    date: ChatDate = None

    def asked(self) -> Chat | None:
        """What is asked for; None for plain text."""
        from steerscope.texts.chats import FIXED_DATE, Chat

        if not self.chat and self.system is None and not self.template and self.date is None:
            return None
        return Chat(self.system, tuple(self.template or ()), self.date or FIXED_DATE)


def typed(*groups: Any) -> str:
    """What was asked for, with a blank before, to be typed in a command worth giving next.

    Args:
        groups: of options, of which those that are not at their default are typed; others may be given
            by name, each with its default.
    """
    given: dict[str, tuple[Any, Any]] = {}
    for group in groups:
        given |= (
            group
            if isinstance(group, dict)
            else {f.name: (getattr(group, f.name), f.default) for f in fields(group)}
        )
    words = []
    for name, (value, default) in given.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words += [] if value == default else [f"--{'' if value else 'no-'}{option}"]
        elif value != default:
            several = value if isinstance(value, list) else [value]
            words += [f"--{option} {quote(str(one))}" for one in several]
    return "".join(f" {word}" for word in words)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each group among its arguments replaced by the options of the group."""
    signature = inspect.signature(command, eval_str=True)
    groups = {n: p.annotation for n, p in signature.parameters.items() if _is_group(p)}
    options = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        for option in (_options(groups[name]) if name in groups else [parameter])
    ]

    @functools.wraps(command)
    def called(**named: Any) -> None:
        asked = shown.bind(**named)  # a name that is no option raises here
        asked.apply_defaults()
        values = dict(asked.arguments)
        made = {n: g(**{f.name: values.pop(f.name) for f in fields(g)}) for n, g in groups.items()}
        command(**values, **made)

    shown = signature.replace(parameters=options)
    called.__signature__ = shown  # type: ignore[attr-defined]
    return called


def _is_group(parameter: inspect.Parameter) -> bool:
    return is_dataclass(parameter.annotation)


def _options(group: type[Any]) -> list[inspect.Parameter]:
    """The fields of a group as parameters of a command."""
    kinds = {n: _in_panel(k, group.panel) for n, k in _kinds(group).items()}
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=kinds[f.name])
        for f in fields(group)
    ]


def _kinds(group: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(group, include_extras=True)
    return {f.name: hints[f.name] for f in fields(group)}


def _in_panel(kind: Any, panel: str) -> Any:
    """The kind of an option, which now stands in a panel of the help."""
    value, *about = get_args(kind)
    shown = [copy(option) for option in about]
    for option in shown:
        option.rich_help_panel = panel
    return Annotated[value, *shown]
