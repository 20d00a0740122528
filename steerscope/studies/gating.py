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
from jaxtyping import Bool, Float

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
from steerscope.statistics import by_cluster, distinct_difference, holm, sign_flip_p
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.strengths import Constant, EigengapGate, Strength
from steerscope.studies.rows import overflowed
from steerscope.texts.contrasts import Prompt

UNGATED = "ungated"
_FIRST = tuple(2.0**i for i in range(-6, 5))  # natural units
_AT_RANDOM = " at random "  # in the names of gates that open at random
_ENOUGH = 19  # gates at random: being ahead of all of them has p = 1/20, what is called shown


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to share a change among sites: each direction with the share of its dose.

    Attributes:
        name: in words.
        shares: directions, one per site, with their strengths.
        reference: name of the arm that it is compared with, `ungated` at the same sites.
        null: whether the arm is a control: gaps that belong to other sites, or random directions.
    """

    name: str
    shares: tuple[tuple[Direction, Strength], ...]
    reference: str = UNGATED
    null: bool = False

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
    """Ungated steering of all sites, every gate on the eigengap, and gates that know nothing.

    The threshold is the median gap of the sites, so that half of them are steered. Gates at random
    open as many sites, each another choice of them and none the choice of the gap.

    Args:
        directions: one per site; heads or whole layers.
        spectra: the eigengaps.
        group: query heads that share a key head.
        seed: of the gates at random.
        n_random: gates at random at most; fewer where there are no more choices.

    Raises:
        BadValueError: fewer than two sites, or the gaps do not differ.
    """
    if len(directions) < 2:
        raise BadValueError("a gate chooses among sites; give at least 2 directions.")
    reader = EigengapGate(spectra, 1.0, group=group)
    gaps = np.array([reader.gap(d.site) for d in directions])
    if np.ptp(gaps) == 0:
        raise BadValueError(
            "the eigengaps of these sites are all the same; no gate tells them apart."
        )
    where = "heads" if directions[0].site.head is not None else "layers"
    reference = f"{UNGATED} {where}"
    half = float(np.median(gaps))
    found = [Arm(reference, tuple((d, Constant(1.0)) for d in directions), reference)]
    gates = {
        f"{where} of large gap": EigengapGate(spectra, half, group=group),
        f"{where} of small gap": EigengapGate(spectra, half, below=True, group=group),
    }
    for name, gate in gates.items():
        found.append(Arm(name, tuple((d, gate) for d in directions), reference))
    for name, values in (
        (f"{where} scaled by gap", gaps),
        (f"{where} scaled by instability", 1 - gaps),
    ):
        found.append(Arm(name, _scaled(directions, values), reference))
    for number, opened in enumerate(_random_choices(gaps >= half, n_random, seed)):
        name = f"{where} at random #{number}"
        found.append(Arm(name, _scaled(directions, opened.astype(float)), reference, null=True))
    return found


def _random_choices(
    opened: Bool[np.ndarray, " site"], count: int, seed: int
) -> list[Bool[np.ndarray, " site"]]:
    """Other choices of as many sites, none twice."""
    rng = np.random.default_rng(seed)
    seen = {tuple(opened), tuple(~opened)}
    found: list[Bool[np.ndarray, " site"]] = []
    for _ in range(100 * count):
        drawn = rng.permutation(opened)
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

    Columns: arm, reference, null; effect over plain with low and high; difference to the reference
    with its interval; p of the difference, two-sided, by sign flips, and p_holm over the gates that
    are no nulls.

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
    return table


def gates_in_words(table: pd.DataFrame, *, kl: float, outcome: str) -> str:
    """Which gates help at a matched KL, beyond chance and beyond every gate that knows nothing.

    Args:
        table: as `compare_arms` returns it.
        kl: the matched KL in nats.
        outcome: what was compared, in words, with its unit.
    """
    gates = table[table.p_holm.notna()]
    sure = gates[gates.p_holm < 0.05]
    kinds = [
        "hurt"
        if row.difference < 0
        else _kind(row.difference, table[table.reference == row.reference])
        for row in sure.itertuples()
    ]
    found = {kind: sure[[k == kind for k in kinds]] for kind in _WORDS}
    unknown = _unknown(table)
    more = [_listed(rows, *_WORDS[kind]) for kind, rows in found.items() if len(rows)]
    if not len(found["help"]):
        more = [_none_of(len(gates), lost=bool(unknown)), *more]
    return f"At a matched KL of {kl:g} nats, {outcome}, {_beside(table)}: {'; '.join([*more, *unknown])}."


# By kind of gate, what is said of one and of several.
_WORDS = {
    "help": ("helps", "help"),
    "few": (
        "gains more than every control that is known, with too few gates at random to tell it from chance",
        "gain more than every control that is known, with too few gates at random to tell them from chance",
    ),
    "alone": (
        "beats the ungated arm, and no gate at random is known beside it",
        "beat the ungated arm, and no gate at random is known beside them",
    ),
    "chance": (
        "gains no more than the best control that knows no gap",
        "gain no more than the best control that knows no gap",
    ),
    "hurt": ("hurts", "hurt"),
}


def _kind(difference: float, beside: pd.DataFrame) -> str:
    """What a gate that is ahead of the ungated arm is, among the arms of that reference.

    Beating the ungated arm is no merit of the gap if gates that know nothing do so too; one of which nothing is
    known counts as at least as good, as in `rank_p`.
    """
    nulls = beside[beside.null].difference
    n, n_lost = int(beside.arm.str.contains(_AT_RANDOM).sum()), int(nulls.isna().sum())
    if n_lost == len(nulls):
        return "alone"
    if difference <= nulls.max():
        return "chance"
    return "help" if (1 + n_lost) * (1 + _ENOUGH) <= 1 + n else "few"


def _beside(table: pd.DataFrame) -> str:
    """How many gates at random there are, and what those of which nothing is known count as."""
    random = table[table.arm.str.contains(_AT_RANDOM)]
    found = []
    for name, mine in random.groupby("reference", sort=False):
        n, lost = len(mine), int(mine.difference.isna().sum())
        words = f"{n} gate{'s' * (n > 1)} at random beside {name}"
        if lost == n:
            words += " (none of them known against it)"
        elif lost:
            words += (
                f" ({lost} of them not known, which count{'s' * (lost == 1)} as at least as good)"
            )
        found.append(words)
    return f"with {' and '.join(found)}" if found else "without gates at random"


def _none_of(n_gates: int, *, lost: bool) -> str:
    """That no gate helps."""
    if not n_gates and lost:
        return "no gate can be compared with the ungated arm"
    if n_gates == 1:
        return "the gate is not shown to help"
    return f"none of {n_gates} gates is shown to help"


def _unknown(table: pd.DataFrame) -> list[str]:
    """Of which arms nothing is known, and of which it is not known what they gain over the ungated one."""
    lost = table.effect.isna()
    apart = table.difference.isna() & ~lost
    found = []
    if lost.any():
        found.append(f"nothing is known of {_named(table[lost])}")
    if apart.any():
        gain = "gains" if apart.sum() == 1 else "gain"
        found.append(f"what {_named(table[apart])} {gain} over the ungated arm is not known")
    return found


def _named(rows: pd.DataFrame) -> str:
    """The arms by name, gates at random by their number."""
    at_random = rows.arm.str.contains(_AT_RANDOM)
    names, n = [*rows[~at_random].arm], int(at_random.sum())
    if n:
        names.append(f"{n} gates at random" if n > 1 else "a gate at random")
    return _joined(names)


def _listed(rows: pd.DataFrame, one: str, several: str) -> str:
    """The gates with their differences, and what is said of one or of several."""
    names = [
        f"{r.arm} ({r.difference:+.2f} [{r.difference_low:+.2f}, {r.difference_high:+.2f}])"
        for r in rows.itertuples()
    ]
    return f"{_joined(names)} {one if len(names) == 1 else several}"


def _joined(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
