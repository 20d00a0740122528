"""Tables on disk: the numbers as CSV, and the same laid out for reading as Markdown and LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.errors import BadValueError
from steerscope.runs.digits import without_negative_zero
from steerscope.runs.spreadsheets import as_csv
from steerscope.runs.whole_files import write_whole

MISSING = "–"
_LEAST_P = 1e-15  # below, floating point tells no p from another
_LATEX = {"−": "$-$", "–": "--", "ρ": r"$\rho$", "λ": r"$\lambda$", "±": r"$\pm$", "×": r"$\times$"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: of the column in the frame.
        title: what the reader sees, with the unit in brackets where there is one.
        digits: after the point; None for texts and whole numbers.
        signed: whether a plus is written.
        low: column with the lower end of the interval; empty for none.
        high: column with the upper end.
        factor: what the numbers are multiplied by, such as 100 for percent.
        is_p: whether it is a p, which has the digits that count instead, since one of 0.0002 is not 0.000.
    """

    name: str
    title: str
    digits: int | None = None
    signed: bool = False
    low: str = ""
    high: str = ""
    factor: float = 1.0
    is_p: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """A frame with the columns that are shown, its file name and its caption.

    The caption says n and what the intervals are.
    """

    name: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    caption: str

    def __post_init__(self) -> None:
        named = {n for c in self.columns for n in (c.name, c.low, c.high) if n}
        missing = sorted(named - set(self.frame.columns))
        if missing:
            raise BadValueError(f"the table {self.name} has no column {', '.join(missing)}.")


def with_interval(
    value: float, low: float, high: float, *, digits: int, signed: bool = False
) -> str:
    """An estimate with its interval, as in `0.52 [0.41, 0.63]`; the bare value without an interval."""
    if math.isnan(value):
        return MISSING
    form = f"{'+' if signed else ''}.{digits}f"
    shown = without_negative_zero(f"{value:{form}}")
    if math.isnan(low) or math.isnan(high):
        return shown
    ends = [without_negative_zero(f"{end:{form}}") for end in (low, high)]
    return f"{shown} [{ends[0]}, {ends[1]}]"


def p_value(p: float) -> str:
    """A p with two digits that count, which is never 0; a dash where nothing was tested."""
    if math.isnan(p):
        return MISSING
    return f"< {_LEAST_P:g}" if p < _LEAST_P else f"{p:.2g}"


def is_p(name: str) -> bool:
    """Whether a column holds p, or q, by its name or title: p, p_holm, q_bh, p (max statistic)."""
    return name == "p" or name.startswith(("p_", "q_", "p ("))


def laid_out(table: Table) -> pd.DataFrame:
    """The table as texts under its titles."""
    return pd.DataFrame(
        {c.title: [_cell(row, c) for row in table.frame.to_dict("records")] for c in table.columns}
    )


def as_numbers(table: Table) -> pd.DataFrame:
    """The table as numbers under its titles, the ends of the intervals in columns of their own."""
    found = {}
    for column in table.columns:
        parts = ((column.name, ""), (column.low, ", 95 % low"), (column.high, ", 95 % high"))
        for name, what in parts:
            if name:
                values = table.frame[name]
                found[column.title + what] = (
                    values if column.factor == 1.0 else column.factor * values
                )
    return pd.DataFrame(found)


def as_markdown(table: Table) -> str:
    """The table for a README: numbers to the right, bars escaped, the caption below."""
    shown = laid_out(table)
    head = [_escaped(t) for t in shown.columns]
    rule = ["---" if _is_text(table, c) else "---:" for c in table.columns]
    body = [[_escaped(text) for text in row] for row in shown.to_numpy().tolist()]
    lines = [f"| {' | '.join(row)} |" for row in (head, rule, *body)]
    return "\n".join([*lines, "", table.caption, ""])


def as_latex(table: Table) -> str:
    """The table for a paper; needs the package booktabs."""
    text = laid_out(table).to_latex(
        index=False,
        escape=True,
        column_format="".join("l" if _is_text(table, c) else "r" for c in table.columns),
        caption=_latex_text(table.caption),
        label=f"tab:{table.name}",
        position="t",
    )
    for character, command in _LATEX.items():
        text = text.replace(character, command)
    return text


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write a table as CSV, Markdown and LaTeX; the same table gives the same bytes.

    Raises:
        RunError: the disk refused.
    """
    written = []
    for name, content in table_files(table).items():
        written.append(folder / name)
        write_whole(written[-1], content)
    return written


def table_files(table: Table) -> dict[str, str]:
    """What is written of a table: the name of each file and its content."""
    return {
        f"{table.name}.csv": as_csv(as_numbers(table)),
        f"{table.name}.md": as_markdown(table),
        f"{table.name}.tex": as_latex(table),
    }


def _cell(row: dict[Any, Any], column: Column) -> str:
    value = row[column.name]
    if column.is_p:
        return p_value(float(value))
    if column.digits is None:
        return MISSING if pd.isna(value) or value == "" else str(value)
    numbers = (float(row[n]) * column.factor if n else math.nan for n in _names(column))
    value, low, high = numbers
    return with_interval(value, low, high, digits=column.digits, signed=column.signed)


def _names(column: Column) -> Sequence[str]:
    return column.name, column.low, column.high


def _is_text(table: Table, column: Column) -> bool:
    return not pd.api.types.is_numeric_dtype(table.frame[column.name])


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)  # what Markdown would take for a tag


def _latex_text(text: str) -> str:
    special = {"\\": r"\textbackslash "} | {c: f"\\{c}" for c in "&%$#_{}"}
    special |= {"~": r"\textasciitilde ", "^": r"\textasciicircum "}
    return "".join(special.get(c, c) for c in text)
