"""Texts that are the same but for what rounding alone decides, and how far a text is from that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy, Sampler
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.steering.interventions import Cell
from tests.helpers import PASS, rounding


@dataclass
class _Told:
    """A sampler that writes what it is told to, and keeps what the model would have chosen from."""

    tokens: Sequence[int]
    seen: list[tuple[Tensor, Sequence[str]]] = field(default_factory=list)

    def choose(self, logits: Tensor, keys: Sequence[str]) -> Tensor:
        self.seen.append((logits.clone(), list(keys)))
        return torch.tensor([self.tokens[len(self.seen) - 1]])


def _pushed(logits: Tensor, keys: Sequence[str], token: int, sampler: Sampler) -> set[int]:
    """What is chosen when rounding helps or hinders a token as much as it can."""
    off = rounding(PASS, float(logits.abs().max()))
    places = torch.arange(logits.shape[-1])
    found = {int(sampler.choose(logits, keys))}
    for helped in (places == token, places <= token, places >= token):
        push = torch.where(helped, off, -off)
        found |= {int(sampler.choose(logits + sign * push, keys)) for sign in (1, -1)}
    return found


def assert_same_text(
    model: LensModel,
    condition: tuple[TextOrIds, Cell],
    found: Continuation,
    expected: Continuation,
    sampler: Sampler | None = None,
) -> None:
    """Two ways to write one continuation agree, up to the first token that rounding alone decides.

    Where two tokens are equally likely but for rounding, each is right, and what follows is another
    text. Nothing else may differ.
    """
    if found.tokens == expected.tokens:
        assert found == expected
        return
    prompt, cell = condition
    sampler, end = sampler or Greedy(), model.tokenizer.eos_token_id
    one, other = ([*c.tokens, end] for c in (found, expected))
    place = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    told = _Told(one[:place] + [end])
    generate(model, [prompt], [cell], n_new=place + 1, sampler=told)
    pair = (one[place], other[place])
    possible = [_pushed(*told.seen[place], token, sampler) for token in pair]
    assert set(pair) <= set.union(*possible), (
        f"token {place} after {prompt} under {cell.key!r}: {pair}"
    )


def assert_same_texts(
    model: LensModel,
    grid: tuple[Sequence[TextOrIds], Sequence[Cell]],
    found: Sequence[Sequence[Continuation]],
    expected: Sequence[Sequence[Continuation]],
    sampler: Sampler | None = None,
) -> None:
    """`assert_same_text` for every prompt under every cell of a grid."""
    prompts, cells = grid
    for cell, row, wanted in zip(cells, found, expected, strict=True):
        for prompt, one, other in zip(prompts, row, wanted, strict=True):
            assert_same_text(model, (prompt, cell), one, other, sampler)


def hangs_on_rounding(
    model: LensModel,
    condition: tuple[TextOrIds, Cell],
    text: Continuation,
    sampler: Sampler | None = None,
) -> bool:
    """Whether some token of a continuation would be another if the logits were rounded otherwise."""
    prompt, cell = condition
    tokens = [*text.tokens, model.tokenizer.eos_token_id][: len(text.tokens) + text.ended]
    told = _Told(tokens)
    generate(model, [prompt], [cell], n_new=len(tokens), sampler=told)
    return any(
        _pushed(logits, keys, token, sampler or Greedy()) != {token}
        for (logits, keys), token in zip(told.seen, tokens, strict=True)
    )


def greedy_by_hand(
    model: LensModel, prompt: Sequence[int], step: Callable[[list[int]], Tensor], n_new: int
) -> Continuation:
    """The most likely token after all that went before, again and again; `step` gives the logits."""
    ids, ended = list(prompt), False
    while len(ids) < len(prompt) + n_new and not ended:
        token = int(step(ids)[0, -1].argmax())
        ended = token == model.tokenizer.eos_token_id
        ids += [] if ended else [token]
    new = tuple(ids[len(prompt) :])
    return Continuation(new, model.text(list(new), after=prompt), ended)
