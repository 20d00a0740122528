"""The microworld's oracle as a judge: was the concept flipped, and what broke on the way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from steerscope.engine.continuations import Continuation
from steerscope.judges.effects import DEGENERATE, IMPLAUSIBLE, Effect, Limit
from steerscope.microworld.oracle import read, sample_story
from steerscope.microworld.rules import VARIABLES
from steerscope.texts.contrasts import ContrastSet, Prompt

WORLD = "microworld"
LIMITS = (
    DEGENERATE,
    *(
        Limit(f"kept_{v}", 0.10, f"{v} kept", higher_is_worse=False, loss=f"{v} lost")
        for v in ("topic", "mood", "register")
    ),
    Limit("grammatical", 0.10, "sentences grammatical", higher_is_worse=False, loss="grammar lost"),
    IMPLAUSIBLE,
)
METRICS = ("flipped", *(f"kept_{name}" for name in VARIABLES), "grammatical")
_ENOUGH = 0.9  # share of contrast texts that must show one value of the variable


@dataclass(frozen=True)
class MicroworldJudge:
    """Judges stories of the microworld by their hidden variables.

    Attributes:
        variable: the hidden variable that the contrast set is about.
        positive: its value in the positive texts.
        negative: its value in the negative texts.
    """

    variable: str
    positive: str
    negative: str

    @property
    def world(self) -> str:
        """The bundled world."""
        return WORLD

    @property
    def effect(self) -> Effect:
        """The share of continuations that show the other value than their prompt."""
        return Effect(
            metric="flipped",
            unit="share",
            words=f"continuations whose {self.variable} is flipped",
            positive=self.positive,
            negative=self.negative,
            limits=LIMITS,
        )

    @classmethod
    def for_contrasts(
        cls, contrasts: ContrastSet, prompts: Sequence[Prompt]
    ) -> MicroworldJudge | None:
        """The judge of a contrast set, if the oracle can read it and the prompts' facts are known."""
        positive = [read(p.positive) for p in contrasts.pairs[:100]]
        negative = [read(p.negative) for p in contrasts.pairs[:100]]
        for variable in VARIABLES:
            high, low = (
                Counter(r.value(variable) for r in readings).most_common(1)[0]
                for readings in (positive, negative)
            )
            values = {high[0], low[0]}
            clear = min(high[1], low[1]) >= _ENOUGH * len(positive)
            if not clear or len(values) < 2 or None in values:
                continue
            if all(p.facts.get(variable) in values for p in prompts):
                return cls(variable, str(high[0]), str(low[0]))
        return None

    def applies(self, prompt: Prompt, sign: int) -> bool:
        """A dose towards one value needs a prompt that shows the other."""
        target = {1: self.negative, -1: self.positive}
        return sign == 0 or prompt.facts[self.variable] == target[sign]

    def side(self, text: str) -> float:
        """1 for a text of the positive value, 0 for one of the negative, NaN for one that does not tell."""
        sides = {self.positive: 1.0, self.negative: 0.0}
        return sides.get(str(read(text).value(self.variable)), math.nan)

    def read(self, prompt: Prompt, continuation: Continuation) -> dict[str, float]:
        """`flipped`, `kept_<variable>` for the other variables, and `grammatical`."""
        reading = read(continuation.text)
        before = prompt.facts[self.variable]
        other = self.negative if before == self.positive else self.positive
        now = reading.value(self.variable)
        found = {"flipped": float(now == other)}
        for variable in VARIABLES:
            if variable != self.variable and variable in prompt.facts:
                kept = reading.value(variable) == prompt.facts[variable]
                found[f"kept_{variable}"] = float(kept)
        found["grammatical"] = reading.grammatical
        return found if continuation.text.strip() else dict.fromkeys(found, math.nan)


def facts_of(text: str) -> dict[str, str | float | None]:
    """Mood, topic and the share of grammatical sentences of a text; None for what it does not tell."""
    reading = read(text.strip())
    grammatical = None if math.isnan(reading.grammatical) else reading.grammatical
    return {"mood": reading.mood, "topic": reading.topic, "grammatical": grammatical}


def fresh_stories(rng: Random, n: int) -> list[str]:
    """Stories of the world that nobody has read yet."""
    return [sample_story(rng).text for _ in range(n)]
