"""Commands that measure a whole run, draw it and judge it: report, sweep, figures, audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli import choices
from steerscope.cli.cells import NONE, number
from steerscope.cli.forecasts import DryRun, tell_forecast, within_budget
from steerscope.cli.many import Many, next_for
from steerscope.cli.options import (
    Asking,
    Drawing,
    Judged,
    Loading,
    Measured,
    Subject,
    Talk,
    Writing,
    grouped,
)
from steerscope.cli.shared import (
    Json,
    MaxSelect,
    MaxTest,
    Nulls,
    ScopeText,
    SecondModel,
    finish,
    numbers,
    table,
)

if TYPE_CHECKING:
    from steerscope.runs.results import Run
    from steerscope.studies.steering.findings import Findings
    from steerscope.studies.steering.plan import StudyPlan, SweepPlan


Search = Annotated[
    str,
    typer.Option(
        help="grid: every layer and dose on all prompts; adaptive: the best go on to more prompts; "
        "auto: adaptive where the grid would take hours"
    ),
]
AllLayers = Annotated[
    bool,
    typer.Option("--all-layers", help="steer all layers at once as well, with shares of the doses"),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", "-o", help="run directory, or address such as s3://; default data/runs/NAME"
    ),
]
Ladder = Annotated[str, typer.Option("--doses", "-d", help="natural units; both signs are tried")]
Budgeted = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="such as 10min, 2h or 200000tokens: as many prompts as that allows, told before it begins",
    ),
]
Other = Annotated[str | None, typer.Option(help="contrast set of another concept, shown beside")]


@grouped
def report(
    *,
    subject: Subject,
    out: Out = None,
    recipe: Measured,
    doses: Ladder = "0.5,1,2,2.5,3,4",
    scope: ScopeText = "all",
    writing: Writing,
    drawing: Drawing,
    judged: Judged,
    second_model: SecondModel = None,
    max_select: MaxSelect = 120,
    max_test: MaxTest = 240,
    nulls: Nulls = 19,
    other: Other = None,
    asking: Asking,
    all_layers: AllLayers = False,
    search: Search = "auto",
    budget: Budgeted = None,
    talk: Talk,
    loading: Loading,
    many: Many,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Where, how hard and whether: one page with controls.

    Examples:
        steerscope report
        steerscope report --model gpt2 --contrasts happy_sad --judge sentiment
        steerscope report -m ./my-model -c pairs.jsonl -p prompts.txt -l 8-20 -o runs/mine
    """
    from steerscope.progress import bar
    from steerscope.report import write_report
    from steerscope.studies.steering.measure import run_study
    from steerscope.studies.steering.plan import StudyPlan

    steps = tuple(numbers(doses, float, "doses"))
    plan = StudyPlan(
        **subject.settings(),
        **recipe.settings(),
        **writing.settings(),
        **drawing.settings(),
        **judged.settings(subject.contrasts),
        second_model=second_model,
        **asking.settings(),
        **loading.settings(),
        scope=scope,
        doses=steps,
        reference_dose=usual if (usual := StudyPlan.reference_dose) in steps else steps[0],
        max_select=max_select,
        max_test=max_test,
        nulls=nulls,
        other=other,
        all_layers=recipe.together(all_layers),
        search=search,
        chat=talk.asked(),
    )
    out = out or f"data/runs/{Path(subject.model).name}-{Path(subject.contrasts).stem}"
    if dry_run:
        tell_forecast(within_budget(plan, budget, Path(out), loading), loading, as_json)
        return
    with many.measuring(out) as (kept, workers):
        plan = within_budget(plan, budget, Path(kept.folder), loading)
        run = run_study(plan, kept.folder, **loading.machine(), progress=bar, workers=workers)
        _read_features(run, plan, loading)
        _tell(run, (kept.shown(run.path), kept.shown(write_report(run))), as_json)


def _tell(run: Run, places: tuple[str, str], as_json: bool) -> None:
    """Print the answer of a finished run and what its audit found."""
    from steerscope.audits import audit as audited
    from steerscope.audits import sentence, tally
    from steerscope.studies.steering.findings import find
    from steerscope.studies.steering.oracle_agreement import oracle_agreement
    from steerscope.studies.steering.several_layers import (
        compare_layers,
        layers_compared_in_words,
    )
    from steerscope.studies.steering.wording import answer
    from steerscope.studies.steering.zones import zones_in_words

    there, page = places
    findings, found = find(run), audited(run)
    lines = [sentence(run), *(f"  {line}" for line in answer(findings))]
    lines += [f"  {zones_in_words(findings)}"]
    compared = compare_layers(run, findings)
    lines += [] if compared is None else [f"  {layers_compared_in_words(compared, findings)}"]
    agrees = oracle_agreement(run)
    lines += (
        []
        if agrees is None or agrees.value != agrees.value
        else [f"  Agreement of the judge with the oracle: kappa {agrees} prompts."]
    )
    lines += [f"audit: {tally(found)}", f"report: {page}"]
    result = _as_json(findings) | {"verdict": lines[0]} | {"audit": [asdict(f) for f in found]}
    result |= {"report": page, "run": there}
    finish(as_json, result, lines, next_for(there, "texts", "audit"))


def _read_features(run: Run, plan: StudyPlan, loading: Loading) -> None:
    """Read the direction through the model's bundled autoencoder, if one is at a layer of the run."""
    from steerscope.texts.bundled import bundled_autoencoders

    if plan.model not in bundled_autoencoders():
        return
    from steerscope.sae import load_sae
    from steerscope.studies.features.run_reading import place_of, read_run

    sae = load_sae(plan.model)
    there = sae.site.stream == plan.stream and (
        plan.layers is None or sae.site.layer in plan.layers
    )
    if there and not place_of(run, sae).is_file():
        read_run(run, loading.load(plan.model), sae)


def _as_json(findings: Findings) -> dict[str, Any]:
    f = findings
    return {
        "chosen": asdict(f.chosen),
        "effect": asdict(f.effect),
        "stated": asdict(f.stated) if f.stated else None,
        "gain": asdict(f.gain) if f.gain else None,
        **_card_of(f),
        "corrected_for_errors_of_judge": f.corrected_effect is not None,
        "flipped_and_undamaged": asdict(f.joint) if f.joint else None,
        "nulls": [asdict(rank) for rank in f.nulls],
        "asking": [
            {
                "method": r.method,
                "shows": asdict(r.shows),
                "ahead_of_steering": asdict(r.ahead),
                "kl_written_nats": r.kl_written,
            }
            for r in f.rivals
        ],
        "over_random": asdict(f.over_random) if f.over_random else None,
        "kl_nats": f.kl,
        "kl_written_nats": f.kl_written,
        "costs": {
            c.metric: {
                "plain": asdict(c.plain),
                "steered": asdict(c.steered),
                "worse": asdict(c.worse),
                "limit": c.limit,
            }
            for c in f.costs
        },
    }


@grouped
def sweep(
    *,
    out: Annotated[
        str, typer.Option("--out", "-o", help="run directory to write, or address such as s3://")
    ],
    subject: Subject,
    recipe: Measured,
    doses: Annotated[
        str, typer.Option("--doses", "-d", help="signed, with commas")
    ] = "-2,-1,-0.5,0.5,1,2",
    unit: Annotated[
        str,
        typer.Option(
            autocompletion=choices.completing(choices.LENGTHS),
            help="natural, relative or absolute",
        ),
    ] = "natural",
    scope: ScopeText = "all",
    writing: Writing,
    judged: Judged,
    second_model: SecondModel = None,
    max_select: MaxSelect = 120,
    all_layers: AllLayers = False,
    talk: Talk,
    loading: Loading,
    many: Many,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure a grid of layers and doses.

    Examples:
        steerscope sweep --out runs/grid --layers 2-6 --doses=-2,-1,1,2
        steerscope sweep -m gpt2 -c happy_sad -o runs/gpt2 --unit relative -d 0.2,0.4
    """
    from steerscope.progress import bar
    from steerscope.studies.steering.findings import find
    from steerscope.studies.steering.measure import run_sweep
    from steerscope.studies.steering.plan import SweepPlan
    from steerscope.studies.steering.zones import zones_in_words, zones_of

    plan = SweepPlan(
        **subject.settings(),
        **recipe.settings(),
        **writing.settings(),
        **judged.settings(subject.contrasts),
        second_model=second_model,
        **loading.settings(),
        scope=scope,
        doses=tuple(numbers(doses, float, "doses")),
        unit=unit,
        max_select=max_select,
        all_layers=recipe.together(all_layers),
        chat=talk.asked(),
    )
    if dry_run:
        tell_forecast(plan, loading, as_json)
        return
    with many.measuring(out) as (kept, workers):
        run = run_sweep(plan, kept.folder, **loading.machine(), progress=bar, workers=workers)
        found, path = find(run), kept.shown(run.path)
    zones = zones_of(found)
    measured = {"conditions": found.summary.drop(columns="cell").to_dict("records")}
    measured["zones"] = [] if zones is None else zones.table.to_dict("records")
    finish(
        as_json,
        {"run": path, **measured, **_card_of(found)},
        [*_conditions(found, plan), *_judge(found), zones_in_words(found), f"run: {path}"],
        next_for(path, "figures", "texts"),
    )


def _conditions(found: Findings, plan: SweepPlan) -> list[str]:
    """Every condition of a sweep, as a table."""
    columns = ("layer", "dose (natural)", "KL (nats)", "effect", "n", "over the limit")
    from steerscope.studies.steering.wording import counted_in_words

    title = f"{counted_in_words(found.effect)}, {plan.method} at {plan.stream}:"
    return table(title, columns, _condition_rows(found, plan.method))


def _judge(found: Findings) -> list[str]:
    """The card of the judge as a line, where it has one."""
    return [] if found.card is None else [f"judge {found.effect.judge}: {found.card}"]


def _card_of(found: Findings) -> dict[str, Any]:
    return {} if found.card is None else {"card": str(found.card)}


def _condition_rows(found: Findings, method: str) -> list[tuple[object, ...]]:
    from steerscope.statistics import Estimate
    from steerscope.steering.control_vectors import at_once
    from steerscope.studies.steering.phrases import amount

    names = (method, at_once(method))
    return [
        (
            "several" if r.layer < 0 else r.layer,
            number(r.dose_natural, "+.3g", NONE),
            number(r.kl_nats, ".3f"),
            amount(found.effect, Estimate(r.effect, r.low, r.high, r.n)),
            r.n,
            r.over or "-",
        )
        for r in found.summary[found.summary.method.isin(names)].itertuples()
    ]


def figures(
    run_dir: Annotated[Path, typer.Argument(help="a run directory")],
    formats: Annotated[
        str, typer.Option("--format", help="html, svg, png, pdf with commas")
    ] = "html",
    theme: Annotated[
        str, typer.Option(autocompletion=choices.completing(choices.THEMES), help="light or dark")
    ] = "light",
    columns: Annotated[
        int | None,
        typer.Option(help="1 or 2 columns of a paper (3.25, 6.75 inches); default for a screen"),
    ] = None,
    title: Annotated[bool, typer.Option(help="titles above the figures")] = True,
    as_json: Json = False,
) -> None:
    """Redraw the report, figures and tables of a run, without a model; numbers lie beside as CSV.

    Examples:
        steerscope figures runs/mine --format png,pdf --columns 1 --no-title
        steerscope figures runs/mine --theme dark
    """
    from steerscope.figures.looks import parse_look
    from steerscope.progress import bar
    from steerscope.report import draw_figures, has_page, write_report, write_tables
    from steerscope.runs.ownership import owned
    from steerscope.runs.records import check_measured
    from steerscope.runs.results import Run
    from steerscope.runs.whole_files import clear_unfinished

    run, look = Run.open(run_dir), parse_look(theme, columns, title=title)
    check_measured(run)
    with owned(run.path, ours=True):
        clear_unfinished(run.path)
        drawn = draw_figures(run, [f.strip() for f in formats.split(",")], look, progress=bar)
        pages = [write_report(run)] if has_page(run) else []
        tables = write_tables(run)
    lines = [*(f"drawn: {p}" for p in pages), *_drawn("figure", drawn), *_drawn("table", tables)]
    finish(as_json, {"written": [str(p) for p in (*pages, *drawn, *tables)]}, lines)


def _drawn(kind: str, paths: Sequence[Path]) -> list[str]:
    """How many figures or tables were written, where, and in which formats; no line for none."""
    if not paths:
        return []
    names, suffixes = {p.stem for p in paths}, dict.fromkeys(p.suffix[1:] for p in paths)
    many = "" if len(names) == 1 else "s"
    return [f"drawn: {len(names)} {kind}{many} in {paths[0].parent} ({', '.join(suffixes)})"]


def audit(
    run_dir: Annotated[Path, typer.Argument(help="a run directory")],
    strict: Annotated[
        bool, typer.Option("--strict", help="leave with 2 on any error or warning")
    ] = False,
    as_json: Json = False,
) -> None:
    """What in a run may deceive its reader, with evidence and remedy.

    Examples:
        steerscope audit runs/mine
        steerscope audit runs/mine --strict
    """
    from steerscope.audits import audit as audited
    from steerscope.audits import tally
    from steerscope.runs.results import Run

    found = audited(Run.open(run_dir))
    lines = [line for f in found for line in (str(f), f"  evidence: {_numbers(f.numbers)}")]
    finish(
        as_json,
        {"run": str(run_dir), "findings": [asdict(f) for f in found]},
        [*lines, f"audit: {tally(found)}"],
    )
    if strict and any(f.severity != "note" for f in found):
        raise SystemExit(2)


def _numbers(numbers: Mapping[str, float | int]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()) or "none"
