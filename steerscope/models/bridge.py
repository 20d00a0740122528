"""TransformerBridge as a `LensModel`: transformers' own modules under TransformerLens' hook names."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from steerscope.errors import ModelLoadError, UnsupportedSiteError
from steerscope.models.caches import Cache, Recompute
from steerscope.models.lens_model import LensModel, ModelShape
from steerscope.models.norms_after import bridged_norms_after
from steerscope.models.shapes import rotation_of
from steerscope.models.turns import replace_forward
from steerscope.models.unembedding import Unembedding, configured, measured
from steerscope.sites import Site, Stream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformer_lens.model_bridge import TransformerBridge


_ODD = 3  # tokens, such that their axis is not one of heads


@dataclass(eq=False)
class _BridgeCache(Cache):
    """The cache that transformers makes for the architecture; None before the first token.

    Attributes:
        states: what transformers keeps.
        history: the tokens themselves, for where a longer text changes what is kept of a shorter.
    """

    states: Any = None
    history: Recompute = field(default_factory=Recompute)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Forget all rows but these, in this order."""
        self.history.keep(rows)
        if not len(rows):
            self.states = None
        elif self.states is not None:
            self.states.reorder_cache(rows)

    def join(self, other: Cache) -> None:
        """Append the rows of another cache that has seen equally many tokens."""
        assert isinstance(other, _BridgeCache)
        self.history.join(other.history)
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

    @cached_property
    def _hook_points(self) -> dict[str, nn.Module]:
        return cast(dict[str, nn.Module], self.transformer.hook_dict)  # made anew at each call

    def claims(self, site: Site) -> bool:
        """Whether there is a hook point of that name that is not the whole component's.

        A mixture of experts calls what goes into it its pre-activation and what it gives its
        activation; the components of a state space call theirs queries or heads.
        """
        if not super().claims(site):
            return False
        inside = site.hook_name.split(".")[2:]
        if len(inside) < 2:
            return True
        whole = getattr(self.transformer.blocks[site.layer], inside[0], None)
        ends = [getattr(whole, name, None) for name in ("hook_in", "hook_out")]
        return not any(self._hook_points[site.hook_name] is end for end in ends)

    def _watch_positions(self) -> None:
        original: Any = self.transformer.original_model
        self.unembedding = configured(original.config)
        self._rotation = rotation_of(original.config)
        named = original.named_modules()  # of models whose embedding is narrower than their stream
        self._narrowing = next((m for name, m in named if name.endswith("project_out")), None)
        for point in self._hook_points.values():
            _tell_of_our_hooks(point)
        for block in self.transformer.blocks:
            block.register_forward_hook(_fire_on_lists)

        forward = original.forward

        # Run as it is also within torch.compile, which leaves out hooks that come later.
        @torch.compiler.disable
        def watched(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs.get("input_ids")
            embedded = kwargs.get("inputs_embeds")
            n_tokens = 0 if embedded is None else embedded.shape[1]
            cache = kwargs.get("past_key_values")
            start = 0 if cache is None else int(cache.get_seq_length())
            with self.turn.using():
                self.clock.begin(start, n_tokens if given is None else given.shape[-1], given)
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
            last = last or tokens.shape[1]
            whole = cache.history.extend(tokens)
            if self.offer.no_cache:  # not even asked for: some fail in making one
                return self.transformer(whole, **options | {"use_cache": False})[:, -last:]
            anew = self._rotation.turns(whole.shape[1] - tokens.shape[1], whole.shape[1])
            if anew:
                tokens, cache.states = whole, None
            logits, cache.states = self.transformer(
                tokens, return_type="logits_and_cache", past_key_values=cache.states, **options
            )
        return logits if last is None else logits[:, -last:]

    def run_to(self, tokens: Int[Tensor, "batch pos"], layer: int) -> None:
        """Run the blocks up to and including `layer`, for the hooks' sake."""
        stop = layer + 1
        stop_at = stop if stop < self.shape.n_layers else None
        self.transformer(tokens, stop_at_layer=stop_at, use_cache=False)

    def _between(self, layer: int) -> dict[str, str]:
        transformer: Any = self.transformer
        if not 0 <= layer < self.shape.n_layers:
            return {}
        attention, mlp = bridged_norms_after(transformer.blocks[layer])
        factor = getattr(transformer.original_model.config, "residual_multiplier", None)
        words = "a factor" if factor not in {None, 1} else ""
        return {
            "attn_out": "a norm" if attention else words,
            "mlp_out": "a norm" if mlp else words,
        }

    def unembed(
        self, residual: Float[Tensor, "*batch d"], *, capped: bool = True
    ) -> Float[Tensor, "*batch vocab"]:
        """Logits that a last residual stream would give: final norm, unembedding, any soft cap.

        Raises:
            UnsupportedSiteError: they were measured and are not the model's own.
        """
        if self.offer.no_unembedding:
            raise UnsupportedSiteError(
                f"{self.name} on the {self.backbone} backbone: no logits can be made of a residual "
                f"stream, since {self.offer.no_unembedding}; use what needs no logit lens."
            )
        raw = self._project(residual, self.unembedding.normed)
        return self.unembedding(raw, capped=capped)

    def measure_unembedding(
        self,
        residual: Float[Tensor, "pos d"],
        logits: Float[Tensor, "pos vocab"],
        fits: Callable[[Tensor, Tensor], bool],
    ) -> bool:
        """Whether `unembed` gives the model's own logits, once scale, cap and norm are measured."""
        config: Any = self.transformer.original_model.config
        found = measured(self._project, residual, logits.float(), config, fits)
        self.unembedding = found or Unembedding()
        return found is not None

    def _project(
        self, residual: Float[Tensor, "*batch d"], normed: bool
    ) -> Float[Tensor, "*batch vocab"]:
        t: Any = self.transformer
        x = residual.reshape(1, -1, residual.shape[-1])
        x = t.ln_final(x) if normed else x
        if self._narrowing is not None:
            x = self._narrowing(x)
        return t.unembed(x).reshape(*residual.shape[:-1], -1)


def bridged(
    source: str, original: Any, tokenizer: Any, device: torch.device | None
) -> TransformerBridge:
    """The bridge over a transformers model; without a device it stays where it is.

    Raises:
        ModelLoadError: TransformerLens has no bridge for the architecture.
    """
    try:
        bridge = TransformerBridge.boot_transformers(
            source,
            hf_model=original if device is None else original.to(device),
            tokenizer=copy.deepcopy(tokenizer),
            device=device,
            dtype=original.dtype,
        )
    except Exception as error:  # noqa: BLE001 - whatever the bridge stumbles over
        told = " ".join(str(error).split()).split(". Available")[0][:160]
        if told.startswith("Could not determine supported architecture"):
            told = f"{type(original).__name__} is not currently supported."
        raise ModelLoadError(f"its bridge fails ({told})") from error
    for module in bridge.modules():
        if type(module).__name__ == "GatedDeltaNetBridge":
            _run_as_it_is(module)
    return bridge.eval().requires_grad_(False)


def _run_as_it_is(module: Any) -> None:
    """Have a linear attention run transformers' own code, and not TransformerLens' copy of it.

    The copy asks modules for what transformers has moved; what it shows inside is no site.
    """
    replace_forward(module, module._native_forward)


@torch.no_grad()
def measured_shape(model: BridgeLensModel) -> ModelShape:
    """The sizes of heads and MLPs as they are, since some architectures adjust the configured ones.

    Heads are counted where they come out: what makes queries may make their gates as well.
    """
    shape = model.shape
    k, z, post = (_first_shape(model, stream) for stream in ("k", "z", "mlp_post"))
    if k and len(k) == 4 and k[:2] == (1, _ODD):
        shape = replace(shape, n_key_value_heads=k[2], d_head=k[3])
        if z and len(z) == 4 and z[3] == k[3]:
            shape = replace(shape, n_heads=z[2])
    if post:
        shape = replace(shape, d_mlp=post[-1])
    return shape


def _first_shape(model: BridgeLensModel, stream: Stream) -> tuple[int, ...] | None:
    """The shape of a stream before heads are laid end to end, in the first block that has it."""
    sites = (Site(stream, layer) for layer in range(model.shape.n_layers))
    site = next((s for s in sites if model.claims(s)), None)
    if site is None:
        return None
    seen: list[tuple[int, ...]] = []
    point: Any = model._hook_points[site.hook_name]

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        conversion = getattr(point, "hook_conversion", None)
        seen.append(tuple((output if conversion is None else conversion.convert(output)).shape))

    handle = point.register_forward_hook(keep)
    try:
        model.run_to(torch.zeros(1, _ODD, dtype=torch.long, device=model.device), site.layer)
    except Exception:  # noqa: BLE001 - the examination says what does not work
        return None
    finally:
        handle.remove()
    return seen[-1] if seen else None


def _fire_on_lists(block: Any, _inputs: Any, output: Any) -> Any:
    """Run the hook point at the end of a block that gives a list, which TransformerLens passes over."""
    if isinstance(output, list) and output and isinstance(output[0], Tensor):
        return [block.hook_out(output[0]), *output[1:]]
    return None


def _tell_of_our_hooks(point: Any) -> None:
    """Have a hook point say that it is hooked when it is hooked from outside TransformerLens.

    Granite's blocks ask before they make the tensor that the hook would see, and whether gradients are
    wanted before they take up what a hook gives back that is the same number for number.
    """
    of_theirs = getattr(point, "has_hooks", None)
    if of_theirs is None:
        return

    def has_hooks(
        dir: str = "both",  # noqa: A002 - their name
        including_permanent: bool = True,
        level: int | None = None,
    ) -> bool:
        ours = bool(point._forward_hooks) and (dir != "bwd" or torch.is_grad_enabled())
        return ours or of_theirs(dir, including_permanent, level)

    object.__setattr__(point, "has_hooks", has_hooks)
