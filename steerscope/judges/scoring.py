"""Judges that score texts: what share of the continuations lies on the side of the concept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from steerscope.engine.continuations import Continuation
from steerscope.errors import JudgeError
from steerscope.judges.effects import SHOWN, Effect
from steerscope.texts.contrasts import Prompt

SCORE = "judge_score"


class Scorer(Protocol):
    """Gives each text a score."""

    @property
    def words(self) -> str:
        """What the score is, with its unit, such as `VADER compound score, -1 to 1`."""
        ...

    @property
    def threshold(self) -> float | None:
        """The score above which a text shows the concept; None where labelled texts must tell."""
        ...

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        """The score of each text that was written after a prompt; NaN where it cannot tell."""
        ...


@dataclass(frozen=True)
class ScoreJudge:
    """Counts the continuations whose score lies on the side of the concept.

    A text shows the concept where sign × score > sign × threshold. An empty text has no score.

    Attributes:
        name: the judge as it was asked for, such as `words:happy.yaml`.
        scorer: gives the scores.
        threshold: between the sides.
        sign: 1 where higher scores show the concept, -1 where lower ones do.
        positive: the class to which a positive dose leads.
    """

    name: str
    scorer: Scorer
    threshold: float
    sign: int
    positive: str
    world: str = ""

    @property
    def effect(self) -> Effect:
        """The share of continuations that show the concept."""
        return Effect.of_scores(self.positive, self.name)

    def applies(self, prompt: Prompt, sign: int) -> bool:  # noqa: ARG002 - the same for all
        """Every prompt will do."""
        return True

    def read(self, prompt: Prompt, continuation: Continuation) -> dict[str, float]:
        """`shown` (1 or 0) and `judge_score` of one continuation."""
        return self.read_all([prompt], [continuation])[0]

    def read_all(
        self, prompts: Sequence[Prompt], continuations: Sequence[Continuation]
    ) -> list[dict[str, float]]:
        """The same of many, which the scorer sees at once."""
        given, written = [p.text for p in prompts], [c.text for c in continuations]
        return [self.reading(score) for score in self.scores(given, written)]

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        """The score of each text; NaN for an empty one, of which the scorer is not asked.

        Raises:
            JudgeError: the scorer gave another number of scores than it was asked for.
        """
        asked = [i for i, text in enumerate(texts) if text.strip()]
        found = self.scorer.scores([prompts[i] for i in asked], [texts[i] for i in asked])
        if len(found) != len(asked):
            raise JudgeError(f"{self.name} gave {len(found)} scores for {len(asked)} texts.")
        scores = [math.nan] * len(texts)
        for place, score in zip(asked, found, strict=True):
            scores[place] = float(score)
        return scores

    def reading(self, score: float) -> dict[str, float]:
        """What a score says."""
        if math.isnan(score):
            return {SHOWN: math.nan, SCORE: math.nan}
        return {SHOWN: float(self.sign * score > self.sign * self.threshold), SCORE: score}

    def settings(self) -> Mapping[str, float | str | int]:
        """What decides its readings besides the scorer."""
        return {
            "name": self.name,
            "threshold": self.threshold,
            "sign": self.sign,
            "positive": self.positive,
        }
