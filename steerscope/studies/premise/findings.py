"""From the rows of a premise run to numbers: R² and error of every head, and how wide the gaps are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from steerscope.errors import BadValueError
from steerscope.statistics import CONFIDENCE, spread_as_few
from steerscope.statistics.sums import best_r2, whole_sums

PARTS = ["left", "spread", "whole"]
GAPS = ["attention_gap", "attention_gap_centred", "key_gap"]
GIVEN = "attention"  # what stands for the kernel in the rows of gaps
GOOD = 0.5  # R² from which a head is told by a kernel
_HEAD = ["layer", "head", "kernel"]
_KEYS = [*_HEAD, "ridge"]
_DRAWS = 1000


def parts_of(table: pd.DataFrame) -> pd.DataFrame:
    """Squares of each layer, head, kernel, λ and prompt, out of the rows of a run."""
    rows = table[table.metric.isin(PARTS)]
    ridges = rows.cell.str.rsplit("; ", n=1).str[1].astype(float)
    wide = rows.assign(kernel=rows.method, ridge=ridges).pivot(
        index=[*_KEYS, "split", "prompt"], columns="metric", values="value"
    )
    return wide.reset_index().rename_axis(columns=None)


def chosen_parts(parts: pd.DataFrame) -> pd.DataFrame:
    """Of each head and kernel the λ with the largest R² on the select prompts, on the test prompts.

    A λ of which a select prompt is unknown is not chosen. Where that is each of several, λ and all of the
    head and kernel are NaN.

    Raises:
        BadValueError: no prompt to choose on, or none to state on.
    """
    if set(parts.split) != {"select", "test"}:
        raise BadValueError("λ is chosen on half of the prompts; give at least 2.")
    sums = whole_sums(parts[parts.split == "select"].groupby(_KEYS), ["left", "spread"])
    r2 = (1 - sums.left / sums.spread).rename("r2").reset_index()
    several = r2.groupby(_HEAD).r2.transform("size") > 1
    best = best_r2(r2, _HEAD).assign(lost=r2.r2.isna() & several).drop(columns="r2")
    found = parts[parts.split == "test"].merge(best, on=_KEYS)
    found.loc[found.lost, ["ridge", *PARTS]] = np.nan
    return found.drop(columns="lost")


def head_fits(parts: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """R² and relative error of each head and kernel on prompts that did not choose its λ.

    Returns:
        One row per layer, head and kernel: ridge, r2, r2_low, r2_high, error, error_low, error_high
        (95 % bootstrap over prompts, spread as for few), n_prompts. A head of which a prompt is unknown has NaN.

    Raises:
        BadValueError: fewer than two prompts.
    """
    chosen = chosen_parts(parts)
    keys = chosen[_KEYS].drop_duplicates().sort_values(_KEYS, ignore_index=True)
    squares = _squares(chosen, keys)
    values, drawn = _fits(squares, seed)
    columns: dict[str, object] = {}
    for name, value, draws in zip(("r2", "error"), values, drawn, strict=True):
        low, high = np.quantile(draws, _TAILS, axis=0)
        columns |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return keys.assign(**columns, n_prompts=squares.shape[2])


def premise_summary(parts: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Over all heads, for each kernel: median R², median error, share of heads above R² 0.5.

    Returns:
        One row per kernel: median_r2, median_error, share_good, each with _low and _high (bootstrap over
        prompts, spread as for few), n_heads (those that are known), n_prompts; and n_lost, the heads of which nothing is known,
        where there are any.

    Raises:
        BadValueError: fewer than two prompts.
    """
    rows = []
    for kernel, mine in chosen_parts(parts).groupby("kernel", sort=False):
        squares = _squares(mine, mine[_KEYS].drop_duplicates())
        known, n_lost = _known(squares)
        (r2, error), (r2s, errors) = _fits(known, seed)
        n_heads = squares.shape[1] - n_lost
        numbers = {
            "median_r2": (np.median(r2), np.median(r2s, axis=1)),
            "median_error": (np.median(error), np.median(errors, axis=1)),
            "share_good": (np.mean(_good(r2)), np.mean(_good(r2s), axis=1)),
        }
        row: dict[str, object] = {"kernel": kernel}
        for name, (value, draws) in numbers.items():
            low, high = np.quantile(draws, _TAILS)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"n_heads": n_heads, "n_prompts": squares.shape[2], "n_lost": n_lost})
    table = pd.DataFrame(rows)
    return table if table.n_lost.any() else table.drop(columns="n_lost")


@dataclass(frozen=True)
class MedianFit:
    """The median R² over the heads of a kernel that are known; NaN where none is.

    Attributes:
        draws: the same under each draw of prompts.
        n_heads: all of them.
        n_lost: those of which nothing is known.
    """

    value: float
    draws: Float[np.ndarray, " draw"]
    n_prompts: int
    n_heads: int
    n_lost: int


def summary_draws(parts: pd.DataFrame, kernel: str, *, seed: int = 0) -> MedianFit:
    """The median R² over heads of one kernel, and the same under each draw of prompts.

    Raises:
        BadValueError: no such kernel in the rows.
    """
    chosen = chosen_parts(parts)
    mine = chosen[chosen.kernel == kernel]
    if mine.empty:
        raise BadValueError(f"the run has no kernel {kernel!r}.")
    squares = _squares(mine, mine[_KEYS].drop_duplicates())
    _, n_heads, n_prompts = squares.shape
    known, n_lost = _known(squares)
    (r2, _), (draws, _) = _fits(known, seed)
    return MedianFit(
        float(np.median(r2)), np.median(draws, axis=1), n_prompts, n_heads=n_heads, n_lost=n_lost
    )


def gap_summary(table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Mean gap over heads, of attention probabilities and of keys, for each layer and for all.

    Returns:
        One row per gap and layer (-1 for all): gap, layer, value, low, high (bootstrap over prompts),
        smallest (the smallest mean of a head), n_prompts; and n_lost, the heads of which nothing is known
        and that are left out, where there are any. Where that is all of them the gap is NaN.
    """
    rows = []
    for metric, mine in table[table.metric.isin(GAPS)].groupby("metric", sort=False):
        layers: Sequence[int] = [-1, *sorted(mine.layer.unique())]
        for layer in layers:
            here = mine if layer < 0 else mine[mine.layer == layer]
            here, n_lost = known_gaps(here)
            by_prompt = here.groupby("prompt").value.mean().to_numpy(float)
            n, mean = len(by_prompt), float(by_prompt.mean())
            drawn = spread_as_few(
                by_prompt[_drawn(n, seed)].mean(axis=1), mean, n, least=0.0, most=1.0
            )
            low, high = np.quantile(drawn, _TAILS)
            smallest = float(here.groupby(["layer", "head"]).value.mean().min())
            numbers = (mean, low, high, smallest, n)
            rows.append((metric, layer, *numbers, n_lost))
    columns = ["gap", "layer", "value", "low", "high", "smallest", "n_prompts", "n_lost"]
    found = pd.DataFrame(rows, columns=columns)
    return found if found.n_lost.any() else found.drop(columns="n_lost")


def known_gaps(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows of one gap, of the heads that are known on every prompt; how many are not.

    Where none is known all rows are given, without a number.
    """
    lost = rows.value.isna().groupby([rows.layer, rows["head"]]).transform("any")
    n_lost = len(rows[lost].drop_duplicates(["layer", "head"]))
    return (rows.assign(value=np.nan) if lost.all() else rows[~lost]), n_lost


_TAILS = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
_Heads = tuple[Float[np.ndarray, " head"], Float[np.ndarray, " head"]]
_Draws = tuple[Float[np.ndarray, "draw head"], Float[np.ndarray, "draw head"]]


def _drawn(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(n, size=(_DRAWS, n))


def _squares(parts: pd.DataFrame, keys: pd.DataFrame) -> Float[np.ndarray, "part head prompt"]:
    """Left, spread and whole, heads in the order of the keys."""
    index = pd.MultiIndex.from_frame(keys[_HEAD])
    found = [
        parts.pivot(index=_HEAD, columns="prompt", values=name).reindex(index).to_numpy(float)
        for name in PARTS
    ]
    return np.stack(found)


def _known(
    squares: Float[np.ndarray, "part head prompt"],
) -> tuple[Float[np.ndarray, "part known prompt"], int]:
    """Those of the heads that are known on every prompt, or of all where none is; how many are not."""
    lost = np.isnan(squares).any(axis=(0, 2))
    return squares if lost.all() else squares[:, ~lost], int(lost.sum())


def _good(r2: Float[np.ndarray, "*draw head"]) -> Float[np.ndarray, "*draw head"]:
    """1 for a head that is told by its kernel, 0 for another, NaN where that is not known."""
    return np.where(np.isnan(r2), np.nan, r2 > GOOD)


def _fits(squares: Float[np.ndarray, "part head prompt"], seed: int) -> tuple[_Heads, _Draws]:
    """R² and relative error of every head, as they are and under each draw of prompts, spread as for few."""
    n = squares.shape[2]
    weights = np.stack([np.bincount(d, minlength=n) for d in _drawn(n, seed)])
    left, spread, whole = squares.sum(axis=2)
    drawn = squares @ weights.T
    lefts, spreads, wholes = drawn.transpose(0, 2, 1)
    r2, error = 1 - left / spread, np.sqrt(left / whole)
    r2s = spread_as_few(1 - lefts / spreads, r2, n, most=1.0)
    return (r2, error), (r2s, spread_as_few(np.sqrt(lefts / wholes), error, n, least=0.0))
