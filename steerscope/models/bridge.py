"""TransformerBridge as a `LensModel`: transformers' own modules under TransformerLens' hook names."""

from __future__ import annotations

import copy
import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import ModelLoadError
from steerscope.models.caches import Cache
from steerscope.models.lens_model import LensModel
from steerscope.models.turns import replace_forward
from steerscope.sites import Site

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(eq=False)
class _BridgeCache(Cache):
    """The cache that transformers makes for the architecture; None before the first token."""

    states: Any = None

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Forget all rows but these, in this order."""
        if not len(rows):
            self.states = None
        elif self.states is not None:
            self.states.reorder_cache(rows)

    def join(self, other: Cache) -> None:
        """Append the rows of another cache that has seen equally many tokens."""
        assert isinstance(other, _BridgeCache)
        if self.states is None:
            self.states = other.states
            return
        for mine, theirs in zip(self.states.layers, other.states.layers, strict=True):
            for name, value in vars(mine).items():
                setattr(mine, name, _append_rows(value, getattr(theirs, name)))


def _append_rows(mine: Any, theirs: Any) -> Any:
    """Concatenate the tensors in two states of one layer along their rows."""
    if isinstance(mine, Tensor) and mine.ndim > 1:
        return torch.cat([mine, theirs])
    if isinstance(mine, dict):
        return {key: _append_rows(value, theirs[key]) for key, value in mine.items()}
    return mine


class BridgeLensModel(LensModel):
    """A model run by `TransformerBridge`, on transformers' own modules."""

    backbone = "bridge"
    transformer: TransformerBridge
    _shared_streams = frozenset({"resid_mid"})

    def _watch_positions(self) -> None:
        original = self.transformer.original_model

        forward = original.forward

        # Run as it is also within torch.compile, which leaves out hooks that come later.
        @torch.compiler.disable
        def watched(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs.get("input_ids")
            cache = kwargs.get("past_key_values")
            start = 0 if cache is None else int(cache.get_seq_length())
            with self.turn.using():
                self.clock.begin(start, 0 if given is None else given.shape[-1], given)
                output = forward(*args, **kwargs)  # left by an exception where it is to stop early
                self.clock.ran(range(self.shape.n_layers))
            return output

        replace_forward(original, watched)
        self._keeps_last = "logits_to_keep" in inspect.signature(forward).parameters

    def new_cache(self, n_rows: int, n_tokens: int) -> _BridgeCache:  # noqa: ARG002
        """An empty cache; transformers sizes it itself."""
        return _BridgeCache()

    def _run(
        self, tokens: Int[Tensor, "batch pos"], cache: _BridgeCache | None, last: int | None
    ) -> Float[Tensor, "batch out vocab"]:
        options: dict[str, Any] = {"use_cache": cache is not None}
        if last is not None and self._keeps_last:
            options["logits_to_keep"] = last
        if cache is None:
            logits = self.transformer(tokens, **options)
        else:
            logits, cache.states = self.transformer(
                tokens, return_type="logits_and_cache", past_key_values=cache.states, **options
            )
        return logits if last is None else logits[:, -last:]

    def run_to(self, tokens: Int[Tensor, "batch pos"], layer: int) -> None:
        """Run the blocks up to and including `layer`, for the hooks' sake."""
        stop = layer + 1
        self.transformer(tokens, stop_at_layer=stop if stop < self.shape.n_layers else None)

    def unembed(
        self, residual: Float[Tensor, "*batch d"], *, capped: bool = True
    ) -> Float[Tensor, "*batch vocab"]:
        """Logits that a last residual stream would give: final norm, unembedding, any soft cap."""
        original: Any = self.transformer.original_model
        config = original.config.get_text_config()
        cap = getattr(config, "final_logit_softcapping", None)
        normed = self.transformer.ln_final(residual.reshape(1, -1, residual.shape[-1]))
        logits = self.transformer.unembed(normed).reshape(*residual.shape[:-1], -1)
        return cap * torch.tanh(logits / cap) if capped and cap and cap > 0 else logits


def bridged(source: str, original: Any, tokenizer: Any, device: torch.device) -> TransformerBridge:
    """The bridge over a transformers model.

    Raises:
        ModelLoadError: TransformerLens has no bridge for the architecture.
    """
    try:
        bridge = TransformerBridge.boot_transformers(
            source,
            hf_model=original.to(device),
            tokenizer=copy.deepcopy(tokenizer),
            device=device,
            dtype=original.dtype,
        )
    except Exception as error:  # noqa: BLE001 - whatever the bridge stumbles over
        reason = " ".join(str(error).split())[:300]
        raise ModelLoadError(f"TransformerBridge cannot run {source}: {reason}") from error
    return bridge.eval().requires_grad_(False)


@torch.no_grad()
def mlp_width(model: BridgeLensModel) -> int:
    """Width of the MLP as it is, since some architectures adjust the configured one."""
    widths = [model.shape.d_mlp]
    site = Site("mlp_post", 0)
    if model.has(site):
        tokens = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        widths.append(model.read(tokens, [site])[site].shape[-1])
    return widths[-1]
