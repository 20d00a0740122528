"""Commands that do one thing: vectors, eigengap, steer, lens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli import choices
from steerscope.cli.options import (
    Drawing,
    Finding,
    Loading,
    Recipe,
    Talk,
    Trying,
    Writing,
    grouped,
    typed,
)
from steerscope.cli.shared import (
    Contrasts,
    Force,
    Json,
    Model,
    Prompts,
    ScopeText,
    Seed,
    SiteNames,
    check_outputs,
    check_vector,
    finish,
    gguf_lines,
    parse_layers,
    prompt_texts,
    read_several,
    read_vector,
    refuse_unused,
    side_by_side,
    steered_at,
    table,
    write_gguf,
)
from steerscope.errors import BadValueError
from steerscope.texts.bundled import DEFAULT_MODEL
from steerscope.texts.showing import counted

if TYPE_CHECKING:
    from steerscope.directions import Direction
    from steerscope.doses import Dose
    from steerscope.models.lens_model import LensModel

_Coefficient = Annotated[
    float | None, typer.Option("--dose", "--coefficient", help="how much; default 1")
]
_Unit = Annotated[
    str | None,
    typer.Option(
        autocompletion=choices.completing(choices.UNITS),
        help="of the dose: natural, relative, absolute, kl or degrees; default natural",
    ),
]
_Operator = Annotated[
    str,
    typer.Option(
        autocompletion=choices.completing(choices.OPERATORS),
        help="add, project_out, clamp, rotate or rotate_to",
    ),
]


@grouped
def vectors(  # noqa: PLR0915 - what it writes is checked first
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="safetensors file to write")],
    model: Model = DEFAULT_MODEL,
    contrasts: Contrasts = "mood",
    recipe: Recipe,
    finding: Finding,
    gguf: Annotated[
        Path | None, typer.Option(help="write a control vector for llama.cpp as well")
    ] = None,
    other: Annotated[
        str | None, typer.Option(help="another contrast set, for the method other_concept")
    ] = None,
    seed: Seed = 0,
    talk: Talk,
    force: Force = False,
    loading: Trying,
    as_json: Json = False,
) -> None:
    """Find directions from contrast pairs and save them.

    Examples:
        steerscope vectors --out joyful.safetensors --layers 5
        steerscope vectors -m gpt2 -c pairs.jsonl -o mine.safetensors --gguf mine.gguf
    """
    from steerscope.directions import Settings, check_method, save_directions
    from steerscope.directions.finding import find_directions
    from steerscope.doses import Dose
    from steerscope.engine.gathering import gather
    from steerscope.extraction.reading import ReadToken
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.sites import check_stream
    from steerscope.studies.steering.prepare import sites_at
    from steerscope.texts.contrasts import load_contrasts

    method = check_method(recipe.method)
    if method != "other_concept":
        refuse_unused({"other": other}, f"the method {method} takes one contrast set")
    if gguf is not None and check_stream(recipe.stream) != "resid_post":
        raise BadValueError(f"--gguf holds directions at resid_post, not at {recipe.stream}.")
    check_outputs({".safetensors": out, ".gguf": gguf}, [model, contrasts, other], force=force)
    token, settings = ReadToken.parse(recipe.read), Settings(**finding.settings())
    settings.check([method])
    second = None if other is None else load_contrasts(other)
    pairs = load_contrasts(contrasts)
    loaded = loading.load(model)
    pairs = in_chat(loaded, pairs, talk.asked())
    second = None if second is None else in_chat(loaded, second, talk.asked())
    sites = sites_at(loaded, recipe.stream, parse_layers(recipe.layers))
    found = gather(
        loaded, pairs, sites, method, read=token, other=second, settings=settings, progress=bar
    )
    options: dict[str, Any] = {"every": recipe.layers is not None, "settings": settings}
    directions = [*find_directions(method, found, seed=seed, **options).values()]
    save_directions(out, directions, force=force)
    written = {} if gguf is None else write_gguf(gguf, directions, Dose(1.0), force=force)
    said = [f"saved: {out}", *(gguf_lines(written) if written else [])]
    scales = [{"site": str(d.site), **asdict(d.scale)} for d in directions]
    title = f"{method} from {counted(len(pairs), 'pair')} ({pairs.name}):"
    columns = ("site", "natural (length)", "relative (length)")
    rows = [(d.site, f"{d.scale.natural:.4g}", f"{d.scale.relative:.4g}") for d in directions]
    finish(
        as_json,
        {"out": str(out), **written, "directions": scales},
        [*table(title, columns, rows), *said],
        _after_vectors(f"--vector {quote(str(out))} -m {quote(model)}", directions, talk, loading),
    )


def _after_vectors(
    of: str, directions: Sequence[Direction], talk: Talk, loading: Loading
) -> tuple[str, str]:
    """What to do with new directions: hear one, and see what its layer says."""
    if len(directions) > 1:
        of += f" --site {directions[len(directions) // 2].site}"
    said = f'--dose 2 --prompt "One day"{typed(talk, loading)}'
    return f"steerscope steer {of} {said}", f"steerscope lens {of}{typed(loading)}"


@grouped
def eigengap(
    *,
    model: Model = DEFAULT_MODEL,
    prompts: Prompts = "mood",
    variant: Annotated[str, typer.Option(help="uncentred, centred or averaged")] = "centred",
    rotated: Annotated[bool, typer.Option(help="keys after the rotation by position")] = False,
    include_first: Annotated[bool, typer.Option(help="count position 0, the sink")] = False,
    legacy: Annotated[bool, typer.Option(help="the published definition instead")] = False,
    seed: Seed = 0,
    talk: Talk,
    loading: Trying,
    as_json: Json = False,
) -> None:
    """Eigengap of the attention keys, with interval and null.

    Examples:
        steerscope eigengap
        steerscope eigengap -m gpt2 --prompts prompts.txt
    """
    from steerscope.eigengaps import LEGACY, KeyView, check_variant
    from steerscope.eigengaps import eigengap as measure
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.texts.contrasts import load_prompts

    view = KeyView(check_variant(variant), rotated=rotated, include_first=include_first)
    if legacy and view != KeyView():
        raise BadValueError("--legacy is a view of the keys itself; leave the other options out.")
    asked = load_prompts(prompts or "mood")
    loaded = loading.load(model)
    texts = [p.text for p in in_chat(loaded, asked, talk.asked()).prompts]
    found = measure(loaded, texts, LEGACY if legacy else view, seed=seed, progress=bar)
    weakest = found.weakest
    assert weakest is not None  # what is measured has it
    rows, result = [], []
    for row, layer in enumerate(found.layers):
        head = int(weakest.head[row])
        nulls = (weakest.nulls["random"], weakest.nulls["permuted"])
        gap, low, high, null, permuted = (
            float(t[row]) for t in (weakest.value, weakest.low, weakest.high, *nulls)
        )
        ratio, rank = (
            float(t[row, head]) for t in (found.participation_ratio, found.effective_rank)
        )
        numbers = (gap, low, high, null, permuted)
        rows.append((layer, head, *(f"{x:.4f}" for x in numbers), f"{ratio:.1f}", f"{rank:.1f}"))
        result.append(
            {
                "layer": layer,
                "weakest_head": head,
                "gap": gap,
                "low": low,
                "high": high,
                "null": null,
                "null_permuted": permuted,
                "participation_ratio": ratio,
                "effective_rank": rank,
                "gaps": found.gap[row].tolist(),
            }
        )
    columns = (
        "layer", "weakest head", "gap", "low", "high", "random keys", "permuted", "directions",
        "effective rank",
    )  # fmt: skip
    title = f"eigengap of {model}, {counted(found.n_prompts, 'prompt')}, {counted(found.n_tokens, 'key')} a head:"
    finish(as_json, {"model": model, "layers": result}, table(title, columns, rows))


@grouped
def steer(
    *,
    vector: Annotated[str, typer.Option(help="vector file of steerscope or of another tool")],
    prompt: Annotated[list[str], typer.Option(help="text to continue; may be given again")],
    model: Model = DEFAULT_MODEL,
    site: SiteNames = None,
    dose: _Coefficient = None,
    unit: _Unit = None,
    operator: _Operator = "add",
    scope: ScopeText = "all",
    strength: Annotated[
        str, typer.Option(help="share of the change, such as 0.5, ramp:8, decay:4 or cosine:0.3")
    ] = "1.0",
    writing: Writing,
    drawing: Drawing,
    talk: Talk,
    allow_other_weights: Annotated[
        bool, typer.Option(help="use a vector of a sibling of the model, with a warning")
    ] = False,
    loading: Trying,
    as_json: Json = False,
) -> None:
    """Continue prompts with and without steering.

    Examples:
        steerscope steer --vector joyful.safetensors --dose 3 --prompt "One day, Clara was sad."
        steerscope steer --vector joyful.safetensors --unit kl --dose 0.5 --prompt "One day"
    """
    from steerscope.engine.calibration import dose_in_nats
    from steerscope.engine.generation import generate
    from steerscope.engine.score import kl_from_plain
    from steerscope.steering.control_vectors import along
    from steerscope.steering.interventions import Cell
    from steerscope.steering.scopes import Scope
    from steerscope.steering.strengths import parse_strength

    amount = _dose_for(operator, dose, unit)
    where, share, chat = Scope.parse(scope), parse_strength(strength), talk.asked()
    sampler, n = drawing.sampler(writing), drawing.samples
    check_vector(vector)
    loaded = loading.load(model)
    directions = read_several(vector, site, loaded)
    if allow_other_weights:
        loaded.accepts = frozenset(d.provenance.fingerprint for d in directions)
    texts = prompt_texts(prompt, loaded, directions, chat)
    if amount is not None and amount.unit == "kl":
        amount = dose_in_nats(
            loaded, directions, amount.value, texts, operator=operator, scope=where, strength=share
        )
    steering = along(directions, amount, operator, where, share)
    cells = [Cell(), Cell((steering,))]
    plain, steered = generate(loaded, texts, cells, n_new=writing.n_new, sampler=sampler, samples=n)
    kl = kl_from_plain(loaded, texts, cells[1:])[0].tolist()
    results, lines = side_by_side(prompt, plain, steered, kl, steered_at(where, loaded, texts))
    if len(directions) > 1:
        lines.insert(
            0, f"{len(directions)} sites at once: {', '.join(str(d.site) for d in directions)}\n"
        )
    labels = {k: v for k, v in steering.labels().items() if v == v}  # noqa: PLR0124 - drops NaN
    finish(as_json, {"steering": labels, "continuations": results}, lines)


def _dose_for(operator: str, dose: float | None, unit: str | None) -> Dose | None:
    """The dose that is asked for, or None for an operator that takes none."""
    from steerscope.doses import Dose, check_unit
    from steerscope.steering.operators import find_operator

    if find_operator(operator).needs_dose:
        return Dose(1.0 if dose is None else dose, check_unit("natural" if unit is None else unit))
    refuse_unused({"dose": dose, "unit": unit}, f"the operator {operator} takes no dose")
    return None


@grouped
def lens(
    *,
    model: Model = DEFAULT_MODEL,
    vector: Annotated[
        str | None, typer.Option(help="vector file of steerscope or of another tool")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="such as resid_post.4 or mean_diff@resid_post.4")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="text to look into instead")] = None,
    top: Annotated[int, typer.Option(help="tokens to show")] = 8,
    talk: Talk,
    loading: Trying,
    as_json: Json = False,
) -> None:
    """Logit lens of a direction, or of each layer on a prompt.

    Examples:
        steerscope lens --vector joyful.safetensors
        steerscope lens --prompt "One day, Clara was"
    """
    if (vector is None) == (prompt is None):
        raise BadValueError("give either --vector or --prompt.")
    chat = talk.asked()
    if prompt is not None:
        refuse_unused({"site": site}, "a --prompt is looked into at every layer")
    if chat is not None and prompt is None:
        raise BadValueError("--chat is about a --prompt; a vector has its template already.")
    if vector is not None:
        check_vector(vector)
    loaded = loading.load(model)
    if not 1 <= top <= loaded.shape.n_vocab:
        raise BadValueError(f"--top {top} is outside 1..{loaded.shape.n_vocab}.")
    if vector is not None:
        direction = read_vector(vector, site, loaded)
        title, columns, rows, result = _direction_lens(loaded, direction, top)
    else:
        [text] = prompt_texts([prompt or ""], loaded, [], chat)
        title, columns, rows, result = _prompt_lens(loaded, text, top)
    finish(as_json, result, table(title, columns, rows))


_Table = tuple[str, list[str], list[list[str]], dict[str, Any]]


def _direction_lens(model: LensModel, direction: Direction, top: int) -> _Table:
    from steerscope.diagnostics.lens import direction_lens, top_tokens

    most, least = top_tokens(model, direction_lens(model, direction), top)
    rows = [
        [repr(a.token), f"{a.logit:+.2f}", repr(b.token), f"{b.logit:+.2f}"]
        for a, b in zip(most, least, strict=True)
    ]
    title = f"{direction.label}: logits for one natural unit, mean token = 0"
    columns = ["speaks for", "logits", "speaks against", "logits"]
    return (
        title,
        columns,
        rows,
        {"for": [asdict(t) for t in most], "against": [asdict(t) for t in least]},
    )


def _prompt_lens(model: LensModel, prompt: str, top: int) -> _Table:
    import torch

    from steerscope.diagnostics.lens import logit_lens

    rows, layers = [], []
    for layer, logits in enumerate(logit_lens(model, prompt)[:, -1]):
        best = torch.softmax(logits.float(), dim=-1).topk(top)
        said = [model.token_label(int(t)) for t in best.indices]
        shares = best.values.tolist()
        rows.append([str(layer), *(f"{t!r} {p:.2f}" for t, p in zip(said, shares, strict=True))])
        layers.append({"layer": layer, "tokens": said, "probabilities": shares})
    title = "what each layer would say after the last token, with probability"
    return title, ["layer", *(f"#{i + 1}" for i in range(top))], rows, {"layers": layers}
