"""What a look through lenses is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from steerscope.errors import BadValueError


@dataclass(frozen=True, kw_only=True)
class LensPlan:
    """How texts are written and looked at.

    Attributes:
        n_prompts: prompts that are continued, at most.
        n_new: tokens of a text.
        temperature: at which they are sampled; above 0, or the two plain texts of a prompt are one.
        seed: of sampling and resamples.

    Raises:
        BadValueError: fewer than two prompts, no token, or a temperature that is not above 0.
    """

    n_prompts: int = 60
    n_new: int = 48
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_prompts < 2 or self.n_new < 1:
            raise BadValueError("lenses need at least 2 prompts, and texts of at least 1 token.")
        if not self.temperature > 0:
            raise BadValueError(
                "at temperature 0 the two plain texts of a prompt are one, which says nothing of chance; "
                "give a temperature above 0."
            )
