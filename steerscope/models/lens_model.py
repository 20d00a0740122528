"""The model: what every other module sees of it, whatever backbone runs it.

`LensModel` gives shapes, tokens, forward passes with or without a cache, hooks at a `Site`, and a
clock that says which absolute positions a forward pass covers. The clock is read off the key-value
cache of the pass itself, so it is right whoever calls the model. `models` is the only package
that touches TransformerLens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from steerscope.errors import (
    BadValueError,
    NeverRanError,
    PromptTooLongError,
    UnsupportedSiteError,
)
from steerscope.models.caches import Cache, Recompute
from steerscope.models.clock import Clock
from steerscope.models.offers import Offer
from steerscope.models.plain_pass import PlainPass
from steerscope.models.site_parts import on_site
from steerscope.models.turns import Turn, keep_alone, refuse_copy
from steerscope.models.vocabulary import Bos, Vocabulary, as_bos
from steerscope.sites import HEAD_STREAMS, STREAMS, Site, Stream
from steerscope.texts.chats import check_said

BackboneName = Literal["hooked", "bridge"]
TextOrIds = str | Sequence[int]
Activation = Float[Tensor, "batch pos d"]
HookFunction = Callable[[Activation], Activation | None]


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model; `n_context` is the longest sequence in tokens."""

    n_layers: int
    d_model: int
    n_heads: int
    n_key_value_heads: int
    d_head: int
    d_mlp: int
    n_vocab: int
    n_context: int


class LensModel(ABC):
    """A causal language model with named hook points.

    Attributes:
        name: what the user called it.
        backbone: `hooked` for HookedTransformer, `bridge` for TransformerBridge.
        shape: its sizes.
        tokenizer: the Hugging Face tokenizer.
        vocabulary: what it puts in front of a text, what ends one, how its tokens read.
        bos: how texts begin: `auto`, as the tokenizer itself does, `always` or `never`.
        transformer: the TransformerLens object, for whatever this class does not offer.
        fingerprint: of architecture and weights, the same on both backbones and in any number format
            that holds the checkpoint's numbers.
        clock: absolute positions of the pass in progress.
        turn: the right to use it, which one thread has at a time.
        accepts: fingerprints of other weights whose directions may be used, with a warning.
        memory_limit: bytes for weights and work together; None for what the machine has.
        offer: what of it may be used, as its examination at load found.
    """

    backbone: BackboneName
    # Streams whose hook point sees the very tensor that the block keeps for its skip connection,
    # so that an edit must be written into it to reach both.
    _shared_streams: frozenset[Stream] = frozenset()

    def __init__(
        self,
        *,
        name: str,
        transformer: nn.Module,
        tokenizer: Any,
        shape: ModelShape,
        fingerprint: str,
        ends: Sequence[int | None] = (),
    ) -> None:
        self.name = name
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.vocabulary = Vocabulary(tokenizer, ends)
        self.bos: Bos = "auto"
        self.shape = shape
        self.fingerprint = fingerprint
        self.clock = Clock()
        self.turn = Turn()
        self.memory_limit: int | None = None
        self.accepts: frozenset[str] = frozenset()
        self.offer = Offer()
        self._watch_positions()
        keep_alone(transformer)

    def __repr__(self) -> str:
        s = self.shape
        return (
            f"LensModel({self.name!r}: {s.n_layers} layers of {s.d_model}, {s.n_heads} heads, "
            f"{s.n_vocab:,} tokens, context {s.n_context:,}; {self.backbone} backbone, "
            f"{self.dtype_name} on {self.device})"
        )

    # -- what a backbone provides ---------------------------------------------------------------

    @abstractmethod
    def _watch_positions(self) -> None:
        """Have every forward pass tell the clock where it starts."""

    @abstractmethod
    def new_cache(self, n_rows: int, n_tokens: int) -> Cache:
        """An empty cache with room for that many rows and tokens."""

    @abstractmethod
    def _run(
        self, tokens: Int[Tensor, "batch pos"], cache: Any, last: int | None
    ) -> Float[Tensor, "batch out vocab"]:
        """Logits at all or the last positions; `cache` is None or of the backbone's own kind."""

    @abstractmethod
    def run_to(self, tokens: Int[Tensor, "batch pos"], layer: int) -> None:
        """Run the blocks up to and including `layer`, for the hooks' sake."""

    @abstractmethod
    def unembed(
        self, residual: Float[Tensor, "*batch d"], *, capped: bool = True
    ) -> Float[Tensor, "*batch vocab"]:
        """Logits that a last residual stream would give: final norm, unembedding, any soft cap."""

    def measure_unembedding(
        self,
        residual: Float[Tensor, "pos d"],
        logits: Float[Tensor, "pos vocab"],
        fits: Callable[[Tensor, Tensor], bool],
    ) -> bool:
        """Whether `unembed` gives the model's own logits; a backbone may adjust it first."""
        return fits(self.unembed(residual), logits)

    # -- what a backbone may do better ----------------------------------------------------------

    def new_ragged_cache(self) -> Cache | None:
        """An empty cache whose rows may have seen differently many tokens; None where there is none."""
        return None

    def plain_pass(self, tokens: Int[Tensor, "prompt pos"]) -> PlainPass:
        """Prompts of one length as they run now, for conditions that start as they did."""
        return PlainPass(self, tokens)

    def apart(self) -> AbstractContextManager[None]:
        """While active, what is attached is no part of what acts on the model from outside."""
        return nullcontext()

    def reading_keys(self) -> AbstractContextManager[None]:
        """While active, `keys_so_far` may be asked from within hooks.

        Raises:
            UnsupportedSiteError: this backbone does not tell.
        """
        raise UnsupportedSiteError(
            f"{self.name} on the {self.backbone} backbone does not tell the keys of earlier tokens; "
            "use the hooked backbone."
        )

    def keys_so_far(self, layer: int, n_tokens: int) -> Float[Tensor, "row head token d"]:
        """Keys of a block for the first tokens of every row of the pass in progress.

        As attention compares them, so after any rotation; heads that share keys come once.
        """
        raise NotImplementedError

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        refuse_copy()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        refuse_copy()

    # -- the same for all -----------------------------------------------------------------------

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        *,
        cache: Cache | None = None,
        last: int | None = None,
    ) -> Float[Tensor, "batch out vocab"]:
        """Logits at every position, or at the `last` so many alone.

        With a cache, `tokens` continue what it remembers and are added to it.
        """
        if isinstance(cache, Recompute):
            return self._run(cache.extend(tokens), None, last or tokens.shape[1])
        return self._run(tokens, cache, last)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next(self.transformer.parameters()).dtype

    def tokens(self, text: TextOrIds, *, bos: str | bool | None = None, room: int = 0) -> list[int]:
        """Token ids of a text, with what begins one in front exactly once; ids as they are.

        Args:
            text: text or token ids.
            bos: `auto` for what the tokenizer itself does, `always` or `never`; default the
                model's `bos`. True and False are `auto` and `never`.
            room: new tokens that must fit behind it.

        Raises:
            PromptTooLongError: the context does not hold the tokens and `room` new ones.
            BadValueError: no token at all, an id outside the vocabulary, `always` where the
                tokenizer has no beginning-of-sequence token, or a conversation without a template.
            ContrastError: the text holds half of a surrogate pair.
            UnknownNameError: no such `bos`.
        """
        if isinstance(text, str):
            check_said(text)
            ids = self.vocabulary.begin(text, as_bos(bos, self.bos))
        else:
            ids = [int(i) for i in text]
        shown = repr(text if isinstance(text, str) else ids)[:60]
        if not ids:
            raise BadValueError(f"the prompt {shown} has no tokens; give some text.")
        if not all(0 <= i < self.shape.n_vocab for i in ids):
            raise BadValueError(
                f"the prompt {shown} has token ids outside 0..{self.shape.n_vocab - 1}."
            )
        if len(ids) + room > self.shape.n_context:
            more = f" and needs room for {room} new ones" if room else ""
            raise PromptTooLongError(
                f"the prompt {shown} has {len(ids)} tokens{more}; the context of {self.name} holds "
                f"{self.shape.n_context}."
            )
        return ids

    @property
    def dtype_name(self) -> str:
        """The number format by name, such as `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def beginning(self) -> list[int]:
        """The ids that the model's texts begin with; none where they begin with the text itself."""
        return list(self.vocabulary.first(self.bos))

    def text(self, ids: Sequence[int], *, after: Sequence[int] = ()) -> str:
        """The text of token ids, special tokens left out.

        With `after`, as it goes on behind those ids, where a leading space counts.
        """
        return self.vocabulary.text(ids, after)

    def token_label(self, token: int) -> str:
        """One token as readable text, its leading space shown as a space.

        A byte that is no letter by itself is shown by its number, as `<0xE2>`.
        """
        return self.vocabulary.label(token)

    def width(self, site: Site) -> int:
        """Number of components of an activation at `site`; several heads are laid end to end.

        Raises:
            UnsupportedSiteError: this model has no such site.
        """
        self.check(site)
        s = self.shape
        if site.stream in HEAD_STREAMS:
            heads = s.n_heads if site.stream in {"q", "z"} else s.n_key_value_heads
            return s.d_head * (heads if site.head is None else 1)
        if site.stream.startswith("mlp_p"):
            return self.offer.widths.get((site.stream, site.layer), s.d_mlp)
        return s.d_model

    def check(self, site: Site) -> None:
        """Refuse a site that this model lacks.

        Raises:
            UnsupportedSiteError: layer or head out of range, or no such hook point.
        """
        s = self.shape
        if site.layer >= s.n_layers:
            raise UnsupportedSiteError(
                f"site {site}: {self.name} has layers 0 to {s.n_layers - 1}."
            )
        heads = s.n_heads if site.stream in {"q", "z"} else s.n_key_value_heads
        if site.head is not None and site.head >= heads:
            raise UnsupportedSiteError(
                f"site {site}: {self.name} has {site.stream} heads 0 to {heads - 1}."
            )
        self.check_module(site)
        why = self.offer.lacking.get((site.stream, site.layer))
        if why is None and self.claims(site):
            return
        there = [
            t
            for t in STREAMS
            if self.claims(Site(t, site.layer)) and (t, site.layer) not in self.offer.lacking
        ]
        raise UnsupportedSiteError(
            f"site {site}: {self.name} on the {self.backbone} backbone has no such hook point in "
            f"block {site.layer}{f' that can be used: {why}' if why else ''}; it has "
            f"{', '.join(there) or 'none'}."
        )

    def check_module(self, site: Site) -> None:
        """Refuse a site that was named by a module whose output is not what the block adds.

        Raises:
            UnsupportedSiteError: a norm or a factor stands between them.
        """
        between = self._between(site.layer).get(site.stream, "")
        if site.module and between:
            raise UnsupportedSiteError(
                f"{self.name} has {between} between {site.module} of block {site.layer} and the "
                f"residual stream: that module's output is before it and is no site here, and {site} "
                f"is behind it, as added to the residual stream; write {site} if that is meant."
            )

    def _between(self, layer: int) -> dict[str, str]:  # noqa: ARG002 - of every backbone
        """By stream, what changes the output of a module before the block adds it, in words."""
        return {}

    def claims(self, site: Site) -> bool:
        """Whether the backbone has a hook point of that name, examined or not."""
        return site.hook_name in self._hook_points

    def has(self, site: Site) -> bool:
        """Whether this model has such a site."""
        try:
            self.check(site)
        except UnsupportedSiteError:
            return False
        return True

    @property
    def _hook_points(self) -> dict[str, nn.Module]:
        return cast(dict[str, nn.Module], self.transformer.hook_dict)

    def read(
        self, tokens: Int[Tensor, "batch pos"], sites: Sequence[Site]
    ) -> dict[Site, Activation]:
        """Activations at sites, from one pass that goes no deeper than it must."""
        found: dict[Site, Activation] = {}
        with ExitStack() as stack:
            for site in sites:

                def keep(x: Activation, site: Site = site) -> None:
                    found[site] = x

                stack.enter_context(self.hook(site, keep))
            self.run_to(tokens, max(s.layer for s in sites))
        return found

    @property
    def is_hooked(self) -> bool:
        """Whether anything is hooked to a hook point, by steerscope or by somebody else."""
        points = self._hook_points.values()
        return any(point._forward_hooks or point._forward_pre_hooks for point in points)

    @contextmanager
    def hook(self, site: Site, function: HookFunction) -> Iterator[None]:
        """While active, `function` sees each activation at `site` and may return another.

        Heads are laid end to end in `d` unless the site names one. The hook is independent of
        TransformerLens' own bookkeeping, so its `reset_hooks` and `run_with_cache` leave it alone.

        Raises:
            UnsupportedSiteError: this model has no such site.
            ModelBusyError: another thread has the model and is idle.
            NeverRanError: at the end, if passes ran over the layer and none came here.
        """
        self.check(site)
        came = False
        point = self._hook_points[site.hook_name]

        def call(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
            nonlocal came
            came = True
            conversion = getattr(point, "hook_conversion", None)
            whole = output if conversion is None else conversion.convert(output)
            changed = on_site(site, whole, function)
            if changed is None:
                return None
            if site.stream in self._shared_streams:
                output.copy_(changed)
                return None
            return changed if conversion is None else conversion.revert(changed)

        with self.turn.holding():
            n_passes = self.clock.n_passes[site.layer]
            handle = point.register_forward_hook(call)
            try:
                yield
            finally:
                handle.remove()
            if not came and self.clock.n_passes[site.layer] > n_passes:
                raise NeverRanError(
                    f"{self.name} ran, but no pass came through the hook at {site}, so that nothing "
                    "was changed or read there; compile no part of the model, and run it by itself."
                )
