"""Another language model that says how likely what was written is, whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steerscope.engine.score import log_likelihoods_under
from steerscope.errors import PromptTooLongError
from steerscope.models.chat_templates import ChatText, asked_in
from steerscope.models.lens_model import LensModel
from steerscope.steering.interventions import Cell

NLL_SECOND = "nll_second"


@dataclass(frozen=True, eq=False)
class SecondModel:
    """A model beside the steered one, with tokens of its own and never steered.

    Attributes:
        model: the model.
    """

    model: LensModel

    def nats(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        """Nats per token of each text after its prompt; NaN for one that is empty or too long.

        A prompt in a chat template is given as what the user said in its last turn, without the template
        of the steered model, which is not this one's.
        """
        found = [math.nan] * len(texts)
        ids, starts, there = [], [], []
        for place, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
            before = _as_plain(prompt)
            try:
                tokens, n_before = self.model.tokens(before + text), len(self.model.tokens(before))
            except PromptTooLongError:
                continue
            if text.strip() and n_before < len(tokens):
                ids.append(tokens)
                starts.append(max(1, n_before))
                there.append(place)
        scores = log_likelihoods_under(self.model, ids, [Cell()], after=starts)[0] if ids else []
        for place, score in zip(there, scores, strict=True):
            found[place] = -float(score.mean()) if len(score) else math.nan
        return found


def _as_plain(prompt: str) -> str:
    if not isinstance(prompt, ChatText):
        return prompt
    said = asked_in(prompt)
    return f"{said}\n" if said else ""
