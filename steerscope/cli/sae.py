"""Commands on sparse autoencoders that make and judge them: sae train, sae evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli.cells import estimate
from steerscope.cli.options import Loading, Talk, grouped, typed
from steerscope.cli.shared import Json, Model, Seed, finish
from steerscope.texts.bundled import DEFAULT_MODEL
from steerscope.texts.showing import counted

if TYPE_CHECKING:
    from steerscope.sae import SaeQuality, SparseAutoencoder

sae_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Sparse autoencoders: train, judge, read, steer by features.",
)

Text = Annotated[
    str,
    typer.Option(
        help="a bundled world for fresh texts, .jsonl of prompts or text file, one to a line; of a file every "
        "other document is for training, the rest for all else"
    ),
]


@sae_app.command()
@grouped
def train(
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="folder to write; the same command continues it")
    ],
    model: Model = DEFAULT_MODEL,
    site: Annotated[str, typer.Option(help="such as resid_post.3 or z.2")] = "resid_post.3",
    text: Text = DEFAULT_MODEL,
    n_texts: Annotated[int, typer.Option(help="documents, at most")] = 10_000,
    architecture: Annotated[str, typer.Option(help="standard, topk, batchtopk, jumprelu")] = "topk",
    features: Annotated[int, typer.Option(help="size of the dictionary")] = 1024,
    k: Annotated[float | None, typer.Option(help="features active at a time; default 32")] = None,
    penalty: Annotated[
        float | None, typer.Option(help="on the code (standard) or on missing k (jumprelu)")
    ] = None,
    activations: Annotated[int, typer.Option(help="seen in training")] = 1_000_000,
    batch: Annotated[int, typer.Option(help="activations per step")] = 1024,
    learning_rate: Annotated[float, typer.Option(help="of Adam")] = 1e-3,
    normalisation: Annotated[str, typer.Option(help="mean_norm, layer_norm, none")] = "mean_norm",
    dead_after: Annotated[int, typer.Option(help="silent steps until a feature gets help")] = 200,
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Train a sparse autoencoder on a model's activations, in sae-lens' format.

    Examples:
        steerscope sae train --text stories.txt --site resid_post.3 --out my-sae
    """
    from steerscope.models.chat_templates import texts_in_chat
    from steerscope.progress import bar
    from steerscope.sae import SaePlan, load_texts, train_sae
    from steerscope.sae.training import check_training_folder
    from steerscope.sites import Site

    place = Site.parse(site)
    plan = SaePlan(
        architecture=architecture,
        n_features=features,
        k=k,
        penalty=penalty,
        n_activations=activations,
        batch_size=batch,
        learning_rate=learning_rate,
        normalisation=normalisation,
        buffer=max(SaePlan.buffer, 8 * batch),
        dead_after=dead_after,
        seed=seed,
    )
    check_training_folder(out, [model, text])
    texts = load_texts(text, "train", n=n_texts, seed=seed)
    lens_model = loading.load(model)
    texts = texts_in_chat(lens_model, texts, talk.asked())
    trained = train_sae(lens_model, place, texts, plan, folder=out, track=bar)
    result = {"out": str(out), "texts": len(texts), **_about(trained), "plan": asdict(plan)}
    this = f"{quote(str(out))} -m {quote(model)}{typed(talk, loading, {'text': (text, DEFAULT_MODEL)})}"
    finish(
        as_json,
        result,
        [_title(trained), f"saved: {out}"],
        (f"steerscope sae evaluate {this}", f"steerscope sae features {this}"),
    )


@sae_app.command()
@grouped
def evaluate(
    *,
    sae: Annotated[str, typer.Argument(help="folder, bundled name or RELEASE/ID of sae-lens")],
    model: Model = DEFAULT_MODEL,
    text: Text = DEFAULT_MODEL,
    n_texts: Annotated[int, typer.Option(help="documents, at most")] = 500,
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Judge a sparse autoencoder on text that its training has not seen.

    Examples:
        steerscope sae evaluate my-sae
    """
    from steerscope.models.chat_templates import texts_in_chat
    from steerscope.progress import bar
    from steerscope.sae import evaluate_sae, load_sae, load_texts

    lens_model = loading.load(model)
    found = load_sae(sae, model=lens_model)
    texts = load_texts(text, "held out", n=n_texts, seed=seed)
    texts = texts_in_chat(lens_model, texts, talk.asked())
    quality = evaluate_sae(lens_model, found, texts, seed=seed, track=bar)
    result = {"sae": sae, "model": lens_model.name, **_about(found), "quality": asdict(quality)}
    result["text"] = text
    finish(as_json, result, [_title(found), *quality_lines(quality), f"text: {text}"])


def quality_lines(quality: SaeQuality) -> list[str]:
    """A quality report as lines, each figure with its interval."""
    shown = {
        "features active (L0)": (quality.l0, ".1f"),
        "variance unexplained": (quality.fvu, ".4f"),
        "cross-entropy recovered": (quality.recovered, ".4f"),
        "nats/token, plain": (quality.plain, ".4f"),
        "nats/token, replaced": (quality.replaced, ".4f"),
        "nats/token, zeroed": (quality.zeroed, ".4f"),
        "dead features": (quality.dead, ".2%"),
    }
    width = max(map(len, shown))
    lines = [
        f"{what:<{width}}  {estimate(e.value, e.low, e.high, form)}"
        for what, (e, form) in shown.items()
    ]
    return [*lines, _looked_at(quality.n_tokens, quality.n_rows)]


def _about(sae: SparseAutoencoder) -> dict[str, Any]:
    return {
        "site": str(sae.site),
        "architecture": sae.architecture,
        "d": sae.d,
        "n_features": sae.n_features,
        "k": sae.k,
    }


def _title(sae: SparseAutoencoder) -> str:
    return (
        f"{sae.architecture} autoencoder of {sae.n_features} features at {sae.site}, width {sae.d}"
    )


def _looked_at(n_tokens: int, n_rows: int) -> str:
    return f"on {counted(n_tokens, 'token')} of {counted(n_rows, 'row')}; 95 % intervals"
