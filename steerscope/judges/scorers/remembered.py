"""A scorer that is asked about no text twice, so that what it said can be had without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steerscope.judges.scoring import Scorer
from steerscope.runs.judgements import Judgements, content_key

_AT_ONCE = 32  # texts; a kill loses at most as many


@dataclass(frozen=True)
class Remembered:
    """The scores of a scorer, each kept by what was asked.

    What is new is asked in the order of its key, so that nothing in the order tells the scorer which
    condition wrote a text.

    Attributes:
        scorer: asked where nothing is kept.
        asked: what decides its scores besides prompt and text.
        judgements: what is kept.
        with_prompt: whether the prompt decides too.
    """

    scorer: Scorer
    asked: str
    judgements: Judgements
    with_prompt: bool = False

    @property
    def words(self) -> str:
        """What the score is."""
        return self.scorer.words

    @property
    def threshold(self) -> float | None:
        """As the scorer has it."""
        return self.scorer.threshold

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        """The score of each text, kept or asked for now; NaN for a new one where nothing is asked.

        Raises:
            JudgeError: the scorer does; what it said before is kept.
        """
        given = [p if self.with_prompt else "" for p in prompts]
        keys = [content_key(self.asked, p, t) for p, t in zip(given, texts, strict=True)]
        new = {
            key: (prompt, text)
            for key, prompt, text in zip(keys, prompts, texts, strict=True)
            if key not in self.judgements
        }
        if self.judgements.closed:
            return [self.judgements.get(key) for key in keys]
        order = sorted(new)
        for start in range(0, len(order), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            found = self.scorer.scores([new[k][0] for k in part], [new[k][1] for k in part])
            self.judgements.add(dict(zip(part, found, strict=True)))
        return [self.judgements.get(key) for key in keys]
