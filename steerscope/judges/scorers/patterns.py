"""Texts that fit a form: a regular expression, or JSON by a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.errors import JudgeError
from steerscope.texts.files import parse_json, read_text

_LONGEST = 500  # characters of a pattern
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
        compiled = re.compile(self.pattern)
        return [float(bool(compiled.search(text))) for text in texts]


def read_pattern(pattern: str) -> Matches:
    """A pattern that compiles.

    Raises:
        JudgeError: it is empty, too long, or does not compile.
    """
    if not pattern or len(pattern) > _LONGEST:
        raise JudgeError(f"regex: needs a pattern of 1 to {_LONGEST} characters.")
    try:
        re.compile(pattern)
    except re.error as error:
        raise JudgeError(f"regex: pattern {pattern[:60]!r} does not compile ({error}).") from None
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
        return [float(any(map(validator.is_valid, _values(text)))) for text in texts]


def read_schema(path: str | Path) -> FitsSchema:
    """A JSON schema from a file.

    Raises:
        JudgeError: no such file, no JSON, no schema, or `jsonschema` is not installed.
    """
    schema = parse_json(read_text(Path(path), JudgeError), str(path), JudgeError)
    _validator(schema, str(path))
    return FitsSchema(json.dumps(schema))


def _validator(schema: Any, where: str) -> Any:
    try:
        import jsonschema
    except ImportError:
        raise JudgeError(
            "the judge json needs jsonschema: pip install steerscope[judges]."
        ) from None
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise JudgeError(f"{where}: is no JSON schema ({error.message[:120]}).") from None
    return kind(schema)


def _values(text: str) -> list[Any]:
    """The first JSON object or list of a text, wherever it begins; none where there is none."""
    for start in (i for i, c in enumerate(text) if c in "{["):
        try:
            return [_DECODER.raw_decode(text, start)[0]]
        except (ValueError, RecursionError):
            continue
    return []
