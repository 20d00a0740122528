"""The sentence of a run as a rule: Yes, Yes at a price, No or Not shown, decided in one place.

Nothing here reads a run. `findings.py` gathers what the rule asks for, `wording.py` says it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steerscope.judges.effects import IMPLAUSIBLE_WHEN_ASKED, Effect
from steerscope.statistics import Estimate

Answer = Literal["Yes", "Yes, at a price", "No", "Not shown"]
LEVEL = 0.05
_ROUNDING = 1e-9
_A_TENTH = 0.0005  # the smallest share that is not printed as 0.0 %
_WHEN_ASKED = IMPLAUSIBLE_WHEN_ASKED.metric
ENOUGH_NULLS = 19  # of a kind: to be ahead of all of them has p = 1 / 20
_LOST = (
    "logits of the steered model are not finite on held-out texts, so that the effect is not known; take a wider "
    "number format or smaller doses"
)
_OF_THEIR_OWN = "each at its own best layer and dose"
NULL_KINDS = ("random", "covariance-matched random")  # a Yes asks for each


@dataclass(frozen=True)
class Cost:
    """One metric under the plain and under the chosen condition, on the same prompts.

    Attributes:
        metric: its name in the rows.
        words: what it measures.
        plain: its mean without steering.
        steered: its mean with it.
        is_share: whether it is a share.
        worse: mean of the paired differences, positive where steering made it worse.
        limit: how much worse it may get.
        asked: texts that it should have been read from.
        read: texts that it was read from.
        signs: steered texts that show it at all, of a share.
    """

    metric: str
    words: str
    plain: Estimate
    steered: Estimate
    is_share: bool
    worse: Estimate
    limit: float
    asked: int = 0
    read: int = 0
    signs: int = 0

    @property
    def is_unknown(self) -> bool:
        """Whether it was read from no text, or from less than half of them."""
        return math.isnan(self.worse.value) or 2 * self.read < self.asked

    @property
    def share_of_limit(self) -> float:
        """How much of the limit it takes, at least 0; NaN where it is unknown."""
        if self.is_unknown:
            return math.nan
        return max(0.0, self.worse.value / self.limit) if self.limit > 0 else 2.0 * self.is_broken

    @property
    def is_surely_broken(self) -> bool:
        """Whether its whole interval lies over the limit."""
        return not self.is_unknown and self.worse.low > self.limit

    @property
    def is_broken(self) -> bool:
        """Whether it got worse by more than the limit, as far as the mean tells."""
        return self.worse.value > self.limit

    @property
    def is_kept(self) -> bool:
        """Whether its interval lies within the limit; what is not known is not kept."""
        return not self.is_unknown and self.worse.high <= self.limit

    @property
    def is_unseen(self) -> bool:
        """Whether no damage was seen, in too few texts to keep the interval within the limit.

        Damage that texts without steering have as well is seen.
        """
        no_sign = self.is_share and self.worse.value <= 0 and not self.signs
        return not self.is_kept and not self.is_unknown and no_sign


def without_score(effect: Effect, costs: Sequence[Cost], *, plain: bool = False) -> float:
    """Share of the texts that these costs are of that a judge gave no score; 0 for an oracle.

    Args:
        effect: what the judge counts.
        costs: of the condition.
        plain: whether of the texts without steering, in place of the steered ones.
    """
    if not effect.is_shown:
        return 0.0
    unread = [cost for cost in costs if cost.metric == "unread"]
    shares = [cost.plain.value if plain else cost.steered.value for cost in unread]
    return sum(share for share in shares if not math.isnan(share))


@dataclass(frozen=True)
class NullRank:
    """Where the method stands among null directions, each at a layer and dose of its own.

    These are chosen on the select split by what steering does to the likelihood of the pairs, which writes
    nothing; the method's own by what its judge counts.

    Attributes:
        kind: how the null directions were drawn.
        n: how many there are.
        best: the largest effect among them; NaN where none is known.
        p: (1 + those at least as good) / (n + 1).
        lost: how many gave logits that are not finite; each counts as at least as good.
        items: distinct items that they were compared with the method on, the fewest of one and the most.
        of: distinct items that the method was measured on.
        open: how many were compared on fewer, and are not clearly behind there.
        against: the effect of the method on the items of the best of them.
    """

    kind: str
    n: int
    best: float
    p: float
    lost: int = 0
    items: tuple[int, int] = (0, 0)
    of: int = 0
    open: int = 0
    against: float = math.nan

    @property
    def looked_at(self) -> str:
        """How many items each was compared on, in words; empty where that is all of them."""
        fewest, most = self.items
        few = str(fewest) if fewest == most else f"{fewest} to {most}"
        return f"{few} of the {self.of}" if fewest < self.of else ""


@dataclass(frozen=True)
class Case:
    """Everything that the sentence depends on.

    Attributes:
        gain: effect above plain on held-out items, with an interval over distinct items; None where
            nothing was held out.
        smallest: the smallest effect of interest, in the unit of the gain.
        items: what `gain.n` counts.
        needed: distinct items that would settle it either way; None where that cannot be told.
        nulls: the ranks among null directions, one for each kind that was measured.
        p_corrected: chance of so good a choice in a sweep without effect; where `p_held_out`, of so good
            an effect on held-out items, which chose nothing.
        over_shuffled: gain above that of label-shuffled directions; None without any.
        costs: what it cost.
        errors: errors that the audit found.
        less_likely: of a concept that is unlikely by itself, the likelihood of its texts against that of
            what the model writes when asked for it.
        judged: whether the effect was read in the model's own text.
        judge_fails: the card of a judge that does not tell texts apart; empty for one that does.
        unread: share of the steered texts, blank ones left out, that the judge gave no score; 0 for an
            oracle, to which a text without words of the concept does not show it.
        unread_plain: the same of the texts without steering.
        is_corrected: whether the gain is corrected for the errors of its judge.
        plain: share of the plain texts that count already; NaN of log-odds.
        could: share of the plain texts that could count, being read and undamaged, or of the steered ones where
            more of these could; NaN of log-odds.
        lost: whether logits of the condition are not finite on held-out items.
        passed_over: a condition that was not chosen, with what counted there, where that was surely an effect
            of interest on the select split; empty for none.
    """

    gain: Estimate | None
    smallest: float
    items: str
    needed: int | None
    nulls: tuple[NullRank, ...]
    p_corrected: float
    over_shuffled: Estimate | None
    costs: tuple[Cost, ...]
    errors: tuple[str, ...] = ()
    less_likely: tuple[Cost, ...] = ()
    judged: bool = True
    p_held_out: bool = False
    judge_fails: str = ""
    unread: float = 0.0
    unread_plain: float = 0.0
    is_corrected: bool = False
    plain: float = math.nan
    could: float = math.nan
    passed_over: str = ""
    lost: bool = False

    @property
    def leaves_no_room(self) -> bool:
        """Whether even all texts that can count would not be the smallest effect of interest above plain."""
        could = 1.0 if math.isnan(self.could) else self.could
        return self.smallest - (could - self.plain) > _ROUNDING


@dataclass(frozen=True)
class Verdict:
    """An answer and what it rests on.

    Attributes:
        answer: one of the four.
        reasons: for Not shown, what is missing; for a price, the costs; for No, the interval.
    """

    answer: Answer
    reasons: tuple[str, ...] = ()


def decide(case: Case) -> Verdict:
    """The rule.

    1. **No**: the interval of the gain lies below the smallest effect of interest, also if every steered
       text that the judge could not read showed the effect, by a judge that tells texts apart, the
       texts leave room for such an effect, all logits are numbers, and no other condition surely has one on the
       prompts that it was measured on to choose, in a race few, where the chosen one has none, or is clear of it.
    2. **Not shown**: any of these is not so: the interval lies above the smallest effect of interest, also
       if every plain text that the judge could not read showed the effect; all logits are numbers;
       the method is ahead of at least 19 null directions of each kind, p <= 0.05, and clearly of those
       that were compared on fewer items; the choice has a corrected p <= 0.05; the gain is above that
       of label-shuffled directions; the audit finds no error; of a concept that the plain model finds unlikely by itself, the texts are as likely as what
       is written when it is asked for, also under the model that is asked, since under the plain one
       broken texts are no less likely; what it costs is known; the judge, if it has a card, tells
       texts apart.
    3. **Yes, at a price**: a cost has an interval that is not within its limit.
    4. **Yes**.
    """
    told = not (case.judge_fails or case.leaves_no_room or case.passed_over or case.lost)
    if told and _is_below(case, unread=case.unread):
        return Verdict("No")
    missing = _missing(case)
    if missing:
        return Verdict("Not shown", tuple(missing))
    paid = [cost.words for cost in case.costs if not cost.is_kept]
    return Verdict("Yes, at a price", tuple(paid)) if paid else Verdict("Yes")


def _is_below(case: Case, unread: float = 0.0) -> bool:
    """Whether the interval of the gain, and so much above it, lies below the smallest effect of interest."""
    return case.gain is not None and case.gain.high + unread < case.smallest


def _missing(case: Case) -> list[str]:
    """What a Yes lacks, in words; of a condition that overflowed nothing else is known."""
    if case.lost:
        return [_LOST, *_of_the_audit(case)]
    found = _effect_missing(case) + _nulls_missing(case.nulls)
    if not case.p_corrected <= LEVEL:
        chance = (
            f"{case.items} that chose nothing show this much without any effect"
            if case.p_held_out
            else "a sweep without any effect has a best condition this good"
        )
        known = not math.isnan(case.p_corrected)
        found.append(
            f"{chance}, {p_in_words(case.p_corrected)}"
            if known
            else f"it is not known how often {chance}"
        )
    if case.over_shuffled is None or math.isnan(case.over_shuffled.low):
        found.append("not tested against label-shuffled directions")
    elif not case.over_shuffled.low > 0:
        found.append("the effect is not surely above that of label-shuffled directions")
    unknown = [cost.words for cost in case.costs if cost.is_unknown]
    if unknown:
        over = [cost.words for cost in case.costs if cost.is_broken]
        more = f", and over its limit ({', '.join(over)})" if over else ""
        found.append(f"what it costs is unknown ({', '.join(unknown)}){more}")
    if unlikely := [cost.words for cost in case.less_likely if not cost.is_kept]:
        found.append(
            f"its texts may be less likely than what is written when asked ({', '.join(unlikely)})"
        )
    elif case.less_likely and not any(cost.metric == _WHEN_ASKED for cost in case.less_likely):
        found.append(
            "its texts are as unlikely as what is written when asked, which does not tell fluent texts "
            "from broken ones, and how likely they are under the model that is asked was not measured"
        )
    return found + _of_the_audit(case)


def _of_the_audit(case: Case) -> list[str]:
    """The errors of the audit, the first one in words."""
    if not case.errors:
        return []
    n = len(case.errors)
    count = "an error" if n == 1 else f"{n} errors, the first"
    return [f"the audit has {count}: {case.errors[0]}"]


def _effect_missing(case: Case) -> list[str]:
    """What keeps the effect itself from being told."""
    found = [f"the judge cannot tell: {case.judge_fails}"] if case.judge_fails else []
    enough = case.gain is not None and case.gain.low > case.smallest
    if case.leaves_no_room and not enough:
        found.append(_no_room(case))
    elif case.gain is not None and enough and case.gain.low - case.unread_plain <= case.smallest:
        found.append(
            f"the judge could not read {100 * case.unread_plain:.1f} % of the texts without steering, which may "
            "show the effect"
        )
    elif not _is_below(case):
        found += [] if enough else [_too_little(case)]
    elif case.passed_over:
        found.append(
            f"on the select split more counted elsewhere, which was not chosen: {case.passed_over}"
        )
    elif not case.judge_fails:
        share = f"{100 * case.unread:.1f}" if case.unread >= _A_TENTH else "under 0.1"
        found.append(
            f"the judge could not read {share} % of the steered texts, which may show the effect"
        )
    return found


def _no_room(case: Case) -> str:
    """Why nothing could be seen that is an effect of interest."""
    of = ""
    if not math.isnan(case.could) and case.could < 1:
        of = f", and at most {100 * case.could:.1f} % of texts, steered or not, can (read and undamaged)"
    return (
        f"without steering {100 * case.plain:.1f} % of the texts count already{of}, which leaves no room "
        "for the smallest effect of interest"
    )


def _too_little(case: Case) -> str:
    n = 0 if case.gain is None else case.gain.n
    better = (
        ", or more labelled texts to know the errors of the judge by" if case.is_corrected else ""
    )
    enough = f"more of them{better}"
    if case.needed is not None and case.needed > n:  # told as if there were many
        enough = f"about {case.needed:,}"
    return (
        f"the interval over {n} {case.items} does not tell the effect from the smallest of interest, "
        f"which takes {enough}"
    )


def _nulls_missing(nulls: tuple[NullRank, ...]) -> list[str]:
    fewest = min((rank.n for rank in nulls), default=0)
    if not fewest:
        return ["not tested against nulls"]
    if fewest < ENOUGH_NULLS:
        return [
            f"tested against {fewest} nulls of a kind, where {ENOUGH_NULLS} at least could tell"
        ]
    lacking = [
        f"not tested against nulls that are {kind} directions" for kind in kinds_lacking(nulls)
    ]
    return lacking + [_not_beaten(rank) for rank in nulls if not rank.p <= LEVEL or rank.open]


def _not_beaten(rank: NullRank) -> str:
    if rank.lost:
        known = round(rank.p * (rank.n + 1)) - 1 - rank.lost
        others = f", and {known} of the others do as well" if known > 0 else ""
        return (
            f"{rank.lost} of {rank.n} {rank.kind} directions, {_OF_THEIR_OWN}, gave logits that "
            f"are not finite, so that it is not known to beat them{others}, {p_in_words(rank.p)}"
        )
    went = f"{rank.kind} directions, {_OF_THEIR_OWN},"
    if rank.open:
        now, then = ("is", "was") if rank.open == 1 else ("are", "were")
        return (
            f"{rank.open} of {rank.n} {went} {now} not clearly behind on the first "
            f"{rank.looked_at or 'items'}, and {then} asked no further, {p_in_words(rank.p)}"
        )
    as_good = round(rank.p * (rank.n + 1)) - 1
    return f"{as_good} of {rank.n} {went} {'does' if as_good == 1 else 'do'} as well, {p_in_words(rank.p)}"


def kinds_lacking(nulls: tuple[NullRank, ...]) -> list[str]:
    """The kinds of null that a Yes asks for and that were not measured."""
    there = {rank.kind for rank in nulls}
    return [kind for kind in NULL_KINDS if kind not in there]


def p_in_words(p: float, *, draws: int = 5000) -> str:
    """A p value; at the least that so many random draws can give, it is an upper bound."""
    if math.isnan(p):
        return "p unknown"
    floor = 1 / (draws + 1)
    if p <= floor * (1 + 1e-9):
        return f"p <= {floor:.2g}"
    said = (f"{p:.{digits}g}" for digits in range(2, 7))
    return f"p = {next((s for s in said if (float(s) <= LEVEL) == (p <= LEVEL)), p)}"
