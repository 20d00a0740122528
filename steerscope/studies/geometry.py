"""Is the geometry of concepts shared? Cosines within each model, compared across models.

Concept vectors of two models cannot be compared one by one, for their axes have nothing to do with
each other. Which concepts lie near which can: a matrix of cosines has no axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from scipy.stats import rankdata

from steerscope.errors import BadValueError, DegenerateDirectionError, UnknownNameError
from steerscope.statistics import holm

Method = Literal["spearman", "pearson"]
FEWEST = 4  # concepts; three have 6 orders, so that no p can be below 1/6
_EXACT_UP_TO = 40_320  # orders of the labels, 8!
_AT_ONCE = 2048  # orders
_SURE = 0.05


@dataclass(frozen=True)
class Mantel:
    """How alike two matrices over the same concepts are, and how often by chance.

    Attributes:
        rho: correlation of the entries above the diagonal.
        p: share of the orders of the labels with a correlation this far from zero, two-sided.
        n: concepts.
        n_orders: orders of the labels looked at.
        exact: whether these are all that there are.
    """

    rho: float
    p: float
    n: int
    n_orders: int
    exact: bool


def cosine_matrix(
    vectors: Float64[np.ndarray, "row d"], *, centred: bool = True
) -> Float64[np.ndarray, "row row"]:
    """Cosines between concept vectors, one a row, after taking their mean away.

    Vectors that are differences to one neutral mean all hold that mean, which alone makes them
    alike. The mean over concepts takes it out: (h₁ - m) - mean(hᵢ - m) = h₁ - mean(hᵢ).

    Args:
        vectors: class means or differences to one neutral mean, in activation units.
        centred: False leaves the shared mean in, for comparison.

    Returns:
        A cosine from -1 to 1 for every pair of rows, [row, row].

    Raises:
        DegenerateDirectionError: a vector is zero.
    """
    kept = vectors - vectors.mean(axis=0) if centred else vectors
    norms = np.linalg.norm(kept, axis=1)
    smallest = np.finfo(np.float32).eps * np.abs(vectors).max(initial=0.0)
    if (norms <= smallest).any():
        which = int(np.argmin(norms))
        raise DegenerateDirectionError(
            f"the concept vector in row {which} is zero"
            + (" after taking the mean over concepts away; " if centred else "; ")
            + "give concepts that differ."
        )
    unit = kept / norms[:, None]
    return unit @ unit.T


def mantel(
    first: Float64[np.ndarray, "row row"],
    second: Float64[np.ndarray, "row row"],
    *,
    method: str = "spearman",
    groups: Sequence[str] | None = None,
    seed: int = 0,
    n_orders: int = 9999,
) -> Mantel:
    """Correlation of two matrices over the same concepts, tested by permuting one's labels.

    The entries of a matrix share concepts and are not independent, so that an ordinary p is far too
    small; a permuted order moves whole rows and columns. All orders are looked at where there are
    no more than 8!, else p = (1 + count) / (1 + n_orders) over orders at random.

    Args:
        first: symmetric, one row per concept.
        second: the same concepts in the same order.
        method: `spearman` or `pearson`.
        groups: of each concept; labels then change places only within a group, which asks whether
            more is shared than which concepts belong together.
        seed: of the orders at random.
        n_orders: at random.

    Raises:
        UnknownNameError: no such method.
        BadValueError: fewer than four concepts, no other order within the groups, or a matrix whose
            entries do not vary.

    Source: Mantel 1967; the +1 is Phipson & Smyth 2010.
    """
    if method not in get_args(Method):
        raise UnknownNameError("method of correlation", method, get_args(Method))
    n = len(first)
    if n < FEWEST:
        raise BadValueError(
            f"{n} concepts are too few to compare two geometries: at least {FEWEST} are needed."
        )
    above = np.triu_indices(n, 1)
    fixed, moved = (_standardised(m, above, method) for m in (first, second))
    labels = list(groups) if groups is not None else [""] * n
    blocks = [[i for i, g in enumerate(labels) if g == name] for name in dict.fromkeys(labels)]
    total = math.prod(math.factorial(len(b)) for b in blocks)
    if total < 2:
        raise BadValueError("every concept is alone in its group, so no labels can change places.")
    exact = total <= _EXACT_UP_TO
    rho = float(fixed[above] @ moved[above])
    found = [
        np.einsum("p,op->o", fixed[above], moved[orders[:, above[0]], orders[:, above[1]]])
        for orders in _orders(blocks, n, exact, seed, n_orders)
    ]
    extreme = int((np.abs(np.concatenate(found)) >= abs(rho) - 1e-12).sum())
    p = extreme / total if exact else (1 + extreme) / (1 + n_orders)
    return Mantel(rho, p, n, total if exact else n_orders, exact)


def _standardised(
    matrix: Float64[np.ndarray, "row row"], above: tuple[np.ndarray, np.ndarray], method: str
) -> Float64[np.ndarray, "row row"]:
    """The entries, or their ranks, shifted and scaled so that inner products are correlations."""
    values = rankdata(matrix[above]) if method == "spearman" else matrix[above]
    values = values - values.mean()
    length = np.linalg.norm(values)
    if not length > 1e-12:
        raise BadValueError("the entries of a matrix do not vary; there is no geometry to compare.")
    result = np.zeros_like(matrix)
    result[above] = values / length
    return result + result.T


def _orders(
    blocks: list[list[int]], n: int, exact: bool, seed: int, n_orders: int
) -> list[Int64[np.ndarray, "order row"]]:
    """Orders of the labels within their blocks, some thousand at a time."""
    if exact:
        every = product(*(permutations(b) for b in blocks))
        orders = np.empty((math.prod(math.factorial(len(b)) for b in blocks), n), dtype=np.int64)
        for row, choice in enumerate(every):
            for block, order in zip(blocks, choice, strict=True):
                orders[row, block] = order
    else:
        rng = np.random.default_rng(seed)
        orders = np.tile(np.arange(n), (n_orders, 1))
        for block in blocks:
            orders[:, block] = rng.permuted(orders[:, block], axis=1)
    return [orders[i : i + _AT_ONCE] for i in range(0, len(orders), _AT_ONCE)]


def compare_geometries(
    geometries: Mapping[str, Float64[np.ndarray, "row row"]],
    *,
    concepts: Sequence[str],
    groups: Sequence[str],
    nulls: Sequence[str] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """Every model against every other: one row per pair, its p corrected for the number of pairs.

    Columns: first, second, null (a model that never learned is among them), rho, p, p_within (labels
    permuted within groups; NaN where every group is one concept), n; p_holm and p_within_holm are
    corrected over the pairs without a null.

    Args:
        geometries: matrix of cosines of each model.
        concepts: names of the rows.
        groups: of each concept.
        nulls: names of the models that are controls.
        seed: of the permutations.

    Returns:
        One row per pair of models, with the columns above.

    Raises:
        BadValueError: fewer than two models, a matrix of another number of concepts, or what
            `mantel` refuses.
    """
    if len(geometries) < 2:
        raise BadValueError("geometries are compared between models; give at least 2.")
    for name, matrix in geometries.items():
        if len(matrix) != len(concepts):
            raise BadValueError(f"{name} has {len(matrix)} concepts, not {len(concepts)}.")
    grouped = len(set(groups)) < len(groups)
    rows = []
    for a, b in combinations(geometries, 2):
        pair = geometries[a], geometries[b]
        whole = mantel(*pair, seed=seed)
        within = mantel(*pair, groups=groups, seed=seed).p if grouped else math.nan
        rows.append(
            {
                "first": a,
                "second": b,
                "null": a in nulls or b in nulls,
                "rho": whole.rho,
                "p": whole.p,
                "p_within": within,
                "n": whole.n,
            }
        )
    table = pd.DataFrame(rows)
    for column in ("p", "p_within"):
        tested = table[column].where(~table.null).to_numpy(float)
        table[f"{column}_holm"] = holm(tested)
    return table


def geometries_in_words(table: pd.DataFrame) -> str:
    """Whether the geometry is shared, and by more than a model that never learned shares.

    Args:
        table: as `compare_geometries` returns it, with at least one pair without a null.
    """
    trained, nulls = table[~table.null], table[table.null]
    told = trained[(trained.p_holm < _SURE) & (trained.rho > 0)]
    turned = trained[(trained.p_holm < _SURE) & (trained.rho < 0)]
    n, pairs = int(table.n.iloc[0]), len(trained)
    said = [
        f"{len(told)} of {pairs} pairs of trained models share the geometry of {n} concepts beyond "
        f"chance after Holm's correction (Spearman's rho {_range(trained.rho)}, corrected p "
        f"{_range(trained.p_holm, '.2g')}, n = {n} concepts)"
    ]
    if len(turned):
        said.append(
            f"{len(turned)} {'have' if len(turned) > 1 else 'has'} it turned round: what is alike in the one is "
            f"unlike in the other (rho {_range(turned.rho)})"
        )
    if trained.p_within.notna().any():
        within = int(((trained.p_within_holm < _SURE) & (trained.rho > 0)).sum())
        said.append(
            f"labels permuted within their variable alone still tell {within} of {pairs} (corrected "
            f"p {_range(trained.p_within_holm, '.2g')})"
        )
    if len(nulls):
        ahead = trained.rho.min() > nulls.rho.max()
        said.append(
            f"with an untrained model rho is {_range(nulls.rho)} (p {_range(nulls.p, '.2g')}), "
            + (
                "below every trained pair"
                if ahead
                else "no less than some trained pair, so that the words of the texts may explain that"
            )
        )
    return "; ".join(said) + "."


def _range(values: pd.Series, form: str = "+.2f") -> str:
    """The smallest to the largest."""
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"
