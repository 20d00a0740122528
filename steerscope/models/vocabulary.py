"""Texts to token ids and back, as the model's own tokenizer has it.

What a tokenizer puts in front of a text is its own affair (`<s>`, `[gMASK]<sop>`, nothing at all), and
so is what ends one. Only what stands before a text is kept: an end token behind a prompt would ask
for another text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, get_args

from transformers.convert_slow_tokenizer import bytes_to_unicode

from steerscope.errors import BadValueError, UnknownNameError

Bos = Literal["auto", "always", "never"]
BOS: tuple[Bos, ...] = get_args(Bos)

_BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
_BYTE = re.compile("<0x([0-9A-F]{2})>")  # how sentencepiece names the token of a byte
_UNREADABLE = "\ufffd"
_CONTEXT = 8  # tokens in front that decide how the next is written; one would do but for bytes


def check_bos(name: str) -> Bos:
    """The way to begin a text of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known ones.
    """
    if name not in BOS:
        raise UnknownNameError("bos", name, BOS)
    return name


def as_bos(given: str | bool | None, usual: Bos) -> Bos:
    """The way to begin a text that is asked for, the usual one for None; True is auto, False never.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if given is None:
        return usual
    if isinstance(given, bool):
        return "auto" if given else "never"
    return check_bos(given)


def ends_of(network: Any) -> list[int | None]:
    """The end tokens that a checkpoint names: in its generation settings and its configuration."""
    found: list[int | None] = []
    for source in (network.generation_config, network.config.get_text_config()):
        named = getattr(source, "eos_token_id", None)
        found += named if isinstance(named, list | tuple) else [named]
    return found


class Vocabulary:
    """A Hugging Face tokenizer: what begins a text, what ends one, and how tokens read.

    Args:
        tokenizer: the tokenizer.
        ends: end tokens that the checkpoint names beside the tokenizer's own.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int | None] = ()) -> None:
        self.tokenizer = tokenizer
        self._named = tuple(ends)

    @property
    def ends(self) -> frozenset[int]:
        """Token ids after which no text goes on."""
        known = (self.tokenizer.eos_token_id, *self._named)
        return frozenset(int(end) for end in known if end is not None)

    @cached_property
    def beginning(self) -> tuple[int, ...]:
        """What the tokenizer itself puts in front of a text."""
        bare = self.bare("a")
        whole = list(self.tokenizer("a").input_ids)
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return tuple(whole[:start])
        return ()

    def bare(self, text: str) -> list[int]:
        """The ids of a text and nothing else."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def begin(self, text: str, bos: Bos) -> list[int]:
        """The ids of a text with its beginning in front, exactly once, whoever wrote it.

        Raises:
            BadValueError: a beginning is asked for of a tokenizer that has none.
        """
        ids = self.bare(text)
        first = self.first(bos)
        written = self.bare(text.lstrip()) if text[:1].isspace() else ids
        for n in range(len(first), 0, -1):
            if written[:n] == list(first[-n:]):  # the text has the end of it, or all
                return [*first[:-n], *ids]
        return [*first, *ids]

    def first(self, bos: Bos) -> tuple[int, ...]:
        """What stands in front of a text.

        Raises:
            BadValueError: a beginning is asked for of a tokenizer that has none.
        """
        if bos == "never":
            return ()
        if self.beginning or bos == "auto":
            return self.beginning
        if self.tokenizer.bos_token_id is None:
            raise BadValueError(
                "bos='always', but the tokenizer has no beginning-of-sequence token; "
                "choose auto or never."
            )
        return (int(self.tokenizer.bos_token_id),)

    def text(self, ids: Sequence[int], after: Sequence[int] = ()) -> str:
        """The text of ids, special tokens left out; behind the ids `after`, as it goes on there."""
        before = list(after[-_CONTEXT:])
        if all(token in self._special for token in after[: _CONTEXT + 1]):
            return self._decode(ids)  # nothing said yet: a text begins here
        start = self._decode(before, special=True)
        said = [token for token in ids if token not in self._special]
        whole = self._decode([*before, *said], special=True)
        return whole[len(start) :] if whole.startswith(start) else self._decode(ids)

    @cached_property
    def _special(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        return frozenset({*self.tokenizer.all_special_ids, *(i for i, t in added if t.special)})

    def label(self, token: int) -> str:
        """One token as it reads within a text; bytes that are no letter by their number."""
        said = self._said(token)
        return said if isinstance(said, str) else "".join(f"<0x{byte:02X}>" for byte in said)

    def spelled(self, token: int) -> bytes:
        """What one token writes within a text, in UTF-8, of which it may be a part of a letter."""
        said = self._said(token)
        return said.encode() if isinstance(said, str) else said

    def _said(self, token: int) -> str | bytes:
        """One token as text, or as bytes where they are no letter by themselves."""
        name = self.tokenizer.convert_ids_to_tokens(int(token))
        if name is None:
            return f"<{token}>"  # a row of the embedding that the tokenizer does not use
        if byte := _BYTE.fullmatch(name):
            return bytes.fromhex(byte[1])
        before = self._decode(self._anchor, special=True)
        whole = self._decode([*self._anchor, int(token)], special=True)
        shown = whole[len(before) :] if whole.startswith(before) else ""
        if _UNREADABLE in shown and all(letter in _BYTES for letter in name):
            return bytes(_BYTES[letter] for letter in name)
        return shown or str(name)

    @cached_property
    def _anchor(self) -> list[int]:
        return self.bare("a")[-1:]

    def _decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
        )
