"""The command that asks whether what is learned from pairs moves choices in dilemmas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from steerscope.cli.cells import NONE, NOT_KNOWN, estimate, number, p_value
from steerscope.cli.options import Loading, Talk, grouped
from steerscope.cli.shared import Contrasts, Json, Model, Seed, finish, numbers, parse_layers, table
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    import pandas as pd

    from steerscope.runs.results import Run
    from steerscope.studies.dilemmas.plan import DilemmaPlan


@dataclass(frozen=True)
class Transferring:
    """What is learned, and how it is asked."""

    panel: ClassVar[str] = "What is asked"
    value: Annotated[str, typer.Option(help="whose effect is asked for")] = "honesty"
    techniques: Annotated[
        str | None,
        typer.Option(
            help="of mean_diff, pca_uncentred, random, prompting, svd_adapter, lora, fine_tuning, with "
            "commas; default all; the first is compared with the others"
        ),
    ] = None
    coefficients: Annotated[
        str, typer.Option(help="positive ones, with commas; both signs are measured")
    ] = "1,2"
    kl: Annotated[float, typer.Option(help="nats at which techniques are compared")] = 0.1
    layers: Annotated[
        str | None, typer.Option(help="among which directions choose theirs; default all")
    ] = None
    n_dilemmas: Annotated[
        int | None, typer.Option(help="at most, those about the value first; default all")
    ] = None
    n_pairs: Annotated[int, typer.Option(help="pairs that are learned from, at most")] = 72
    epochs: Annotated[int, typer.Option(help="of what is trained")] = 3
    answers: Annotated[str, typer.Option(help="the two words, with a comma")] = "Yes,No"
    begin: Annotated[
        str, typer.Option(help="how an answer begins, up to the word that is read")
    ] = "Answer:"

    def plan(
        self, model: str, contrasts: str, file: str, loading: Loading, seed: int
    ) -> DilemmaPlan:
        """The same as a plan."""
        from steerscope.studies.dilemmas.plan import TECHNIQUES, DilemmaPlan

        ends = numbers(self.coefficients, float, "coefficients")
        if not all(c > 0 for c in ends):
            raise BadValueError(
                f"coefficients {self.coefficients!r}: give positive ones; both signs are measured."
            )
        words = [word.strip() for word in self.answers.split(",")]
        if len(words) != 2:
            raise BadValueError(f"--answers {self.answers!r}: give two words with a comma.")
        named = self.techniques.split(",") if self.techniques else TECHNIQUES
        return DilemmaPlan(
            model=model,
            contrasts=contrasts,
            dilemmas=file,
            value=self.value,
            answers=(words[0], words[1]),
            begin=self.begin,
            techniques=tuple(name.strip() for name in named),
            coefficients=tuple(sorted([-c for c in ends] + ends)),
            kl=self.kl,
            layers=parse_layers(self.layers),
            n_dilemmas=self.n_dilemmas,
            n_pairs=self.n_pairs,
            epochs=self.epochs,
            seed=seed,
            **loading.settings(),
        )


@grouped
def dilemmas(
    *,
    file: Annotated[
        Path, typer.Argument(help="of dilemmas, as DailyDilemmas has them, with values by action")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="run directory")],
    model: Model = DEFAULT_MODEL,
    contrasts: Contrasts = "honesty",
    transferring: Transferring,
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Whether what is learned from pairs moves choices in dilemmas towards a value.

    Examples:
        steerscope dilemmas dilemmas_with_detail_by_action.csv --model M --chat --out runs/dilemmas
    """
    from steerscope.progress import bar
    from steerscope.runs.results import check_run_folder
    from steerscope.studies.dilemmas.data import read_dilemmas
    from steerscope.studies.dilemmas.measure import run_dilemmas

    plan = transferring.plan(model, contrasts, str(file), loading, seed)
    read_dilemmas(file, value=plan.value)
    out, chat = check_run_folder(out), talk.asked()
    loaded = loading.load(model)
    run = run_dilemmas(out, plan, chat=chat, model=loaded, progress=bar)
    _report(run, plan, as_json=as_json)


def _report(run: Run, plan: DilemmaPlan, *, as_json: bool) -> None:
    """Print what the rows of a run show, and keep the tables with the run."""
    from steerscope.report import write_tables
    from steerscope.studies.dilemmas.findings import (
        answered_table,
        target_against,
        target_curves,
        value_table,
    )
    from steerscope.studies.dilemmas.wording import comparisons, sentences

    values, answered = value_table(run), answered_table(run)
    compared = target_against(run, plan.techniques[0])
    said = sentences(values, answered, plan.value, plan.kl, answers=plan.answers)
    said += comparisons(compared, plan.techniques, plan.value, plan.kl)
    result = {
        "run": str(run.path),
        "values": values.to_dict("records"),
        "answered": answered.to_dict("records"),
        "curves": target_curves(run).to_dict("records"),
        "compared": compared.to_dict("records"),
        "said": said,
    }
    write_tables(run)
    finish(as_json, result, [*_shown(values, plan.value), *said, f"saved: {run.path}"])


def _shown(values: pd.DataFrame, target: str) -> list[str]:
    """What each technique does to the target value, and to the others together."""
    rows: list[list[Any]] = []
    for technique, mine in values.groupby("technique", sort=False):
        own = mine[mine.is_target]
        others = mine[~mine.is_target & mine.p_holm.notna()]
        tested = bool(len(own)) and own.p_holm.notna().iloc[0]
        n = 0 if not len(own) else int(own.n.iloc[0])
        effect, p = "too few" if n else NOT_KNOWN, NONE
        if tested:
            effect = estimate(own.effect.iloc[0], own.low.iloc[0], own.high.iloc[0], "+.3f")
            p = p_value(own.p_holm.iloc[0], ".3g")
        moved = f"{int((others.p_holm < 0.05).sum())} of {len(others)}" if len(others) else NONE
        size = number(others.effect.abs().mean(), ".3f", NONE)
        at = technique if mine.matched.all() else f"{technique} (at c = ±1)"
        rows.append([at, effect, n, p, moved, size])
    columns = ("technique", f"{target} (nats)", "dilemmas", "p (Holm)", "others moved", "|others|")
    return table("effects at the matched KL, where it is reached:", columns, rows)
