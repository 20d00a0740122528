"""Is attention kernel ridge regression? Each head's own output against K_qk (K_kk + λI)⁻¹ V."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError, check_name
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site

KERNELS = ("linear", "exponential")
LAMBDAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def ridge_output(
    queries: Float[Tensor, "pos d"],
    keys: Float[Tensor, "pos d"],
    values: Float[Tensor, "pos out"],
    *,
    kernel: str,
    ridge: float,
) -> Float[Tensor, "pos out"]:
    """What kernel ridge regression on the keys and values so far says at each query; in float64.

    y_t = k(q_t, K_≤t) (k(K_≤t, K_≤t) + λ t̄ I)⁻¹ V_≤t, where t̄ is the mean of the kernel's diagonal, so
    that λ is relative. The kernel is ⟨x, y⟩ / d, or exp(⟨x, y⟩ / √d) as in attention.

    Raises:
        UnknownNameError: no such kernel.
        BadValueError: λ is not above 0.
    """
    check_name("kernel", kernel, KERNELS)
    if not ridge > 0:
        raise BadValueError(f"ridge {ridge}; it must be above 0.")
    q, k, v = queries.double(), keys.double(), values.double()
    d = q.shape[1]
    pairs, within = q @ k.T, k @ k.T
    if kernel == "linear":
        pairs, within = pairs / d, within / d
    else:
        pairs, within = pairs / d**0.5, within / d**0.5
        top = torch.maximum(pairs.max(), within.max())  # a common factor of both kernels cancels
        pairs, within = (pairs - top).exp(), (within - top).exp()
    found = []
    for t in range(1, len(q) + 1):
        gram = within[:t, :t]
        damped = gram + ridge * gram.diagonal().mean() * torch.eye(t, dtype=gram.dtype)
        found.append(pairs[t - 1, :t] @ torch.linalg.solve(damped, v[:t]))
    return torch.stack(found)


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
def attention_ridge(
    model: LensModel,
    prompts: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    kernels: Sequence[str] = KERNELS,
    ridges: Sequence[float] = LAMBDAS,
    progress: Track = silent,
) -> pd.DataFrame:
    """How well kernel ridge regression gives each head's output, on the positions after the first.

    Queries and keys are those before any rotation by position, as the published gap reads them.

    Args:
        model: the model.
        prompts: texts.
        layers: default all that have these sites.
        kernels: names in `KERNELS`.
        ridges: λ, relative to the kernel's diagonal.
        progress: shows the loop.

    Returns:
        One row per layer, head, kernel and λ: layer, head, kernel, ridge, r2, error, r2_mean (what the
        mean of the values so far gives, which knows no key), n (positions). Outputs of all prompts are
        fitted prompt by prompt and judged together.

    Raises:
        BadValueError: no layer has the sites.
    """
    streams = ("q", "k", "v", "z")
    asked = range(model.shape.n_layers) if layers is None else layers
    there = [i for i in asked if all(model.has(Site(s, i)) for s in streams)]  # type: ignore[arg-type]
    if not there:
        raise BadValueError(
            f"{model.name} has no layer with queries, keys, values and outputs of heads."
        )
    heads, shared = model.shape.n_heads, model.shape.n_key_value_heads
    seen: dict[tuple[int, int, str, float], list[tuple[Tensor, Tensor]]] = {}
    for prompt in progress(list(prompts), "attention as regression"):
        tokens = torch.tensor([model.tokens(prompt)], device=model.device)
        sites = {(s, i): Site(s, i) for s in streams for i in there}  # type: ignore[arg-type]
        read = model.read(tokens, list(sites.values()))
        for layer in there:
            q, k, v, z = (read[sites[s, layer]][0].float().cpu() for s in streams)
            for head in range(heads):
                mine = [_head(x, head, heads) for x in (q, z)]
                own = [_head(x, head * shared // heads, shared) for x in (k, v)]
                counts = torch.arange(1, len(own[1]) + 1, dtype=torch.float64)[:, None]
                told = {("mean", 0.0): own[1].double().cumsum(dim=0) / counts}
                told |= {
                    (kernel, ridge): ridge_output(mine[0], *own, kernel=kernel, ridge=ridge)
                    for kernel in kernels
                    for ridge in ridges
                }
                for (kernel, ridge), said in told.items():
                    key = layer, head, kernel, ridge
                    seen.setdefault(key, []).append((mine[1][1:], said[1:]))
    rows = []
    for (layer, head, kernel, ridge), parts in seen.items():
        output, said = (torch.cat([p[side] for p in parts]) for side in (0, 1))
        r2, error = fit_of(output, said)
        rows.append((layer, head, kernel, ridge, r2, error, len(output)))
    columns = ["layer", "head", "kernel", "ridge", "r2", "error", "n"]
    table = pd.DataFrame(rows, columns=columns)
    mean = table[table.kernel == "mean"].set_index(["layer", "head"]).r2
    table = table[table.kernel != "mean"].reset_index(drop=True)
    keys = pd.MultiIndex.from_frame(table[["layer", "head"]])
    return table.assign(r2_mean=mean.reindex(keys).to_numpy())


def best_fit(table: pd.DataFrame) -> pd.DataFrame:
    """Of every head the kernel and λ with the largest R², chosen on what it is stated on: an upper bound."""
    return table.loc[table.groupby(["layer", "head"]).r2.idxmax()].reset_index(drop=True)


def _head(x: Float[Tensor, "pos d"], head: int, n_heads: int) -> Float[Tensor, "pos part"]:
    return x.reshape(len(x), n_heads, -1)[:, head]
