"""Gates tested, not assumed: steering many layers or heads at once, with and without a gate.

Under one site a gate that is constant is a factor of the dose, which matching by KL takes out
again. A gate can only help by how it shares a change among sites, so every arm here steers several
sites at once, each along its own direction, at one dose in natural units that is found by KL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.eigengaps import HeadSpectra
from steerscope.engine.generation import attempt
from steerscope.engine.sampling import Sampler
from steerscope.engine.score import mean_kl
from steerscope.engine.searches import first_crossing
from steerscope.errors import BadValueError, NotReachedError
from steerscope.judges import Judge
from steerscope.judges.judges import read_all, shows_nothing
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.statistics import by_cluster, distinct_difference, holm, rank_p, sign_flip_p
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.strengths import Constant, EigengapGate, Strength
from steerscope.studies.ranks import ENOUGH
from steerscope.studies.rows import overflowed
from steerscope.texts.contrasts import Prompt

UNGATED = "ungated"
_FIRST = tuple(2.0**i for i in range(-6, 5))  # natural units


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to share a change among sites: each direction with the share of its dose.

    Attributes:
        name: in words.
        shares: directions, one per site, with their strengths.
        reference: name of the arm that it is compared with, `ungated` at the same sites.
        null: whether the arm is a control: gaps that belong to other sites, or random directions.
        of: of a control with the gaps of other sites, the name of the gate that it is one of.
        draw: which permutation of the gaps it has, as all gates of one draw do; -1 for none.
    """

    name: str
    shares: tuple[tuple[Direction, Strength], ...]
    reference: str = UNGATED
    null: bool = False
    of: str = ""
    draw: int = -1

    def cell(self, dose: float) -> Cell:
        """The condition at a dose in natural units."""
        return Cell(tuple(Steering(d, Dose(dose), strength=s) for d, s in self.shares))


def arms(
    directions: Sequence[Direction],
    spectra: HeadSpectra,
    *,
    group: int = 1,
    seed: int = 0,
    n_random: int = 19,
) -> list[Arm]:
    """Ungated steering of all sites, every gate on the eigengap, and the same gates with gaps of other sites.

    Half of the sites are of large gap, as many of small gap, and one in the middle of neither. In a
    control the gaps are permuted among the sites, those of heads that share a key head together, and
    every gate is made of them once more: what it then gains is no merit of the gaps.

    Args:
        directions: one per site; heads or whole layers.
        spectra: the eigengaps.
        group: query heads that share a key head.
        seed: of the permutations.
        n_random: permutations at most; fewer where there are no more.

    Raises:
        BadValueError: fewer than two sites, or the gaps do not differ.
    """
    if len(directions) < 2:
        raise BadValueError("a gate chooses among sites; give at least 2 directions.")
    reader = EigengapGate(spectra, 1.0, group=group)
    every = np.array([reader.gap(d.site) for d in directions])
    if np.ptp(every) == 0:
        raise BadValueError(
            "the eigengaps of these sites are all the same; no gate tells them apart."
        )
    where = "heads" if directions[0].site.head is not None else "layers"
    reference = f"{UNGATED} {where}"
    together = _together(directions, group)
    gaps = every[np.unique(together, return_index=True)[1]]
    found = [Arm(reference, tuple((d, Constant(1.0)) for d in directions), reference)]
    for draw, mine in enumerate([gaps, *_permutations(gaps, n_random, seed)], start=-1):
        for gate, values in _shares(mine).items():
            name, shares = f"{where} {gate}", _scaled(directions, values[together])
            if draw < 0:
                found.append(Arm(name, shares, reference))
            else:
                null = f"{name}, gaps of other sites #{draw}"
                found.append(Arm(null, shares, reference, null=True, of=name, draw=draw))
    return found


def _together(directions: Sequence[Direction], group: int) -> Int[np.ndarray, " site"]:
    """The number of the layer or of the key head that each direction steers."""
    places = [
        (d.site.layer, -1 if d.site.head is None else d.site.head // group) for d in directions
    ]
    order = {place: number for number, place in enumerate(dict.fromkeys(places))}
    return np.array([order[place] for place in places])


def _shares(gaps: Float[np.ndarray, " place"]) -> dict[str, Float[np.ndarray, " place"]]:
    """What each gate gives to places of these gaps."""
    half, order = len(gaps) // 2, np.argsort(gaps, kind="stable")
    places = np.arange(len(gaps))
    return {
        "of large gap": np.isin(places, order[-half:]).astype(float),
        "of small gap": np.isin(places, order[:half]).astype(float),
        "scaled by gap": gaps,
        "scaled by instability": 1 - gaps,
    }


def _permutations(
    gaps: Float[np.ndarray, " place"], count: int, seed: int
) -> list[Float[np.ndarray, " place"]]:
    """Other orders of the gaps, none twice."""
    rng = np.random.default_rng(seed)
    seen = {tuple(gaps)}
    found: list[Float[np.ndarray, " place"]] = []
    for _ in range(100 * count):
        drawn = rng.permutation(gaps)
        if len(found) < count and tuple(drawn) not in seen:
            seen.add(tuple(drawn))
            found.append(drawn)
    return found


def _scaled(
    directions: Sequence[Direction], values: Float[np.ndarray, " site"]
) -> tuple[tuple[Direction, Strength], ...]:
    shares = values / values.max()
    return tuple((d, Constant(float(s))) for d, s in zip(directions, shares, strict=True) if s > 0)


def matched_dose(
    model: LensModel,
    arm: Arm,
    target_kl: float,
    prompts: Sequence[TextOrIds],
    *,
    tolerance: float = 0.02,
) -> tuple[float, float]:
    """The smallest dose in natural units at which an arm moves the model by a KL, and that KL.

    Args:
        model: the model.
        arm: what is steered.
        target_kl: nats, mean over positions and prompts.
        prompts: teacher-forced.
        tolerance: relative difference from the target that is close enough.

    Raises:
        BadValueError: the target is not positive.
        NotReachedError: no dose reaches it.
    """
    if not (math.isfinite(target_kl) and target_kl > 0):
        raise BadValueError(f"the target KL is {target_kl}; it must be a positive number.")

    def measure(doses: Sequence[float]) -> list[float]:
        return mean_kl(model, prompts, [arm.cell(d) for d in doses]).tolist()

    found = first_crossing(measure, (0.0, *_FIRST), target_kl, tolerance)
    kl = found.curve
    if found.above is None:
        raise NotReachedError(
            f"{arm.name} gives at most {max(kl.values()):.3g} nats, not {target_kl:g}; ask for less, "
            "or open the gate."
        )
    if not found.is_close:
        raise NotReachedError(
            f"the KL of {arm.name} jumps to {kl[found.above]:.3g} nats at a dose of "
            f"{found.above:.3g} natural; ask for another KL."
        )
    return found.above, kl[found.above]


def judged(
    model: LensModel,
    judge: Judge,
    prompts: Sequence[Prompt],
    cells: Sequence[Cell],
    *,
    n_new: int,
    sampler: Sampler | None = None,
) -> Float[np.ndarray, "cell prompt"]:
    """The judge's effect on each prompt's continuation under each condition; NaN where it cannot be read.

    A blank text has no effect, where that is a share. A condition whose logits overflow is NaN on every prompt, and logged.

    Raises:
        NotFiniteError: they do so without any steering.
    """
    texts = [p.text for p in prompts]
    written = attempt(model, texts, cells, n_new=n_new, sampler=sampler)
    effect = judge.effect
    found = np.array(
        [[read[effect.metric] for read in read_all(judge, prompts, row)] for row in written]
    )
    found[[[shows_nothing(effect, text) for text in row] for row in written]] = 0.0
    keys = [cell.key for cell in cells]
    lost = overflowed(dict(zip(keys, written, strict=True)))
    found[[key in lost for key in keys]] = math.nan
    return found


def compare_arms(
    compared: Sequence[Arm],
    effects: Float[np.ndarray, "arm item"],
    *,
    plain: Float[np.ndarray, " item"],
    groups: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Every arm against its ungated reference on the same items, one row each.

    Columns: arm, reference, null, of, draw; effect over plain with low and high; difference to the reference
    with its interval; p of the difference, two-sided, by sign flips, and p_holm over the gates that
    are no nulls; p_gaps of the difference among those with the gaps of other sites, one-sided, and n_draws.

    Args:
        compared: the arms, each reference among them.
        effects: response of each arm on each item (pair or prompt).
        plain: response of the plain model.
        groups: the number of the distinct prompt or contrast that each item is; each its own by default.
    """
    by_name = {arm.name: effects[i] for i, arm in enumerate(compared)}
    labels, rows = np.arange(len(plain)) if groups is None else np.array(groups), []
    share = bool(np.isin(effects[~np.isnan(effects)], (0.0, 1.0)).all())
    for arm in compared:
        gain = distinct_difference(by_name[arm.name] - plain, labels, share=share)
        difference = by_name[arm.name] - by_name[arm.reference]
        paired = distinct_difference(difference, labels, share=share)
        is_reference = arm.name == arm.reference
        rows.append(
            {
                "arm": arm.name,
                "reference": arm.reference,
                "null": arm.null,
                "of": arm.of,
                "draw": arm.draw,
                "effect": gain.value,
                "low": gain.low,
                "high": gain.high,
                "n": gain.n,
                "difference": paired.value,
                "difference_low": paired.low,
                "difference_high": paired.high,
                "p": math.nan if is_reference else sign_flip_p(by_cluster(difference, labels)),
            }
        )
    table = pd.DataFrame(rows)
    tested = (~table.null).to_numpy() & table.p.notna().to_numpy()
    table["p_holm"] = math.nan
    table.loc[tested, "p_holm"] = holm(table.p.to_numpy(float)[tested])
    table["n_draws"] = table.reference.map(
        table[table.draw >= 0].groupby("reference").draw.nunique()
    )
    table["n_draws"] = table.n_draws.fillna(0).astype(int)
    table["p_gaps"] = _p_gaps(table)
    return table


def _p_gaps(table: pd.DataFrame) -> Float[np.ndarray, " arm"]:
    """Rank p of each gate among the draws of the gaps, over all gates together; NaN where there are none.

    The difference of each gate is taken in standard deviations over the draws and the true gaps, and compared with
    the largest over all gates of each draw, so that it matters nothing how many gates there are. Where so
    many draws are beside several references that each might tell something, p is corrected for their
    number. A draw of which something is unknown counts as at least as good.

    Source: Westfall & Young 1993, single-step max-T.
    """
    found = np.full(len(table), math.nan)
    nulls = table[table.draw >= 0]
    n_telling = max(1, int((nulls.groupby("reference").draw.nunique() >= ENOUGH).sum()))
    for _, rows in nulls.groupby("reference"):
        drawn = rows.pivot(index="draw", columns="of", values="difference")
        gates = table[table.arm.isin(drawn.columns) & table.difference.notna()]
        known = drawn[gates.arm].dropna()
        values = np.vstack([gates.difference, known.to_numpy(float)])
        spread = values.std(axis=0)
        apart = (values - values.mean(axis=0)) / np.where(spread > 0, spread, math.inf)
        best = np.full(len(drawn), math.nan)
        best[: len(known)] = apart[1:].max(axis=1, initial=-math.inf)
        ranks = np.array([rank_p(float(mine), best) for mine in apart[0]])
        found[gates.index] = np.minimum(1.0, n_telling * ranks)
    return found
