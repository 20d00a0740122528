"""What transformers makes of one text: the measure of every way to run a model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import ModelLoadError, reason
from steerscope.models.lean_loading import give_back
from steerscope.models.lens_model import LensModel, ModelShape
from steerscope.models.memory import free_memory
from steerscope.models.shapes import shape_of, smallest_window

LEAST = 67  # tokens, where the context allows
SHOWN = 64  # positions that are compared: the last, which no window sees whole
SHORT = 8
LONGEST = 2**13 + SHOWN  # tokens: eager attention over more takes too long, where memory allows it
_SHARE_OF_FREE = 0.5  # of the memory that is left once transformers has the weights
NUMBERS_AT_ONCE = 2**18  # of logits that are compared or moved together, unless one text has more
# Largest difference from transformers, in standard deviations of what is compared.
LARGEST = 1e-3
# In half precision, where routers tip over: the median over positions of the root mean square.
TYPICAL = {torch.bfloat16: 0.1, torch.float16: 0.03}
# Of logits in half precision, in gaps that moving every output by its rounding makes: families that run
# faithfully are at 1.02 at most, a Llama without its scaled rotation of positions at 5.8 at least.
ROUNDINGS = 3
_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Truth:
    """What transformers makes of a text, at its last positions.

    Attributes:
        tokens: the text.
        logits: of the last positions.
        hidden: `hidden_states` there: what goes into every block, and what leaves the model.
        dtype: number format of the weights.
        rounded: in half precision, the logits once every module's output is off by what the format
            may round.
        beyond: last positions that the narrowest attention does not see whole.
        unseen: width of the narrowest attention where no text past it fits into memory; 0 otherwise.
        by_itself: whether it is the model's own word, where there is no transformers to ask.
    """

    tokens: Int[Tensor, "1 pos"]
    logits: Float[Tensor, "shown vocab"]
    hidden: tuple[Float[Tensor, "shown _"], ...]
    dtype: torch.dtype
    rounded: Float[Tensor, "shown vocab"] | None = None
    beyond: int = 0
    unseen: int = 0
    by_itself: bool = False

    def gap(self, ours: Tensor, theirs: Tensor) -> float:
        """How far one tensor is from the other, in standard deviations; infinite for a NaN."""
        if ours.shape != theirs.shape:
            return torch.inf
        typical = self.dtype in TYPICAL
        width, spread = theirs.shape[-1], _spread(theirs)
        rows = max(1, NUMBERS_AT_ONCE // width)
        pairs = zip(
            ours.reshape(-1, width).split(rows), theirs.reshape(-1, width).split(rows), strict=True
        )
        far = []
        for some, others in pairs:
            difference = some.float() - others.float().to(some.device)
            by_row = difference.pow_(2).mean(-1).sqrt() if typical else difference.abs_().amax(-1)
            far.append(by_row)
        distances = torch.cat(far)
        distance = distances.median() if typical else distances.max()
        return float(torch.nan_to_num(distance / spread, nan=torch.inf))

    def same(self, ours: Tensor, theirs: Tensor) -> bool:
        """Whether two tensors are one up to the rounding of the number format."""
        return self.gap(ours, theirs) <= TYPICAL.get(self.dtype, LARGEST)

    def limit(self, some: slice = _ALL) -> float:
        """Largest gap of the logits of some positions that rounding explains, in standard deviations.

        In half precision it is measured: another function may differ by less than one network's
        rounding, and by far more than another's.
        """
        most = TYPICAL.get(self.dtype, LARGEST)
        if self.rounded is None:
            return most
        rounding = self.gap(self.rounded[some], self.logits[some])
        return min(most, max(ROUNDINGS * rounding, torch.finfo(self.dtype).eps))

    def adds_up(self, total: Tensor, stream: Tensor, *parts: Tensor) -> bool:
        """Whether a total is a stream and what was added to it, which may be far smaller than either.

        What the additions lose in this number format is no fault, at any number; of what is left the
        measure is the smallest part, so that a part is not lost in the stream.
        """
        there = [x.float() for x in (total, stream, *parts)]
        off = there[0] - there[1] - sum(there[2:])
        lost = torch.finfo(self.dtype).eps * sum(x.abs() for x in there)
        left = (off.abs() - lost).clamp_min(0)  # a NaN stays one
        by_row = left.pow(2).mean(-1).sqrt() if self.dtype in TYPICAL else left.amax(-1)
        distance = by_row.median() if self.dtype in TYPICAL else by_row.max()
        limit = TYPICAL.get(self.dtype, LARGEST) * min(_spread(part) for part in parts)
        return bool(distance <= limit)


def _spread(x: Tensor) -> float:
    """Standard deviation of all numbers together, in pieces."""
    width = x.shape[-1]
    rows = x.reshape(-1, width).split(max(1, NUMBERS_AT_ONCE // width))
    mean = sum(float(row.sum(dtype=torch.float64)) for row in rows) / x.numel()
    squares = sum(float((row.double() - mean).pow_(2).sum()) for row in rows)
    return max((squares / max(1, x.numel() - 1)) ** 0.5, 1e-12)


@torch.no_grad()
def witness(original: Any) -> Truth:
    """What a transformers model says, before any backbone has touched it.

    Raises:
        ModelLoadError: it does not run, or says a NaN.
    """
    config = original.config
    try:
        shape, window = shape_of(config), smallest_window(config)
        n_tokens, beyond, unseen = _length(shape, window, original.device)
        tokens = _text(shape.n_vocab, _special(config), n_tokens).to(original.device)
        told = original(tokens, use_cache=False, output_hidden_states=True)
        logits = told.logits[0, -SHOWN:]
        hidden = tuple(h[0, -SHOWN:] for h in getattr(told, "hidden_states", None) or ())
        rounded = _rounded(original, tokens) if original.dtype in TYPICAL else None
    except ModelLoadError:
        raise
    except Exception as error:
        more = wider(original.dtype)
        raise ModelLoadError(
            f"transformers itself cannot run it ({reason(error)}); use another checkpoint{more}."
        ) from error
    if not bool(torch.isfinite(told.logits).all()):
        raise ModelLoadError(
            "its logits are not finite in transformers itself: weights are damaged, or "
            f"too large for {str(original.dtype).removeprefix('torch.')}; use another "
            f"checkpoint{wider(original.dtype)}."
        )
    give_back()
    return Truth(tokens, logits, hidden, original.dtype, rounded, beyond, unseen)


@torch.no_grad()
def own_word(model: LensModel, window: int | None) -> Truth:
    """What a model makes of the text by itself, without a cache, where transformers cannot be asked.

    Args:
        model: of TransformerLens, as it was given.
        window: tokens that its narrowest attention looks back on; None where all see everything.

    Raises:
        ModelLoadError: it does not run, or says a NaN.
    """
    n_tokens, beyond, unseen = _length(model.shape, window, model.device)
    special = model.tokenizer.all_special_ids
    tokens = _text(model.shape.n_vocab, special, n_tokens).to(model.device)
    try:
        logits = model.forward(tokens, last=SHOWN)[0]
    except Exception as error:
        raise ModelLoadError(f"it cannot run ({reason(error)}).") from error
    if not bool(torch.isfinite(logits).all()):
        raise ModelLoadError("its logits are not finite; its weights are damaged, or too large.")
    return Truth(tokens, logits, (), model.dtype, None, beyond, unseen, by_itself=True)


def _rounded(original: Any, tokens: Int[Tensor, "1 pos"]) -> Float[Tensor, "shown vocab"]:
    """Logits of the last positions, each module's output moved by up to half a step of the format."""
    options: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(original.forward).parameters:
        options["logits_to_keep"] = SHOWN
    with _moved(original):
        return original(tokens, **options).logits[0, -SHOWN:]


@contextmanager
def _moved(original: Any) -> Iterator[None]:
    """While active, what the innermost modules give in half precision is off by its rounding."""
    drawn: dict[torch.device, torch.Generator] = {}

    def move(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(output, Tensor) or output.dtype not in TYPICAL:
            return None
        if any(output is given for given in inputs):
            return None  # a hook point or dropout, which rounds nothing
        if output.device not in drawn:
            drawn[output.device] = torch.Generator(output.device).manual_seed(0)
        noise = torch.rand(
            output.shape, generator=drawn[output.device], dtype=output.dtype, device=output.device
        )
        return output.addcmul(output, noise.sub_(0.5), value=torch.finfo(output.dtype).eps)

    with ExitStack() as stack:
        for module in original.modules():
            if next(module.children(), None) is None:
                stack.callback(module.register_forward_hook(move).remove)
        yield


def wider(dtype: torch.dtype) -> str:
    """The advice that is left where a model fails in half precision; empty in float32."""
    return ", or --dtype float32, which was not tried" if dtype in TYPICAL else ""


def _length(shape: ModelShape, window: int | None, device: torch.device) -> tuple[int, int, int]:
    """Tokens that the examination needs, how many of them are past a window, and a window too wide."""
    if not window:
        return min(LEAST, shape.n_context), 0, 0
    n = min(max(LEAST, window + min(window, SHOWN)), shape.n_context)
    if n > LONGEST or _bytes(shape, n) > _SHARE_OF_FREE * free_memory(device):
        return min(LEAST, shape.n_context), 0, window
    return n, min(SHOWN, n - window), 0


def _bytes(shape: ModelShape, n: int) -> int:
    """About what a text takes: scores of one block's attention, the residual streams, the logits."""
    scores = 4 * shape.n_heads * n  # numbers of 4 bytes of a token: as they are, masked, and shares
    return 4 * n * (scores + shape.n_layers * shape.d_model + 2 * shape.n_vocab)


def _special(config: Any) -> list[int]:
    """Tokens that a configuration names as special."""
    return [
        value
        for part in (config, config.get_text_config())
        for name, value in part.to_dict().items()
        if isinstance(value, int) and name.endswith(("_token_id", "_token_index"))
    ]


def _text(n_vocab: int, special: list[int], n: int) -> Int[Tensor, "1 pos"]:
    """Ordinary tokens, all different where there are as many."""
    order = torch.arange(n_vocab) * 7919 % n_vocab
    ordinary = order[~torch.isin(order, torch.tensor(special, dtype=torch.long))]
    return ordinary.repeat(1 + n // len(ordinary))[:n].unsqueeze(0)
