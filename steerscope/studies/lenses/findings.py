"""Which lenses drift: the change from plain text, against what plain text changes by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from steerscope.errors import BadValueError
from steerscope.runs.distinct import groups_of
from steerscope.runs.overflows import lost_among
from steerscope.runs.results import WEIGHTLESS, Run
from steerscope.statistics import by_cluster, clustered_error, distinct_difference

PLAIN, AGAIN = "plain", "plain again"  # cells
WEIGHING = "plain, by which words are weighed"  # of texts, which have no rows
UNIT = "weighted words in 100"
DRIFT, STILL, RARE = "drifts", "not told from plain text", "no word of it was seen"
COMMON = "its words weigh 0"
LOST = "nothing is known, since the logits of {0} of {1} texts are not finite"
_DRAWS = 2000
_LEVEL = 0.95
_FEWEST = 6  # prompts that change alike: fewer do so by chance in more than 1 of 20 cases
_SAME = 1e-9  # weighted words in 100, of rounding
_COLUMNS = ["lens", "plain", "steered", "change", "low", "high", "null", "threshold", "says", "n"]


def lens_table(run: Run) -> pd.DataFrame:
    """How far each lens moved in a run; see `drift_of_lenses`.

    Where logits overflowed in one text, no lens has a number, n is 0, and `says` tells of how many texts.

    Raises:
        RunError: the run has no rows.
    """
    rows, scores, items = run.table(), {}, pd.Index([])
    lost = list(lost_among(rows).values())
    if lost:
        names = pd.DataFrame({"lens": run.configuration["lens_names"]})
        return names.reindex(columns=_COLUMNS).assign(says=LOST.format(*lost[0]), n=0)
    for name in run.configuration["lens_names"]:
        wide = rows[rows.metric == name].pivot(index="prompt", columns="cell", values="value")
        [steered] = set(wide.columns) - {PLAIN, AGAIN}
        scores[name] = [wide[cell].to_list() for cell in (PLAIN, AGAIN, steered)]
        items = wide.index
    groups = groups_of(run).of("test", "", list(items)).tolist()
    common = set(rows.metric[rows.status == WEIGHTLESS])
    return drift_of_lenses(
        scores, seed=int(run.configuration["seed"]), groups=groups, weightless=common
    )


def drift_of_lenses(
    scores: Mapping[str, Sequence[Sequence[float]]],
    *,
    seed: int = 0,
    groups: Sequence[int] | None = None,
    weightless: Collection[str] = (),
) -> pd.DataFrame:
    """Change of each lens under steering, and the threshold that plain text itself does not pass.

    The null is a second sample of the plain model on the same prompts: its change from the first is what
    nothing does. The threshold of a lens is what 95 % of such changes stay below in every lens at once: the
    signs of the null changes are flipped at random, alike in all lenses, and the largest mean over its
    standard error counts. The error is that of the null or of the change, whichever is larger, and the threshold at
    least Student's of one lens, as wide as its interval. Fewer than six prompts that all change by the same tell nothing.

    Args:
        scores: for each lens three rows of one number a prompt: plain, plain again, steered. Prompts of
            which one is NaN are left out.
        seed: of flips and resamples.
        groups: the number of the distinct prompt that each is; each its own by default.
        weightless: lenses of which words were seen that weigh 0, since every text by which words are
            weighed has them.

    Returns:
        One row per lens, the largest change first: lens, plain, steered, change, low, high (95 %, over
        distinct prompts), null (the change between the two plain samples), threshold, says, n.

    Raises:
        BadValueError: fewer than two distinct prompts.
    """
    names = list(scores)
    kept = {name: _complete(np.array(scores[name], dtype=float), groups) for name in names}
    if not names or min(len(np.unique(labels)) for _, labels in kept.values()) < 2:
        raise BadValueError(
            "lenses need texts with words on at least 2 distinct prompts, with and without steering; a dose at which "
            "nothing is written, or whose logits overflow, says nothing."
        )
    nothing = [by_cluster(part[1] - part[0], labels) for part, labels in kept.values()]
    largest, rows = _largest_null(nothing, seed), []
    for name, ((plain, again, steered), labels) in kept.items():
        change, null = steered - plain, again - plain
        found = distinct_difference(change, labels, seed=seed)
        error = max(clustered_error(c, labels) for c in (null, change))
        threshold = max(largest, _of_one(found.n)) * error
        alike = found.n < _FEWEST and error < _SAME
        said = STILL if alike or abs(found.value) <= threshold else DRIFT
        if not (plain.any() or again.any() or steered.any()):
            said = COMMON if name in weightless else RARE
        rows.append(
            {
                "lens": name,
                "plain": plain.mean(),
                "steered": steered.mean(),
                "change": found.value,
                "low": found.low,
                "high": found.high,
                "null": null.mean(),
                "threshold": threshold,
                "says": said,
                "n": found.n,
            }
        )
    table = pd.DataFrame(rows, columns=_COLUMNS)
    order = table.change.abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _complete(
    rows: Float[np.ndarray, "3 prompt"], groups: Sequence[int] | None
) -> tuple[Float[np.ndarray, "3 known"], Int[np.ndarray, " known"]]:
    """The prompts with all three numbers, and the distinct prompt that each is."""
    known = np.isfinite(rows).all(axis=0)
    labels = np.arange(rows.shape[1]) if groups is None else np.array(groups)
    return rows[:, known], labels[known]


def _largest_null(changes: Sequence[np.ndarray], seed: int) -> float:
    """What the largest |mean| over its error stays below in 95 % of flips."""
    rng = np.random.default_rng(seed)
    n = max(len(change) for change in changes)
    signs = rng.choice((-1.0, 1.0), size=(_DRAWS, n))
    found = [np.zeros(_DRAWS)]
    for change in changes:
        flipped = signs[:, : len(change)] * change
        errors = flipped.std(axis=1, ddof=1) / len(change) ** 0.5
        means = np.abs(flipped.mean(axis=1))
        found.append(np.divide(means, errors, out=np.zeros(_DRAWS), where=errors > 0))
    return float(np.quantile(np.max(found, axis=0), _LEVEL))


def _of_one(n_prompts: int) -> float:
    """What |mean| over its error of one lens stays below in 95 % of cases: few flips vary too little to say so."""
    return float(stats.t.ppf((1 + _LEVEL) / 2, n_prompts - 1))
