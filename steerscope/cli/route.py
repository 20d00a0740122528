"""The command that switches vectors by the phase of a task, and asks whether that helps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from steerscope.cli.options import Judged, Loading, Talk, grouped
from steerscope.cli.shared import Json, Model, Seed, finish, table
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from steerscope.judges import Judge
    from steerscope.models.lens_model import LensModel
    from steerscope.studies.routing.plan import Phase, RoutePlan


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
    seed: Seed = 0,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Vectors switched by the phase of a prompt, against the best single one and asking.

    Examples:
        steerscope route phases.yaml --n-test 40
    """
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.studies.routing.measure import compare_routing
    from steerscope.studies.routing.plan import RoutePlan, read_phases
    from steerscope.studies.routing.wording import routing_in_words

    plan = RoutePlan(seed=seed, **asdict(routed))
    asked = read_phases(phases)
    loaded, chat = loading.load(model), talk.asked()
    asked = tuple(
        replace(
            p,
            contrasts=in_chat(loaded, p.contrasts, chat),
            prompts=in_chat(loaded, p.prompts, chat),
        )
        for p in asked
    )
    with TemporaryDirectory() as nowhere:
        judges = _judges(asked, judged, loaded, plan, Path(nowhere))
        found = compare_routing(loaded, asked, plan=plan, judges=judges, progress=bar)
    said = routing_in_words(found.table, found.reference, found.accuracy)
    rows = [
        (
            r.arm,
            f"{100 * r.score:.0f} [{100 * r.low:.0f}, {100 * r.high:.0f}]",
            _apart(r.difference),
        )
        for r in found.table.itertuples()
    ]
    result = {
        "table": found.table.to_dict("records"),
        "reference": found.reference,
        "accuracy": found.accuracy,
        "vectors": {name: {"site": s, "dose_relative": d} for name, (s, d) in found.sites.items()},
        "said": said,
    }
    columns = ("arm", "shown and undamaged (%)", "points from the best single")
    finish(as_json, result, [*table("all arms scored alike:", columns, rows), *said])


def _judges(
    phases: tuple[Phase, ...], judged: Judged, model: LensModel, plan: RoutePlan, out: Path
) -> list[Judge] | None:
    """What reads the texts of each phase; None for the oracle where nothing is named."""
    from steerscope.studies.judging import find_judge, question_of

    if judged.judge is None:
        return None
    found = []
    for number, phase in enumerate(phases):
        settings, parts = judged.settings(phase.contrasts.name), phase.prompts.split(plan.seed)
        question = question_of(settings, phase.contrasts, parts, plan.n_new, plan.seed)
        found.append(find_judge(question, model, out / str(number)).judge)
    return found


def _apart(difference: float) -> str:
    return "" if difference != difference else f"{100 * difference:+.0f}"  # noqa: PLR0124 - NaN
