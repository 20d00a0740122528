"""What a league of predictors shows, in sentences."""

from __future__ import annotations

import math

import pandas as pd

from steerscope.studies.predictors.power import LEVEL


def league_in_words(league: pd.DataFrame) -> str:
    """Which diagnostics rank the layers beyond chance, and whether any beats the middle layer.

    Args:
        league: as `predictor_league` returns it, with the outcome in nats.
    """
    if league.rho.isna().all():
        why = (
            "No layer has a known outcome"
            if league.n_points.eq(0).all()
            else "The outcome or every diagnostic is the same at all layers"
        )
        return f"{why}, so that no diagnostic can be judged."
    told = league[league.p_holm < LEVEL]
    first = league.iloc[0]
    if told.empty:
        said = (
            f"Of {len(league)} diagnostics none ranks the layers beyond chance after Holm's "
            f"correction; nearest is {_ranked(first)}.{_out_of_reach(league)}"
        )
    else:
        listed = ", ".join(_ranked(row) for _, row in told.iterrows())
        said = f"Of {len(league)} diagnostics {len(told)} rank the layers beyond chance: {listed}."
    best = league.loc[league.regret.idxmin()]
    middle = (
        f"loses {best.regret_middle:.2f} nats"
        if best.regret_middle == best.regret_middle
        else "is not known"
    )
    return (
        f"{said} Against the best layer the middle one {middle}, a random "
        f"one {best.regret_random:.2f}; of the diagnostics' picks the best loses {best.regret:.2f} "
        f"({_spoken(best.diagnostic)}), found by looking at all {len(league)}."
    )


def _out_of_reach(league: pd.DataFrame) -> str:
    """A warning where so few layers cannot tell any order from chance."""
    n_layers, smallest = int(league.n_layers.iloc[0]), float(league.least_p.iloc[0])
    if smallest * len(league) < LEVEL:
        return ""
    return (
        f" {n_layers} layers have so few orders in which they keep their neighbours that p cannot fall below {smallest:.2g}, "
        f"which is too much for {len(league)} diagnostics: none could have been told."
    )


def _ranked(row: pd.Series) -> str:
    sign = "" if row.rho * row.expected_sign >= 0 else ", against the stated sign"
    interval = "no interval" if math.isnan(row.low) else f"[{row.low:+.2f}, {row.high:+.2f}]"
    return f"{_spoken(row.diagnostic)}, rho {row.rho:+.2f} {interval}, corrected p = {row.p_holm:.2g}{sign}"


def _spoken(name: str) -> str:
    return name.replace("_", " ")
