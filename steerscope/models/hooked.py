"""HookedTransformer as a `LensModel`, with a key-value cache that is written in place."""

from __future__ import annotations

import copy
import inspect
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import ModelLoadError
from steerscope.models.attention import attend, is_plain
from steerscope.models.keys_values import GridCache, GridEntry, WholeEntry, WholePass
from steerscope.models.lens_model import LensModel
from steerscope.models.norms import fuse_norms, norm_once
from steerscope.models.norms_after import hooked_norm_after
from steerscope.models.plain_pass import PlainPass
from steerscope.models.ragged import RaggedCache, RaggedEntry
from steerscope.models.shared_pass import SharedPass
from steerscope.models.turns import replace_forward

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformer_lens.loading_from_pretrained as tl_loading
    from transformer_lens import HookedTransformer
    from transformer_lens.components import GatedMLP
    from transformer_lens.utilities.activation_functions import gelu_new, gelu_pytorch_tanh


class HookedLensModel(LensModel):
    """A model run by `HookedTransformer`."""

    backbone = "hooked"
    transformer: HookedTransformer
    _key_readers = 0
    _outside: bool | None = None  # what `_keeps_between` was before conditions came
    _in_pass: GridCache | WholePass | None = None

    def _watch_positions(self) -> None:
        # Wrapped and not hooked, since TransformerLens' generate calls forward directly.
        forward = self.transformer.forward
        signature = inspect.signature(forward)

        # Run as it is also within torch.compile, which leaves out hooks that come later.
        @torch.compiler.disable
        def watched(input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - their name
            given = signature.bind(input, *args, **kwargs).arguments
            cache, lengths = given.get("past_kv_cache"), None
            first = given.get("start_at_layer") or 0
            start = 0 if cache is None else _seen_before(cache, first)
            if isinstance(input, str | list):
                sides = given.get("prepend_bos"), given.get("padding_side")
                input, starts, lengths = _tokens_of(self.transformer, input, *sides)  # noqa: A001
                start, lengths = (start, None) if _is_later(start) else (starts, lengths)
            if input.ndim < 3:
                input = torch.atleast_2d(input)  # noqa: A001
            with self.turn.using():
                shown = input if input.ndim == 2 else None
                self.clock.begin(start, input.shape[1], shown, lengths)
                output = forward(input, *args, **kwargs)
                self.clock.ran(range(self.shape.n_layers)[first : given.get("stop_at_layer")])
            return output

        replace_forward(self.transformer, watched)
        fuse_norms(self.transformer)
        for block in self.transformer.blocks:
            _attend_in_place(block.attn)
            norm_once(block)
            _lay_out_for_products(block)
            mlp: Any = getattr(block, "mlp", None)  # there is none where attention is all
            if getattr(mlp, "act_fn", None) is gelu_new:
                mlp.act_fn = gelu_pytorch_tanh  # the same function in one pass over memory

    @contextmanager
    def reading_keys(self) -> Iterator[None]:
        """While active, `keys_so_far` may be asked from within hooks."""
        self._key_readers += 1
        try:
            yield
        finally:
            self._key_readers -= 1

    @contextmanager
    def apart(self) -> Iterator[None]:
        """While active, what is attached is no part of what acts on the model from outside."""
        before, self._outside = self._outside, self._keeps_between
        try:
            yield
        finally:
            self._outside = before

    @property
    def _keeps_between(self) -> bool:
        """Whether what acts from outside may keep what it sees at one place of a pass for a later one.

        So may whatever is hooked to several places, or reads keys; a pass of it runs every block.
        """
        if self._outside is not None:
            return self._outside
        points = self._hook_points.values()
        places = [p for p in points if p._forward_hooks or p._forward_pre_hooks]
        return self._key_readers > 0 or len(places) > 1

    def keys_so_far(self, layer: int, n_tokens: int) -> Float[Tensor, "row head token d"]:
        """Keys of a block for the first tokens of every row of the pass in progress."""
        assert self._in_pass is not None, "asked outside of a pass"
        keys = self._in_pass.keys_so_far(layer, n_tokens)
        if self._in_pass.ours or self.transformer.cfg.positional_embedding_type != "rotary":
            return keys
        attention: Any = self.transformer.blocks[layer].attn
        return attention.apply_rotary(keys.transpose(1, 2), 0).transpose(1, 2)

    def new_cache(self, n_rows: int, n_tokens: int) -> GridCache:
        """An empty cache with room for that many rows and tokens."""
        return GridCache(self, n_rows, n_tokens)

    def new_ragged_cache(self) -> RaggedCache | None:
        """An empty cache whose rows may have seen differently many tokens; None where there is none."""
        plain = is_plain(self.transformer) and not self._key_readers
        return RaggedCache(self) if plain else None

    def _run(
        self,
        tokens: Int[Tensor, "batch pos"],
        cache: GridCache | RaggedCache | None,
        last: int | None,
    ) -> Float[Tensor, "batch out vocab"]:
        residual = self._embedded_and_run(tokens, cache, self.shape.n_layers)
        return self.unembed(residual if last is None else residual[:, -last:])

    def run_to(self, tokens: Int[Tensor, "batch pos"], layer: int) -> None:
        """Run the blocks up to and including `layer`, for the hooks' sake."""
        self._embedded_and_run(tokens, None, layer + 1)

    def plain_pass(self, tokens: Int[Tensor, "prompt pos"]) -> PlainPass:
        """Prompts of one length as they run now, for conditions that start as they did."""
        # each block of a shortformer is given the positions once more
        shortformer = self.transformer.cfg.positional_embedding_type == "shortformer"
        if shortformer or self._keeps_between:
            return super().plain_pass(tokens)
        cache = self.new_cache(*tokens.shape)
        return SharedPass(self, tokens, self.run_and_keep(tokens, cache), cache)

    def run_and_keep(
        self, tokens: Int[Tensor, "row new"], cache: GridCache
    ) -> list[Float[Tensor, "row new d"]]:
        """Run new tokens; the input of block 0, and what each block gives to the hooks at its end."""
        starts: list[Tensor] = []

        def keep(_module: Any, arguments: tuple[Tensor, ...]) -> None:
            starts.append(arguments[0])  # before any hook has changed it

        blocks: Any = self.transformer.blocks
        places = [blocks[0], *(block.hook_resid_post for block in blocks)]
        with self.turn.using():
            handles = [place.register_forward_pre_hook(keep) for place in places]
            try:
                self._embedded_and_run(tokens, cache, self.shape.n_layers)
            finally:
                for handle in handles:
                    handle.remove()
        return starts

    def _embedded_and_run(
        self,
        tokens: Int[Tensor, "batch pos"],
        cache: GridCache | RaggedCache | None,
        n_blocks: int,
    ) -> Float[Tensor, "batch pos d"]:
        # Embedding by hand and starting at block 0 spares a padding mask that no row needs.
        t = self.transformer
        if isinstance(cache, RaggedCache):
            return self._run_ragged(tokens, cache)
        start = 0 if cache is None else cache.n_tokens
        with self.turn.using(), nullcontext() if start else self.clock.telling(lambda: tokens):
            embedded = t.hook_embed(t.embed(tokens))
            residual, shortformer = t.get_residual(embedded, start, tokens=tokens)
            return self.run_blocks(residual, cache, 0, n_blocks, shortformer)

    def _run_ragged(
        self, tokens: Int[Tensor, "row 1"], cache: RaggedCache
    ) -> Float[Tensor, "row 1 d"]:
        """One token of every row, each behind its own."""
        t = self.transformer
        residual = t.hook_embed(t.embed(tokens))
        if t.cfg.positional_embedding_type == "standard":
            residual = residual + t.hook_pos_embed(t.pos_embed.W_pos[cache.n_tokens][:, None])
        with self.turn.using():
            residual = t(
                residual, start_at_layer=0, stop_at_layer=len(cache.entries), past_kv_cache=cache
            )
        cache.grown()
        return residual

    def run_blocks(
        self,
        residual: Float[Tensor, "batch pos d"],
        cache: GridCache | None,
        first: int,
        stop: int | None = None,
        shortformer: Tensor | None = None,
    ) -> Float[Tensor, "more pos d"]:
        """The residual stream after the blocks from `first` up to, not including, `stop`.

        Of more rows than it began with, where hooks between the blocks have others join.
        """
        if cache is None:
            self._in_pass = WholePass(self.transformer, keeps_keys=self._key_readers > 0)
        else:
            self._in_pass, cache.n_rows = cache, len(residual)
        try:
            residual = self.transformer(
                residual,
                start_at_layer=first,
                stop_at_layer=self.shape.n_layers if stop is None else stop,
                shortformer_pos_embed=shortformer,
                past_kv_cache=self._in_pass,
            )
        finally:
            self._in_pass = None  # its memory is whoever's that holds the cache
        if cache is not None:
            cache.n_tokens += residual.shape[1]
        return residual

    def _between(self, layer: int) -> dict[str, str]:  # noqa: ARG002 - all blocks are alike
        after = hooked_norm_after(self.transformer)
        return {"attn_out": "a norm", "mlp_out": "a norm"} if after else {}

    def unembed(
        self, residual: Float[Tensor, "*batch d"], *, capped: bool = True
    ) -> Float[Tensor, "*batch vocab"]:
        """Logits that a last residual stream would give: final norm, unembedding, any soft cap."""
        t = self.transformer
        normed = residual.reshape(1, -1, residual.shape[-1])
        if hasattr(t, "ln_final"):  # a model may have no norms
            normed = t.ln_final(normed)
        normed = t.unembed.hook_in(normed)
        # TransformerLens' own unembedding copies its whole matrix at every call.
        logits = normed @ t.unembed.W_U
        if bool(t.unembed.b_U.any()):
            logits = logits + t.unembed.b_U
        logits = t.unembed.hook_out(logits)
        logits = logits.reshape(*residual.shape[:-1], -1)
        cap = t.cfg.output_logits_soft_cap
        return cap * torch.tanh(logits / cap) if capped and cap > 0 else logits


def _seen_before(cache: Any, first: int) -> int | Int[Tensor, " row"]:
    """Tokens that a cache of ours or of TransformerLens has seen, of each row where they differ."""
    if isinstance(cache, RaggedCache):
        return cache.n_tokens
    return int(cache[first].past_keys.shape[1])


def _is_later(start: int | Tensor) -> bool:
    """Whether a pass goes on behind tokens that a cache has seen."""
    return not isinstance(start, int) or start > 0


def _tokens_of(
    transformer: HookedTransformer,
    texts: str | list[str],
    prepend_bos: bool | None,
    padding_side: Any,
) -> tuple[Int[Tensor, "row pos"], int | Int[Tensor, " row"], Int[Tensor, " row"] | None]:
    """Tokens of texts as TransformerLens makes them; where each row starts, and its length if padded.

    A row with padding before its text starts below position 0, at which the text begins.
    """
    tokens = transformer.to_tokens(texts, prepend_bos=prepend_bos, padding_side=padding_side)
    alone = [texts] if isinstance(texts, str) else texts
    n = [transformer.to_tokens(text, prepend_bos=prepend_bos).shape[1] for text in alone]
    if min(n, default=0) == max(n, default=0):
        return tokens, 0, None
    lengths = torch.tensor(n, device=tokens.device)
    side = padding_side or getattr(transformer.tokenizer, "padding_side", "right")
    return tokens, lengths - tokens.shape[1] if side == "left" else 0, lengths


def _attend_in_place(attention: Any) -> None:
    """Have an attention layer use our attention when it is given a cache of ours."""
    forward = attention.forward

    def chosen(
        query_input: Tensor,
        key_input: Tensor,
        value_input: Tensor,
        past_kv_cache_entry: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Tensor:
        entry = past_kv_cache_entry
        if isinstance(entry, GridEntry | WholeEntry | RaggedEntry) and entry.ours:
            return attend(attention, (query_input, key_input, value_input), entry)
        return forward(query_input, key_input, value_input, entry, *rest, **more)

    replace_forward(attention, chosen)


def _lay_out_for_products(block: Any) -> None:
    """Lay weights in memory as TransformerLens turns them at every call, so that this copies nothing.

    Their values and shapes stay as they are.
    """
    for name in ("W_Q", "W_K", "W_V", "_W_K", "_W_V"):
        weight = block.attn._parameters.get(name)
        if weight is not None and weight.ndim == 3:
            weight.data = weight.data.transpose(1, 2).contiguous().transpose(1, 2)
    mlp: Any = getattr(block, "mlp", None)
    if type(mlp) is GatedMLP:
        for name in ("W_gate", "W_in", "W_out"):
            weight = getattr(mlp, name)
            if weight.is_floating_point() and weight.ndim == 2:
                weight.data = weight.data.T.contiguous().T


def conversions(
    original: Any, tokenizer: Any, device: torch.device, known_as: str | None
) -> Iterator[Callable[[], HookedTransformer]]:
    """The ways to make a HookedTransformer of the model: as TransformerLens knows it, and as it is.

    Each raises `ModelLoadError` where TransformerLens stumbles.
    """
    # TransformerLens would run the code of some without asking
    if known_as is not None and not known_as.startswith(tl_loading.NEED_REMOTE_CODE_MODELS):
        yield lambda: _converted(known_as, original, tokenizer, device)

    def as_it_is() -> HookedTransformer:
        with tempfile.TemporaryDirectory(prefix="steerscope-") as folder:
            config = original.config.to_dict()
            if "n_positions" in config:  # read by TransformerLens, not written any more
                config.setdefault("n_ctx", config["n_positions"])
            config.pop("auto_map", None)  # where a model folder names code of its own
            config["architectures"] = [type(original).__name__]
            (Path(folder) / "config.json").write_text(json.dumps(config, default=str))
            return _converted(folder, original, tokenizer, device)

    yield as_it_is


def _converted(
    source: str, original: Any, tokenizer: Any, device: torch.device
) -> HookedTransformer:
    try:
        return _convert(source, original, tokenizer, device)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelLoadError(f"its conversion fails ({reason})") from error


def _convert(source: str, original: Any, tokenizer: Any, device: torch.device) -> HookedTransformer:
    """The HookedTransformer that holds the original's own weights, so that they are there once."""
    cfg = tl_loading.get_pretrained_model_config(
        source,
        hf_cfg=original.config.to_dict(),
        fold_ln=False,
        device=str(device),
        dtype=original.dtype,
    )
    weights = tl_loading.get_pretrained_state_dict(source, cfg, original, dtype=original.dtype)
    cfg.tokenizer_name = None
    cfg.model_name = Path(original.config.name_or_path or source).name
    cfg.n_ctx, context = _tables(cfg), _context(original.config, cfg)
    hooked = HookedTransformer(cfg, move_to_device=False)
    cfg.n_ctx = context
    # Assigned and not copied: most are views of the original's, and tied ones stay one.
    hooked.load_state_dict(hooked.fill_missing_keys(weights), assign=True, strict=False)
    _give_tokenizer(hooked, tokenizer)
    hooked.move_model_modules_to_device()
    return hooked.eval().requires_grad_(False)


def _context(config: Any, cfg: Any) -> int:
    """The context of a checkpoint, which TransformerLens cuts to 2,048 tokens for some families.

    Rotations are made as positions are needed; learned positions, and rotations that depend on the
    length of the text, stay as TransformerLens knows them.
    """
    named = getattr(config.get_text_config(), "max_position_embeddings", None)
    kind = (getattr(config.get_text_config(), "rope_parameters", None) or {}).get("rope_type")
    bound = cfg.use_dynamic_ntk_rope or kind in {"dynamic", "longrope"}
    if cfg.positional_embedding_type != "rotary" or bound or named is None:
        return int(cfg.n_ctx)
    return int(named)


def _tables(cfg: Any) -> int:
    """Positions to make tables for at first: where rotations grow as needed, each block has its own."""
    grows = cfg.positional_embedding_type == "rotary" and not cfg.use_dynamic_ntk_rope
    return min(cfg.n_ctx, 256) if grows else cfg.n_ctx


def _give_tokenizer(hooked: HookedTransformer, tokenizer: Any) -> None:
    """Set a copy of the tokenizer as TransformerLens would, which loads it again from its name."""
    own = copy.copy(tokenizer)  # of its vocabulary there is one
    vars(own).update({k: copy.copy(v) for k, v in vars(own).items() if isinstance(v, dict | list)})
    own.padding_side = "right"
    end = own.eos_token or "<|endoftext|>"
    own.eos_token, own.pad_token = end, own.pad_token or end
    own.bos_token = own.bos_token or end
    hooked.tokenizer = own
    hooked.cfg.tokenizer_prepends_bos = len(own.encode("")) > 0
