"""From a YAML file to an experiment, or to one line that says what is wrong and where."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from steerscope.errors import ExperimentError
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs import check
from steerscope.texts.bundled import bundled_experiments
from steerscope.texts.files import read_text
from steerscope.texts.yaml_files import Place, read_yaml

_TWO_CONCEPTS = ("comparison", "combinations")  # jobs in which `other` is a concept


def load_experiment(name_or_path: str | Path) -> Experiment:
    """Read an experiment file, or a bundled one by its name, with or without `.yaml`.

    Args:
        name_or_path: a bundled name, or a YAML file such as `steerscope init` makes.

    Raises:
        ExperimentError: no such file, no YAML, an unknown or missing key, or a value that will not
            do; the message names the file and, where there is one, the line.
    """
    path = _find(name_or_path)
    return parse_experiment(read_text(path, ExperimentError), str(path))


def parse_experiment(text: str, where: str) -> Experiment:
    """An experiment out of the text of a file.

    Raises:
        ExperimentError: as `load_experiment`.
    """
    data, lines = read_yaml(text, where, ExperimentError)
    return experiment_of(data, where, lines)


def experiment_of(data: Any, where: str, lines: dict[Place, int] | None = None) -> Experiment:
    """An experiment out of what a file or a command says.

    Args:
        data: keys and values.
        where: what said them, for messages.
        lines: of the file, by place.

    Raises:
        ExperimentError: as `load_experiment`.
    """
    lines = lines or {}
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        place, words = _in_words(error)
        raise ExperimentError(f"{_at(where, lines, place)}: {words}") from None
    mistake = check(experiment) or _same_concept(experiment)
    if mistake is not None:
        place, words = mistake
        raise ExperimentError(f"{_at(where, lines, place)}: {words}")
    return experiment


def _same_concept(experiment: Experiment) -> tuple[Place, str] | None:
    """What is wrong with another concept that is one of the experiment's own; runs from before may have one."""
    if experiment.job not in _TWO_CONCEPTS or experiment.other not in experiment.contrasts:
        return None
    words = (
        f"other: {experiment.other!r} is one of the contrasts, and no other concept beside itself; name another "
        "one, or leave that concept to a file of its own."
    )
    return ("other",), words


def _find(name_or_path: str | Path) -> Path:
    path, known = Path(name_or_path), bundled_experiments()
    if path.is_file():
        return path
    name = str(name_or_path).removesuffix(".yaml")
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ExperimentError(f"no experiment file {name_or_path}.{hint} Bundled: {', '.join(known)}.")


def _at(where: str, lines: dict[Place, int], place: Place) -> str:
    """The file and the line of a place, or of the nearest part around it that the file has."""
    for end in range(len(place), 0, -1):
        if place[:end] in lines:
            return f"{where}, line {lines[place[:end]]}"
    return where


def _in_words(error: ValidationError) -> tuple[Place, str]:
    """Where the first mistake is, unknown keys before all else, and one sentence about it."""
    mistakes = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = mistakes[0]
    place = first["loc"]
    name = ".".join(str(p) for p in place if not isinstance(p, int))
    if first["type"] == "extra_forbidden":
        known = _keys_at(place[:-1])
        near = get_close_matches(str(place[-1]), known, n=1) or _elsewhere(str(place[-1]))
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return place, f"unknown key {name!r}.{hint} Known: {', '.join(known)}."
    if first["type"] == "missing":
        return place, f"the key {name!r} is missing; every experiment needs it."
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    if not place:  # of the whole
        return place, f"{said}."
    if first["type"] != "value_error":
        said = f"{said[0].lower()}{said[1:]}, not {first['input']!r}"
    return place, f"{name}: {said}."


def _keys_at(place: Place) -> list[str]:
    """The keys that are known in a part of an experiment."""
    part: type[BaseModel] = Experiment
    for name in place:
        part = next(iter(_parts_in(part, str(name))))
    return sorted(part.model_fields)


def _elsewhere(key: str) -> list[str]:
    """The keys of this name in all parts of an experiment, with the part before them."""
    fields = Experiment.model_fields
    return [f"{n}.{key}" for n in fields for p in _parts_in(Experiment, n) if key in p.model_fields]


def _parts_in(part: type[BaseModel], name: str) -> list[type[BaseModel]]:
    """What a key of a part of an experiment holds that has keys of its own."""
    kind = part.model_fields[name].annotation
    inside = [k for k in (kind, *get_args(kind)) if isinstance(k, type)]
    return [k for k in inside if issubclass(k, BaseModel)]
