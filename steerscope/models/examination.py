"""What every model is compared with before it is used: transformers' own model of the same weights.

One text, longer than the smallest attention window and at least 67 tokens where the context allows,
goes through transformers once and through the backbone twice: whole, and from a cache with its last
token as a step. Then 4 tokens go through in as many rows as there are sites, a vector added at
another site in each. That is all it costs: three passes over the text, in half precision a fourth, in
which transformers shows how far rounding goes, 4 tokens a site, no gradient.

A fault of the whole refuses the model; a fault of a site takes that site away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from steerscope.errors import ModelLoadError, NeverRanError, reason
from steerscope.models.lean_loading import give_back
from steerscope.models.lens_model import LensModel
from steerscope.models.offers import Offer, Place
from steerscope.models.truth import (
    LARGEST,
    NUMBERS_AT_ONCE,
    SHORT,
    SHOWN,
    TYPICAL,
    Truth,
)
from steerscope.sites import HEAD_STREAMS, READ_ONLY_STREAMS, Site, Stream

_MOVED = 4  # tokens of the row of a site
_SITES_AT_ONCE = 62


class NotCausalError(ModelLoadError):
    """A model of which a token sees those behind it, in whatever number format."""


@torch.no_grad()
def examine(model: LensModel, truth: Truth) -> Offer:
    """Compare a model with transformers; what it may offer.

    Raises:
        ModelLoadError: it computes another function than transformers, or cannot run.
    """
    try:
        exam = _Examination(model, truth)
        for step in (
            exam.read_all,
            exam.compare_logits,
            exam.compare_with_later_tokens_changed,
            exam.compare_residual_stream,
            exam.compare_end,
            exam.compare_sums,
            exam.move_each_site,
        ):
            step()
            give_back()
    except ModelLoadError:
        raise
    except Exception as error:  # whatever a backbone stumbles over
        raise ModelLoadError(f"its examination fails ({reason(error)}).") from error
    if not any((stream, layer) not in exam.lacking for stream, layer in exam.blocks):
        why = next((exam.lacking[place] for place in exam.blocks), "it has no such hook point")
        raise ModelLoadError(f"no block offers what leaves it ({why}).")
    return Offer(
        exam.lacking, exam.widths, exam.fault_of_cache(), exam.no_unembedding, truth.unseen
    )


@dataclass(eq=False)
class _Examination:
    model: LensModel
    truth: Truth
    lacking: dict[Place, str] = field(default_factory=dict)
    widths: dict[Place, int] = field(default_factory=dict)
    seen: dict[Place, Tensor] = field(default_factory=dict)
    shapes: dict[Site, tuple[int, ...]] = field(default_factory=dict)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    end: Tensor = field(default_factory=lambda: torch.empty(0))
    no_unembedding: str = ""

    def __post_init__(self) -> None:
        self.tokens = self.truth.tokens.to(self.model.device)
        shape = self.model.shape
        n = SHORT
        while n in (shape.n_heads, shape.n_key_value_heads):
            n -= 1  # so that an axis of heads is never taken for one of tokens
        self.short = self.tokens[:, :n]
        self.places: list[Place] = [
            (stream, layer)
            for layer in range(self.model.shape.n_layers)
            for stream in get_args(Stream)
            if self.model.claims(Site(stream, layer))
        ]
        self.blocks = [place for place in self.places if place[0] == "resid_post"]

    # -- reading --------------------------------------------------------------------------------

    def read_all(self) -> None:
        """The shape of every site from two short rows; logits and residual stream of the text."""
        for place, why in self._failing(self.places, self._read_shapes).items():
            self.lacking[place] = f"reading it fails ({why})"
        for place in self.places:
            if place not in self.lacking and (why := self._misshapen(*place)):
                self.lacking[place] = why
        with ExitStack() as stack:
            for stream, layer in self.places:
                if (stream, layer) not in self.lacking and _is_residual(stream):
                    site = Site(stream, layer)
                    stack.enter_context(self.model.hook(site, self._keeper(site)))
            self.logits = self.model.forward(self.tokens, last=SHOWN)[0]
        for layer in {0, self.model.shape.n_layers - 1}:
            self.model.run_to(self.short, layer)  # as activations are read

    def _read_shapes(self, places: Sequence[Place]) -> None:
        with ExitStack() as stack:
            for stream, layer in places:
                for site in self._parts(stream, layer):
                    note = partial(self._note_shape, site)
                    stack.enter_context(_if_it_runs(self.model.hook(site, note)))
            self.model.forward(self.short.expand(2, -1), last=1)

    def _note_shape(self, site: Site, x: Tensor) -> None:
        self.shapes[site] = tuple(x.shape)

    def _parts(self, stream: Stream, layer: int) -> list[Site]:
        """A stream of a block, whole and at its last head."""
        heads = self._heads(stream)
        return [Site(stream, layer), *([Site(stream, layer, heads - 1)] if heads else [])]

    def _heads(self, stream: Stream) -> int:
        shape = self.model.shape
        if stream not in HEAD_STREAMS:
            return 0
        return shape.n_heads if stream in {"q", "z"} else shape.n_key_value_heads

    def _keeper(self, site: Site) -> Callable[[Tensor], None]:
        def keep(x: Tensor) -> None:
            self.seen[site.stream, site.layer] = x[0, -SHOWN:].clone()

        return keep

    def _failing(
        self, places: Sequence[Place], attempt: Callable[[Sequence[Place]], None]
    ) -> dict[Place, str]:
        """Run something for all places together, or for those that do not fail; why the others do."""
        try:
            attempt(places)
        except Exception as error:  # noqa: BLE001 - whatever a backbone stumbles over
            if not places:
                raise ModelLoadError(f"it cannot run ({reason(error)}).") from error
            if len(places) == 1:
                return {places[0]: reason(error)}
        else:
            return {}
        self._failing([], attempt)
        middle = len(places) // 2
        failing = {
            place: why
            for half in (places[:middle], places[middle:])
            for place, why in self._failing(half, attempt).items()
        }
        attempt([place for place in places if place not in failing])
        return failing

    def _misshapen(self, stream: Stream, layer: int) -> str:
        """What is wrong with the shape of a site; empty if nothing is."""
        n = self.short.shape[1]
        whole, *parts = (self.shapes.get(site) for site in self._parts(stream, layer))
        if whole is None:
            return "its hook never runs"
        d = self.model.shape.d_head * self._heads(stream) or self.model.shape.d_model
        if stream.startswith("mlp_p"):
            d = whole[-1]
        if whole != (2, n, d) or any(p != (2, n, self.model.shape.d_head) for p in parts):
            return f"its shape is {whole} where (batch 2, pos {n}, d {d}) is expected"
        if stream.startswith("mlp_p"):
            self.widths[stream, layer] = d
        return ""

    # -- comparing ------------------------------------------------------------------------------

    def compare_logits(self) -> None:
        """Refuse a model whose logits are not those of transformers, past its window as before it."""
        self.end = self.logits[-1:].clone()
        self._compare_logits_of(slice(None), "")
        if self.truth.beyond:  # which the typical position may lie before
            self._compare_logits_of(slice(-self.truth.beyond, None), " past its attention window")

    def _compare_logits_of(self, some: slice, where: str) -> None:
        truth = self.truth
        gap, limit = truth.gap(self.logits[some], truth.logits[some]), truth.limit(some)
        if gap > limit:
            rounding = "" if truth.rounded is None else f", where rounding explains {limit:.2g}"
            raise ModelLoadError(
                f"its logits differ from transformers' by {gap:.2g} of their spread{where}{rounding}."
            )

    def compare_with_later_tokens_changed(self) -> None:
        """Refuse a model of which a token sees those behind it."""
        text = self.short
        other = torch.cat([text[:, :2], text[:, 2:].flip(1)], dim=1)
        first, second = self.model.forward(torch.cat([text, other]))[:, :2]
        if not self.truth.same(second, first):
            raise NotCausalError(
                "its tokens see those behind them, so it does not write from left to right; an "
                "encoder cannot be steered here."
            )

    def compare_residual_stream(self) -> None:
        """Take away what is not the hidden state that transformers tells.

        `hidden_states` begins with what goes into block 0, or, of state spaces, what leaves it; it
        ends with what the unembedding gets.
        """
        if self.truth.by_itself:
            return
        hidden = self.truth.hidden[:-1]
        start = 0 if self._is_hidden(("resid_pre", 0), 0) else 1
        for (stream, layer), seen in self.seen.items():
            if stream not in {"resid_pre", "resid_post"}:
                continue
            number = layer - start + (stream == "resid_post")
            if (stream, layer) == ("resid_post", self.model.shape.n_layers - 1):
                continue  # where transformers tells it after the final norm
            if number < 0 or number >= len(hidden):
                self.lacking[stream, layer] = (
                    "transformers tells no hidden state to compare it with"
                )
            elif not self.truth.same(seen, hidden[number]):
                self.lacking[stream, layer] = f"it is not hidden_states[{number}] of transformers"

    def _is_hidden(self, place: Place, number: int) -> bool:
        told = self.truth.hidden[number : number + 1]
        return place in self.seen and any(self.truth.same(self.seen[place], h) for h in told)

    def compare_end(self) -> None:
        """Measure the unembedding, which also says whether the last stream is the right one."""
        last: Place = ("resid_post", self.model.shape.n_layers - 1)
        if last in self.lacking or last not in self.seen:
            self.no_unembedding = "what leaves its last block is not known"
            return
        seen = self.seen[last]
        n = max(SHORT, NUMBERS_AT_ONCE // self.logits.shape[-1])
        if self.model.measure_unembedding(seen[-n:], self.logits[-n:], self.truth.same):
            return
        self.no_unembedding = "norm and unembedding of its last block do not give its logits"
        told = any(self.truth.same(seen, h) for h in self.truth.hidden[-1:])
        if not told and not self.truth.by_itself:
            self.lacking[last] = "nothing that transformers tells confirms it"

    def compare_sums(self) -> None:
        """Take away what is not added to the residual stream as its name says."""
        for layer in range(self.model.shape.n_layers):
            pre, attention, mid, mlp, post = (
                self.seen.get((s, layer)) if (s, layer) not in self.lacking else None
                for s in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
            )
            wrong: set[Stream] = set()
            if mid is None:
                if not self._is_sum(post, pre, attention, mlp):
                    wrong = {"attn_out", "mlp_out"}
            else:
                first, second = self._is_sum(mid, pre, attention), self._is_sum(post, mid, mlp)
                wrong |= set() if first else {"attn_out"}
                wrong |= set() if second else {"mlp_out"}
                wrong |= {"resid_mid"} if len(wrong) == 2 else set()
            for stream in wrong:
                if (stream, layer) in self.seen:
                    why = f"it is not what block {layer} adds to its residual stream"
                    self.lacking.setdefault((stream, layer), why)

    def _is_sum(self, total: Tensor | None, *parts: Tensor | None) -> bool:
        there = [part for part in parts if part is not None]
        if total is None or len(there) < len(parts):
            return True  # nothing is known against it
        whole = sum(there[1:], there[0])
        return self.truth.same(whole, total) and self.truth.adds_up(total, *there)

    # -- moving ---------------------------------------------------------------------------------

    def move_each_site(self) -> None:
        """Take away each site at which an added vector changes no logit."""
        self.seen.clear()  # compared before, and no longer needed
        self.logits = torch.empty(0)
        places = [p for p in self.places if p not in self.lacking and p[0] not in READ_ONLY_STREAMS]
        at_once = min(_SITES_AT_ONCE, max(SHORT, NUMBERS_AT_ONCE // self.model.shape.n_vocab))
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            for place, why in self._failing(some, self._move).items():
                self.lacking[place] = f"adding a vector there fails ({why})"

    def _move(self, places: Sequence[Place]) -> None:
        """One row for each place, with noise as large as the activation there; a plain row around."""
        text = self.short[:, :_MOVED].expand(len(places) + 2, -1)
        with ExitStack() as stack:
            for row, (stream, layer) in enumerate(places, start=1):
                stack.enter_context(self.model.hook(Site(stream, layer), _push(row)))
            logits = self.model.forward(text, last=1)[:, -1].float()
        by_itself = float((logits[0] - logits[-1]).abs().max())
        least = max(10 * by_itself, 1e-6 * float(logits[0].std()))
        moved = (logits[1:-1] - logits[0]).abs_().amax(dim=-1)
        for place, by in zip(places, moved.tolist(), strict=True):
            if not by > least:
                self.lacking[place] = "a vector added there changes no logit"

    # -- remembering ----------------------------------------------------------------------------

    def fault_of_cache(self) -> str:
        """Why keys and values must not be kept between tokens; empty if they may."""
        try:
            gap = max(self._step_alone(), self._step_of_two())
        except Exception as error:  # noqa: BLE001 - whatever a cache stumbles over
            return f"its cache fails ({reason(error)})"
        limit = TYPICAL.get(self.truth.dtype, LARGEST)
        return "" if gap <= limit else f"a step from its cache is off by {gap:.2g} of the spread"

    def _step_alone(self) -> float:
        """A step from a cache of the whole text against the pass without one.

        In half precision that is the model's own too, which may be off where a router tips over.
        """
        cache = self.model.new_cache(1, self.tokens.shape[1])
        self.model.forward(self.tokens[:, :-1], cache=cache, last=1)
        step = self.model.forward(self.tokens[:, -1:], cache=cache, last=1)
        gap = self.truth.gap(step[0], self.truth.logits[-1:])
        return min(gap, self.truth.gap(step[0], self.end)) if self.truth.dtype in TYPICAL else gap

    def _step_of_two(self) -> float:
        """A step of two texts that were run apart and have joined, in the other order."""
        n = min(SHORT, self.tokens.shape[1] // 2)
        if n < 2:  # a context of two or three tokens: no text of it can be cut in two
            return 0.0
        texts = [self.tokens[:, :n], self.tokens[:, n : 2 * n]]
        cache = self.model.new_cache(2, n)
        for text in texts:
            new = self.model.new_cache(1, n)
            self.model.forward(text[:, :-1], cache=new, last=1)
            cache.join(new)
        cache.keep(torch.tensor([1, 0], device=self.tokens.device))
        both = torch.cat(texts[::-1])
        step = self.model.forward(both[:, -1:], cache=cache, last=1)
        return self.truth.gap(step[:, 0], self.model.forward(both, last=1)[:, 0])


@contextmanager
def _if_it_runs(hook: AbstractContextManager[None]) -> Iterator[None]:
    """A hook that may never run: what it has not seen says so."""
    with suppress(NeverRanError), hook:
        yield


def _is_residual(stream: Stream) -> bool:
    """Whether a stream is the residual stream or what a block adds to it."""
    return stream.startswith("resid") or stream.endswith("_out")


def _push(row: int) -> Callable[[Tensor], Tensor]:
    """Noise of the size of the activation, at all tokens of a row but the first."""

    def push(x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(row)
        noise = torch.randn(x[row].shape, generator=generator).to(x)
        noise[0] = 0  # the same vector at every key would change no attention
        size = x[row].float().pow(2).mean().sqrt()
        moved = x.clone()
        moved[row] += noise * (size if size > 0 else 1.0)
        return moved

    return push
