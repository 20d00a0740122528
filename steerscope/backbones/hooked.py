"""HookedTransformer as a `LensModel`, with a key-value cache that is written in place."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.backbones.attention import attend, is_plain
from steerscope.model import Cache, LensModel, PlainPass

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformer_lens.loading_from_pretrained as tl_loading
    from transformer_lens import HookedTransformer
    from transformer_lens.utilities.activation_functions import gelu_new, gelu_pytorch_tanh

# Largest difference of a logit from transformers', in standard deviations of the logits.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.03}


class _GridEntry:
    """Keys and values of one layer, written in place.

    Where the attention is ours they lie as [row, group, token, d] and the keys are rotated;
    otherwise they lie as TransformerLens' attention reads them, [row, token, group, d], unrotated.
    """

    def __init__(self, grid: _Grid, keys: Tensor, values: Tensor) -> None:
        self.grid, self.keys, self.values = grid, keys, values

    @property
    def n_tokens(self) -> int:
        """Tokens seen before this pass."""
        return self.grid.n_tokens

    @property
    def past_keys(self) -> Tensor:
        """Keys of the tokens seen before this pass, as TransformerLens asks for them."""
        past = self.keys[self.grid.rows]
        past = past.transpose(1, 2) if self.grid.ours else past
        return past[:, : self.n_tokens]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of this pass; all so far."""
        rows, seen, new = self.grid.rows, self.n_tokens, keys.shape[1]
        both = []
        for store, added in ((self.keys, keys), (self.values, values)):
            added = added.transpose(1, 2) if self.grid.ours else added
            store.narrow(self.grid.token_axis, seen, new)[rows] = added
            both.append(store[rows].narrow(self.grid.token_axis, 0, seen + new))
        return both[0], both[1]


class _Grid(Cache):
    """Preallocated keys and values of every layer, so that a step copies nothing but its own."""

    def __init__(self, model: HookedLensModel, n_rows: int, n_tokens: int) -> None:
        shape = model.shape
        self.ours = is_plain(model.transformer)
        self.token_axis = 2 if self.ours else 1
        groups, d = shape.n_key_value_heads, shape.d_head
        size = (n_rows, groups, n_tokens, d) if self.ours else (n_rows, n_tokens, groups, d)
        device, dtype = model.device, model.dtype
        self.first_row, self.n_rows, self.n_tokens = 0, 0, 0
        self.entries = [
            _GridEntry(self, *(torch.empty(size, device=device, dtype=dtype) for _ in "kv"))
            for _ in range(shape.n_layers)
        ]

    def __getitem__(self, layer: int) -> _GridEntry:
        return self.entries[layer]

    @property
    def rows(self) -> slice:
        """Where the rows in use lie."""
        return slice(self.first_row, self.first_row + self.n_rows)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Forget all rows but these, in this order; neighbours stay where they are, uncopied."""
        n_kept = len(rows)
        first = int(rows[0]) if n_kept else 0
        if n_kept and torch.equal(rows, torch.arange(first, first + n_kept, device=rows.device)):
            self.first_row += first
        else:
            for entry in self.entries:
                for store in (entry.keys, entry.values):
                    seen = store.narrow(self.token_axis, 0, self.n_tokens)[self.rows]
                    seen[:n_kept] = seen[rows]
        self.n_rows = n_kept

    def take(self, other: _Grid, rows: Int[Tensor, " row"], n_blocks: int) -> None:
        """Copy rows of another cache into this empty one, its first blocks alone."""
        self.n_rows = len(rows)
        for mine, theirs in zip(self.entries[:n_blocks], other.entries, strict=False):
            for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values)):
                seen = b[other.rows].narrow(self.token_axis, 0, other.n_tokens)
                a.narrow(self.token_axis, 0, other.n_tokens)[self.rows] = seen[rows]

    def join(self, other: Cache) -> None:
        """Append the rows of another cache that has seen equally many tokens."""
        assert isinstance(other, _Grid)
        assert self.ours == other.ours
        assert self.n_rows == 0 or self.n_tokens == other.n_tokens
        new = slice(self.rows.stop, self.rows.stop + other.n_rows)
        for mine, theirs in zip(self.entries, other.entries, strict=True):
            for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values)):
                seen = b[other.rows].narrow(self.token_axis, 0, other.n_tokens)
                a.narrow(self.token_axis, 0, other.n_tokens)[new] = seen
        self.n_rows, self.n_tokens = self.n_rows + other.n_rows, other.n_tokens


class HookedLensModel(LensModel):
    """A model run by `HookedTransformer`."""

    backbone = "hooked"
    transformer: HookedTransformer

    def _watch_positions(self) -> None:
        # Wrapped and not hooked, since TransformerLens' generate calls forward directly.
        forward = self.transformer.forward

        @wraps(forward)
        def watched(input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - their name
            cache = kwargs.get("past_kv_cache")
            first = kwargs.get("start_at_layer") or 0
            start = 0 if cache is None else cache[first].past_keys.shape[1]
            n_tokens = input.shape[-1 if input.ndim < 3 else 1] if torch.is_tensor(input) else 0
            self.clock.begin(start, n_tokens)
            return forward(input, *args, **kwargs)

        object.__setattr__(self.transformer, "forward", watched)
        for block in self.transformer.blocks:
            _attend_in_place(block.attn)
            _lay_out_for_products(block.attn)
            if getattr(block.mlp, "act_fn", None) is gelu_new:
                block.mlp.act_fn = gelu_pytorch_tanh  # the same function in one pass over memory

    def new_cache(self, n_rows: int, n_tokens: int) -> _Grid:
        """An empty cache with room for that many rows and tokens."""
        return _Grid(self, n_rows, n_tokens)

    def _run(
        self, tokens: Int[Tensor, "batch pos"], cache: _Grid | None, last: int | None
    ) -> Float[Tensor, "batch out vocab"]:
        residual = self._embedded_and_run(tokens, cache, self.shape.n_layers)
        return self.unembed(residual if last is None else residual[:, -last:])

    def run_to(self, tokens: Int[Tensor, "batch pos"], layer: int) -> None:
        """Run the blocks up to and including `layer`, for the hooks' sake."""
        self._embedded_and_run(tokens, None, layer + 1)

    def plain_pass(
        self, tokens: Int[Tensor, "prompt pos"], *, last: int | None = None
    ) -> PlainPass | None:
        """Run prompts, keeping the input and the keys and values of every block."""
        if self.transformer.cfg.positional_embedding_type == "shortformer":
            return None
        cache = self.new_cache(*tokens.shape)
        inputs: list[Tensor] = []

        def keep(_block: Any, arguments: tuple[Tensor, ...]) -> None:
            inputs.append(arguments[0])  # before any hook of the block has changed it

        handles = [b.register_forward_pre_hook(keep) for b in self.transformer.blocks]
        try:
            logits = self._run(tokens, cache, last)
        finally:
            for handle in handles:
                handle.remove()
        return PlainPass(tuple(inputs), cache, logits)

    def resume(
        self,
        plain: PlainPass,
        prompts: Int[Tensor, " row"],
        block: int,
        *,
        cache: Cache | None = None,
        last: int | None = None,
    ) -> Float[Tensor, "row out vocab"]:
        """Logits of prompts of a plain pass, run again from `block` on; fills an empty cache."""
        n_tokens = plain.blocks[0].shape[1]
        if cache is not None:
            assert isinstance(cache, _Grid)
            cache.take(plain.cache, prompts, block)
        if block >= self.shape.n_layers:
            if cache is not None:
                cache.n_tokens = n_tokens
            return plain.logits[:, -(last or n_tokens) :][prompts]
        residual = self._blocks(plain.blocks[block][prompts], cache, block)
        return self.unembed(residual if last is None else residual[:, -last:])

    def _embedded_and_run(
        self, tokens: Int[Tensor, "batch pos"], cache: _Grid | None, n_blocks: int
    ) -> Float[Tensor, "batch pos d"]:
        # Embedding by hand and starting at block 0 spares a padding mask that no row needs.
        t = self.transformer
        embedded = t.hook_embed(t.embed(tokens))
        start = 0 if cache is None else cache.n_tokens
        residual, shortformer = t.get_residual(embedded, start, tokens=tokens)
        return self._blocks(residual, cache, 0, n_blocks, shortformer)

    def _blocks(
        self,
        residual: Float[Tensor, "batch pos d"],
        cache: _Grid | None,
        first: int,
        stop: int | None = None,
        shortformer: Tensor | None = None,
    ) -> Float[Tensor, "batch pos d"]:
        """The residual stream after the blocks from `first` up to, not including, `stop`."""
        if cache is None and is_plain(self.transformer):  # for this pass, to use our attention
            cache = self.new_cache(*residual.shape[:2])
        if cache is not None:
            cache.n_rows = len(residual)
        residual = self.transformer(
            residual,
            start_at_layer=first,
            stop_at_layer=self.shape.n_layers if stop is None else stop,
            shortformer_pos_embed=shortformer,
            past_kv_cache=cache,
        )
        if cache is not None:
            cache.n_tokens += residual.shape[1]
        return residual

    def unembed(
        self, residual: Float[Tensor, "*batch d"], *, capped: bool = True
    ) -> Float[Tensor, "*batch vocab"]:
        """Logits that a last residual stream would give: final norm, unembedding, any soft cap."""
        t = self.transformer
        normed = t.unembed.hook_in(t.ln_final(residual.reshape(1, -1, residual.shape[-1])))
        # TransformerLens' own unembedding copies its whole matrix at every call.
        logits = normed @ t.unembed.W_U
        if bool(t.unembed.b_U.any()):
            logits = logits + t.unembed.b_U
        logits = t.unembed.hook_out(logits)
        logits = logits.reshape(*residual.shape[:-1], -1)
        cap = t.cfg.output_logits_soft_cap
        return cap * torch.tanh(logits / cap) if capped and cap > 0 else logits


def _attend_in_place(attention: Any) -> None:
    """Have an attention layer use our attention when it is given a cache of ours."""
    forward = attention.forward

    @wraps(forward)
    def chosen(
        query_input: Tensor,
        key_input: Tensor,
        value_input: Tensor,
        past_kv_cache_entry: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Tensor:
        if isinstance(past_kv_cache_entry, _GridEntry) and past_kv_cache_entry.grid.ours:
            return attend(attention, (query_input, key_input, value_input), past_kv_cache_entry)
        return forward(query_input, key_input, value_input, past_kv_cache_entry, *rest, **more)

    object.__setattr__(attention, "forward", chosen)


def _lay_out_for_products(attention: Any) -> None:
    """Lay the weights of q, k and v in memory as TransformerLens flattens them at every call.

    Their values and shapes stay as they are; the flattening then copies nothing.
    """
    for name in ("W_Q", "W_K", "W_V", "_W_K", "_W_V"):
        weight = attention._parameters.get(name)
        if weight is not None and weight.ndim == 3:
            weight.data = weight.data.transpose(1, 2).contiguous().transpose(1, 2)


def official_name(name: str) -> str | None:
    """The hub name behind a name that TransformerLens knows, or None."""
    try:
        return tl_loading.get_official_model_name(name)
    except ValueError:
        return None


def faithful_hooked(
    original: Any, tokenizer: Any, device: torch.device, known_as: str | None
) -> tuple[HookedTransformer | None, str]:
    """A faithful HookedTransformer of the model, or None and the reason why there is none."""
    reasons = []
    with tempfile.TemporaryDirectory(prefix="steerscope-") as folder:
        config = original.config.to_dict()
        if "n_positions" in config:  # read by TransformerLens, no longer written by transformers
            config.setdefault("n_ctx", config["n_positions"])
        config["architectures"] = [type(original).__name__]
        (Path(folder) / "config.json").write_text(json.dumps(config, default=str))
        for source in filter(None, (known_as, folder)):
            try:
                hooked = _convert(source, original, tokenizer, device)
                gap = _logit_gap(original, hooked)
            except Exception as error:  # noqa: BLE001 - whatever its conversion stumbles over
                reasons.append(f"its conversion fails ({' '.join(str(error).split())[:160]})")
                continue
            if gap <= _TOLERANCE[original.dtype]:
                return hooked, ""
            reasons.append(f"its logits differ from transformers' by {gap:.2g} of their spread")
    return None, reasons[-1]


def _convert(source: str, original: Any, tokenizer: Any, device: torch.device) -> HookedTransformer:
    cfg = tl_loading.get_pretrained_model_config(
        source,
        hf_cfg=original.config.to_dict(),
        fold_ln=False,
        device=str(device),
        dtype=original.dtype,
    )
    weights = tl_loading.get_pretrained_state_dict(source, cfg, original, dtype=original.dtype)
    cfg.tokenizer_name = None
    hooked = HookedTransformer(
        cfg, copy.deepcopy(tokenizer), move_to_device=False, default_padding_side="right"
    )
    hooked.load_and_process_state_dict(
        weights,
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    hooked.move_model_modules_to_device()
    return hooked.eval().requires_grad_(False)


@torch.no_grad()
def _logit_gap(original: Any, hooked: HookedTransformer) -> float:
    """Largest difference of the logits of a few tokens, in standard deviations of the logits."""
    n_vocab = original.config.get_text_config().vocab_size
    tokens = (torch.arange(16) * 7919 % n_vocab).unsqueeze(0)
    ours = hooked(tokens.to(hooked.cfg.device)).float().cpu()
    theirs = original(tokens.to(original.device)).logits.float().cpu()
    return float((ours - theirs).abs().max() / theirs.std())
