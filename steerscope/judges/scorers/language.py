"""The language that a text is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from steerscope.errors import JudgeError, UnknownNameError


@dataclass(frozen=True)
class Language:
    """The probability that a text is in one of 139 languages, by its n-grams of bytes.

    Patterns of common words take one language for its neighbour: "la", "de" and "que" are Spanish too.

    Attributes:
        code: of the language, as in ISO 639: `fr`.
        threshold: 0.5, above which no other language is as likely.

    Source: Lui & Baldwin 2012 (langid.py), as retrained in py3langid.
    """

    code: str
    threshold: float = 0.5

    @property
    def words(self) -> str:
        """What the score is."""
        return f"probability of the language {self.code}"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """The probability of the language for each text.

        Raises:
            JudgeError: py3langid is not installed.
        """
        identifier = _identifier()
        return [float(dict(identifier.rank(text))[self.code]) for text in texts]


def find_language(code: str) -> Language:
    """The judge of a language, if the library is there and knows it.

    Raises:
        JudgeError: py3langid is not installed.
        UnknownNameError: no such language; the message lists the codes.
    """
    known = [label for label in _identifier().labels if label != "zxx"]  # no language at all
    if code not in known:
        raise UnknownNameError("language of the judge language:CODE", code, known)
    return Language(code)


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise JudgeError(
            "the judge language needs py3langid: pip install steerscope[judges], or name another (--judge)."
        ) from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
