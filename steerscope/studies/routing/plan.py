"""What a comparison of routed and single vectors is asked to do, and the phases of a task as YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from steerscope.errors import BadValueError, ExperimentError
from steerscope.judges.scorers.searching import compiled
from steerscope.studies.planned import OfModel
from steerscope.texts.contrasts import ContrastSet, PromptSet, load_contrasts, prompts_for
from steerscope.texts.files import read_text
from steerscope.texts.numbers import check_temperature
from steerscope.texts.yaml_files import read_yaml

_KEYS = ("contrasts", "prompts", "where", "rule")


@dataclass(frozen=True)
class Phase:
    """One kind of prompt, and what is wanted of the text behind it.

    Attributes:
        name: of the phase.
        contrasts: the concept whose positive class is wanted.
        prompts: of this phase.
        rule: a pattern that a prompt of this phase matches, as its author thinks; empty for none.
    """

    name: str
    contrasts: ContrastSet
    prompts: PromptSet
    rule: str = ""


@dataclass(frozen=True, kw_only=True)
class RoutePlan(OfModel):
    """How routing is measured.

    Attributes:
        phases: YAML file of the phases.
        layer: block that all vectors act at; None for each its own, where its pairs agree most.
        reader: block whose output the classifier reads; None for the middle.
        kl: nats at which all vectors act, on the prompts of all phases.
        n_examples: texts shown in the arm that asks.
        n_select: prompts of each phase that choose and teach, at most.
        n_test: prompts of each phase that are stated on, at most.
        n_new: tokens of a text.
        temperature: of sampling.
        judge: reads the texts of every phase, as in a plan of a study; None for the oracle.
        judge_labels: file of labelled texts for the judge.
        judge_url: endpoint of the judge `lm`.

    Raises:
        BadValueError: a count below 1, or a KL that is not above 0.
    """

    FILES: ClassVar[tuple[str, ...]] = ("phases",)

    phases: str
    layer: int | None = None
    reader: int | None = None
    kl: float = 0.2
    n_examples: int = 2
    n_select: int = 24
    n_test: int = 40
    n_new: int = 24
    temperature: float = 0.7
    judge: str | None = None
    judge_labels: str | None = None
    judge_url: str | None = None

    def __post_init__(self) -> None:
        for name in ("n_examples", "n_select", "n_test", "n_new"):
            if getattr(self, name) < 1:
                raise BadValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.kl < math.inf:
            raise BadValueError(f"the KL {self.kl} must be a number above 0.")
        check_temperature(self.temperature)


def check_phases(phases: tuple[Phase, ...]) -> None:
    """Refuse what cannot be told apart.

    Raises:
        BadValueError: fewer than two phases, or two of one name.
    """
    names = [phase.name for phase in phases]
    if len(names) < 2 or len(set(names)) < len(names):
        raise BadValueError("routing needs at least two phases, each of its own name.")


def read_phases(path: str | Path) -> tuple[Phase, ...]:
    """The phases of a YAML file: under `phases` a name each with `contrasts`, and if need be more.

    `prompts` names a prompt set, default that of the contrasts; `where` keeps those of its prompts whose
    facts have one of the listed values; `rule` is a pattern that a prompt of the phase matches.

    Raises:
        ExperimentError: no such file, no YAML, or an unknown or missing key.
        ContrastError: no such contrast set or prompts.
        BadValueError: fewer than two phases, or one without prompts.
    """
    where = str(path)
    data, _ = read_yaml(read_text(Path(path), ExperimentError), where, ExperimentError)
    found = data.get("phases")
    if set(data) != {"phases"} or not isinstance(found, dict):
        raise ExperimentError(f"{where}: needs `phases:` with a name for each, and nothing else.")
    phases = tuple(_phase(str(name), said, where) for name, said in found.items())
    check_phases(phases)
    return phases


def texts_of_phases(phases: Sequence[Phase]) -> dict[str, list[str]]:
    """Hashes of the contrasts and prompts of each phase."""
    return {p.name: [p.contrasts.sha256, p.prompts.sha256] for p in phases}


def _phase(name: str, said: Any, where: str) -> Phase:
    at = f"{where}: phase {name!r}"
    if not isinstance(said, dict) or not isinstance(said.get("contrasts"), str):
        raise ExperimentError(f"{at} needs `contrasts:` with a name or file.")
    strange = [key for key in said if key not in _KEYS]
    if strange:
        raise ExperimentError(f"{at}: unknown key {strange[0]!r}; known: {', '.join(_KEYS)}.")
    if not isinstance(said.get("prompts", ""), str | None):
        raise ExperimentError(f"{at}: `prompts` is a name or file, or left out.")
    rule = said.get("rule", "")
    if not isinstance(rule, str):
        raise ExperimentError(f"{at}: the rule must be a pattern in quotes.")
    if rule:
        compiled(rule, at, whole_words=True)
    contrasts = load_contrasts(said["contrasts"])
    prompts = prompts_for(contrasts, said.get("prompts"))
    kept = tuple(p for p in prompts.prompts if _fits(p.facts, said.get("where") or {}, at))
    if not kept:
        raise BadValueError(f"{at} has no prompts; widen `where`.")
    return Phase(name, contrasts, PromptSet(f"{prompts.name}/{name}", kept), rule)


def _fits(facts: Mapping[str, Any], wanted: Any, at: str) -> bool:
    if not isinstance(wanted, dict):
        raise ExperimentError(f"{at}: `where` needs facts with a list of values each.")
    return all(
        facts.get(name) in (values if isinstance(values, list) else [values])
        for name, values in wanted.items()
    )
