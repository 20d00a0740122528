"""The user's text in a figure is shown letter by letter: none of it is read as markup or as a script.

Plotly reads `<br>`, `<b>` and links in every label. Names of concepts, models, styles and tokens are
the user's, so they are escaped where they come into a figure, and as they were in its numbers.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any, ParamSpec

import pandas as pd
import plotly.graph_objects as go

P = ParamSpec("P")


def literal(text: str) -> str:
    """A text as plotly has to be given it, so that it shows these very letters."""
    return html.escape(text, quote=False)


def script_data(value: object) -> str:
    """A value as JSON that can stand in a script of a page: no letter in it ends or opens anything.

    Every parser of JSON reads the same value back.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":  # only texts hold them, where JSON may write any letter by its number
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def spoken(shown: Any) -> Any:
    """The letters that a label of a figure shows; what is no text stays."""
    return html.unescape(shown) if isinstance(shown, str) else shown


def of_literal_text(draw: Callable[P, go.Figure]) -> Callable[P, go.Figure]:
    """The same figure, whose tables and words are shown letter by letter."""

    @wraps(draw)
    def called(*args: P.args, **kwargs: P.kwargs) -> go.Figure:
        return draw(*map(_literal, args), **{name: _literal(v) for name, v in kwargs.items()})

    return called


def _literal(value: Any) -> Any:
    """The same value with every text in it escaped."""
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, pd.DataFrame):
        texts = [c for c in value.columns if value[c].dtype == object or _is_text(value[c])]
        return value.assign(**{c: value[c].map(_literal_cell) for c in texts})
    if isinstance(value, Mapping):
        return {_literal(k): _literal(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_literal(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: _literal(getattr(value, f.name)) for f in fields(value) if f.init}
        return replace(value, **changed)
    return value


def _literal_cell(cell: Any) -> Any:
    return literal(cell) if isinstance(cell, str) else cell


def _is_text(column: pd.Series) -> bool:
    return pd.api.types.is_string_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)
