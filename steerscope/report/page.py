"""What every page is made of: texts, tables, figures with captions, and the sheet around them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from plotly.offline import get_plotlyjs

from steerscope.figures.files import Plate


@dataclass(frozen=True)
class Page:
    """What a page says: the title of its window and its parts as HTML."""

    title: str
    body: list[str]


def as_text(text: object) -> str:
    """A text with what HTML would read as markup escaped, and what reading a file would change."""
    return html.escape(str(text)).replace("\r", "&#13;")


def bold_head(line: str) -> str:
    """A line whose part before the colon is bold."""
    head, _, rest = line.partition(": ")
    return f"<b>{as_text(head)}:</b> {as_text(rest)}"


def plot_id(plate: Plate) -> str:
    """The id of a drawing, which plotly may write into a tag and into a script, where none is escaped."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{plate.name}-plot")


def as_figure(plate: Plate) -> str:
    """A figure with its caption."""
    drawn = plate.figure.to_html(
        include_plotlyjs=False,
        full_html=False,
        config={"displaylogo": False},
        div_id=plot_id(plate),
    )
    caption = f"<figcaption>{as_text(plate.caption)}</figcaption>"
    return f'<figure id="{as_text(plate.name)}">{drawn}{caption}</figure>'


def as_table(frame: pd.DataFrame, formats: dict[str, Callable[[float], str]] | None = None) -> str:
    """A table of numbers; what is missing is a dash."""
    return frame.to_html(
        index=False, border=0, na_rep="-", formatters=formats or {}, classes="numbers", escape=True
    )


def as_sheet(page: Page) -> str:
    """The whole page, which opens offline."""
    body = "\n".join(page.body)
    return _PAGE.format(title=as_text(page.title), plotly=get_plotlyjs(), body=body)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 Helvetica, Arial, sans-serif; color: #222; max-width: 880px;
  margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin-top: 2.5rem; }}
.answer {{ background: #f2f6fa; border-left: 5px solid #0072B2; padding: .8rem 1.2rem; }}
.verdict {{ font-size: 1.2rem; font-weight: bold; margin: .2rem 0 .6rem; }}
.answer ul {{ margin: 0; padding-left: 1.1rem; }} .answer li {{ margin: .35rem 0; }}
figure {{ margin: 2rem 0; overflow-x: auto; }}
figcaption {{ color: #555; font-size: .88rem; }}
table {{ border-collapse: collapse; font-size: .86rem; display: block; overflow-x: auto; }}
th, td {{ padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }}
.texts td, .texts th {{ text-align: left; vertical-align: top; width: 33%; }}
.texts {{ display: table; width: 100%; margin: 1rem 0; }}
.examples, .examples td, .examples th {{ background: #fff; font-size: .86rem; }}
.examples th:first-child {{ width: auto; }}
.examples div {{ max-height: 8.5rem; overflow-y: auto; white-space: pre-wrap; }}
.examples small {{ color: #555; display: block; margin-top: .3rem; }}
mark {{ background: #d5ecdd; color: inherit; text-decoration: underline #009E73; }}
td:nth-last-child(2) mark {{ background: #fbe3d6; text-decoration: underline dashed #D55E00; }}
#texts td {{ white-space: pre-wrap; }} #texts .numbers td:first-child {{ text-align: left; }}
.controls {{ display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; align-items: center; }}
.controls label {{ display: flex; gap: .4rem; align-items: center; }}
.controls output {{ min-width: 6.5rem; }}
.audit td, .audit th {{ text-align: left; vertical-align: top; }}
.audit .error td:first-child {{ color: #D55E00; font-weight: bold; }}
.audit .warning td:first-child {{ color: #9a6a00; font-weight: bold; }}
dl {{ display: grid; grid-template-columns: 9rem 1fr; font-size: .9rem; }}
dt {{ color: #555; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
code {{ background: #eee; padding: 0 .25rem; overflow-wrap: anywhere; }}
</style>
<script>{plotly}</script>
</head><body>
{body}
</body></html>
"""
