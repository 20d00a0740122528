"""The command that carries a vector from one model to another and judges it there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import typer

from steerscope.cli.options import Loading, Subject, Talk, grouped
from steerscope.cli.shared import Json, Seed, finish, table


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
        typer.Option(help="pairs whose texts teach the map; default the contrast set's own"),
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
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Map a vector of one model into another, ridge and Procrustes, and judge it there.

    Examples:
        steerscope carry SOURCE_FOLDER --contrasts mood --texts register
    """
    from steerscope.progress import bar
    from steerscope.studies.carrying.measure import carry_vector
    from steerscope.studies.carrying.plan import CarryPlan
    from steerscope.studies.carrying.wording import carried_in_words
    from steerscope.texts.contrasts import load_contrasts, prompts_for

    given = asdict(carrying)
    texts = given.pop("texts")
    plan = CarryPlan(seed=seed, chat=talk.asked(), **given)
    contrasts = load_contrasts(subject.contrasts)
    prompts = prompts_for(contrasts, subject.asked)
    origin, target = loading.load(source), loading.load(subject.model)
    found = carry_vector(origin, target, contrasts, prompts, texts=texts, plan=plan, progress=bar)
    compared = found.comparison
    said = carried_in_words(found.maps, found.cosines, compared.ranking, compared.effect)
    rows = [
        (r.map, f"{r.r2:.3f} [{r.low:.3f}, {r.high:.3f}]", f"{r.null_high:.3f}", f"{r.p:.2g}")
        for r in found.maps.itertuples()
    ]
    title = f"{found.source} of {origin.name} to {found.target} of {target.name}:"
    columns = ("map", "held-out R²", "largest of permuted", "p")
    result: dict[str, Any] = {
        "source": str(found.source),
        "target": str(found.target),
        "maps": found.maps.to_dict("records"),
        "cosines": found.cosines.to_dict("records"),
        "ranking": compared.ranking.to_dict("records"),
        "said": said,
    }
    finish(as_json, result, [*table(title, columns, rows), *said])
