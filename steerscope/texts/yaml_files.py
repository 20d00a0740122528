"""YAML as a mapping with the line of everything in it, of files that cannot exhaust the reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from steerscope.errors import SteerscopeError

Place = tuple[str | int, ...]
_DEEPEST = 20  # parts within each other
_WORD = "tag:yaml.org,2002:str"


def read_yaml(
    text: str, where: str, error: type[SteerscopeError]
) -> tuple[dict[str, Any], dict[Place, int]]:
    """A mapping out of YAML, and the line of each of its keys and items.

    Args:
        text: of the file.
        where: its name, for the messages.
        error: what is raised.

    Raises:
        SteerscopeError: of the kind asked for; it is no YAML, no mapping, has a key twice, or is made to exhaust a reader.
    """
    try:
        _check_size(text, where, error)
        node = yaml.compose(text, yaml.SafeLoader)
        lines: dict[Place, int] = {}
        for path, line in _walk(node, ()) if node is not None else ():
            if path in lines:
                raise error(
                    f"{where}, line {line}: {path[-1]!r} is there twice, first in line "
                    f"{lines[path]}; keep one."
                )
            lines[path] = line
        data = yaml.safe_load(text)
    except (ValueError, OverflowError, LookupError, AttributeError, TypeError) as fault:
        # a date, a number or a word that there is not, or is not of its tag
        raise error(f"{where}: a value cannot be read ({fault}).") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        reason = getattr(fault, "problem", None) or str(fault)
        raise error(f"{where}{at}: this is not YAML ({reason}).") from None
    if not isinstance(data, dict):
        raise error(f"{where} is empty or no list of `key: value` lines.")
    return data, lines


def _check_size(text: str, where: str, error: type[SteerscopeError]) -> None:
    """Refuse what grows when it is read: aliases, which repeat a part or hold themselves, and depth."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        at = f"{where}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise error(f"{at}: *{event.anchor} repeats another part; write it out.")
        opens = isinstance(event, yaml.CollectionStartEvent)
        depth += opens - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise error(f"{at}: more than {_DEEPEST} parts within each other.")


def _walk(node: yaml.Node, path: Place) -> Iterator[tuple[Place, int]]:
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
