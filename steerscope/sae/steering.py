"""Setting and scaling features, with everything that the autoencoder does not see left as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError, NotFiniteError, UnknownNameError
from steerscope.models.lens_model import LensModel
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits
from steerscope.sae.vectors import check_features
from steerscope.steering.interventions import Rows, changes_prompt, check_scope, inside_scope
from steerscope.steering.scopes import Scope

CHANGES = {"clamp": "=", "scale": "*", "add": "+"}  # how each is written after its feature


@dataclass(frozen=True)
class FeatureEdit:
    """What is done to one feature's code.

    Attributes:
        feature: its number.
        change: `clamp` sets the code to the value, `scale` multiplies it by it, `add` adds it and
            stops at 0.
        value: code units for `clamp` and `add`, a factor for `scale`.

    Raises:
        UnknownNameError: no such change.
        NotFiniteError: the value is not finite.
        BadValueError: a negative code or factor; codes are never below 0.
    """

    feature: int
    change: str = "clamp"
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.change not in CHANGES:
            raise UnknownNameError("change of a feature", self.change, CHANGES)
        if not math.isfinite(self.value):
            raise NotFiniteError(f"feature {self.feature} would be changed by {self.value}.")
        if self.value < 0 and self.change != "add":
            raise BadValueError(
                f"feature {self.feature} cannot {self.change} to {self.value:g}; codes are never "
                "below 0."
            )

    def __str__(self) -> str:
        return f"{self.feature}{CHANGES[self.change]}{self.value:.6g}"

    def applied(self, code: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The code as it becomes."""
        if self.change == "clamp":
            return torch.full_like(code, self.value)
        return code * self.value if self.change == "scale" else (code + self.value).clamp_min(0)


def delta_decoded(
    sae: SparseAutoencoder, x: Float[Tensor, "*batch d"], edits: tuple[FeatureEdit, ...]
) -> Float[Tensor, "*batch d"]:
    """x + dec(f') - dec(f): the activation with some features changed, its rest kept.

    What the autoencoder fails to reconstruct, x - dec(f), stays in the activation; and where no code
    changes, the activation is bit for bit what it was.
    """
    before = sae.encode(x)
    after = before.clone()
    for edit in edits:
        after[..., edit.feature] = edit.applied(after[..., edit.feature])
    moved = sae.decode(after, like=x) - sae.decode(before, like=x)
    return torch.where((after != before).any(dim=-1, keepdim=True), x + moved.to(x.dtype), x)


def replaced(
    sae: SparseAutoencoder, x: Float[Tensor, "*batch d"], edits: tuple[FeatureEdit, ...]
) -> Float[Tensor, "*batch d"]:
    """dec(f'): what is left if the reconstruction takes the activation's place, error and all lost."""
    return (delta_decoded(sae, x, edits) - x + sae.reconstruct(x)).to(x.dtype)


@dataclass(frozen=True, eq=False)
class FeatureSteering:
    """Change features of the activations at an autoencoder's site: an `Intervention`.

    x <- x + strength (delta_decoded(x) - x).

    Attributes:
        sae: where, and what the features are.
        edits: what is done to them, in this order.
        scope: at which absolute positions.
        strength: share of the change that is made, 0 to 1.
        keep_error: whether what the autoencoder does not reconstruct stays. Without it the
            reconstruction replaces the activation, as most hooks do, even where no feature changes;
            here to show what that costs.

    Raises:
        BadValueError: no edit, a feature twice or outside the dictionary, or a strength outside 0..1.
    """

    sae: SparseAutoencoder
    edits: tuple[FeatureEdit, ...]
    scope: Scope = Scope.all()  # noqa: RUF009 - scopes are frozen
    strength: float = 1.0
    keep_error: bool = True

    def __post_init__(self) -> None:
        if not self.edits:
            raise BadValueError("steering by features needs at least one edit.")
        check_features(self.sae, [edit.feature for edit in self.edits])
        for feature in {edit.feature for edit in self.edits}:
            changes = [edit.change for edit in self.edits if edit.feature == feature]
            if len(set(changes)) < len(changes) or (len(changes) > 1 and "clamp" in changes):
                raise BadValueError(
                    f"feature {feature} is changed by {' and '.join(changes)}, of which one undoes the "
                    "other; say once what it becomes."
                )
        if not 0 <= self.strength <= 1:
            raise BadValueError(f"the strength is {self.strength}; it must be between 0 and 1.")

    def labels(self) -> dict[str, str | float]:
        """Site, edits, scope and strength; no dose, since codes are no lengths of a direction."""
        site = self.sae.site
        return {
            "method": f"sae_features[{','.join(map(str, self.edits))}]",
            "stream": site.stream,
            "layer": site.layer,
            "head": -1 if site.head is None else site.head,
            "operator": "delta_decode" if self.keep_error else "replace_by_decoded",
            "scope": str(self.scope),
            "dose_absolute": math.nan,
            "dose_relative": math.nan,
            "dose_natural": math.nan,
            "strength": self.strength,
            "seed": -1,
            "sae": self.sae.name,
        }

    def first_block(self, prompt_length: int) -> int | None:
        """That of the site, or None if no prompt position is in scope."""
        inside = changes_prompt(self.scope, prompt_length)
        return self.sae.site.first_block if inside else None

    @contextmanager
    def attach(self, model: LensModel, rows: Rows | None = None) -> Iterator[None]:
        """Hook the autoencoder's site.

        Raises:
            AutoencoderMismatchError: the autoencoder is of another model or width.
            UnsupportedSiteError: the model lacks the site.
            BadValueError: the scope begins at a token that the model does not have.
        """
        check_fits(self.sae, model=model)
        check_scope(self.scope, model)
        sae = self.sae
        change = delta_decoded if self.keep_error else replaced

        def move(x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"] | None:
            if self.strength == 0 or (rows is not None and not len(rows.index)):
                return None
            nonlocal sae
            if sae.encoder.device != x.device:  # of which a model may have several, a site one
                sae = sae.to(x.device)
            index = None if rows is None else rows.index.to(x.device)
            inside = inside_scope(self.scope, model.clock, x, index)
            if not bool(inside.any()):
                return None
            part = x if index is None else x[index]
            share = (self.strength * inside).to(x.dtype)[..., None]
            moved = torch.lerp(part, change(sae, part, self.edits), share)
            return moved if index is None else x.index_copy(0, index, moved)

        with model.hook(sae.site, move):
            yield


def clamped(
    sae: SparseAutoencoder, codes: Float[Tensor, " feature"], *, k: int
) -> Callable[[int, float], FeatureSteering]:
    """The k features whose codes differ most between two classes, set as they are in one of them.

    For a sign and a size, features of that class are set to size times the difference of the mean
    codes, those of the other class to 0; what the autoencoder does not reconstruct stays.

    Args:
        sae: where.
        codes: mean code of the positive class minus that of the negative one.
        k: features.

    Raises:
        BadValueError: k exceeds the dictionary.
    """
    if not 1 <= k <= sae.n_features:
        raise BadValueError(f"k is {k}; the dictionary has {sae.n_features} features.")
    chosen = codes.abs().topk(k).indices.tolist()

    def edit(sign: int, size: float) -> FeatureSteering:
        values = {i: max(0.0, sign * size * float(codes[i])) for i in chosen}
        return FeatureSteering(sae, tuple(FeatureEdit(i, "clamp", v) for i, v in values.items()))

    return edit
