"""Judges: what a continuation shows, without a language model as judge."""

from steerscope.judges.judges import Judge, TextJudge, choose_judge
from steerscope.judges.microworld import MicroworldJudge

__all__ = ["Judge", "MicroworldJudge", "TextJudge", "choose_judge"]
