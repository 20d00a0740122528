"""The command that carries a vector from one model to another and judges it there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from steerscope.cli.cells import estimate, number, p_value
from steerscope.cli.keeping import KeptOut, kept, run_folder
from steerscope.cli.options import Loading, Subject, Talk, grouped
from steerscope.cli.shared import Json, Seed, finish, table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Carrying:
    """How it is carried and judged."""

    panel: ClassVar[str] = "How it is carried"
    source_layer: Annotated[
        int | None, typer.Option(help="block of the source; default where its pairs agree most")
    ] = None
    layer: Annotated[int | None, typer.Option(help="block of the model; default likewise")] = None
    texts: Annotated[
        str | None,
        typer.Option(
            help="pairs whose texts teach the map; with the contrast set's own, the default, what is carried tells nothing"
        ),
    ] = None
    read: Annotated[str, typer.Option(help="token of each text that is mapped")] = "mean"
    kl: Annotated[float, typer.Option(help="nats at which vectors are compared")] = 0.2
    n_test: Annotated[int, typer.Option(help="held-out items, at most")] = 80
    n_pairs: Annotated[int, typer.Option(help="pairs of the select split, at most")] = 16
    n_new: Annotated[int, typer.Option(help="tokens of a continuation")] = 24


@grouped
def carry(
    *,
    source: Annotated[str, typer.Argument(help="model that the vector is found on")],
    subject: Subject,
    carrying: Carrying,
    out: KeptOut = None,
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Map a vector of one model into another, ridge and Procrustes, and judge it there.

    Examples:
        steerscope carry SOURCE_FOLDER --contrasts mood --texts register --out runs/carried
    """
    from steerscope.judges import stored_effect
    from steerscope.progress import bar
    from steerscope.studies.carrying.findings import (
        cosines_of_run,
        knows_concept,
        maps_of_run,
        sites_of_run,
        vectors_of_run,
    )
    from steerscope.studies.carrying.measure import run_carrying
    from steerscope.studies.carrying.plan import CarryPlan
    from steerscope.studies.carrying.wording import carried_in_words

    plan = CarryPlan(
        source=source, **subject.settings(), **asdict(carrying), seed=seed, **loading.settings()
    )
    with run_folder(out) as folder:
        both = loading.load(source), loading.load(subject.model)
        run = run_carrying(folder, plan, chat=talk.asked(), models=both, progress=bar)
        maps, cosines, vectors = maps_of_run(run), cosines_of_run(run), vectors_of_run(run)
        effect = stored_effect(run.configuration["effect"])
        (at, to), written = sites_of_run(run), kept(run, out)
        knows = knows_concept(run)
    said = carried_in_words(maps, cosines, vectors["ranking"], effect, knows_concept=knows)
    title = f"{at} of {both[0].name} to {to} of {both[1].name}:"
    result: dict[str, Any] = {
        "source": str(at),
        "target": str(to),
        "maps": maps.to_dict("records"),
        "cosines": cosines.to_dict("records"),
        "ranking": vectors["ranking"].to_dict("records"),
        "said": said,
    }
    finish(as_json, result, [*_maps(title, maps), *said, *written])


def _maps(title: str, maps: pd.DataFrame) -> list[str]:
    """What each map tells of held-out texts, as a table."""
    rows = [
        (
            r.map,
            estimate(r.r2, r.low, r.high, ".3f"),
            number(r.null_high, ".3f"),
            p_value(r.p),
        )
        for r in maps.itertuples()
    ]
    return table(title, ("map", "held-out R²", "largest of permuted", "p"), rows)
