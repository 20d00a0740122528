"""What every judge does, the one that works on any text, and which judge fits a contrast set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from steerscope.engine.continuations import Continuation
from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.judges.microworld import MicroworldJudge
from steerscope.judges.scoring import ScoreJudge
from steerscope.metrics import distinct_n, is_degenerate, repetition
from steerscope.texts.contrasts import ContrastSet, Prompt


@runtime_checkable
class Judge(Protocol):
    """Reads continuations."""

    @property
    def effect(self) -> Effect:
        """The number that tells whether steering worked."""
        ...

    @property
    def world(self) -> str:
        """Name of the world whose texts can be sampled afresh, as `WORLDS` has it; empty for none."""
        ...

    def applies(self, prompt: Prompt, sign: int) -> bool:
        """Whether a prompt leaves room for an effect of a dose of this sign (0 for no dose)."""
        ...

    def read(self, prompt: Prompt, continuation: Continuation) -> dict[str, float]:
        """Metrics of one continuation by name; NaN where it cannot tell."""
        ...


@dataclass(frozen=True)
class TextJudge:
    """Sees only whether a text has collapsed; the effect is read off the held-out pairs instead."""

    effect: Effect = PREFERENCE
    world: str = ""

    def applies(self, prompt: Prompt, sign: int) -> bool:  # noqa: ARG002 - the same for all
        """Every prompt will do."""
        return True

    def read(self, prompt: Prompt, continuation: Continuation) -> dict[str, float]:  # noqa: ARG002
        """No metric of its own."""
        return {}


@runtime_checkable
class ReadsAll(Protocol):
    """A judge that reads many continuations at once."""

    def read_all(
        self, prompts: Sequence[Prompt], continuations: Sequence[Continuation]
    ) -> list[dict[str, float]]:
        """What `read` says of each."""
        ...


def compares_pairs(judge: Judge) -> bool:
    """Whether pairs are compared where conditions write: as the effect, or beside a score."""
    return judge.effect.metric == "preference" or isinstance(judge, ScoreJudge)


def scored(judge: Judge) -> bool:
    """Whether a judge, or the one that it asks, gives scores: it reads any text, and may fail."""
    return isinstance(getattr(judge, "judge", judge), ScoreJudge)


def signs_read(judge: Judge) -> tuple[int, ...]:
    """The signs of a dose whose texts are read: a score reads what a positive one makes of any prompt."""
    return (1,) if scored(judge) else (1, -1)


def read_all(
    judge: Judge, prompts: Sequence[Prompt], continuations: Sequence[Continuation]
) -> list[dict[str, float]]:
    """What a judge reads in the continuation of each prompt; one that scores gets all at once."""
    if isinstance(judge, ReadsAll):
        return judge.read_all(prompts, continuations)
    return [judge.read(p, c) for p, c in zip(prompts, continuations, strict=True)]


def shows_nothing(effect: Effect, written: Continuation) -> bool:
    """Whether of an effect that is a share a text has none, since it is blank; what logits cut off is not known."""
    return effect.is_share and written.finite and not written.text.strip()


def text_metrics(tokens: Sequence[int]) -> dict[str, float]:
    """Repetition and variety of one continuation."""
    return {
        "degenerate": float(is_degenerate(tokens)),
        "distinct_2": distinct_n(tokens, 2),
        "repetition": repetition(tokens),
    }


def choose_judge(contrasts: ContrastSet, prompts: Sequence[Prompt]) -> Judge:
    """An oracle where one can read the contrast set and knows the prompts, else the text alone."""
    return MicroworldJudge.for_contrasts(contrasts, prompts) or TextJudge()
