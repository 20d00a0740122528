"""Is a router better than the best single vector? Arms by prompt, all scored alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from steerscope.errors import BadValueError
from steerscope.runs.results import Run
from steerscope.statistics import (
    clustered_share,
    distinct_difference,
    max_statistic,
    sums_by_cluster,
)
from steerscope.texts.groups import distinct_prompts

PLAIN, ASKED = "plain", "asked by examples"
BY_RULE, BY_CLASSIFIER, BY_TRUTH, AT_RANDOM = (
    "routed by rule",
    "routed by classifier",
    "routed by the true phase",
    "routed at random",
)
_SINGLE = "vector of {0} alone"
WANTED, ROUTE = "wanted", "route"  # metrics of the rows
NOWHERE = -1.0  # a route to no phase


@dataclass(frozen=True)
class Routing:
    """What routing shows.

    Attributes:
        arms: every arm against the best single vector, as `routing_table` gives it.
        reference: that arm, chosen on the select prompts among those that are known on the test prompts;
            empty where none is known on both.
        accuracy: of each router, the share of test prompts that it sends to their phase.
        scores: by arm one number a test prompt.
        choice_lost: the arm that the select prompts chose, where nothing is known of it on the test
            prompts, so that the reference is the best of the rest; empty for none.
        unseen: single vectors of which nothing is known on the select prompts.
    """

    arms: pd.DataFrame
    reference: str
    accuracy: dict[str, float]
    scores: dict[str, Float[np.ndarray, " prompt"]]
    choice_lost: str = ""
    unseen: tuple[str, ...] = ()


def routing_of(run: Run) -> Routing:
    """What a run of routing shows.

    Raises:
        RunError: the run has no rows.
    """
    names, texts = run.configuration["phase_names"], run.texts()
    groups = None
    if not texts.empty:
        asked = texts[texts.split == "test"].drop_duplicates("prompt").sort_values("prompt")
        groups = distinct_prompts(list(asked.given))
    return routing_of_rows(run.table(), names, seed=int(run.configuration["seed"]), groups=groups)


def routing_of_rows(
    rows: pd.DataFrame,
    phases: Sequence[str],
    *,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> Routing:
    """The same of rows: what each text of an arm was worth, and where each router sends each prompt.

    Args:
        rows: of the metric `wanted`, and of `route` with the place of a phase; `concept` is the true phase.
        phases: their names.
        seed: of resamples.
        groups: the number of the distinct prompt that each test prompt is; each its own by default.
    """
    select, test = (
        _by_arm(rows[(rows.metric == WANTED) & (rows.split == s)]) for s in ("select", "test")
    )
    seen, known = (
        {p for p in phases if not np.isnan(part[single(p)]).any()} for part in (select, test)
    )
    chosen, reference = (
        best_single(select, [p for p in phases if p in some]) if some else ""
        for some in (seen, seen & known)
    )
    sent = rows[rows.metric == ROUTE].sort_values("prompt")
    by_phase, accuracy = {name: test[single(name)] for name in phases}, {}
    for arm, mine in sent.groupby("cell", sort=False):
        route = [None if n == NOWHERE else phases[int(n)] for n in mine.value]
        test[arm] = routed(by_phase, route, test[PLAIN])
        accuracy[arm] = float(np.mean([r == t for r, t in zip(route, mine.concept, strict=True)]))
    arms = routing_table(test, reference, seed=seed, groups=groups)
    unseen = tuple(single(p) for p in phases if p not in seen)
    lost = "" if chosen == reference else chosen
    return Routing(arms, reference, accuracy, test, lost, unseen)


def arms_table(run: Run) -> pd.DataFrame:
    """Every arm of a run with the share of prompts that it sends to their phase, NaN for no router."""
    found = routing_of(run)
    arms = found.arms
    return arms.assign(
        to_the_right_phase=[found.accuracy.get(arm, np.nan) for arm in arms.arm],
        is_reference=arms.arm == found.reference,
    )


def vectors_table(run: Run) -> pd.DataFrame:
    """Where the vector of each phase acts: phase, site, dose_relative."""
    rows = run.table()
    found = []
    for name in run.configuration["phase_names"]:
        mine = rows[(rows.cell == single(name)) & (rows.metric == WANTED)].iloc[0]
        found.append((name, f"{mine.stream}.{mine.layer}", mine.dose_relative))
    return pd.DataFrame(found, columns=["phase", "site", "dose_relative"])


def _by_arm(rows: pd.DataFrame) -> dict[str, Float[np.ndarray, " prompt"]]:
    """By arm one number a prompt, in their order."""
    return {
        str(arm): mine.sort_values("prompt").value.to_numpy(float)
        for arm, mine in rows.groupby("cell", sort=False)
    }


def single(phase: str) -> str:
    """The name of the arm with one vector everywhere."""
    return _SINGLE.format(phase)


def best_single(scores: Mapping[str, Float[np.ndarray, " prompt"]], phases: Sequence[str]) -> str:
    """The single vector with the largest mean score, to be chosen on other prompts than it is stated on.

    Of the phases that are given; one whose logits overflow is behind all others.
    """
    means = {arm: float(np.mean(scores[arm])) for arm in map(single, phases)}
    return max(means, key=lambda arm: (not math.isnan(means[arm]), means[arm]))


def routing_table(
    scores: Mapping[str, Float[np.ndarray, " prompt"]],
    reference: str,
    *,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Every arm with its interval, and paired against a reference with a correction for all arms.

    Args:
        scores: by arm one number a prompt, 1 for what was wanted and undamaged, else 0; the same prompts.
            An arm of which a number is NaN is not known.
        reference: the arm that the others are compared with; empty for none, where differences are NaN.
        seed: of resamples and flips.
        groups: the number of the distinct prompt that each is; each its own by default.

    Returns:
        One row per arm, best first: arm, score, low, high (95 %, Wilson), difference (this arm minus the
        reference), difference_low, difference_high (over distinct prompts), p_corrected (two-sided, max
        statistic over arms), n (distinct prompts). An arm that is not known has NaN and n = 0, and comes last.

    Raises:
        BadValueError: no such reference, or arms on different prompts.
    """
    if reference not in {"", *scores} or len({len(values) for values in scores.values()}) != 1:
        raise BadValueError("arms are compared on the same prompts, and with one of them.")
    everyone = {name: np.asarray(v, dtype=float) for name, v in scores.items()}
    values = {name: v for name, v in everyone.items() if not np.isnan(v).any()}
    names = [name for name in values if reference not in {"", name}]
    if reference and (reference not in values or not names):
        raise BadValueError(
            "the logits of every single vector, or of all arms beside it, are not finite, so that "
            "nothing can be compared; ask for a smaller KL."
        )
    n_prompts = len(next(iter(everyone.values())))
    labels = np.arange(n_prompts) if groups is None else np.array(groups)
    apart = {name: values[name] - values[reference] for name in names}
    p, rows = _two_sided(apart, labels, seed), []
    for name, mine in values.items():
        found = clustered_share(mine, labels)
        row = {"arm": name, "score": found.value, "low": found.low, "high": found.high}
        row |= dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
        if name in apart:
            gap = distinct_difference(apart[name], labels, share=True, seed=seed)
            row |= {
                "difference": gap.value,
                "difference_low": gap.low,
                "difference_high": gap.high,
            }
        rows.append(row | {"p_corrected": p.get(name, np.nan), "n": found.n})
    rows += [{"arm": name, "n": 0} for name in everyone if name not in values]
    return pd.DataFrame(rows).sort_values("score", ascending=False, ignore_index=True)


def _two_sided(
    apart: Mapping[str, Float[np.ndarray, " prompt"]],
    labels: Int[np.ndarray, " prompt"],
    seed: int,
) -> dict[str, float]:
    """Of each arm the p of its difference to the reference, corrected for all of them."""
    if not apart:
        return {}
    distinct = sums_by_cluster(np.stack(list(apart.values())), labels)
    both = max_statistic(np.concatenate([distinct, -distinct]), seed=seed)
    return dict(zip(apart, np.minimum(both[: len(apart)], both[len(apart) :]), strict=True))


def routed(
    by_phase: Mapping[str, Float[np.ndarray, " prompt"]],
    routes: Sequence[str | None],
    plain: Float[np.ndarray, " prompt"],
) -> Float[np.ndarray, " prompt"]:
    """Of each prompt the score under the vector that it was routed to; plain where to none."""
    return np.array(
        [plain[i] if route is None else by_phase[route][i] for i, route in enumerate(routes)]
    )
