"""Is attention kernel ridge regression? Each head's own output against K_qk (K_kk + λI)⁻¹ V."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError, check_name
from steerscope.models.attention_kernels import check_outputs, compared, score_scale
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site, Stream
from steerscope.statistics.sums import best_r2, whole_sums

KERNELS = ("linear", "exponential")
LAMBDAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
MEAN, SMOOTHER = "mean", "smoother"  # what knows no key, and a kernel average without any inverse
STREAMS: tuple[Stream, ...] = ("q", "k", "v", "z")


def ridge_output(
    queries: Float[Tensor, "pos d"],
    keys: Float[Tensor, "pos d"],
    values: Float[Tensor, "pos out"],
    *,
    kernel: str,
    ridge: float,
    scale: float | None = None,
) -> Float[Tensor, "pos out"]:
    """What kernel ridge regression on the keys and values so far says at each query; in float64.

    y_t = k(q_t, K_≤t) (k(K_≤t, K_≤t) + λ t̄ I)⁻¹ V_≤t, where t̄ is the mean of the kernel's diagonal, so
    that λ is relative. The kernel is ⟨x, y⟩ / d, or exp(scale ⟨x, y⟩) as in attention.

    Args:
        queries: what is asked at.
        keys: what is known.
        values: what the keys have.
        kernel: a name in `KERNELS`.
        ridge: λ.
        scale: of the exponential kernel; None for 1/√d.

    Raises:
        UnknownNameError: no such kernel.
        BadValueError: λ is not above 0.
    """
    one = (x[None] for x in (queries, keys, values))
    return ridge_outputs(*one, kernel=kernel, ridges=[ridge], scale=scale)[0, 0]


def ridge_outputs(
    queries: Float[Tensor, "head pos d"],
    keys: Float[Tensor, "head pos d"],
    values: Float[Tensor, "head pos out"],
    *,
    kernel: str,
    ridges: Sequence[float],
    scale: float | None = None,
) -> Float[Tensor, "ridge head pos out"]:
    """`ridge_output` of several heads at every λ, from one decomposition per position.

    A head of which a query, key or value is not finite is NaN throughout.

    Raises:
        UnknownNameError: no such kernel.
        BadValueError: a λ is not above 0.
    """
    check_name("kernel", kernel, KERNELS)
    for ridge in ridges:
        if not ridge > 0:
            raise BadValueError(f"ridge {ridge}; it must be above 0.")
    given = (queries, keys, values)
    known = torch.tensor(finite_heads(*given))
    told = values.new_full((len(ridges), *values.shape), torch.nan, dtype=torch.float64)
    if known.any():
        q, k, v = (x[known].double() for x in given)
        told[:, known] = _at_every_position(*_kernels(q, k, kernel, scale), v, ridges)
    return told


def finite_heads(*numbers: Float[Tensor, "head pos _"]) -> list[bool]:
    """Whether all numbers of each head are finite."""
    known = [x.isfinite().all(dim=2).all(dim=1) for x in numbers]
    return torch.stack(known).all(dim=0).tolist()


def _at_every_position(
    pairs: Float[Tensor, "head pos pos"],
    within: Float[Tensor, "head pos pos"],
    v: Float[Tensor, "head pos out"],
    ridges: Sequence[float],
) -> Float[Tensor, "ridge head pos out"]:
    """What each position is told of the values so far, from the kernels."""
    found = []
    for t in range(1, v.shape[1] + 1):
        gram, at = within[:, :t, :t], pairs[:, t - 1, :t]
        eigenvalues, axes = torch.linalg.eigh(gram)
        left = torch.einsum("hs,hsr->hr", at, axes)
        right = torch.einsum("hsr,hso->hro", axes, v[:, :t])
        scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1, keepdim=True)
        found.append(
            torch.stack(
                [
                    torch.einsum("hr,hro->ho", left / (eigenvalues + ridge * scale), right)
                    for ridge in ridges
                ]
            )
        )
    return torch.stack(found, dim=2)


def smoothed_output(
    queries: Float[Tensor, "head pos d"],
    keys: Float[Tensor, "head pos d"],
    values: Float[Tensor, "head pos out"],
    *,
    scale: float | None = None,
) -> Float[Tensor, "head pos out"]:
    """The kernel average of the values so far, with exp(scale ⟨x, y⟩), 1/√d for None, and no inverse.

    With the keys as attention compares them this is attention itself; without their rotation by position
    it says how much of a head is about content.

    Source: Nadaraya 1964, Watson 1964.
    """
    scores = queries.double() @ keys.double().mT * _scale(queries, scale)
    future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(diagonal=1)
    return scores.masked_fill(future, -torch.inf).softmax(dim=-1) @ values.double()


def fit_of(output: Float[Tensor, "pos out"], said: Float[Tensor, "pos out"]) -> tuple[float, float]:
    """R² about the mean output, and the relative error |said - output| / |output|."""
    output = output.double()
    left = float((said - output).square().sum())
    spread = float((output - output.mean(dim=0)).square().sum())
    whole = float(output.square().sum())
    return 1 - left / spread if spread else float("nan"), (left / whole) ** 0.5 if whole else float(
        "nan"
    )


@torch.no_grad()
def ridge_parts(
    model: LensModel,
    prompts: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    kernels: Sequence[str] = KERNELS,
    ridges: Sequence[float] = LAMBDAS,
    progress: Track = silent,
) -> pd.DataFrame:
    """Squares left over by kernel ridge regression at each head on each prompt, after position 0.

    Queries and keys are those that attention compares, behind norms of their own where a model has some, but
    before any rotation by position; the exponential kernel has the scale of the model's scores. Soft caps of
    scores, sinks and windows are left out. Beside the kernels stand the mean of the values so far (`mean`) and the kernel average (`smoother`).

    Args:
        model: the model.
        prompts: texts.
        layers: default all that have these sites.
        kernels: names in `KERNELS`.
        ridges: λ, relative to the kernel's diagonal.
        progress: shows the loop.

    Returns:
        One row per layer, head, kernel, λ and prompt: layer, head, kernel, ridge (0 where there is none),
        prompt, left = Σ|said - output|², spread = Σ|output - mean output of the head over all prompts|²,
        whole = Σ|output|², n (positions), finite (whether the head is so on the prompt). What a number
        that is not finite comes into is NaN.

    Raises:
        BadValueError: no layer has the sites, or a prompt of one token.
        UnsupportedSiteError: a layer does not say its scale, has norms of queries and keys that are not known,
            or puts out no average of its values.
    """
    there = _layers(model, layers)
    outputs: dict[tuple[int, int], Tensor] = {}
    told: dict[tuple[int, int], dict[tuple[str, float], Tensor]] = {}
    finite: dict[tuple[int, int], list[bool]] = {}
    for number, prompt in enumerate(progress(list(prompts), "attention as regression")):
        tokens = torch.tensor([model.tokens(prompt)], device=model.device)
        if tokens.shape[1] < 2:
            raise BadValueError(f"the prompt {prompt!r:.40} has one token; give longer ones.")
        sites = {(s, i): Site(s, i) for s in STREAMS for i in there}
        read = model.read(tokens, list(sites.values()))
        for layer in there:
            q, k, v, z = (read[sites[s, layer]][0] for s in STREAMS)
            q, k, v, z = _by_head(model, [*compared(model, layer, q, k), v, z])
            check_outputs(model, layer, v, z)
            scale = score_scale(model, layer)
            counts = torch.arange(1, q.shape[1] + 1, dtype=torch.float64)[:, None]
            said = {(MEAN, 0.0): v.double().cumsum(dim=1) / counts}
            said[SMOOTHER, 0.0] = smoothed_output(q, k, v, scale=scale)
            for kernel in kernels:
                found = ridge_outputs(q, k, v, kernel=kernel, ridges=ridges, scale=scale)
                said |= {(kernel, ridge): y for ridge, y in zip(ridges, found, strict=True)}
            outputs[layer, number] = z.double()[:, 1:]
            finite[layer, number] = finite_heads(q, k, v, z)
            told[layer, number] = {key: y[:, 1:] for key, y in said.items()}
    return _summed(there, outputs, told, finite)


def _summed(
    layers: Sequence[int],
    outputs: dict[tuple[int, int], Tensor],
    told: dict[tuple[int, int], dict[tuple[str, float], Tensor]],
    finite: dict[tuple[int, int], list[bool]],
) -> pd.DataFrame:
    """Squares of what was told at each layer and prompt, heads as rows."""
    rows = []
    for layer in layers:
        mine = {number: z for (i, number), z in outputs.items() if i == layer}
        middle = torch.cat([*mine.values()], dim=1).mean(dim=1, keepdim=True)
        for number, z in mine.items():
            spread, whole = _squares(z - middle), _squares(z)
            for (kernel, ridge), said in told[layer, number].items():
                left = _squares(said - z)
                rows += [
                    (layer, head, kernel, ridge, number, left[head], spread[head], whole[head], z.shape[1],
                     finite[layer, number][head])
                    for head in range(len(z))
                ]  # fmt: skip
    columns = [
        "layer",
        "head",
        "kernel",
        "ridge",
        "prompt",
        "left",
        "spread",
        "whole",
        "n",
        "finite",
    ]
    return pd.DataFrame(rows, columns=columns)


def _squares(x: Float[Tensor, "head pos out"]) -> list[float]:
    """The sum of squares of each head; NaN where that is not finite."""
    found = x.square().sum(dim=(1, 2))
    return found.where(found.isfinite(), torch.nan).tolist()


def attention_ridge(
    model: LensModel,
    prompts: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    kernels: Sequence[str] = KERNELS,
    ridges: Sequence[float] = LAMBDAS,
    progress: Track = silent,
) -> pd.DataFrame:
    """How well kernel ridge regression gives each head's output, all prompts judged together.

    Args:
        model: the model.
        prompts: texts.
        layers: default all that have these sites.
        kernels: names in `KERNELS`.
        ridges: λ, relative to the kernel's diagonal.
        progress: shows the loop.

    Returns:
        One row per layer, head, kernel and λ: layer, head, kernel, ridge, r2, error, r2_mean (what the
        mean of the values so far gives, which knows no key), r2_smoother (what the kernel average gives),
        n (positions). A fit is NaN where a prompt of it is unknown.

    Raises:
        BadValueError: no layer has the sites, or a prompt of one token.
    """
    parts = ridge_parts(
        model, prompts, layers=layers, kernels=kernels, ridges=ridges, progress=progress
    )
    keys = ["layer", "head", "kernel", "ridge"]
    groups = parts.groupby(keys, sort=False)
    sums = whole_sums(groups, ["left", "spread", "whole", "n"]).reset_index()
    table = sums.assign(r2=1 - sums.left / sums.spread, error=(sums.left / sums.whole) ** 0.5)
    heads = pd.MultiIndex.from_frame(table[["layer", "head"]])
    for name in (MEAN, SMOOTHER):
        beside = table[table.kernel == name].set_index(["layer", "head"]).r2
        table[f"r2_{name}"] = beside.reindex(heads).to_numpy()
    table = table[table.kernel.isin(kernels)].reset_index(drop=True)
    return table[[*keys, "r2", "error", "r2_mean", "r2_smoother", "n"]]


def best_fit(table: pd.DataFrame) -> pd.DataFrame:
    """Of every head the kernel and λ with the largest R², chosen on what it is stated on: an upper bound.

    What is unknown is not chosen; a head of which nothing is known has NaN.
    """
    return best_r2(table, ["layer", "head"]).reset_index(drop=True)


def _layers(model: LensModel, asked: Sequence[int] | None) -> list[int]:
    layers = range(model.shape.n_layers) if asked is None else asked
    there = [i for i in layers if all(model.has(Site(s, i)) for s in STREAMS)]
    if not there:
        raise BadValueError(
            f"{model.name} has no layer with queries, keys, values and outputs of heads."
        )
    return there


def _by_head(
    model: LensModel, read: Sequence[Float[Tensor, "pos _"]]
) -> list[Float[Tensor, "head pos _"]]:
    """Queries, keys, values and outputs with one entry per head; shared keys and values come again."""
    heads, shared = model.shape.n_heads, model.shape.n_key_value_heads
    q, k, v, z = (x.float().cpu() for x in read)
    own = [rearrange(x, "pos (head d) -> head pos d", head=heads) for x in (q, z)]
    parts = [rearrange(x, "pos (head d) -> head pos d", head=shared) for x in (k, v)]
    keys, values = (
        repeat(x, "head pos d -> (head times) pos d", times=heads // shared) for x in parts
    )
    return [own[0], keys, values, own[1]]


def _kernels(
    q: Float[Tensor, "head pos d"], k: Float[Tensor, "head pos d"], kernel: str, scale: float | None
) -> tuple[Float[Tensor, "head pos pos"], Float[Tensor, "head pos pos"]]:
    """The kernel between queries and keys, and among keys; a common factor of a head cancels."""
    pairs, within = q @ k.mT, k @ k.mT
    if kernel == "linear":
        return pairs / q.shape[-1], within / q.shape[-1]
    factor = _scale(q, scale)
    pairs, within = pairs * factor, within * factor
    top = torch.maximum(pairs.amax(dim=(1, 2)), within.amax(dim=(1, 2)))[:, None, None]
    return (pairs - top).exp(), (within - top).exp()


def _scale(q: Float[Tensor, "head pos d"], given: float | None) -> float:
    """What ⟨x, y⟩ is multiplied by in the exponential kernel."""
    return float(q.shape[-1] ** -0.5) if given is None else given
