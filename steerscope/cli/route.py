"""The command that switches vectors by the phase of a task, and asks whether that helps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from steerscope.cli.cells import estimate, number
from steerscope.cli.keeping import KeptOut, kept, run_folder
from steerscope.cli.options import Judged, Loading, Talk, grouped
from steerscope.cli.shared import Json, Model, Seed, finish, table
from steerscope.texts.bundled import DEFAULT_MODEL


@dataclass(frozen=True)
class Routed:
    """How it is measured."""

    panel: ClassVar[str] = "How it is measured"
    layer: Annotated[
        int | None,
        typer.Option(help="block of all vectors; default each where its pairs agree most"),
    ] = None
    reader: Annotated[
        int | None, typer.Option(help="block that the classifier reads; default the middle")
    ] = None
    kl: Annotated[float, typer.Option(help="nats at which every vector acts")] = 0.2
    n_examples: Annotated[int, typer.Option(help="texts shown in the arm that asks")] = 2
    n_select: Annotated[int, typer.Option(help="prompts a phase to choose on, at most")] = 24
    n_test: Annotated[int, typer.Option(help="prompts a phase to state on, at most")] = 40
    n_new: Annotated[int, typer.Option("--n-new", "-n", help="new tokens per text")] = 24
    temperature: Annotated[float, typer.Option("--temperature", "-t", help="of sampling")] = 0.7


@grouped
def route(
    *,
    phases: Annotated[
        Path, typer.Argument(help="YAML file: under `phases` a name, contrasts, prompts, rule each")
    ],
    model: Model = DEFAULT_MODEL,
    routed: Routed,
    judged: Judged,
    talk: Talk,
    out: KeptOut = None,
    seed: Seed = 0,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Vectors switched by the phase of a prompt, against the best single one and asking.

    Examples:
        steerscope route phases.yaml --n-test 40 --out runs/route
    """
    from steerscope.judges.registry import check_judge, check_judge_url
    from steerscope.progress import bar
    from steerscope.studies.routing.findings import routing_of, vectors_table
    from steerscope.studies.routing.measure import run_routing
    from steerscope.studies.routing.plan import RoutePlan, read_phases
    from steerscope.studies.routing.wording import routing_in_words

    plan = RoutePlan(
        model=model,
        phases=str(phases),
        seed=seed,
        **asdict(routed),
        **asdict(judged),
        **loading.settings(),
    )
    read_phases(phases)
    if plan.judge is not None:
        check_judge(plan.judge)
    check_judge_url(plan.judge, plan.judge_url)
    with run_folder(out) as folder:
        loaded = loading.load(model)
        run = run_routing(folder, plan, chat=talk.asked(), model=loaded, progress=bar)
        found, vectors, written = routing_of(run), vectors_table(run), kept(run, out)
    said = routing_in_words(
        found.arms,
        found.reference,
        found.accuracy,
        choice_lost=found.choice_lost,
        unseen=found.unseen,
    )
    rows = [
        (
            r.arm,
            estimate(100 * r.score, 100 * r.low, 100 * r.high, ".0f"),
            "" if r.arm == found.reference else number(100 * r.difference, "+.0f"),
        )
        for r in found.arms.itertuples()
    ]
    result = {
        "table": found.arms.to_dict("records"),
        "reference": found.reference,
        "accuracy": found.accuracy,
        "vectors": vectors.set_index("phase").to_dict("index"),
        "said": said,
    }
    columns = ("arm", "shown and undamaged (%)", "points from the best single")
    finish(as_json, result, [*table("all arms scored alike:", columns, rows), *said, *written])
