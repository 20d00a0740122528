"""What may be set of how directions are found, and which methods it is a setting of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from steerscope.errors import BadValueError
from steerscope.extraction.losses import find_loss


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of methods; None for what each method has as its own.

    Attributes:
        loss: whose gradients are taken, a name of `losses.LOSSES`; of `gradient_*` and `fisher_*`.
        target: block at whose output a loss of activations reads them; of the same methods.
        damping: of the Fisher information, in units of its mean eigenvalue; of `fisher_*`.
        rank: singular directions that are kept; of `sspace_*`.

    Raises:
        UnknownNameError: no such loss.
        BadValueError: a target for a loss that reads no activation.
    """

    loss: str | None = None
    target: int | None = None
    damping: float | None = None
    rank: int | None = None

    def __post_init__(self) -> None:
        if find_loss(self.loss or "margin").moves != "apart" and self.target is not None:
            raise BadValueError(
                f"the loss {self.loss or 'margin'} reads likelihoods alone, so that a target block "
                "changes nothing; leave it out, or take a loss of activations such as separation."
            )

    @property
    def given(self) -> dict[str, str | int | float]:
        """What is set."""
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in named if value is not None}

    def of(self, method: str) -> dict[str, int | float]:
        """What a method is called with, beside its contrast."""
        mine = [name for name in ("damping", "rank") if method.startswith(TAKEN_BY[name])]
        return {n: v for n, v in self.given.items() if n in mine and not isinstance(v, str)}

    def check(self, methods: Sequence[str]) -> None:
        """Refuse a setting that changes none of the methods.

        Raises:
            BadValueError: such a setting.
        """
        for name in self.given:
            if not any(method.startswith(TAKEN_BY[name]) for method in methods):
                kinds = " and ".join(f"{start}*" for start in TAKEN_BY[name])
                raise BadValueError(
                    f"the setting {name} is of the methods {kinds}; it changes none of "
                    f"{', '.join(methods)}. Leave it out."
                )


# By how their names begin.
TAKEN_BY: dict[str, tuple[str, ...]] = {
    "loss": ("gradient_", "fisher_"),
    "target": ("gradient_", "fisher_"),
    "damping": ("fisher_",),
    "rank": ("sspace_",),
}
USUAL = Settings()
