"""What a judge counts as an effect, and how much of what it reads may get worse."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """The number that tells whether steering worked, and how to say it.

    Attributes:
        metric: name of the metric in the rows.
        unit: `share` (0 to 1, read as it is) or `nats` (read as the shift from plain, in the
            direction of the dose).
        words: what is counted.
        positive: name of the class to which a positive dose leads.
        negative: name of the class to which a negative dose leads.
    """

    metric: str
    unit: str
    words: str
    positive: str = "positive"
    negative: str = "negative"

    @property
    def is_share(self) -> bool:
        """Whether the effect is a share."""
        return self.unit == "share"


PREFERENCE = Effect(
    metric="preference",
    unit="nats",
    words="log-odds of the positive over the negative text of held-out pairs",
)


@dataclass(frozen=True)
class Limit:
    """How much worse than plain a metric may get before a condition counts as broken."""

    metric: str
    worsening: float
    words: str
    higher_is_worse: bool


LIMITS: tuple[Limit, ...] = (
    Limit("degenerate", 0.05, "texts collapsed into repetition", higher_is_worse=True),
    Limit("kept_topic", 0.10, "topic kept", higher_is_worse=False),
    Limit("kept_mood", 0.10, "mood kept", higher_is_worse=False),
    Limit("kept_register", 0.10, "register kept", higher_is_worse=False),
    Limit("grammatical", 0.10, "sentences grammatical", higher_is_worse=False),
    Limit("nll_plain", 1.0, "nats per token under the plain model", higher_is_worse=True),
)
