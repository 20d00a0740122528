"""Shares that a fallible judge counted, corrected for its errors."""

from __future__ import annotations

import math

from scipy import stats

from steerscope.statistics.intervals import CONFIDENCE, Estimate

_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


def corrected_share(
    said: Estimate, sensitivity: Estimate, specificity: Estimate, could: float = 1.0
) -> Estimate:
    """The share of texts that show a concept, from the share that a judge says do.

    π = (p - (1 - Sp) u) / (Se + Sp - 1), u being the share of texts that could count, with the uncertainty
    of the other three in the interval. It is cut at 0 and u. NaN where the judge does not tell the classes apart (Se + Sp <= 1). The n of `said` is
    widened to what its own interval is worth, so that repeated prompts count as often as they say
    something new.

    Args:
        said: share of texts that the judge says show it.
        sensitivity: share of those that do show it which it says do.
        specificity: share of the others which it says do not.
        could: u; 1 where every text could count, such as one that may be damaged.

    Source: Rogan & Gladen 1978; the interval of Lang & Reiczigel 2014; u as in `corrected_difference`.
    """
    youden = sensitivity.value + specificity.value - 1
    if not youden > 0 or math.isnan(said.value):
        return Estimate(math.nan, math.nan, math.nan, said.n)
    value = _inside((said.value - (1 - specificity.value) * could) / youden, could)
    n = _worth(said)
    p = (n * said.value + _Z**2 / 2) / (n + _Z**2)
    n += _Z**2
    (se, n_se), (sp, n_sp) = (
        ((_worth(r) * r.value + 1) / (_worth(r) + 2), _worth(r) + 2)
        for r in (sensitivity, specificity)
    )
    j = se + sp - 1
    if not j > 0:
        return Estimate(value, 0.0, could, said.n)
    pi = (p - (1 - sp) * could) / j
    of_se, of_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    mistaken = (
        could - pi
    )  # those that could count and do not show it: all that the specificity is of
    shift = 2 * _Z**2 * (pi * of_se - mistaken * of_sp)
    variance = p * (1 - p) / n + pi**2 * of_se + mistaken**2 * of_sp
    half = _Z * math.sqrt(variance) / j
    low, high = (_inside(pi + shift + end, could) for end in (-half, half))
    return Estimate(value, low, high, said.n)


def corrected_difference(
    gain: Estimate,
    sensitivity: Estimate,
    specificity: Estimate,
    could_count: Estimate | None = None,
) -> Estimate:
    """A difference of two shares that one judge counted, corrected for its errors.

    Δπ = (Δp - (1 - Sp) Δu) / (Se + Sp - 1), u being the share of texts that could count: where fewer do, as
    where more are damaged, fewer count by mistake. The squared errors of all four add up. It is cut at -1 and 1. NaN
    where the judge does not tell the classes apart.

    Args:
        gain: Δp.
        sensitivity: Se, as of `corrected_share`.
        specificity: Sp, see there.
        could_count: Δu; None where every text could, so that mistakes cancel.

    Source: Rogan & Gladen 1978, by the delta method; Δu by Bayes' rule.
    """
    youden = sensitivity.value + specificity.value - 1
    if not youden > 0 or math.isnan(gain.value):
        return Estimate(math.nan, math.nan, math.nan, gain.n)
    errors = [
        r.value * (1 - r.value) / (_worth(r) + 2) + 1 / (4 * (_worth(r) + 2) ** 2)
        for r in (sensitivity, specificity)
    ]
    fewer = Estimate(0.0, 0.0, 0.0, gain.n) if could_count is None else could_count
    mistaken = 1 - specificity.value
    value = (gain.value - mistaken * fewer.value) / youden
    of_sensitivity, of_specificity = errors
    extra = value**2 * of_sensitivity + (value - fewer.value) ** 2 * of_specificity
    extra *= (_Z / youden) ** 2
    down = math.hypot(gain.value - gain.low, mistaken * (fewer.high - fewer.value)) / youden
    up = math.hypot(gain.high - gain.value, mistaken * (fewer.value - fewer.low)) / youden
    down, up = math.sqrt(down**2 + extra), math.sqrt(up**2 + extra)
    found = (value, value - down, value + up)
    value, low, high = (x if math.isnan(x) else min(1.0, max(-1.0, x)) for x in found)
    return Estimate(value, low, high, gain.n)


def _inside(share: float, most: float = 1.0) -> float:
    return min(most, max(0.0, share))


def _worth(share: Estimate) -> float:
    """As many independent texts as give an interval of Wilson's this wide, at most n."""
    width = share.high - share.low
    if not 0 < width < 1:
        return float(max(1, share.n))
    p = share.value
    # Wilson: width = 2 z / (1 + z²/m) sqrt(p(1-p)/m + z²/4m²), solved for m by bisection.
    low, high = 1e-3, float(max(1, share.n))
    for _ in range(60):
        m = (low + high) / 2
        wide = 2 * _Z / (1 + _Z**2 / m) * math.sqrt(p * (1 - p) / m + _Z**2 / (4 * m**2))
        low, high = (m, high) if wide > width else (low, m)
    return high
