"""What must hold of a family on a backbone, against transformers run by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

import steerscope as ss
from steerscope.directions import Direction
from steerscope.doses import Scale
from steerscope.extraction.activations import Provenance
from steerscope.models.lens_model import LensModel
from steerscope.sites import STREAMS, Site

_N_NEW = 10
_WIDEST = 100  # letters of a refusal in the table
_TOLERANCE = 1e-3
_LENGTHS = (3, 7, 7, 28, 40)


@torch.no_grad()
def outcome(folder: Path, backbone: str) -> str:
    """`passes`, what is not offered in brackets, or one refusal in words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ss.errors.BackboneWarning)
            model = ss.load_model(folder, backbone=backbone)
    except ss.SteerscopeError as error:
        return f"refused: {_refusal(str(error), backbone)}"
    outside = hf.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    for check in (_logits, _steering, _continuations, _caches, _lens):
        wrong = check(model, outside)
        if wrong:
            return f"FAILS: {wrong}"
    return f"passes{_remarks(model, backbone)}"


def _refusal(message: str, backbone: str) -> str:
    """The reason alone, without what stands around it."""
    message = message.removesuffix(" Use another checkpoint.").removesuffix(
        "; use the bridge backbone."
    )
    for start in (
        "HookedTransformer cannot, since ", "TransformerBridge cannot, since ", "cannot run ",
    ):  # fmt: skip
        if start in message and (backbone != "auto" or "Bridge" in start):
            message = message.split(start)[-1]
            if start == "cannot run " and ": " in message:
                message = message.split(": ", 1)[1]
            break
    message = message.removeprefix("cannot load model 'tiny': ").rstrip(".")
    return message if len(message) <= _WIDEST else f"{message[:_WIDEST].rsplit(' ', 1)[0]} ..."


def _remarks(model: LensModel, backbone: str) -> str:
    found = [f"on {model.backbone}"] if backbone == "auto" else []
    streams = {stream for stream, _ in model.offer.lacking if stream in STREAMS}
    if streams:
        found.append(f"without {', '.join(s for s in STREAMS if s in streams)}")
    if model.offer.no_cache:
        found.append("no cache")
    if model.offer.no_unembedding:
        found.append("no lens")
    return f" ({'; '.join(found)})" if found else ""


def _texts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [[1, *torch.randint(5, 290, (n,), generator=generator).tolist()] for n in _LENGTHS]


def _off(ours: torch.Tensor, theirs: torch.Tensor) -> str:
    gap = float((ours - theirs).abs().max() / theirs.std())
    return "" if gap <= _TOLERANCE else f"by {gap:.2g} standard deviations"


def _logits(model: LensModel, outside: Any) -> str:
    tokens = torch.tensor([_texts()[-1]])
    off = _off(model.forward(tokens), outside(tokens, use_cache=False).logits)
    return off and f"logits differ {off}"


def _steering(model: LensModel, outside: Any) -> str:
    """A vector at each block output against the same addition in a hook of transformers."""
    tokens = torch.tensor([_texts()[-1]])
    blocks = _blocks(outside, model.shape.n_layers)
    for layer, block in enumerate(blocks):
        if not model.has(Site("resid_post", layer)):
            continue
        direction = _direction(model, layer)
        handle = block.register_forward_hook(_adding(direction.unit))
        theirs = outside(tokens, use_cache=False).logits
        handle.remove()
        with ss.steer(model, _steer(direction)):
            off = _off(model.forward(tokens), theirs)
        if off:
            return f"steering block {layer} differs {off}"
    return ""


def _blocks(outside: Any, n_layers: int) -> Any:
    lists = (m for m in outside.modules() if isinstance(m, torch.nn.ModuleList))
    return next(blocks for blocks in lists if len(blocks) == n_layers)


def _adding(vector: torch.Tensor) -> Callable[..., Any]:
    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            return output + vector
        return type(output)((output[0] + vector, *output[1:]))

    return add


def _direction(model: LensModel, layer: int) -> Direction:
    vector = torch.randn(model.shape.d_model, generator=torch.Generator().manual_seed(layer))
    origin = Provenance(model.name, model.fingerprint, "random", "0", "last", 1)
    return Direction(
        Site("resid_post", layer), vector / vector.norm(), Scale(1.0, 1.0), "random", origin
    )


def _steer(direction: Direction) -> ss.Steering:
    return ss.Steering(direction, ss.Dose(1.0, "absolute"), scope=ss.Scope.everywhere())


def _continuations(model: LensModel, outside: Any) -> str:
    """Greedy tokens of prompts of several lengths, each against transformers without a cache."""
    texts = _texts()
    found = [list(c.tokens) for c in ss.generate(model, texts, n_new=_N_NEW)[0]]
    for text, ours in zip(texts, found, strict=True):
        tokens = list(text)
        while len(tokens) < len(text) + _N_NEW and tokens[len(text) :][-1:] != [2]:
            tokens.append(
                int(outside(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax())
            )
        theirs = [token for token in tokens[len(text) :] if token != 2]
        if ours != theirs:
            return f"a continuation of {len(text)} tokens is {ours}, of transformers {theirs}"
    return ""


def _caches(model: LensModel, _outside: Any) -> str:
    """Steered continuations with a cache, without one, and each alone."""
    layers = [i for i in range(model.shape.n_layers) if model.has(Site("resid_post", i))]
    cells = [ss.Cell(), *(ss.Cell((_steer(_direction(model, i)),)) for i in layers)]
    texts = _texts()
    cached = ss.generate(model, texts, cells, n_new=3)
    if cached != ss.generate(model, texts, cells, n_new=3, use_cache=False):
        return "continuations with a cache are others"
    alone = [ss.generate(model, [text], n_new=3)[0][0] for text in texts]
    return "" if cached[0] == alone else "continuations in a batch are others"


def _lens(model: LensModel, _outside: Any) -> str:
    last = Site("resid_post", model.shape.n_layers - 1)
    if model.offer.no_unembedding or not model.has(last):
        return ""
    tokens = torch.tensor([_texts()[-1]])
    off = _off(model.unembed(model.read(tokens, [last])[last]), model.forward(tokens))
    return off and f"the lens at the last block differs {off}"
