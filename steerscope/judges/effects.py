"""What a judge counts as an effect, and how much of what it reads may get worse meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Limit:
    """How much worse than plain a metric may get before a condition counts as broken.

    Attributes:
        metric: name of the metric in the rows.
        worsening: the limit, in the metric's unit.
        words: what is counted.
        higher_is_worse: which way is worse.
        unit: `share`, `nats` or `ratio`.
        loss: what it is called when it got worse, where that is an attribute of a text; else empty.
    """

    metric: str
    worsening: float
    words: str
    higher_is_worse: bool
    unit: str = "share"
    loss: str = ""

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share."""
        return self.unit == "share"

    def amount(self, value: float) -> str:
        """A worsening in points or in the metric's unit."""
        return f"{100 * value:g} points" if self.is_share else f"{value:g}"


DEGENERATE = Limit(
    "degenerate", 0.05, "texts collapsed into repetition", higher_is_worse=True, loss="degenerate"
)
REPEATED = Limit(  # what a likelihood does not see: to repeat is likely
    "distinct_2", 0.05, "distinct-2, the share of token pairs that are new", higher_is_worse=False,
    unit="ratio",
)  # fmt: skip
IMPLAUSIBLE = Limit(
    "nll_plain", 1.0, "nats per token under the plain model", higher_is_worse=True, unit="nats"
)
IMPLAUSIBLE_TO_ANOTHER = Limit(
    "nll_second", 1.0, "nats per token under the second model", higher_is_worse=True, unit="nats"
)
IMPLAUSIBLE_WHEN_ASKED = Limit(  # of a concept that the plain model finds unlikely by itself
    "nll_asked",
    1.0,
    "nats per token under the model that is asked",
    higher_is_worse=True,
    unit="nats",
)
LIKELIHOODS = (IMPLAUSIBLE.metric, IMPLAUSIBLE_TO_ANOTHER.metric, IMPLAUSIBLE_WHEN_ASKED.metric)
KL_WRITTEN = "kl_written"  # metric: KL(steered || plain) on the tokens that were written
KL_REVERSE = "kl_written_reverse"  # metric: KL(plain || steered) on the same
JS_WRITTEN = "js_written"  # metric: their Jensen-Shannon divergence, at most log 2
UNITS = {  # of the metrics of texts; of any other, a share
    "degenerate": "share",
    "distinct_2": "ratio",
    "preference": "nats",
    "repetition": "share",
    KL_WRITTEN: "nats",
    KL_REVERSE: "nats",
    JS_WRITTEN: "nats",
    "distinct_2_samples": "ratio",
    "judge_score": "score",
}
_OTHER_NATS = frozenset({"kl", "nll", "nll_plain", "target_value", "log_odds"})
SHOWN = "shown"  # whether a text shows the concept, by a judge that gives scores
UNDAMAGED = "undamaged"  # whether it is within the spread of what the model writes without steering
SHOWN_UNDAMAGED = "shown_undamaged"  # both
TOO_SHORT = (
    "too_short"  # whether a text has some tokens, but fewer than repetition can be told from
)
_SHOWN_BY = "continuations that show {positive} by {judge}"
_TOLERATED = 0.05
DAMAGE = tuple(
    Limit(metric, _TOLERATED, f"texts {words}", higher_is_worse=True)
    for metric, words in (
        ("empty", "empty"),
        ("unread", "that the judge could not read"),
        (TOO_SHORT, "too short to judge"),
        ("canned", "the same for several prompts"),
        ("copied", "copied from their prompt"),
    )
)
TEXT_LIMITS = (*DAMAGE, DEGENERATE, IMPLAUSIBLE)  # hold for any text, whoever judges it
_WHERE_MEASURED = (REPEATED, IMPLAUSIBLE_TO_ANOTHER, IMPLAUSIBLE_WHEN_ASKED)


@dataclass(frozen=True)
class Effect:
    """The number that tells whether steering worked, how to say it, and what it must not break.

    Attributes:
        metric: name of the metric in the rows.
        unit: `share` (0 to 1, read as it is) or `nats` (read as the shift from plain, in the
            direction of the dose).
        words: what is counted.
        positive: name of the class to which a positive dose leads.
        negative: name of the class to which a negative dose leads.
        limits: what may get worse by how much, what any text is held to among it.
    """

    metric: str
    unit: str
    words: str
    positive: str = "positive"
    negative: str = "negative"
    limits: tuple[Limit, ...] = TEXT_LIMITS

    @property
    def is_share(self) -> bool:
        """Whether the effect is a share."""
        return self.unit == "share"

    @property
    def is_shown(self) -> bool:
        """Whether a text counts for showing the concept, and not for turning from its prompt."""
        return self.metric in (SHOWN, SHOWN_UNDAMAGED)

    @property
    def short(self) -> str:
        """What is counted, without the name of its judge, which may hold a path or a pattern."""
        return self.words.removesuffix(f" by {self.judge}") if self.judge else self.words

    @property
    def judge(self) -> str:
        """The name of a judge that gives scores; empty for any other."""
        start = _SHOWN_BY.format(positive=self.positive, judge="")
        return self.words.partition(start)[2] if self.is_shown else ""

    @property
    def undamaged(self) -> Effect:
        """The same of texts that are undamaged too, where a text counts for showing the concept."""
        if self.metric != SHOWN:
            return self
        return replace(self, metric=SHOWN_UNDAMAGED, words=f"undamaged {self.words}")

    @classmethod
    def of_scores(cls, positive: str, judge: str) -> Effect:
        """The share of texts that show something by a judge that gives scores."""
        return cls(
            metric=SHOWN,
            unit="share",
            words=_SHOWN_BY.format(positive=positive, judge=judge),
            positive=positive,
            negative=f"the opposite of {positive}",
        )

    @property
    def held_to(self) -> tuple[Limit, ...]:
        """The limits, and those of any text that a judge did not name, where they were measured.

        By a judge that counts length no text is too short.
        """
        named = {limit.metric for limit in self.limits}
        first, last = (
            tuple(x for x in limits if x.metric not in named)
            for limits in (TEXT_LIMITS, _WHERE_MEASURED)
        )
        free = {TOO_SHORT} if self.judge.partition(":")[0] == "length" else set()
        return tuple(x for x in (*first, *self.limits, *last) if x.metric not in free)

    @property
    def kept(self) -> tuple[Limit, ...]:
        """The limits of the judge's own: shares of texts that keep what steering should leave alone."""
        return tuple(limit for limit in self.limits if limit not in TEXT_LIMITS and limit.is_share)

    @property
    def units(self) -> dict[str, str]:
        """Unit of every metric that the effect and its limits name."""
        return {limit.metric: limit.unit for limit in self.limits} | {self.metric: self.unit}

    @classmethod
    def stored(cls, fields: Mapping[str, Any]) -> Effect:
        """The effect that `dataclasses.asdict` wrote."""
        limits = tuple(Limit(**limit) for limit in fields["limits"])
        return cls(**{**fields, "limits": limits})


PREFERENCE = Effect(
    metric="preference",
    unit="nats",
    words="log-odds of the positive over the negative text of held-out pairs",
)


def is_share(metric: str) -> bool:
    """Whether a metric of texts or pairs is a share, by its name; one that is not known is."""
    return metric not in _OTHER_NATS and UNITS.get(metric, "share") == "share"
