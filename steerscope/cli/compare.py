"""The command that sets methods against each other, at one place or at several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from steerscope.cli.cells import estimate, number, p_value
from steerscope.cli.options import Finding, Judged, Loading, Subject, Talk, Writing, grouped
from steerscope.cli.shared import Json, finish, parse_layers, say_aside, table

if TYPE_CHECKING:
    import pandas as pd

    from steerscope.experiments import Experiment
    from steerscope.judges.effects import Effect


@dataclass(frozen=True)
class Compared:
    """What is compared, and at what."""

    panel: ClassVar[str] = "What is compared"
    methods: Annotated[
        str | None, typer.Option(help="names of methods with commas; default all")
    ] = None
    sites: Annotated[
        str | None,
        typer.Option(
            help="places with commas, such as resid_post,k,k+up,v@all,up.3; default the residual stream"
        ),
    ] = None
    layers: Annotated[
        str | None, typer.Option(help="blocks among which a place is chosen; default all")
    ] = None
    other: Annotated[
        str | None, typer.Option(help="another contrast set, whose direction is compared as well")
    ] = None
    kl: Annotated[float, typer.Option(help="nats at which all are compared")] = 0.2
    relative: Annotated[
        float | None,
        typer.Option(
            help="relative length at which they are compared as well; with --sites default none"
        ),
    ] = None
    n_pairs: Annotated[int, typer.Option(help="pairs that choose the blocks, at most")] = 24
    n_test: Annotated[int, typer.Option(help="held-out items, at most")] = 120
    n_nulls: Annotated[int, typer.Option(help="null directions of each of the three kinds")] = 6

    def settings(self) -> dict[str, Any]:
        """The same, for an experiment."""
        matched: dict[str, Any] = {"kl": self.kl}
        if self.relative is not None:
            matched["relative"] = self.relative
        layers = parse_layers(self.layers)
        sites = {"places": _named(self.sites), "layers": layers and list(layers)}
        found = {
            "methods": _named(self.methods),
            "sites": {k: v for k, v in sites.items() if v} or None,
            "other": self.other,
            "matched": matched,
            "sample": {"pairs": self.n_pairs, "test": self.n_test, "nulls": self.n_nulls},
        }
        return {name: value for name, value in found.items() if value is not None}


def _named(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


@grouped
def compare(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="folder of the experiment")],
    subject: Subject,
    compared: Compared,
    finding: Finding,
    writing: Writing,
    judged: Judged,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Methods against each other and against nulls at one KL, at one place or at several.

    Examples:
        steerscope compare --methods mean_diff,whitened,repe --out runs/methods
        steerscope compare --sites resid_post,k,up,k+up,v@all --methods mean_diff,whitened -o places
    """
    from steerscope.experiments import experiment_of, run_experiment
    from steerscope.experiments.jobs import Machine
    from steerscope.progress import bar

    chat = talk.asked()
    said = {
        "name": "compare",
        "question": "Which way to find a direction steers best, and where?",
        "job": "comparison",
        "models": [subject.model],
        "contrasts": [subject.contrasts],
        "prompts": subject.prompts,
        "decoding": {"n_new": writing.n_new, "temperature": writing.temperature},
        "seeds": [writing.seed],
        "backbone": loading.backbone,
        "dtype": loading.dtype,
        "bos": loading.bos,
        "revision": loading.revision,
        "chat": None if chat is None else chat.stored(),
        "method_options": finding.settings(),
        **compared.settings(),
        **judged.settings(subject.contrasts),
    }
    wanted = experiment_of(
        {k: v for k, v in said.items() if v is not None and v != {}}, "the arguments"
    )
    machine = Machine(**loading.machine())
    written = run_experiment(wanted, out, machine=machine, progress=bar, say=say_aside)
    _report(wanted, out, written, as_json=as_json)


def _report(wanted: Experiment, out: Path, written: list[Path], *, as_json: bool) -> None:
    """Print the ranking and what it shows."""
    from steerscope.experiments.running import runs_of
    from steerscope.studies.methods.stored import ranking_of_rows
    from steerscope.studies.methods.wording import across_in_words, in_words
    from steerscope.studies.steering.plan import effect_of

    (run,) = runs_of(wanted, out)
    effect = effect_of(run)
    found = ranking_of_rows(run.table(), effect.metric, run.configuration["seed"])
    said = in_words(found["ranking"], found["rivals"], effect)
    if "across" in found:
        places = run.configuration["plan"]["sites"]
        said += across_in_words(found["across"], effect, places)
        found["ranking"] = found["ranking"].sort_values(
            "place", key=lambda names: names.map(places.index), kind="stable"
        )
    result = {
        "out": str(out),
        "written": [str(p) for p in written],
        **{name: t.to_dict("records") for name, t in found.items()},
        "said": said,
    }
    finish(as_json, result, [*_ranked(found["ranking"], effect), *said, f"saved: {out}"])


def _ranked(ranking: pd.DataFrame, effect: Effect) -> list[str]:
    """Every method at every place as a table."""
    share = 100 if effect.is_share else 1
    rows = [
        [
            r.place,
            r.matching,
            r.method,
            "several" if r.layer < 0 else r.layer,
            estimate(share * r.effect, share * r.low, share * r.high, ".3g"),
            number(share * r.null_max, ".3g"),
            "" if r.null else p_value(r.p_holm),
            r.standing,
        ]
        for r in ranking.itertuples()
    ]
    columns = (
        "place",
        "matched",
        "method",
        "block",
        "effect",
        "largest null",
        "p (Holm)",
        "standing",
    )
    return table(f"{effect.words} ({'%' if effect.is_share else effect.unit}):", columns, rows)
