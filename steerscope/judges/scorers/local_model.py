"""A language model on this machine that is asked for answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from steerscope.engine.score import rows_that_fit
from steerscope.errors import JudgeError, SteerscopeError, TemplateError
from steerscope.judges.scorers.language_model import Answer
from steerscope.models.chat_templates import texts_in_chat
from steerscope.models.lens_model import LensModel
from steerscope.models.loading import load_model
from steerscope.texts.batches import equal_length_batches
from steerscope.texts.chats import Chat

SELF = "self"


@dataclass(frozen=True, eq=False)
class LocalModel:
    """The probabilities of the first tokens by which the answers differ, plain and in one pass.

    Attributes:
        name: bundled name, folder or hub name; `self` for the model that is steered.
        model: the model that is steered, where there is one.
    """

    name: str
    model: LensModel | None = None

    def answers(self, questions: Sequence[str], scale: Sequence[str]) -> list[Answer]:
        """The chance of each answer to each question.

        Raises:
            JudgeError: the model cannot be loaded, or its tokens do not tell the answers apart.
        """
        model = self._had()
        try:
            said = texts_in_chat(model, questions, Chat())
            space = ""
        except TemplateError:  # a model that only continues texts
            said, space = list(questions), " "
        begun = [self._begun(model, text, [space + answer for answer in scale]) for text in said]
        prompts, tokens = [ids for ids, _ in begun], [last for _, last in begun]
        found = [Answer({})] * len(prompts)
        at_once = rows_that_fit(model, prompts, None)
        with torch.no_grad(), model.turn.using():
            for batch in equal_length_batches(prompts, at_once, model.device):
                logits = model.forward(batch.tokens, last=1)[:, -1].float()
                chances = torch.softmax(logits, dim=-1).cpu()
                for place, row in zip(batch.indices, chances, strict=True):
                    mine = {a: float(row[t]) for a, t in zip(scale, tokens[place], strict=True)}
                    found[place] = Answer(mine)
        return found

    def _had(self) -> LensModel:
        if self.name != SELF:
            return _loaded(self.name)
        if self.model is None:
            raise JudgeError("the judge lm:self needs the model of the run, which is not loaded.")
        return self.model

    def _begun(
        self, model: LensModel, question: str, answers: Sequence[str]
    ) -> tuple[list[int], list[int]]:
        """Tokens up to where the answers part, and the token by which each goes on."""
        try:
            ways = [model.tokens(question + answer) for answer in answers]
        except SteerscopeError as error:
            raise JudgeError(f"the judge lm:{self.name} cannot be asked: {error}") from None
        shared = 0
        while all(len(w) > shared + 1 for w in ways) and len({w[shared] for w in ways}) == 1:
            shared += 1
        tokens = [way[shared] for way in ways]
        if not shared or len(set(tokens)) < len(tokens):
            raise JudgeError(
                f"the tokens of the judge lm:{self.name} do not tell the answers "
                f"{', '.join(answers)} apart; take another model, or another scale."
            )
        return ways[0][:shared], tokens


@lru_cache(maxsize=1)
def _loaded(name: str) -> LensModel:
    try:
        return load_model(name)
    except SteerscopeError as error:
        raise JudgeError(f"cannot load the judge lm:{name}: {error}") from None
