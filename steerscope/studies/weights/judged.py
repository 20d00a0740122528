"""A judge that also tells towards which target a continuation went, and what else it kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from steerscope.engine.generation import Continuation
from steerscope.judges import Judge
from steerscope.judges.effects import Effect
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
        found = self.judge.read(prompt, continuation)
        effect = self.effect
        if not effect.is_share:
            return found
        target = effect.positive if self.judge.applies(prompt, 1) else effect.negative
        moved = found[effect.metric]
        found = found | {towards(effect, target): 0.0 if math.isnan(moved) else moved}
        kept = [found[limit.metric] for limit in effect.kept if limit.metric in found]
        if not kept:
            return found
        readable = [v for v in kept if not math.isnan(v)]
        return found | {CAPABILITY: float(np.mean(readable)) if readable else 0.0}
