"""Samplers: how the next token is chosen among those that are likely."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import BadValueError

NARROWING: dict[str, Any] = {
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}  # for none
_IN_CACHE = 2**20  # logits that a processor chooses among together
_STRETCH = 256  # tokens whose probabilities are summed before the sums are
_MOST = 1e30  # numbers that divide logits lie between this and its inverse: beyond, float32 ends


@runtime_checkable
class Sampler(Protocol):
    """Chooses the next token of each row."""

    def choose(
        self, logits: Float[Tensor, "row vocab"], keys: Sequence[str]
    ) -> Int[Tensor, " row"]:
        """Next tokens; `keys` name prompt, sample and step, so that no choice depends on its batch."""
        ...


@dataclass(frozen=True)
class Greedy:
    """The most likely token.

    Attributes:
        repetition_penalty: as of `Sample`.
    """

    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        check_narrowing(0, 1.0, 0.0, self.repetition_penalty)

    def choose(
        self,
        logits: Float[Tensor, "row vocab"],
        keys: Sequence[str],  # noqa: ARG002 - greedy choice needs no randomness
    ) -> Int[Tensor, " row"]:
        """Next tokens."""
        return logits.argmax(dim=-1)


@dataclass(frozen=True)
class Sample:
    """A token drawn from the softmax at a temperature, of those that are likely enough.

    One uniform number per prompt, sample and step, made from the seed, the tokens of the prompt, the
    number of the sample and the step, is put through the inverse of the cumulative distribution. So a
    row gets the same tokens in any batch and in any order, and all conditions of a prompt share their
    random numbers: what differs between their texts is what they did, and a condition that does nothing
    writes the plain text.

    What may be drawn is narrowed as transformers does, in this order: the penalty of repetition, the
    temperature, top-k, top-p, min-p. Each sees what the one before has left.

    Attributes:
        temperature: of the softmax; from 1e-30 to 1e30.
        seed: of the uniform numbers.
        top_k: how many of the most likely tokens; 0 for all.
        top_p: the fewest most likely tokens whose probabilities reach this sum; 1 for all.
        min_p: tokens of at least this share of the highest probability; 0 for all.
        repetition_penalty: what the logits of tokens are divided by, or if negative multiplied, that
            stand in the prompt or were written already; from 1e-30 to 1e30, 1 for none.

    Raises:
        BadValueError: a number outside its range.

    Source: Fan et al. 2018 (arXiv:1805.04833), top-k; Holtzman et al. 2020 (arXiv:1904.09751), top-p;
    Nguyen et al. 2024 (arXiv:2407.01082), min-p; Keskar et al. 2019 (arXiv:1909.05858), the penalty.
    """

    temperature: float = 1.0
    seed: int = 0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 1 / _MOST <= self.temperature <= _MOST:
            raise BadValueError(
                f"temperature {self.temperature} must be positive, from {1 / _MOST:g} to {_MOST:g}; "
                "use Greedy() for the limit 0."
            )
        check_narrowing(self.top_k, self.top_p, self.min_p, self.repetition_penalty)

    def choose(
        self, logits: Float[Tensor, "row vocab"], keys: Sequence[str]
    ) -> Int[Tensor, " row"]:
        """Next tokens."""
        return self.drawn(logits, [self.label(key) for key in keys])

    def label(self, key: str) -> str:
        """What the number that is drawn for a key depends on: the seed as well."""
        return f"{self.seed}|{key}"

    def drawn(
        self, logits: Float[Tensor, "row vocab"], labels: Sequence[str]
    ) -> Int[Tensor, " row"]:
        """Next tokens by the labels of the numbers that are drawn, whatever the seed."""
        uniform = torch.tensor(
            [[_uniform(label)] for label in labels],
            dtype=torch.float64,
            device=logits.device,
        )
        return _drawn(torch.softmax(self.narrowed(logits), dim=-1), uniform)

    def narrowed(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row vocab"]:
        """Logits over the temperature, minus infinity where a token may not be drawn."""
        found = self._over_temperature(logits.float())
        if 0 < self.top_k < found.shape[-1]:
            least = found.topk(self.top_k, dim=-1).values[:, -1:]
            found = found.masked_fill(found < least, -math.inf)
        if self.top_p < 1:
            ordered, order = found.sort(dim=-1, stable=True)
            beyond = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - self.top_p
            beyond[:, -1] = False  # the most likely one is always kept
            found = found.masked_fill(beyond.scatter(-1, order, beyond), -math.inf)
        if self.min_p > 0:
            shares = found.softmax(dim=-1)
            least = self.min_p * shares.amax(dim=-1, keepdim=True)
            found = found.masked_fill(shares < least, -math.inf)
        return found

    def _over_temperature(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row vocab"]:
        """Logits over the temperature; those of a row less its highest where that would be infinite."""
        if self.temperature >= 1:
            return logits / self.temperature
        top = logits.amax(dim=-1, keepdim=True)
        shift = torch.where((top / self.temperature).isinf(), top, 0.0)
        return (logits - shift).div_(self.temperature)


def work_bytes(sampler: Sampler | None) -> int:
    """Bytes for each logit that a choice takes at its peak, beside the logits themselves.

    Counted in float32 copies and, of a sort, 64-bit places; None or a sampler of one's own counts as
    the most that any of these takes.
    """
    if isinstance(sampler, Greedy):
        work = 0
    elif not isinstance(sampler, Sample):
        return 28
    else:
        work = 24 if sampler.top_p < 1 else 12 if sampler.min_p > 0 else 8
    return work + (4 if sampler.repetition_penalty != 1.0 else 0)


def rows_at_once(device: torch.device, n_vocab: int, n_rows: int) -> int:
    """Of so many rows, those that choose together: what a processor chooses among stays in its cache."""
    return min(n_rows, max(1, _IN_CACHE // n_vocab)) if device.type == "cpu" else n_rows


def sampler_at(  # noqa: PLR0913 - the numbers that people set
    temperature: float,
    seed: int,
    *,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
) -> Sampler:
    """Sampling at a temperature, or the most likely token at 0.

    Raises:
        BadValueError: a number outside its range, or one that means nothing at temperature 0.
    """
    if temperature != 0:
        return Sample(temperature, seed, top_k, top_p, min_p, repetition_penalty)
    if (top_k, top_p, min_p) != (0, 1.0, 0.0):
        raise BadValueError(
            "top_k, top_p and min_p leave the most likely token, which temperature 0 takes anyway; "
            "give a temperature above 0, or leave them out."
        )
    return Greedy(repetition_penalty)


def sampler_of(plan: Any) -> Sampler:
    """The sampler that a plan asks for: its temperature and seed, and what of `NARROWING` it has.

    Raises:
        BadValueError: as `sampler_at`.
    """
    return sampler_at(plan.temperature, plan.seed, **{n: getattr(plan, n) for n in NARROWING})


def without_usual(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without a narrowing that narrows nothing, as runs from before it state them."""
    return {k: v for k, v in settings.items() if k not in NARROWING or v != NARROWING[k]}


def check_samples(samples: int, sampler: Sampler | None) -> int:
    """The number of texts for each prompt.

    Raises:
        BadValueError: there is none, or there are several and all would be the same.
    """
    if samples < 1:
        raise BadValueError(f"samples is {samples}; ask for at least 1 text of each prompt.")
    if samples > 1 and isinstance(sampler or Greedy(), Greedy):
        raise BadValueError(
            f"{samples} samples of the most likely tokens are all the same; give a temperature above 0."
        )
    return samples


def check_narrowing(top_k: int, top_p: float, min_p: float, repetition_penalty: float) -> None:
    """Refuse numbers that leave nothing to draw from, or mean nothing.

    Raises:
        BadValueError: one is out of its range.
    """
    if top_k < 0:
        raise BadValueError(f"top_k is {top_k}; it must be at least 1, or 0 for all tokens.")
    if not 0 < top_p <= 1:
        raise BadValueError(f"top_p is {top_p}; it must be above 0 and at most 1.")
    if not 0 <= min_p <= 1:
        raise BadValueError(f"min_p is {min_p}; it must be from 0 to 1.")
    if not 1 / _MOST <= repetition_penalty <= _MOST:
        raise BadValueError(
            f"repetition_penalty is {repetition_penalty}; it must be positive, from "
            f"{1 / _MOST:g} to {_MOST:g}, 1 for none."
        )


def penalised(
    logits: Float[Tensor, "row vocab"], histories: Sequence[Sequence[int]], penalty: float
) -> Float[Tensor, "row vocab"]:
    """Logits of tokens that stand in the history of their row, divided by a penalty or multiplied if negative.

    What would be infinite is the most that the format holds.
    """
    found, most = logits.clone(), torch.finfo(logits.dtype).max
    for row, history in enumerate(histories):
        seen = torch.tensor(sorted(set(history)), dtype=torch.long, device=logits.device)
        before = logits[row, seen]
        after = torch.where(before < 0, before * penalty, before / penalty)
        found[row, seen] = after.clamp(-most, most)
    return found


def _drawn(
    shares: Float[Tensor, "row vocab"], uniform: Float[Tensor, "row 1"]
) -> Int[Tensor, " row"]:
    """The token at which the cumulative sum passes the uniform number times the whole.

    The sum is taken in double precision, over stretches of tokens and then within one, so that no
    copy of all probabilities in double precision is made. A row of no probabilities gets -1.
    """
    n_rows, n_vocab = shares.shape
    padded = torch.nn.functional.pad(shares, (0, -n_vocab % _STRETCH))
    stretches = padded.view(n_rows, -1, _STRETCH)
    until = stretches.sum(dim=-1).double().cumsum(dim=-1)
    wanted = _below(uniform * until[:, -1:], until[:, -1:])
    place = torch.searchsorted(until, wanted, right=True).clamp_max(stretches.shape[1] - 1)
    within = stretches.gather(1, place[..., None].expand(-1, 1, _STRETCH)).squeeze(1)
    within = within.double().cumsum(dim=-1)
    before = torch.where(place > 0, until.gather(1, (place - 1).clamp_min(0)), 0.0)
    wanted = _below((wanted - before).clamp_min(0.0), within[:, -1:])
    token = place * _STRETCH + torch.searchsorted(within, wanted, right=True)
    return torch.where(until[:, -1:] > 0, token, -1).squeeze(-1)  # a NaN is not above 0


def _below(values: Float[Tensor, "row 1"], total: Float[Tensor, "row 1"]) -> Float[Tensor, "row 1"]:
    """Values, below the total also where they round up to it: no token of no probability is drawn."""
    return torch.minimum(values, torch.nextafter(total, torch.zeros_like(total)))


def _uniform(key: str) -> float:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
