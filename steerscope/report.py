"""The report: one HTML page that opens offline, drawn from the rows of a run alone."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from steerscope import figures
from steerscope.audits import Finding, audit
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.findings import Findings, answer, find, reference_dose, verdict
from steerscope.results import Run
from steerscope.studies import LIMITS
from steerscope.whole_files import write_whole
from steerscope.zoning import Zoning, one_run_in_words, run_league, zones_of

FORMATS = ("html", "png", "svg", "pdf")
_EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class Plate:
    """A figure with its file name and caption."""

    name: str
    figure: go.Figure
    caption: str


def plates(run: Run, findings: Findings | None = None) -> list[Plate]:
    """Every figure that the rows of a run can give."""
    f = findings or find(run)
    method, dose = f.plan.method, reference_dose(f)
    n = int(f.summary.n.min()) if len(f.summary) else 0
    what = "prompts" if f.effect.is_share else "pairs"
    found = [
        Plate(
            "layer_sweep",
            figures.layer_sweep(f.summary, f.effect, method=method, dose=dose),
            f"Select split, at least {n} {what} a point, bands are 95 % intervals (bootstrap); the "
            f"null is {f.plan.n_sweep_controls} random directions of that length a layer, averaged.",
        ),
        Plate(
            "sweet_spot_map",
            figures.sweet_spot_map(f.summary, f.effect, method=method, chosen=f.chosen),
            f"Select split, at least {n} {what} a cell. A cross marks a condition that breaks a "
            f"limit: {_limits_in_words(f)}. Negative doses are measured on prompts of the other "
            "class. The ring is the choice.",
        ),
    ]
    if f.stated:
        found.append(
            Plate(
                "dose_response",
                figures.dose_response(f.curves, f.effect, layer=f.chosen.layer, plain=f.plain),
                f"Test split, n = {f.stated.n} {what} at the chosen dose. The band of {method} is "
                f"its 95 % interval (bootstrap over {what}); the bands of the controls reach from "
                "their lowest to their highest seed.",
            )
        )
    found.append(
        Plate(
            "kl_by_depth",
            figures.kl_by_depth(f.summary, method=method),
            "Mean over the positions of the select prompts, teacher-forced, position 0 left out; "
            "logarithmic axis.",
        )
    )
    if f.heads is not None and f.predictor is not None:
        c = f.predictor.correlation
        found += [
            Plate(
                "eigengap_heads",
                figures.eigengap_heads(f.heads),
                "Keys before rotation, centred, position 0 left out, pooled over the select prompts; "
                "heads that share keys count once. Bars are 95 % intervals (bootstrap over prompts); "
                "grey is what random keys of the same lengths give.",
            ),
            Plate(
                "eigengap_predicts",
                figures.diagnostic_scatter(
                    f.predictor, f.effect, x_title="smallest eigengap of the layer's heads (ratio)"
                ),
                f"Each point is a layer, its effect at {dose:g} natural on the select split. The "
                f"claim under test is a negative correlation; measured is {c.rho:+.2f} "
                f"[{c.low:+.2f}, {c.high:+.2f}], permutation p = {c.p:.2g}, n = {c.n} layers.",
            ),
        ]
    found += _league_plates(f)
    lens = _lens(run)
    if lens.get("for"):
        found.append(
            Plate(
                "token_effects",
                figures.token_effects(lens["for"], lens["against"], site=lens["site"]),
                f"Direct path only: final norm's gain and unembedding, at the {lens['place']}.",
            )
        )
    return found


def _league_plates(f: Findings) -> list[Plate]:
    """What goes along with the effect over the layers, where there are enough of them."""
    zoning = zones_of(f)
    league = None if zoning is None else run_league(f, zoning)
    if zoning is None or league is None:
        return []
    return [
        Plate(
            "layer_league",
            figures.predictor_league(
                league, outcome=f"the effect at {zoning.dose_relative:.2f} of an activation"
            ),
            f"Select split. The sign in brackets was stated beforehand. {one_run_in_words(league)}",
        )
    ]


def _limits_in_words(f: Findings) -> str:
    there = {c.removeprefix("cost_") for c in f.summary.columns[f.summary.notna().any()]}
    parts = [
        f"{limit.words} by {limit.worsening:g}"
        if limit.metric == "nll_plain"
        else f"{limit.words} by {100 * limit.worsening:g} points"
        for limit in LIMITS
        if limit.metric in there
    ]
    return "worse than plain in " + ", ".join(parts)


def _lens(run: Run) -> dict:
    path = run.path / "lens.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def draw_figures(run: Run, formats: Sequence[str]) -> list[Path]:
    """Write every figure of a run into its `figures` folder, in each format.

    Raises:
        UnknownNameError: a format that does not exist.
        BadValueError: a static format without kaleido and a browser.
    """
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError("figure format", name, FORMATS)
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    written = []
    for plate in plates(run):
        for name in formats:
            path = folder / f"{plate.name}.{name}"
            write_figure(plate.figure, path, name)
            written.append(path)
    return written


def write_figure(figure: go.Figure, path: Path, name: str) -> None:
    """Write a figure as a page or, with kaleido and a browser, as a picture."""
    if name == "html":
        write_whole(path, figure.to_html(include_plotlyjs=True, full_html=True))
        return
    try:
        content = figure.to_image(format=name, scale=2 if name == "png" else 1)
    except (ValueError, RuntimeError, ImportError) as error:
        raise BadValueError(
            f"cannot write {path.name}: static figures need the extra steerscope[images] and a "
            f"Chrome or Chromium ({' '.join(str(error).split())[:120]})."
        ) from error
    path.write_bytes(content)


def write_report(run: Run) -> Path:
    """Write `report.html` of a run and return its path; no model is needed."""
    path = run.path / "report.html"
    write_whole(path, report_page(run))
    return path


def report_page(run: Run) -> str:
    """The page of a run, drawn from its rows alone."""
    f = find(run)
    shown = plates(run, f)
    body = [
        f"<h1>Can <em>{_text(f.plan.model)}</em> be steered along <em>{_text(f.plan.contrasts)}</em>?</h1>",
        f'<section class="answer"><p class="verdict">{_text(verdict(f))}</p><ul>',
        *(f"<li>{_bold_head(line)}</li>" for line in answer(f)),
        "</ul></section>",
        *(
            f'<figure id="{p.name}">{_figure(p.figure)}<figcaption>{_text(p.caption)}</figcaption></figure>'
            for p in shown
        ),
        "<h2>What each layer needs</h2>",
        _needed_table(f),
        "<h2>What each layer is like</h2>",
        _zones(f, zones_of(f)),
        "<h2>Every condition of the sweep</h2>",
        _summary_table(f),
        _examples(run, f),
        "<h2>How it was measured</h2>",
        _method(run, f),
        "<h2>What may deceive here</h2>",
        # the page follows from the rows of this run alone
        _audit_table(audit(run, leave_out=["report_disagrees", "baseline_differs"])),
    ]
    return _PAGE.format(
        title=_text(f"{f.plan.model} steered along {f.plan.contrasts}"),
        plotly=get_plotlyjs(),
        body="\n".join(body),
    )


def _text(text: object) -> str:
    return html.escape(str(text))


def _bold_head(line: str) -> str:
    head, _, rest = line.partition(": ")
    return f"<b>{_text(head)}:</b> {_text(rest)}"


def _figure(figure: go.Figure) -> str:
    return figure.to_html(include_plotlyjs=False, full_html=False, config={"displaylogo": False})


def _table(frame: pd.DataFrame, formats: dict[str, Callable[[float], str]]) -> str:
    return frame.to_html(
        index=False, border=0, na_rep="-", formatters=formats, classes="numbers", escape=True
    )


def _needed_table(f: Findings) -> str:
    percent = f.effect.is_share
    goal = "flips half of the prompts" if percent else f"reaches {f.level:+.2f} nats"
    frame = f.needed.sort_values("layer").rename(
        columns={
            "dose_natural": f"dose that {goal} (natural)",
            "largest_dose": "largest dose measured (natural)",
            "largest_effect": "largest effect (%)" if percent else "largest effect (nats)",
        }
    )
    if percent:
        frame["largest effect (%)"] *= 100
    return _table(frame, dict.fromkeys(frame.columns[1:], "{:.2f}".format))


def _zones(f: Findings, zoning: Zoning | None) -> str:
    if zoning is None:
        return "<p>No relative dose was measured at every layer, so their zones do not compare.</p>"
    percent = f.effect.is_share
    shown = zoning.table
    frame = pd.DataFrame(
        {
            "layer": shown.layer,
            "zone": shown.zone,
            "effect sure": shown.sure.map({True: "yes", False: "no"}),
            "effect (%)" if percent else "effect (nats)": shown.effect * (100 if percent else 1),
            "KL (nats)": shown.kl_nats,
            "worst cost (share of its limit)": shown.damage,
        }
    )
    limit = f"{100 * f.level:g} %" if percent else f"{f.level:+.2f} nats"
    return (
        f"<p>{_text(zoning)}</p>{_table(frame, dict.fromkeys(frame.columns[3:], '{:.2f}'.format))}"
        f"<p>Select split, interpolated between doses. Sweet: an effect of {limit} within the limits "
        "of damage; destructive: a limit is broken; rigid: less effect and a KL under "
        f"{zoning.limits.kl:g} nats; weak: less effect though the output moves. Costs are means without "
        "an interval: close to 1 a zone may be the other.</p>"
    )


def _summary_table(f: Findings) -> str:
    factor = 100.0 if f.effect.is_share else 1.0
    unit = "%" if f.effect.is_share else "nats"
    frame = pd.DataFrame(
        {
            "method": f.summary.method,
            "layer": f.summary.layer,
            "dose (natural)": f.summary.dose_natural.map("{:+.2f}".format),
            "dose (relative)": f.summary.dose_relative.map("{:+.2f}".format),
            "dose (length)": f.summary.dose_absolute.map("{:+.3g}".format),
            "KL (nats)": f.summary.kl_nats.map("{:.3f}".format),
            f"effect ({unit})": (factor * f.summary.effect).map("{:.1f}".format)
            if f.effect.is_share
            else f.summary.effect.map("{:+.2f}".format),
            "95 % interval": [
                f"{factor * low:.1f} to {factor * high:.1f}"
                for low, high in zip(f.summary.low, f.summary.high, strict=True)
            ],
            "n": f.summary.n,
            "over the limit": f.summary.over,
        }
    ).sort_values(["method", "layer"], kind="stable")
    return f"<details><summary>{len(frame)} conditions, select split</summary>{_table(frame, {})}</details>"


def _examples(run: Run, f: Findings) -> str:
    texts = run.texts()
    split = "test" if (texts.split == "test").any() else "select"
    texts = texts[texts.split == split]
    steered = texts[texts.cell.isin(_chosen_cells(run, f, split))].head(_EXAMPLES)
    if steered.empty:
        return ""
    plain = texts[texts.cell == "plain"].set_index("prompt").written
    rows = [
        f"<tr><td>{_text(r.given)}</td><td>{_text(plain.get(r.prompt, ''))}</td>"
        f"<td>{_text(r.written)}</td></tr>"
        for r in steered.itertuples()
    ]
    head = "<tr><th>prompt</th><th>plain</th><th>steered</th></tr>"
    return (
        f"<h2>The first {len(rows)} {split} prompts, as written</h2>"
        f'<table class="texts">{head}{"".join(rows)}</table>'
    )


def _chosen_cells(run: Run, f: Findings, split: str) -> list[str]:
    table = run.table()
    here = table[
        (table.split == split)
        & (table.method == f.plan.method)
        & (table.layer == f.chosen.layer)
        & ((table.dose_natural - f.chosen.dose_natural).abs() < 1e-6)
    ]
    return list(here.cell.unique())


def _audit_table(found: Sequence[Finding]) -> str:
    if not found:
        return "<p>The audit has nothing to say.</p>"
    rows = [
        f'<tr class="{f.severity}"><td>{f.severity}</td><td>{_text(f.where)}</td>'
        f"<td>{_text(f.what)}.</td><td>{_text(f.remedy)}.</td></tr>"
        for f in found
    ]
    head = "<tr><th></th><th>where</th><th>what</th><th>what to do</th></tr>"
    return f'<table class="audit">{head}{"".join(rows)}</table>'


def _method(run: Run, f: Findings) -> str:
    origin, configuration = run.description["provenance"], run.configuration
    facts = {
        "model": f"{f.plan.model}, {origin['backbone']} backbone, weights {origin['fingerprint'][:16]}",
        "contrast set": f"{f.plan.contrasts}, sha256 {configuration['contrasts_sha256'][:16]}",
        "pairs": ", ".join(f"{k} {v}" for k, v in origin["n_pairs"].items()),
        "prompts": ", ".join(f"{k} {v}" for k, v in origin["n_prompts"].items()),
        "direction": f"{f.plan.method}, read at token {f.plan.read!r}, found on the fit pairs",
        "scope": f"{f.plan.scope} (absolute positions; position 0 is left alone unless named)",
        "decoding": f"{f.plan.n_new} new tokens, "
        + (f"temperature {f.plan.temperature:g}" if f.plan.temperature else "greedy"),
        "seed": str(f.plan.seed),
        "versions": ", ".join(f"{k} {v}" for k, v in origin["versions"].items()),
        "command": " ".join(run.description["command"]),
    }
    items = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in facts.items())
    return (
        f"<dl>{items}</dl><p>A dose of one natural unit is the distance between the class means at "
        "the site; one relative unit is the median length of an activation there, position 0 left "
        f"out. Rows, texts and directions lie beside this page; <code>steerscope figures "
        f"{_text(run.path)}</code> redraws it.</p>"
    )


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
