"""The ways to run a checkpoint: HookedTransformer as TransformerLens makes it, else its bridge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from steerscope.errors import ModelLoadError, reason
from steerscope.models.bridge import BridgeLensModel, bridged, measured_shape
from steerscope.models.examination import NotCausalError, examine
from steerscope.models.generations import HAS_HOOKED, hooked_lens_model, without_hooked
from steerscope.models.lens_model import LensModel, ModelShape
from steerscope.models.shapes import rotation_of, shape_of
from steerscope.models.truth import Truth, wider
from steerscope.models.vocabulary import ends_of

_TRANSFORMER = {"hooked": "HookedTransformer", "bridge": "TransformerBridge"}


@dataclass(frozen=True, eq=False)
class Candidates:
    """The ways to run a checkpoint, from the best."""

    name: str
    source: str
    official: str | None
    original: Any
    tokenizer: Any
    fingerprint: str

    def first(
        self, backbone: str, device: torch.device | None, truth: Truth | None
    ) -> tuple[LensModel, str]:
        """The first that passes its examination, and why the one before did not.

        Raises:
            ModelLoadError: none does.
        """
        refused: dict[str, str] = {}
        more = ""
        if device is None:
            refused["HookedTransformer"] = "it is laid over several devices"
        if not HAS_HOOKED:
            refused["HookedTransformer"] = without_hooked()
        for kind, make in self._makers(device):
            if backbone not in {"auto", kind}:
                continue
            try:
                model = _made(make)
            except ModelLoadError as error:
                refused[_TRANSFORMER[kind]] = str(error).rstrip(".")
                continue
            try:
                model.offer = examine(model, truth) if truth is not None else model.offer
            except ModelLoadError as error:
                refused[_TRANSFORMER[kind]] = str(error).rstrip(".")
                more = more if isinstance(error, NotCausalError) else wider(self.original.dtype)
                continue
            # Where there is no HookedTransformer the bridge stands in for nothing.
            return model, refused.get(_TRANSFORMER["hooked"], "") if HAS_HOOKED else ""
        if backbone == "hooked":
            raise ModelLoadError(
                f"HookedTransformer cannot run {self.name}: {refused['HookedTransformer']}; use the "
                f"bridge backbone{more}."
            )
        why = "; ".join(f"{kind} cannot, since {why}" for kind, why in refused.items())
        raise ModelLoadError(
            f"{self.name} cannot be run faithfully: {why}. Use another checkpoint{more}."
        )

    def _makers(self, device: torch.device | None) -> Iterator[tuple[str, Callable[[], LensModel]]]:
        shape = shape_of(self.original.config)
        for convert in self._conversions(device):

            def hooked(convert: Callable[[], Any] = convert) -> LensModel:
                _check_rotation(self.original.config, shape.n_context)
                transformer = convert()
                n_context = min(shape.n_context, transformer.cfg.n_ctx)
                return self._model(
                    hooked_lens_model(), transformer, replace(shape, n_context=n_context)
                )

            yield "hooked", hooked

        def bridge() -> LensModel:
            transformer = bridged(self.source, self.original, self.tokenizer, device)
            model = self._model(BridgeLensModel, transformer, shape)
            model.shape = measured_shape(model)
            return model

        yield "bridge", bridge

    def _conversions(self, device: torch.device | None) -> Iterator[Callable[[], Any]]:
        """The ways to make a HookedTransformer of it, on one device alone."""
        if HAS_HOOKED and device is not None:
            from steerscope.models.hooked import conversions

            yield from conversions(self.original, self.tokenizer, device, self.official)

    def _model(self, kind: type[LensModel], transformer: Any, shape: ModelShape) -> Any:
        return kind(
            name=self.name,
            transformer=transformer,
            tokenizer=self.tokenizer,
            shape=shape,
            fingerprint=self.fingerprint,
            ends=ends_of(self.original),
        )


def _check_rotation(config: Any, n_context: int) -> None:
    """Refuse HookedTransformer where rotations are others in a long text, which no short one shows.

    Raises:
        ModelLoadError: a text may be so long.
    """
    rotation = rotation_of(config)
    if rotation.kind and rotation.length < n_context:
        raise ModelLoadError(
            f"it does not know that positions turn otherwise in a text of more than {rotation.length:,} "
            "tokens."
        )


def _made(make: Callable[[], LensModel]) -> LensModel:
    """A model by one of its ways.

    Raises:
        ModelLoadError: whatever TransformerLens or transformers stumbles over.
    """
    try:
        return make()
    except ModelLoadError:
        raise
    except Exception as error:
        raise ModelLoadError(f"it cannot be set up ({reason(error)})") from error
