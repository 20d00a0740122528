"""Texts that fit a form: a regular expression, or JSON by a schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.errors import JudgeError
from steerscope.judges.scorers.searching import compiled, found_in
from steerscope.texts.files import parse_json, read_text

_DATA = {"const", "default", "enum", "examples"}  # keywords whose values are no schemas
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Matches:
    """1 where a regular expression is found anywhere in the text, else 0."""

    pattern: str
    threshold: float = 0.5

    @property
    def words(self) -> str:
        """What the score is."""
        return "1 where the pattern is found, else 0"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """1 or 0 for each text."""
        pattern = compiled(self.pattern, "regex")
        return [float(found_in(pattern, text)) for text in texts]


def read_pattern(pattern: str) -> Matches:
    """A pattern that compiles.

    Raises:
        JudgeError: it is empty, too long, or does not compile.
    """
    compiled(pattern, "regex")
    return Matches(pattern)


@dataclass(frozen=True)
class FitsSchema:
    """1 where the first JSON value of the text is valid by a schema, else 0."""

    schema: str
    threshold: float = 0.5

    @property
    def words(self) -> str:
        """What the score is."""
        return "1 where the text holds JSON by the schema, else 0"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """1 or 0 for each text."""
        validator = _validator(json.loads(self.schema), "schema")
        return [float(any(_fits(validator, value) for value in _values(text))) for text in texts]


def read_schema(path: str | Path) -> FitsSchema:
    """A JSON schema from a file.

    Raises:
        JudgeError: no such file, no JSON, no schema, one that refers to what is not in it, or
            `jsonschema` is not installed.
    """
    schema = parse_json(read_text(Path(path), JudgeError), str(path), JudgeError)
    _validator(schema, str(path))
    _check_references(schema, str(path))
    return FitsSchema(json.dumps(schema))


def _validator(schema: Any, where: str) -> Any:
    try:
        import jsonschema
        from jsonschema_specifications import REGISTRY
    except ImportError:
        raise JudgeError(
            "the judge json needs jsonschema: pip install steerscope[judges], or name another (--judge)."
        ) from None
    if not isinstance(schema, dict | bool):
        raise JudgeError(f"{where}: is no JSON schema; a schema is an object.")
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        said = " ".join(error.message.split())[:120]
        raise JudgeError(f"{where}: is no JSON schema ({said}).") from None
    bounded = jsonschema.validators.extend(
        kind, {"pattern": _pattern, "patternProperties": _pattern_properties}
    )
    return bounded(schema, registry=REGISTRY)  # which fetches nothing


def _fits(validator: Any, value: Any) -> bool:
    from referencing.exceptions import Unresolvable

    try:
        return bool(validator.is_valid(value))
    except RecursionError:
        raise JudgeError("json: the schema refers to itself without end.") from None
    except Unresolvable as error:
        raise JudgeError(f"json: the schema refers to what it does not hold ({error}).") from None


def _check_references(schema: Any, where: str) -> None:
    """Refuse what refers to another place, before a text is read by it."""
    from jsonschema_specifications import REGISTRY
    from referencing import Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    whole = Resource.from_contents(schema, default_specification=DRAFT202012)
    place = whole.id() or ""
    resolver = REGISTRY.with_resource(place, whole).crawl().resolver(place)
    for refers in _references(schema):
        try:
            resolver.lookup(refers)
        except (Unresolvable, ValueError):
            raise JudgeError(
                f"{where}: $ref {refers[:80]!r} is not in the file, and nothing is fetched; write it "
                "under $defs."
            ) from None


def _references(schema: Any) -> Iterator[str]:
    """Everything that a schema refers to."""
    if isinstance(schema, dict):
        found = schema.get("$ref")
        if isinstance(found, str):
            yield found
        schema = [part for name, part in schema.items() if name not in _DATA]
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[Any]:
    """The keyword `pattern`, in bounded time."""
    import jsonschema

    if isinstance(value, str) and not found_in(compiled(pattern, "json: pattern"), value):
        yield jsonschema.ValidationError("does not match")


def _pattern_properties(
    validator: Any, parts: Mapping[str, Any], value: Any, _: Any
) -> Iterator[Any]:
    """The keyword `patternProperties`, in bounded time."""
    if not isinstance(value, dict):
        return
    for pattern, part in parts.items():
        looked_for = compiled(pattern, "json: patternProperties")
        for name, inner in value.items():
            if found_in(looked_for, name):
                yield from validator.descend(inner, part, path=name, schema_path=pattern)


def _values(text: str) -> list[Any]:
    """The first JSON object or list of a text, wherever it begins; none where there is none."""
    for start in (i for i, c in enumerate(text) if c in "{["):
        try:
            return [_DECODER.raw_decode(text, start)[0]]
        except ValueError:
            continue
        except RecursionError:  # nested beyond any use; so is what begins inside it
            return []
    return []
