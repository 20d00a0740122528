"""A judge that also tells towards which target a continuation went, and what else it kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steerscope.engine.continuations import Continuation
from steerscope.judges import Judge
from steerscope.judges.effects import Effect
from steerscope.judges.judges import read_all
from steerscope.studies.weights.findings import CAPABILITY, towards
from steerscope.texts.contrasts import Prompt


@dataclass(frozen=True)
class TargetJudge:
    """Reads both targets, for an edit of weights has no sign that says where it should lead.

    A continuation of a prompt that shows one target is counted towards the other. A text in which
    nothing can be read has not gone over and has kept nothing.
    """

    judge: Judge

    @property
    def effect(self) -> Effect:
        """The effect of the judge."""
        return self.judge.effect

    @property
    def world(self) -> str:
        """The world of the judge."""
        return self.judge.world

    def applies(self, prompt: Prompt, sign: int) -> bool:
        """As the judge says."""
        return self.judge.applies(prompt, sign)

    def read(self, prompt: Prompt, continuation: Continuation) -> dict[str, float]:
        """What the judge reads, with `to_<target>` and `capability` where an oracle reads."""
        return self.read_all([prompt], [continuation])[0]

    def read_all(
        self, prompts: Sequence[Prompt], continuations: Sequence[Continuation]
    ) -> list[dict[str, float]]:
        """The same of many."""
        found = read_all(self.judge, prompts, continuations)
        return [self._told(prompt, values) for prompt, values in zip(prompts, found, strict=True)]

    def _told(self, prompt: Prompt, found: dict[str, float]) -> dict[str, float]:
        effect = self.effect
        if not effect.is_share:
            return found
        moved = found[effect.metric]
        moved = 0.0 if math.isnan(moved) else moved
        ways = [sign for sign in (1, -1) if self.judge.applies(prompt, sign)]
        if len(ways) == 2:  # a score tells of any text on which side it is
            sides = {effect.positive: moved, effect.negative: 1.0 - moved}
            return found | {towards(effect, target): side for target, side in sides.items()}
        target = effect.positive if ways == [1] else effect.negative
        found = found | {towards(effect, target): moved}
        kept = [found[limit.metric] for limit in effect.kept if limit.metric in found]
        if not kept:
            return found
        readable = [v for v in kept if not math.isnan(v)]
        return found | {CAPABILITY: float(np.mean(readable)) if readable else 0.0}
