"""What the layers of one run are like: their zones at one dose, and what went along with it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from steerscope.diagnostics.zones import ZoneLimits, layer_zones
from steerscope.studies.predictors.findings import EXPECTED_SIGNS, predictor_league
from steerscope.studies.steering.findings import Findings

_RESPONDS = 0.05  # nats
_N_RESAMPLES = 500
_FEW_LAYERS = 5  # five orders at least, or no p value is under 0.05
_ZONES = ("sweet", "weak", "rigid", "destructive")


@dataclass(frozen=True, eq=False)
class Zoning:
    """The zone of every layer at one relative dose.

    Attributes:
        dose_relative: the dose of the choice.
        limits: where the zones end; damage is the worst cost as a share of its limit.
        table: one row per layer that was measured up to that dose, as `layer_zones` returns it.
        unmeasured: the layers that were not, whose zone is unknown.
        lost: those whose logits are not finite at that dose, whose zone is unknown.
        undecided: those of which it is not known whether a limit is broken at that dose.
    """

    dose_relative: float
    limits: ZoneLimits
    table: pd.DataFrame
    unmeasured: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    undecided: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = []
        for zone in _ZONES:
            rows = self.table[self.table.zone == zone]
            layers = [f"{r.layer}{'' if r.sure else '?'}" for r in rows.itertuples()]
            if layers:
                parts.append(f"{zone} {', '.join(layers)}")
        unsure = "" if self.table.sure.all() else " (?: the interval that decides holds its limit)"
        if self.lost:
            parts.append(f"logits not finite at that dose {', '.join(map(str, self.lost))}")
        if self.undecided:
            which = ", ".join(map(str, self.undecided))
            parts.append(f"not known, since a cost at that dose is unknown, {which}")
        if self.unmeasured:
            parts.append(f"not measured at that dose {', '.join(map(str, self.unmeasured))}")
        return f"Zones at {self.dose_relative:.2f} of a typical activation: {'; '.join(parts)}{unsure}."


def zones_in_words(findings: Findings) -> str:
    """The zones of a run's layers in a sentence, or why they have none."""
    return str(zones_of(findings) or no_zones_in_words(findings))


def no_zones_in_words(findings: Findings) -> str:
    """Why the layers of a run have no zones."""
    f, why = findings, "no layer has an effect with an interval at the dose of the choice"
    if _cannot_tell(f):
        why = "the judge cannot tell"
    elif not f.effect.is_share and f.level <= 0:
        why = f"the effect of the chosen condition is {f.chosen.effect.value:+.2f} nats"
    elif _needs_none(f):
        why = "the goal is reached without steering"
    return f"Zones: not told, since {why}."


def _cannot_tell(f: Findings) -> bool:
    """Whether the judge does not tell texts apart."""
    return f.card is not None and not f.card.tells


def _needs_none(f: Findings) -> bool:
    """Whether the plain model reaches what a dose is asked for."""
    return bool((f.needed.dose_natural == 0).any())


def zones_of(findings: Findings) -> Zoning | None:
    """Zones of a run's layers at the relative dose of its choice.

    None where that was not measured, where the plain model reaches the goal, and by a judge that cannot tell.
    """
    f = findings
    if _cannot_tell(f) or _needs_none(f):
        return None
    mine = f.summary[(f.summary.method == f.plan.method) & (f.summary.dose_relative > 0)]
    sweep = mine.dropna(subset=["effect", "low", "high", "kl_nats", "damage"])
    dose = round(f.chosen.dose_relative, 6)
    there = mine.dose_relative.round(6) == dose
    lost = sorted({int(i) for i in mine.layer[there & mine.kl_nats.isna()]})
    unread = there & mine.effect.notna() & mine.kl_nats.notna() & mine.damage.isna()
    undecided = sorted({int(i) for i in mine.layer[unread]} - {*lost})
    # The same dose of two layers differs in the last digit.
    sweep = sweep[~sweep.layer.isin([*lost, *undecided])].assign(
        dose_relative=sweep.dose_relative.round(6)
    )
    by_layer = sweep.groupby("layer").dose_relative
    sweep = sweep[(by_layer.transform("min") <= dose) & (dose <= by_layer.transform("max"))]
    if sweep.empty:
        return None
    limits = ZoneLimits(effect=f.level, damage=1.0, kl=_RESPONDS)
    table = layer_zones(sweep, dose=dose, limits=limits, damage="damage")
    known = {*map(int, table.layer), *lost, *undecided}
    unmeasured = sorted({int(i) for i in mine.layer} - known)
    return Zoning(dose, limits, table, tuple(unmeasured), tuple(lost), tuple(undecided))


def run_league(findings: Findings, zoning: Zoning) -> pd.DataFrame | None:
    """What the run knows of its layers against their effect at the zones' dose.

    As `predictor_league`, from the rows of one run: eigengaps, and the lengths and the KL of the
    smallest dose that the sweep holds anyway. None with fewer than five layers.
    """
    f, table = findings, zoning.table[["layer", "effect"]].copy()
    if len(table) < _FEW_LAYERS:
        return None
    rows = f.summary[(f.summary.method == f.plan.method) & (f.summary.dose_relative > 0)]
    smallest = rows.loc[rows.groupby("layer").dose_relative.idxmin()].set_index("layer")
    named = {
        "residual_norm": smallest.dose_absolute / smallest.dose_relative,
        "separation": smallest.dose_relative / smallest.dose_natural,
        "kl_sensitivity": smallest.kl_nats / smallest.dose_relative**2,
    }
    if f.heads is not None:
        by_layer = f.heads.groupby("layer")
        named |= {"weakest_gap": by_layer.eigengap.min(), "mean_gap": by_layer.eigengap.mean()}
        named["participation_ratio"] = by_layer.participation_ratio.mean()
    for name, values in named.items():
        table[name] = table.layer.map(values)
    table = table.assign(model=f.plan.model, concept=f.plan.contrasts)
    table["depth"] = table.layer / max(1, table.layer.max())
    table["norm"] = table.residual_norm
    known = [name for name in EXPECTED_SIGNS if name in named and table[name].notna().all()]
    return predictor_league(table, known, "effect", n_resamples=_N_RESAMPLES)


def one_run_in_words(league: pd.DataFrame) -> str:
    """What one run may say about its diagnostics, which is little."""
    n = int(league.n_points.max())
    told = league.diagnostic[league.p_holm < 0.05].str.replace("_", " ")
    found = f"{', '.join(told)} told from chance" if len(told) else "none told from chance"
    return (
        f"One model and one concept, n = {n} layers, {len(league)} diagnostics: after Holm's "
        f"correction {found}. So few layers decide nothing; "
        "analyses/who_predicts_steerability.py puts the question to several concepts and models."
    )
