"""Activations of a text in a random order that can be entered anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.sites import Site
from steerscope.texts.batches import equal_length_batches

_TOKENS_AT_ONCE = 8192
_ROW_ORDER, _MIX = 0, 1  # streams of random numbers under one seed


def token_rows(
    model: LensModel, texts: Sequence[TextOrIds], *, longest: int | None = None
) -> list[list[int]]:
    """Token ids of documents, each row beginning as the model's texts do.

    A document that is longer than `longest` tokens, or than the context, is cut into rows.

    Raises:
        BadValueError: no document has two tokens, or `longest` is below 2.
    """
    limit = min(longest or model.shape.n_context, model.shape.n_context)
    if limit < 2:
        raise BadValueError(f"rows of {limit} tokens hold none that is not the first; choose more.")
    head = model.beginning
    room = limit - len(head)
    rows = []
    for ids in _ids(model, texts):
        body = ids[len(head) :] if ids[: len(head)] == head else ids
        rows += [[*head, *body[start : start + room]] for start in range(0, len(body), room)]
    rows = [row for row in rows if len(row) > max(1, len(head))]
    if not rows:
        raise BadValueError("the text has no row of two tokens; give more text.")
    return rows


def _ids(model: LensModel, texts: Sequence[TextOrIds]) -> list[list[int]]:
    """Bare token ids of each document; those in text are tokenised together."""
    words = [text for text in texts if isinstance(text, str)]
    tokenised = iter(model.tokenizer(words, add_special_tokens=False).input_ids if words else ())
    return [next(tokenised) if isinstance(text, str) else list(text) for text in texts]


def digest_of(rows: Sequence[Sequence[int]]) -> str:
    """Hash of token rows and of their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(np.asarray([len(row), *row], dtype=np.int64).tobytes())
    return digest.hexdigest()


def counted(model: LensModel, tokens: Int[Tensor, "row pos"]) -> Bool[Tensor, "row pos"]:
    """Which positions an autoencoder is for: not the first, nor any beginning-of-sequence token.

    The first position carries the attention sink, whose norm is of another order.
    """
    kept = torch.ones_like(tokens, dtype=torch.bool)
    kept[:, 0] = False
    bos = model.tokenizer.bos_token_id
    return kept if bos is None else kept & (tokens != bos)


def token_ids(model: LensModel, texts: Sequence[TextOrIds]) -> list[list[int]]:
    """Token ids of texts, one row each, which all have a token that is `counted`.

    Raises:
        BadValueError: no text, or one without such a token.
    """
    rows = [model.tokens(text) for text in texts]
    bos = model.tokenizer.bos_token_id
    if not rows or not all(any(token != bos for token in row[1:]) for row in rows):
        raise BadValueError(
            "codes are read at tokens after position 0, but not at those that begin a sequence; give "
            "texts that have some."
        )
    return rows


@torch.no_grad()
def activations_of(
    model: LensModel, site: Site, rows: Sequence[Sequence[int]]
) -> Iterator[tuple[tuple[int, ...], Float[Tensor, "row pos d"], Bool[Tensor, "row pos"]]]:
    """Activations at a site, batch by batch: the rows' numbers, the values, the counted positions."""
    longest = max(map(len, rows))
    for batch in equal_length_batches(rows, max(1, _TOKENS_AT_ONCE // longest), model.device):
        found = model.read(batch.tokens, [site])[site]
        yield batch.indices, found.float(), counted(model, batch.tokens)


@runtime_checkable
class ActivationSource(Protocol):
    """Endless batches of activations that can be entered anywhere."""

    def seek(self, batch: int) -> None:
        """Have `next` give this batch, counted from 0."""

    def mean_norm(self) -> float:
        """Mean L2 norm of an activation."""

    def __next__(self) -> Float[Tensor, "batch d"]: ...


class Stored:
    """Batches of activations that are there already, in a new random order every round."""

    def __init__(
        self, activations: Float[Tensor, "token d"], *, batch_size: int, seed: int
    ) -> None:
        self._activations, self._batch_size, self._seed = activations, batch_size, seed
        self._per_lap = len(activations) // batch_size
        if not self._per_lap:
            raise BadValueError(
                f"{len(activations)} activations do not fill a batch of {batch_size}; give more."
            )
        self._next = 0

    def seek(self, batch: int) -> None:
        """Have `next` give this batch, counted from 0."""
        self._next = batch

    def mean_norm(self) -> float:
        """Mean L2 norm of an activation."""
        return float(self._activations.norm(dim=-1).mean())

    def __next__(self) -> Float[Tensor, "batch d"]:
        lap, place = divmod(self._next, self._per_lap)
        order = np.random.default_rng((self._seed, _MIX, lap)).permutation(len(self._activations))
        self._next += 1
        chosen = order[place * self._batch_size : (place + 1) * self._batch_size]
        return self._activations[torch.from_numpy(chosen).to(self._activations.device)]


class ActivationStream:
    """Endless batches of activations, the same for a seed wherever one starts.

    The rows of the text are put in a random order, anew in every round through the text. A buffer
    holds the activations of as many rows as fill it; they are shuffled and given out in batches, and
    those that do not fill a batch are dropped with it. A buffer follows from the seed and its number
    alone, so that batch n can be had without those before.
    """

    def __init__(
        self,
        model: LensModel,
        site: Site,
        rows: Sequence[Sequence[int]],
        *,
        batch_size: int,
        buffer: int,
        seed: int,
    ) -> None:
        self._model, self._site, self._rows = model, site, rows
        self._batch_size, self._seed = batch_size, seed
        bos = model.tokenizer.bos_token_id
        self._counts = np.array([sum(t != bos for t in row[1:]) for row in rows])
        total = int(self._counts.sum())
        if total < batch_size:
            raise BadValueError(
                f"the text has {total} activations, fewer than a batch of {batch_size}; give more "
                "text or choose smaller batches."
            )
        # more than one round through the text would only read it twice
        self._rows_per_buffer = min(len(rows), max(1, round(buffer / total * len(rows))))
        self._held: tuple[int, Tensor] | None = None
        self._lap, self._lap_order = -1, np.arange(0)
        self.seek(0)

    def seek(self, batch: int) -> None:
        """Have `next` give this batch, counted from 0."""
        self._number, before = 0, 0
        while before + (held := self._n_batches(self._number)) <= batch:
            before += held
            self._number += 1
        self._batches: Iterator[Tensor] = self._given(self._number, batch - before)

    def __next__(self) -> Float[Tensor, "batch d"]:
        while (found := next(self._batches, None)) is None:
            self._number += 1
            self._batches = self._given(self._number, 0)
        return found

    def mean_norm(self) -> float:
        """Mean L2 norm of the activations of the first buffer."""
        return float(self._filled(0).norm(dim=-1).mean())

    def _members(self, number: int) -> list[int]:
        """Rows of a buffer."""
        start, n = number * self._rows_per_buffer, len(self._rows)
        found = []
        for position in range(start, start + self._rows_per_buffer):
            lap, place = divmod(position, n)
            found.append(int(self._order(lap)[place]))
        return found

    def _order(self, lap: int) -> np.ndarray:
        if lap != self._lap:
            rng = np.random.default_rng((self._seed, _ROW_ORDER, lap))
            self._lap, self._lap_order = lap, rng.permutation(len(self._rows))
        return self._lap_order

    def _n_batches(self, number: int) -> int:
        return int(self._counts[self._members(number)].sum()) // self._batch_size

    def _filled(self, number: int) -> Float[Tensor, "token d"]:
        """Activations of a buffer, in the order of its rows' lengths; the last one is kept."""
        if self._held is not None and self._held[0] == number:
            return self._held[1]
        self._held = None  # two buffers need not fit into memory
        rows = [self._rows[i] for i in self._members(number)]
        parts = [found[kept] for _, found, kept in activations_of(self._model, self._site, rows)]
        self._held = number, torch.cat(parts)
        return self._held[1]

    def _given(self, number: int, first: int) -> Iterator[Float[Tensor, "batch d"]]:
        """Batches of a buffer from one on; the buffer is filled when the first is asked for."""
        filled = self._filled(number)
        rng = np.random.default_rng((self._seed, _MIX, number))
        order = torch.from_numpy(rng.permutation(len(filled))).to(filled.device)
        for batch in range(first, len(filled) // self._batch_size):
            yield filled[order[batch * self._batch_size : (batch + 1) * self._batch_size]]
