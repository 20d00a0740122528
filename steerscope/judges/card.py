"""The card of a judge: how well it tells texts apart that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from steerscope.errors import JudgeError
from steerscope.judges.labelled import LabelledText, check_classes
from steerscope.judges.scoring import ScoreJudge, Scorer
from steerscope.statistics import Estimate, auroc_estimate, clustered_share

BAR = 0.7  # the least lower end of the AUC of a judge that tells
_RATES = ("auc", "sensitivity", "specificity")


@dataclass(frozen=True)
class Card:
    """How a judge does on labelled texts that it has not seen.

    Attributes:
        auc: chance that a text which shows the concept scores above one which does not; the interval
            is over distinct groups of texts.
        sensitivity: share of the texts that show the concept which the judge says do.
        specificity: share of the others which the judge says do not.
        unread: labelled texts without a score.
        source: where the texts are from.
    """

    auc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    unread: int
    source: str

    @property
    def tells(self) -> bool:
        """Whether the judge tells the classes apart.

        The interval of its AUC lies above 0.7, or no text was put in the wrong order, of which the interval is that
        of few texts, and a judge with a mistake must not do better. And the lower ends of sensitivity and
        specificity, over distinct groups of texts, add up to more than 1, what a judge reaches that says anything.
        """
        return self._ranks and self.sensitivity.low + self.specificity.low > 1

    @property
    def _ranks(self) -> bool:
        return self.auc.low > BAR or self.auc.value == 1

    @property
    def lacks(self) -> str:
        """Why a judge that cannot tell cannot."""
        if not self._ranks:
            return f"AUC not above {BAR:g}"
        return "sensitivity and specificity may be those of a guess on so few distinct texts"

    @property
    def rates(self) -> str:
        """AUC, sensitivity and specificity in words."""
        said = (
            f"AUC {_in_words(self.auc)}, sensitivity {_in_words(self.sensitivity)}, specificity "
            f"{_in_words(self.specificity)} on {self.auc.n} texts that it has not seen ({self.source})"
        )
        return said + (f", {self.unread} more without a score" if self.unread else "")

    def __str__(self) -> str:
        return self.rates + ("" if self.tells else f"; the judge cannot tell ({self.lacks})")

    def stored(self) -> dict[str, Any]:
        """As values of JSON."""
        rates = {name: asdict(getattr(self, name)) for name in _RATES}
        known = {
            name: {k: None if math.isnan(v) else v for k, v in rate.items()}
            for name, rate in rates.items()
        }
        return {**known, "unread": self.unread, "source": self.source}

    @classmethod
    def from_stored(cls, fields: Mapping[str, Any]) -> Card:
        """What `stored` gave."""
        rates = {name: _estimate(fields[name]) for name in _RATES}
        return cls(**rates, unread=int(fields["unread"]), source=str(fields["source"]))


def unless_it_cannot_tell(card: Card | None, lines: list[str]) -> list[str]:
    """Sentences on what a judge counted; in their place that nothing is shown, where it cannot tell."""
    if card is None or card.tells:
        return lines
    return [
        f"Not shown: the judge cannot tell ({card.lacks}), so that what it counts shows nothing; "
        f"{card.rates}."
    ]


def _estimate(fields: Mapping[str, Any]) -> Estimate:
    value, low, high = (
        math.nan if fields[name] is None else float(fields[name])
        for name in ("value", "low", "high")
    )
    return Estimate(value, low, high, int(fields["n"]))


def _in_words(rate: Estimate) -> str:
    return f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


def measure_card(judge: ScoreJudge, texts: Sequence[LabelledText], source: str) -> Card:
    """The card of a judge on labelled texts.

    Raises:
        JudgeError: the texts do not hold both classes twice, or the judge reads too few of them.
    """
    check_classes(texts, source)
    scores = np.asarray(judge.scores([t.prompt for t in texts], [t.text for t in texts]), float)
    positive = np.array([t.positive for t in texts])
    there = ~np.isnan(scores)
    if min(int((there & side).sum()) for side in (positive, ~positive)) < 2:
        raise JudgeError(f"{judge.name} gives fewer than 2 texts of a class a score ({source}).")
    groups = np.array([t.group for t in texts])
    said = judge.sign * scores > judge.sign * judge.threshold
    rates = [
        clustered_share(said[there & side].astype(float), groups[there & side])
        for side in (positive, ~positive)
    ]
    wrong = rates[1]
    return Card(
        auroc_estimate(judge.sign * scores[there], positive[there], groups=groups[there]),
        rates[0],
        Estimate(1 - wrong.value, 1 - wrong.high, 1 - wrong.low, wrong.n),
        int((~there).sum()),
        source,
    )


def fit_threshold(scorer: Scorer, texts: Sequence[LabelledText]) -> tuple[float, int]:
    """The threshold that tells labelled texts apart best, and which side shows the concept.

    The threshold with the largest sensitivity + specificity - 1, halfway between two scores; the sign
    is that of the difference of the class means.

    Raises:
        JudgeError: fewer than 2 texts of a class have a score.

    Source: Youden 1950.
    """
    found = np.asarray(scorer.scores([t.prompt for t in texts], [t.text for t in texts]), float)
    positive = np.array([t.positive for t in texts])[~np.isnan(found)]
    scores = found[~np.isnan(found)]
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        raise JudgeError("fewer than 2 texts of a class have a score; give more labelled texts.")
    sign = 1 if scores[positive].mean() >= scores[~positive].mean() else -1
    values = np.unique(scores)
    cuts = (values[:-1] + values[1:]) / 2 if len(values) > 1 else values
    gains = [
        float((sign * scores[positive] > sign * cut).mean())
        - float((sign * scores[~positive] > sign * cut).mean())
        for cut in cuts
    ]
    best = np.flatnonzero(np.isclose(gains, max(gains)))
    return float(cuts[best[len(best) // 2]]), sign
