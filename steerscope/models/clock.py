"""When a forward pass is: which absolute positions it covers, and where the prompts ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from steerscope.errors import BadValueError


@dataclass
class Clock:
    """Absolute positions of the pass in progress, `start` to `stop`, and where the prompts ended.

    Both are one number, or one for each row where the rows have seen differently many tokens. A pass
    without cached tokens is a prompt from its first to its last token, unless the prompt lengths are
    held by whoever decodes. `prompt_length` is one number, or one for each row.

    Attributes:
        told: makes the tokens of the rows of a pass that does not show them itself.
        seen: the tokens of the rows of this pass, once they are known.
        n_passes: for each block, passes that have run through it.
    """

    start: int | Int[Tensor, " row"] = 0
    stop: int | Int[Tensor, " row"] = 0
    prompt_length: int | Int[Tensor, " row"] = 0
    held: bool = False
    told: Callable[[], Tensor] | None = None
    seen: Int[Tensor, "row pos"] | None = None
    n_passes: Counter[int] = field(default_factory=Counter)

    def begin(
        self,
        start: int | Int[Tensor, " row"],
        n_tokens: int,
        tokens: Int[Tensor, "row pos"] | None = None,
        lengths: Int[Tensor, " row"] | None = None,
    ) -> None:
        """A pass over `n_tokens` tokens starts at absolute position `start`.

        Args:
            start: the position; below 0 for a row with padding before its first token.
            n_tokens: of each row, padding among them.
            tokens: of the rows.
            lengths: tokens of each row without padding, where the pass begins the texts and there is
                padding.
        """
        self.start, self.stop = start, start + n_tokens
        whole = isinstance(start, int) and start == 0
        if (whole or lengths is not None) and not self.held:
            self.prompt_length = n_tokens if lengths is None else lengths
        self.seen = tokens if whole else None

    def ran(self, blocks: Iterable[int]) -> None:
        """The pass has gone through these blocks."""
        self.n_passes.update(blocks)

    def tokens(self, n_rows: int, n_tokens: int) -> Int[Tensor, "row pos"]:
        """Tokens of the rows of this pass, from position 0 to its end.

        Raises:
            BadValueError: they are not known: the pass continues a cache, or starts from
                activations, and nobody has told them.
        """
        if self.seen is None and self.told is not None:
            self.seen = self.told()
        start = self.start if isinstance(self.start, int) else int(self.start.max())
        if self.seen is None or self.seen.shape != (n_rows, start + n_tokens):
            raise BadValueError(
                "a scope that begins at a token needs all tokens of the text, and this pass does not "
                "show those before it; decode with steerscope.generate, or without a cache."
            )
        return self.seen

    @contextmanager
    def telling(self, tokens: Callable[[], Tensor]) -> Iterator[None]:
        """Say what tokens the rows of a pass hold from position 0 to its end; made when asked for."""
        before, self.told = self.told, tokens
        try:
            yield
        finally:
            self.told, self.seen = before, None

    def positions(
        self, n_tokens: int, device: torch.device, rows: Int[Tensor, " row"] | None = None
    ) -> Int[Tensor, "#row pos"]:
        """Absolute positions of the tokens of this pass, of these rows; one row for all if alike."""
        if isinstance(self.start, int):
            return torch.arange(self.start, self.start + n_tokens, device=device)[None]
        start = self.start.to(device)
        start = start if rows is None else start[rows]
        return start[:, None] + torch.arange(n_tokens, device=device)

    @contextmanager
    def hold(self, prompt_length: int | Int[Tensor, " row"]) -> Iterator[None]:
        """Say where the prompts of the rows end while they are run; within another, for as long."""
        before, ended = self.held, self.prompt_length
        self.prompt_length, self.held = prompt_length, True
        try:
            yield
        finally:
            self.held = before
            if before:
                self.prompt_length = ended
