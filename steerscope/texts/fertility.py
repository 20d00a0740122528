"""How a tokenizer cuts texts: tokens per word, characters per token, and what is torn apart."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Encode = Callable[[str], Sequence[int]]
Say = Callable[[int], str]

# Short texts of each kind, written for this; a file of your own takes their place.
KINDS: Mapping[str, tuple[str, ...]] = {
    "english": (
        "The committee will meet again on the first floor after lunch.",
        "She opened the window because the kitchen was full of smoke.",
        "Nobody had told them that the last train leaves before midnight.",
    ),
    "french": (
        "Le comité se réunira de nouveau au premier étage après le déjeuner.",
        "Elle a ouvert la fenêtre parce que la cuisine était pleine de fumée.",
        "Personne ne leur avait dit que le dernier train part avant minuit.",
    ),
    "german": (
        "Der Ausschuss trifft sich nach dem Mittagessen wieder im ersten Stock.",
        "Sie öffnete das Fenster, weil die Küche voller Rauch war.",
        "Niemand hatte ihnen gesagt, dass der letzte Zug vor Mitternacht fährt.",
    ),
    "chinese": ("委员会午饭后将在一楼再次开会。", "她打开了窗户，因为厨房里全是烟。", "没有人告诉他们末班车在午夜前开走。"),
    "arabic": (
        "ستجتمع اللجنة مرة أخرى في الطابق الأول بعد الغداء.",
        "فتحت النافذة لأن المطبخ كان مليئا بالدخان.",
        "لم يخبرهم أحد أن القطار الأخير يغادر قبل منتصف الليل.",
    ),
    "numbers": ("7 42 365 1989 20,480 163840 3.14159 -273.15 6.02e23", "1,250.50 99.9 1000000 0.001 12 345 6789"),
    "dates": ("2024-02-29 1999-12-31 03/04/2025 17 May 1954", "1 January 2030 Feb 3, 2011 2025-W14 31.10.1987"),
    "timestamps": ("2024-02-29T23:59:60Z 2025-06-01T08:30:00+02:00", "08:05 23:59:59 14:30:15.123 6:45 pm"),
    "json": (
        '{"title": "Weekly review", "start": "2025-06-01T08:30:00", "attendees": ["Ana", "Bo"], "n": 3}',
        '[{"id": 17, "ok": true, "tags": []}, {"id": 18, "ok": false, "tags": ["late", "short"]}]',
    ),
    "code": ("def mean(xs):\n    return sum(xs) / len(xs)\n", "for (int i = 0; i < n; i++) { a[i] += b[i]; }\n"),
}  # fmt: skip
_PIECE = re.compile(r"\S+")
_WHOLE = {
    "numbers": re.compile(r"[+-]?[0-9][0-9.,]*(?:e[0-9]+)?"),
    "dates": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{4}"),
    "timestamps": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:+]+Z?|[0-9]{1,2}:[0-9]{2}(?::[0-9.]+)?"),
}  # fmt: skip


@dataclass(frozen=True)
class Fertility:
    """What a tokenizer makes of the texts of one kind.

    Attributes:
        kind: of the texts.
        tokens: of all texts, without what begins one.
        characters: of all texts.
        words: runs without a space; of scripts without spaces this says little.
        bytes_: of all texts in UTF-8.
        lossless: whether the tokens give the texts back.
        units: numbers, dates or timestamps in the texts; 0 for other kinds.
        unit_tokens: tokens of one of these on average; NaN for none.
        unit_single: share of these that are one token; NaN for none.
    """

    kind: str
    tokens: int
    characters: int
    words: int
    bytes_: int
    lossless: bool
    units: int
    unit_tokens: float
    unit_single: float

    @property
    def tokens_per_word(self) -> float:
        """Fertility."""
        return self.tokens / self.words

    @property
    def characters_per_token(self) -> float:
        """How much one token says."""
        return self.characters / self.tokens

    @property
    def bytes_per_token(self) -> float:
        """The same in bytes, which compares scripts."""
        return self.bytes_ / self.tokens


def fertility(
    encode: Encode, decode: Callable[[Sequence[int]], str], kind: str, texts: Sequence[str]
) -> Fertility:
    """How a tokenizer cuts the texts of one kind.

    Args:
        encode: ids of a text, without special tokens.
        decode: the text of ids.
        kind: its name; of `numbers`, `dates` and `timestamps` each one is looked at by itself.
        texts: of that kind.
    """
    ids = [list(encode(text)) for text in texts]
    units = [u for text in texts for u in _WHOLE[kind].findall(text)] if kind in _WHOLE else []
    counts = [len(encode(" " + unit)) for unit in units]
    return Fertility(
        kind,
        sum(map(len, ids)),
        sum(map(len, texts)),
        sum(len(_PIECE.findall(text)) for text in texts),
        sum(len(text.encode()) for text in texts),
        all(decode(i) == text for i, text in zip(ids, texts, strict=True)),
        len(units),
        sum(counts) / len(counts) if counts else math.nan,
        sum(c == 1 for c in counts) / len(counts) if counts else math.nan,
    )


def parity(found: Sequence[Fertility], reference: str = "english") -> dict[str, float]:
    """Tokens of each kind against those of a reference that says the same, such as other languages.

    1 is as many; NaN where the reference is not there. It means something only for kinds that
    translate one another.
    """
    by_kind = {f.kind: f for f in found}
    base = by_kind[reference].tokens if reference in by_kind else math.nan
    return {kind: f.tokens / base for kind, f in by_kind.items()}
