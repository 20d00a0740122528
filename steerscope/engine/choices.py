"""Forced choices: the odds of given answers, with how much of all probability they have together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from steerscope.engine.answers import answer_scores
from steerscope.engine.score import rows_that_fit, under_each
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import is_prompting, on_activations, seen_under
from steerscope.texts.batches import equal_length_batches

ENOUGH = 0.5  # of all probability; where the choices have less, the model answers something else


@dataclass(frozen=True, eq=False)
class Choices:
    """What each condition makes of two answers to each question.

    Attributes:
        log_odds: of the first answer against the second, in nats; NaN where the logits are not finite,
            or where the answers have less than `ENOUGH` of all probability together, which is no answer.
        mass: that probability.
    """

    log_odds: Float[np.ndarray, "cell prompt"]
    mass: Float[np.ndarray, "cell prompt"]

    @property
    def answered(self) -> Float[np.ndarray, "cell prompt"]:
        """1 where there is an answer, 0 where there is none, NaN where the logits are not finite."""
        return np.where(np.isnan(self.mass), np.nan, (self.mass >= ENOUGH).astype(float))


@torch.no_grad()
def first_token_choices(
    model: LensModel,
    prompts: Sequence[str],
    answers: tuple[str, str],
    cells: Sequence[Cell],
    *,
    progress: Track = silent,
) -> Choices:
    """The odds of two words as the next token, each in all its spellings.

    A token counts for a word if it is the word, whatever its case and the space before it; a token that
    only begins with it, such as `not` for `no`, counts for none.

    Args:
        model: the model.
        prompts: texts that end where the answer begins.
        answers: two words, such as `("Yes", "No")`.
        cells: the conditions; a prompting says its words before each prompt.
        progress: shows the loop.

    Raises:
        BadValueError: a word is no single token in any spelling.
        MemoryBudgetError: not one prompt fits into the memory.
    """
    spelled = [tokens_of_word(model, word) for word in answers]
    found = np.full((2, len(cells), len(prompts)), np.nan)
    for group in _groups(cells):
        seen = [model.tokens(str(seen_under(cells[group[0]], p))) for p in prompts]
        acting = [on_activations(cells[c]) for c in group]
        at_most = rows_that_fit(model, seen, None)
        for batch in progress(equal_length_batches(seen, at_most, model.device), "asking"):
            plain = model.plain_pass(batch.tokens)
            for some, which, logits in under_each(plain, acting, at_most=at_most, last=1):
                shares = torch.log_softmax(logits[:, -1].double(), dim=-1)
                each = [shares[:, ids].logsumexp(dim=-1).tolist() for ids in spelled]
                for row, (number, place) in enumerate(zip(some, which.tolist(), strict=True)):
                    into = group[number], batch.indices[place]
                    found[0][into], found[1][into] = each[0][row], each[1][row]
    return _choices(found[0], found[1])


def full_text_choices(
    model: LensModel,
    prompts: Sequence[str],
    answers: Sequence[tuple[str, str]],
    cells: Sequence[Cell],
    *,
    progress: Track = silent,
) -> Choices:
    """The odds of two whole texts after each prompt, one pair of texts for each.

    A text's probability is that of all its tokens, so that a longer one has less; the mass is what both
    have together, which is small for long texts: give ones that are hard to say otherwise.

    Raises:
        BadValueError: an answer is empty.
    """
    found = np.full((2, len(cells), len(prompts)), np.nan)
    for group in _groups(cells):
        seen = [str(seen_under(cells[group[0]], p)) for p in prompts]
        pairs = [_divided(model, p, a) for p, both in zip(seen, answers, strict=True) for a in both]
        acting = [on_activations(cells[c]) for c in group]
        scores = answer_scores(model, pairs, acting, progress=progress).log_likelihood
        for side in (0, 1):
            found[side][group] = scores[:, side::2]
    return _choices(found[0], found[1])


def tokens_of_word(model: LensModel, word: str) -> list[int]:
    """The tokens that are a word, whatever its case and the space before it.

    Raises:
        BadValueError: there is none.
    """
    wanted = word.strip().casefold()
    vocabulary = model.vocabulary
    ends = vocabulary.ends
    spellings = {
        s for w in (word.strip(), wanted, wanted.capitalize(), wanted.upper()) for s in (w, " " + w)
    }
    anchor = vocabulary.bare("a")
    found = set()
    for text in spellings:
        for ids in (
            vocabulary.bare(text),
            vocabulary.bare("a\n" + text)[len(vocabulary.bare("a\n")) :],
        ):
            if len(ids) == 1 and ids[0] not in ends:
                said = vocabulary.text(ids, anchor)
                if said.strip().casefold() == wanted:
                    found.add(int(ids[0]))
    if not found:
        raise BadValueError(
            f"{word!r} is no single token of {model.name}, so that its odds cannot be read off one; "
            "choose another word, or compare the answers as whole texts."
        )
    return sorted(found)


def _groups(cells: Sequence[Cell]) -> list[list[int]]:
    """Conditions that see the same prompts."""
    together = [c for c, cell in enumerate(cells) if not is_prompting(cell)]
    alone = [[c] for c, cell in enumerate(cells) if is_prompting(cell)]
    return ([together] if together else []) + alone


def _divided(model: LensModel, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Ids of a prompt and of an answer as it goes on there."""
    if not answer.strip():
        raise BadValueError("an answer is empty; give some text.")
    asked = model.tokens(prompt)
    whole = model.tokens(prompt + answer)
    if whole[: len(asked)] != asked:  # a token reaches over the border: it belongs to the answer
        shared = next(i for i, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b)
        asked = asked[:shared]
    return asked, whole[len(asked) :]


def _choices(
    first: Float[np.ndarray, "cell prompt"], second: Float[np.ndarray, "cell prompt"]
) -> Choices:
    mass = np.exp(first) + np.exp(second)
    with np.errstate(invalid="ignore"):  # both may have no probability at all
        odds = np.where(mass >= ENOUGH, first - second, math.nan)
    return Choices(odds, mass)
