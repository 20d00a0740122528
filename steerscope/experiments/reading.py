"""From a YAML file to an experiment, or to one line that says what is wrong and where."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from steerscope.errors import ExperimentError
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs import check
from steerscope.texts.bundled import bundled_experiments
from steerscope.texts.files import read_text

_Path = tuple[str | int, ...]
_DEEPEST = 20  # parts within each other
_WORD = "tag:yaml.org,2002:str"


def load_experiment(name_or_path: str | Path) -> Experiment:
    """Read an experiment file, or a bundled one by its name, with or without `.yaml`.

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
    data, lines = read_yaml(text, where)
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        place, words = _in_words(error)
        raise ExperimentError(f"{_at(where, lines, place)}: {words}") from None
    mistake = check(experiment)
    if mistake is not None:
        place, words = mistake
        raise ExperimentError(f"{_at(where, lines, place)}: {words}")
    return experiment


def read_yaml(text: str, where: str) -> tuple[dict[str, Any], dict[_Path, int]]:
    """A mapping out of YAML, and the line of each of its keys and items.

    Raises:
        ExperimentError: it is no YAML, no mapping, has a key twice, or is made to exhaust a reader.
    """
    try:
        _check_size(text, where)
        node = yaml.compose(text, yaml.SafeLoader)
        lines: dict[_Path, int] = {}
        for path, line in _walk(node, ()) if node is not None else ():
            if path in lines:
                raise ExperimentError(
                    f"{where}, line {line}: {path[-1]!r} is there twice, first in line "
                    f"{lines[path]}; keep one."
                )
            lines[path] = line
        data = yaml.safe_load(text)
    except (ValueError, OverflowError) as error:  # a date or a number that there is not
        raise ExperimentError(f"{where}: a value cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise ExperimentError(f"{where}{at}: this is not YAML ({reason}).") from None
    if not isinstance(data, dict):
        raise ExperimentError(f"{where} is empty or no list of `key: value` lines.")
    return data, lines


def _check_size(text: str, where: str) -> None:
    """Refuse what grows when it is read: aliases, which repeat a part or hold themselves, and depth."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        at = f"{where}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise ExperimentError(f"{at}: *{event.anchor} repeats another part; write it out.")
        opens = isinstance(event, yaml.CollectionStartEvent)
        depth += opens - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ExperimentError(f"{at}: more than {_DEEPEST} parts within each other.")


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


def _walk(node: yaml.Node, path: _Path) -> Iterator[tuple[_Path, int]]:
    """Every key and item with its line, counted from 1."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != _WORD:
                raise yaml.MarkedYAMLError(
                    problem="a key must be a word", problem_mark=key.start_mark
                )
            here = (*path, key.value)
            yield here, key.start_mark.line + 1
            yield from _walk(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            here = (*path, number)
            yield here, item.start_mark.line + 1
            yield from _walk(item, here)


def _at(where: str, lines: dict[_Path, int], place: _Path) -> str:
    """The file and the line of a place, or of the nearest part around it that the file has."""
    for end in range(len(place), 0, -1):
        if place[:end] in lines:
            return f"{where}, line {lines[place[:end]]}"
    return where


def _in_words(error: ValidationError) -> tuple[_Path, str]:
    """Where the first mistake is, unknown keys before all else, and one sentence about it."""
    mistakes = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = mistakes[0]
    place = first["loc"]
    name = ".".join(str(p) for p in place if not isinstance(p, int))
    if first["type"] == "extra_forbidden":
        known = _keys_at(place[:-1])
        near = get_close_matches(str(place[-1]), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return place, f"unknown key {name!r}.{hint} Known: {', '.join(known)}."
    if first["type"] == "missing":
        return place, f"the key {name!r} is missing; every experiment needs it."
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] != "value_error":
        said = f"{said[0].lower()}{said[1:]}, not {first['input']!r}"
    return place, f"{name}: {said}."


def _keys_at(place: _Path) -> list[str]:
    """The keys that are known in a part of an experiment."""
    part: type[BaseModel] = Experiment
    for name in place:
        kind = part.model_fields[str(name)].annotation
        inside = [k for k in (kind, *get_args(kind)) if isinstance(k, type)]
        part = next(k for k in inside if issubclass(k, BaseModel))
    return sorted(part.model_fields)
