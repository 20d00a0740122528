"""Commands that use sparse autoencoders: sae overlap, sae features, sae steer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli.options import Loading, Talk, Trying, Writing, grouped
from steerscope.cli.sae import Text
from steerscope.cli.shared import (
    Contrasts,
    Force,
    Json,
    Model,
    ScopeText,
    Seed,
    finish,
    numbers,
    prompt_texts,
    refuse_unused,
    side_by_side,
    steered_at,
    table,
)
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL
from steerscope.texts.numbers import read_real, read_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steerscope.models.lens_model import LensModel
    from steerscope.sae import SparseAutoencoder
    from steerscope.sae.examples import Example
    from steerscope.sae.reading import Reading
    from steerscope.sae.steering import FeatureEdit

SaeName = Annotated[str, typer.Argument(help="folder, bundled name or RELEASE/ID of sae-lens")]


@grouped
def overlap(
    *,
    sae: SaeName,
    contrasts: Annotated[
        list[str] | None, typer.Option(help="contrast set; more than one to compare concepts")
    ] = None,
    k: Annotated[int, typer.Option(help="features of each set")] = 20,
    source: Annotated[
        str | None,
        typer.Option(
            help="codes, decoder, encoder, output or steered, for concepts; default codes"
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(help="pairs of each contrast set, at most")] = 120,
    n_texts: Annotated[int, typer.Option(help="texts for firing rates; 0 for none")] = 200,
    text: Text = DEFAULT_MODEL,
    model: Model = DEFAULT_MODEL,
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Features that two routes to a concept, or two concepts, share, and what chance gives.

    Examples:
        steerscope sae overlap my-sae --contrasts mood
    """
    from steerscope.models.chat_templates import in_chat, texts_in_chat
    from steerscope.sae import load_sae, load_texts
    from steerscope.sae.codes import firing_rates
    from steerscope.sae.spans import check_count
    from steerscope.studies.features.overlap import of_each, overlap_table
    from steerscope.studies.features.sources import concept_sets, settings_within
    from steerscope.texts.contrasts import ContrastSet, load_contrasts

    names, chosen = _compared(contrasts or ["mood"], source)
    lens_model = loading.load(model)
    concepts = [in_chat(lens_model, load_contrasts(name), talk.asked()) for name in names]
    found = load_sae(sae, model=lens_model)
    check_count(k, found.n_features)
    parts = {
        name: ContrastSet(c.name, c.pairs[:pairs], c.template)
        for name, c in zip(names, concepts, strict=True)
    }
    if len(parts) == 1:
        sets = concept_sets(lens_model, found, parts[names[0]], k)
    else:
        sets = {
            name: concept_sets(lens_model, found, part, k, sources=[chosen])[chosen]
            for name, part in parts.items()
        }
    rates = {}
    if n_texts:
        texts = texts_in_chat(
            lens_model, load_texts(text, "held out", n=n_texts, seed=seed), talk.asked()
        )
        rates[found.name] = firing_rates(lens_model, found, texts)
    rows = overlap_table(settings_within(sets, {}), depths=[k], frequency=rates, seed=seed)
    drawn = "features that fire as often" if rates else "any features, since no texts were read"
    title = f"features shared by two sets, {of_each(rows)}, of {found.n_features} at {found.site}:"
    finish(
        as_json,
        {"sae": sae, "k": k, "overlaps": rows.to_dict("records")},
        [
            *table(title, _OVERLAPS, [*map(_overlap_row, rows.itertuples())]),
            f"p: hypergeometric; p drawn: {drawn}; p (Holm): the larger of both, over all rows",
        ],
    )


def _compared(names: list[str], source: str | None) -> tuple[list[str], str]:
    """The contrast sets that are compared, and by which source of features.

    Raises:
        UnknownNameError: no such source.
        BadValueError: a set is named twice, or a source is named that is not used.
    """
    from steerscope.studies.features.sources import check_source

    chosen = "codes" if source is None else source
    check_source(chosen)
    if len(set(names)) < len(names):
        raise BadValueError("--contrasts names a set twice; give each once.")
    if len(names) == 1:
        refuse_unused({"source": source}, "one concept is compared over all sources")
    return names, chosen


_OVERLAPS = (
    "pair", "shared", "by chance", "95 % band", "Jaccard", "rank-biased", "p", "p drawn", "p (Holm)",
)  # fmt: skip


def _overlap_row(r: Any) -> tuple[object, ...]:
    """One pair of sets as a line of the table."""
    return (
        r.pair,
        r.shared,
        f"{r.expected:.2f}",
        f"{r.chance_low:.0f} to {r.chance_high:.0f}",
        f"{r.jaccard:.2f}",
        f"{r.rbo:.2f}",
        f"{r.p_hypergeometric:.2g}",
        f"{r.p_permutation:.2g}",
        f"{r.p_holm:.2g}",
    )


@grouped
def features(  # noqa: PLR0915 - what it writes is checked first
    *,
    sae: SaeName,
    contrasts: Contrasts = "mood",
    top: Annotated[int, typer.Option(help="features to show")] = 10,
    choose: Annotated[
        str | None, typer.Option("--features", help="these instead, such as 12,40,7")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="page of examples to write")
    ] = None,
    neuronpedia: Annotated[
        Path | None, typer.Option(help="JSON export with explanations of features")
    ] = None,
    pairs: Annotated[int, typer.Option(help="pairs of the contrast set, at most")] = 120,
    n_null: Annotated[int, typer.Option(help="draws of each null")] = 99,
    n_texts: Annotated[int, typer.Option(help="texts to look for activations in")] = 150,
    text: Text = DEFAULT_MODEL,
    model: Model = DEFAULT_MODEL,
    seed: Seed = 0,
    talk: Talk,
    force: Force = False,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """A concept's direction in features against nulls, with what the features hear and say.

    Examples:
        steerscope sae features my-sae --contrasts mood --out features.html
    """
    from steerscope.extraction.activations import extract
    from steerscope.models.chat_templates import in_chat, texts_in_chat
    from steerscope.sae import load_sae, load_texts
    from steerscope.sae.examples import check_page, top_examples, write_examples
    from steerscope.sae.reading import read_direction
    from steerscope.sae.spans import check_count
    from steerscope.sae.vectors import check_features
    from steerscope.texts.contrasts import ContrastSet, load_contrasts

    check_page(out, inputs=[sae, contrasts, neuronpedia, text, model], force=force)
    chosen = [] if choose is None else numbers(choose, int, "features")
    lens_model = loading.load(model)
    whole = in_chat(lens_model, load_contrasts(contrasts), talk.asked())
    used = ContrastSet(whole.name, whole.pairs[:pairs], whole.template)
    found = load_sae(sae, model=lens_model)
    check_count(top, found.n_features)
    check_features(found, chosen)
    [contrast] = extract(lens_model, used, [found.site]).values()
    reading = read_direction(found, contrast, k=top, n_null=n_null, seed=seed)
    chosen = chosen or [i for i, _ in reading.strongest("mean_codes", top)]
    texts = texts_in_chat(
        lens_model, load_texts(text, "held out", n=n_texts, seed=seed), talk.asked()
    )
    results = _results(lens_model, found, texts, chosen, _meanings(neuronpedia))
    results = [
        r | {"code_difference": float(reading.values["mean_codes"][r["feature"]])} for r in results
    ]
    lines = table(
        f"features of {used.concept} at {found.site}:",
        ("feature", "code difference", "input score", "output score", "speaks for"),
        [_feature_row(r) for r in results],
    )
    if out is not None:
        examples = top_examples(lens_model, found, texts, chosen)
        page = _examples_page(examples, results, f"{used.concept} in features of {sae}")
        write_examples(out, page, force=force)
        lines.append(f"examples: {out}")
    result = {"sae": sae, "features": results, "reading": reading.table().to_dict("records")}
    finish(as_json, result, [*_reading_lines(reading), "", *lines])


def _results(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[str],
    chosen: Sequence[int],
    told: dict[int, tuple[str, str]],
) -> list[dict[str, Any]]:
    """What each chosen feature hears, says and is said to mean."""
    from steerscope.diagnostics.lens import top_tokens
    from steerscope.sae.scores import feature_scores, output_effects

    said = output_effects(model, sae, chosen)
    scores = feature_scores(model, sae, texts, chosen).set_index("feature")
    results = []
    for feature, effects in zip(chosen, said, strict=True):
        about: dict[str, Any] = {"feature": feature}
        about |= dict(scores.loc[feature]) if feature in scores.index else {}
        about["speaks_for"] = [t.token for t in top_tokens(model, effects, 6)[0]]
        about["meaning"], about["link"] = told.get(feature, ("", ""))
        results.append(about)
    return results


def _examples_page(
    examples: dict[int, tuple[Example, ...]],
    results: Sequence[dict[str, Any]],
    title: str,
) -> str:
    from steerscope.sae.examples import examples_page

    notes = {r["feature"]: _note(r) for r in results}
    links = {r["feature"]: r["link"] for r in results if r["link"]}
    return examples_page(examples, title=title, notes=notes, links=links)


def _meanings(export: Path | None) -> dict[int, tuple[str, str]]:
    """What a Neuronpedia export says of its features, and their addresses."""
    from steerscope.sae.neuronpedia import read_neuronpedia

    features = () if export is None else read_neuronpedia(export)
    return {f.index: ("; ".join(e.description for e in f.explanations), f.link) for f in features}


def _feature_row(result: dict[str, Any]) -> list[object]:
    scores = [
        f"{result[name]:.2f}" if name in result else "-" for name in ("input_score", "output_score")
    ]
    tokens = " ".join(map(repr, result["speaks_for"]))
    return [result["feature"], f"{result['code_difference']:+.3f}", *scores, tokens]


def _note(result: dict[str, Any]) -> str:
    meaning = f"{result['meaning']}. " if result["meaning"] else ""
    tokens = ", ".join(map(repr, result["speaks_for"]))
    return (
        f"{meaning}Code {result['code_difference']:+.3f} from negative to positive; "
        f"speaks for {tokens}"
    )


def _reading_lines(reading: Reading) -> list[str]:
    rows = [
        (
            r.way,
            r.statistic,
            f"{r.value:.3f}",
            r.null,
            f"{r.low:.3f} to {r.high:.3f}",
            f"{r.p:.2g}",
        )
        for r in reading.table().itertuples()
    ]
    columns = ("way", "statistic", "found", "null", "95 % of the null", "p")
    return table(f"{reading.direction.label} read through {reading.sae}:", columns, rows)


@grouped
def steer(
    *,
    sae: SaeName,
    prompt: Annotated[list[str], typer.Option(help="text to continue; may be given again")],
    clamp: Annotated[list[str] | None, typer.Option(help="FEATURE=CODE to set")] = None,
    scale: Annotated[list[str] | None, typer.Option(help="FEATURE=FACTOR to multiply by")] = None,
    add: Annotated[list[str] | None, typer.Option(help="FEATURE=CODE to add")] = None,
    strength: Annotated[float, typer.Option(help="share of the change, 0 to 1")] = 1.0,
    scope: ScopeText = "all",
    writing: Writing,
    talk: Talk,
    model: Model = DEFAULT_MODEL,
    loading: Trying,
    as_json: Json = False,
) -> None:
    """Continue prompts with features set, scaled or raised; all else in the activation stays.

    Examples:
        steerscope sae steer my-sae --prompt "One day" --clamp 12=4
    """
    from steerscope.engine.generation import generate
    from steerscope.engine.score import kl_from_plain
    from steerscope.sae import load_sae
    from steerscope.sae.steering import FeatureSteering
    from steerscope.steering.interventions import Cell
    from steerscope.steering.scopes import Scope

    edits = _edits("clamp", clamp) + _edits("scale", scale) + _edits("add", add)
    where, sampler = Scope.parse(scope), writing.sampler()
    lens_model = loading.load(model)
    found = load_sae(sae, model=lens_model)
    steering = FeatureSteering(found, edits, where, strength)
    cells = [Cell(), Cell((steering,))]
    asked = prompt_texts(prompt, lens_model, [], talk.asked())
    plain, steered = generate(lens_model, asked, cells, n_new=writing.n_new, sampler=sampler)
    nats = kl_from_plain(lens_model, asked, cells[1:])[0].tolist()
    results, lines = side_by_side(
        prompt, plain, steered, nats, steered_at(where, lens_model, asked)
    )
    result = {"edits": [asdict(e) for e in edits], "continuations": results}
    finish(as_json, result, lines)


def _edits(change: str, given: Sequence[str] | None) -> tuple[FeatureEdit, ...]:
    """What `FEATURE=NUMBER` options ask for."""
    from steerscope.sae.steering import FeatureEdit

    found = []
    for text in given or ():
        feature, _, value = text.partition("=")
        try:
            found.append(FeatureEdit(read_whole(feature), change, read_real(value)))
        except ValueError:
            raise BadValueError(
                f"cannot read --{change} {text!r}; write FEATURE=NUMBER, such as 12=4.5."
            ) from None
    return tuple(found)
