"""Judges: what a continuation shows, without a language model as judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

from steerscope.judges import microworld
from steerscope.judges.effects import TEXT_LIMITS, Effect, Limit
from steerscope.judges.judges import Judge, TextJudge, choose_judge
from steerscope.judges.microworld import MicroworldJudge

__all__ = [
    "ORACLE_METRICS",
    "READERS",
    "WORLDS",
    "Judge",
    "MicroworldJudge",
    "TextJudge",
    "choose_judge",
    "kept_limits",
    "stored_effect",
]

# Worlds whose texts can be sampled afresh: name of the world and what samples.
WORLDS: Mapping[str, Callable[[Random, int], list[str]]] = {
    microworld.WORLD: microworld.fresh_stories
}
# Worlds whose texts are read without a mistake: name of the world and what a text of it tells.
READERS: Mapping[str, Callable[[str], dict[str, str | float | None]]] = {
    microworld.WORLD: microworld.facts_of
}
ORACLE_METRICS: tuple[str, ...] = microworld.METRICS
_LIMITS_BEFORE = {"flipped": microworld.LIMITS}  # of runs that did not store theirs


def kept_limits(metrics: Iterable[str]) -> tuple[Limit, ...]:
    """What known judges ask to be kept, of the metrics that were measured."""
    there = set(metrics)
    limits = (limit for known in _LIMITS_BEFORE.values() for limit in known)
    return tuple(x for x in limits if x.metric in there and x not in TEXT_LIMITS)


def stored_effect(fields: Mapping[str, Any]) -> Effect:
    """The effect of a run's configuration, with the limits of its judge where it stored none."""
    if "limits" in fields:
        return Effect.stored(fields)
    effect = Effect(**fields)
    limits = _LIMITS_BEFORE.get(effect.metric, effect.limits)
    return Effect(**{**fields, "limits": limits})
