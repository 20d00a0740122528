"""A direction in models that steerscope did not load: TransformerLens alone, or transformers alone.

Both add the direction as `steer(model, Steering(direction, dose))` does, at every position but 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from steerscope.doses import Dose
from steerscope.errors import BadValueError, UnsupportedSiteError, VectorMismatchError
from steerscope.models.site_parts import on_site

if TYPE_CHECKING:
    from steerscope.directions.direction import Direction

Hook = Callable[..., Tensor]
_STREAMS = ("resid_post", "resid_pre")


def lens_hook(
    direction: Direction, dose: Dose | float = 1.0, *, first: bool = False
) -> tuple[str, Hook]:
    """The hook point and the function that add a direction, for `run_with_hooks` of TransformerLens.

    A pass over several tokens is taken to begin at position 0, one over a single token to be a later
    step of cached decoding, since a hook of TransformerLens is not told.

    Args:
        direction: what is added.
        dose: how much; a number is natural units.
        first: whether position 0, the attention sink of many models, is moved as well.

    Raises:
        BadValueError: the dose is no length.
    """
    vector = _vector(direction, dose)
    site = direction.site

    def add(activation: Tensor, hook: Any = None) -> Tensor:  # noqa: ARG001 - TransformerLens names it
        def move(x: Tensor) -> Tensor:
            moved = x + _like(x, vector)
            if not first and x.shape[1] > 1:
                moved[:, 0] = x[:, 0]
            return moved

        changed = on_site(site, activation, move)
        assert changed is not None
        return changed

    return site.hook_name, add


@contextmanager
def in_transformers(
    direction: Direction, network: nn.Module, dose: Dose | float = 1.0, *, first: bool = False
) -> Iterator[nn.Module]:
    """While active, a model of transformers has the direction added; afterwards it is as it was.

    Positions are those of the model's own pass: with a cache, and in a batch that is padded on the
    left, the first token of each text is position 0.

    Raises:
        BadValueError: the dose is no length, or the model's blocks are not to be found.
        UnsupportedSiteError: the direction is not at `resid_post` or `resid_pre`, or beyond the model.
        VectorMismatchError: its width is not the model's.
    """
    vector, site = _vector(direction, dose), direction.site
    if site.stream not in _STREAMS:
        raise UnsupportedSiteError(
            f"a model of transformers is steered at {' or '.join(_STREAMS)}, not at {site}; find the "
            "direction there, or steer with steerscope.steer."
        )
    owner, blocks = _blocks(network)
    if site.layer >= len(blocks):
        raise UnsupportedSiteError(f"site {site}: the model has layers 0 to {len(blocks) - 1}.")
    width = getattr(getattr(network, "config", None), "hidden_size", len(vector))
    if width != len(vector):
        raise VectorMismatchError(
            f"the direction {direction.label} has {len(vector)} components, the model has {width}; "
            "use a vector of this model."
        )
    watch = _Watch()

    def moved(x: Tensor) -> Tensor:
        where = None if first else watch.positions
        added = _like(x, vector)
        return x + (added if where is None else added * (where[:, -x.shape[1] :, None] > 0))

    def behind(_module: nn.Module, _args: Any, output: Any) -> Any:
        return (moved(output[0]), *output[1:]) if isinstance(output, tuple) else moved(output)

    def ahead(_module: nn.Module, args: Any, named: dict[str, Any]) -> Any:
        if args:
            return (moved(args[0]), *args[1:]), named
        return args, named | {"hidden_states": moved(named["hidden_states"])}

    block = blocks[site.layer]
    handles = [
        network.register_forward_pre_hook(watch.outside, with_kwargs=True),
        owner.register_forward_pre_hook(watch.inside, with_kwargs=True),
    ]
    try:
        handles.append(
            block.register_forward_hook(behind)
            if site.stream == "resid_post"
            else block.register_forward_pre_hook(ahead, with_kwargs=True)
        )
        yield network
    finally:
        for handle in handles:
            handle.remove()


class _Watch:
    """The positions of the pass in progress, of which the module with the blocks may not be told.

    Attributes:
        positions: of every token.
    """

    positions: Tensor
    _outside: Tensor | None = None

    def outside(self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Note what the whole model is given."""
        self._outside = _positions(module, args, named)[0]

    def inside(self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Note what the module with the blocks is given, and before it the whole model."""
        outside, self._outside = self._outside, None
        found, known = _positions(module, args, named)
        self.positions = found if known or outside is None else outside


def _vector(direction: Direction, dose: Dose | float) -> Tensor:
    amount = dose if isinstance(dose, Dose) else Dose(dose)
    return amount.absolute(direction.scale) * direction.unit


def _like(x: Tensor, vector: Tensor) -> Tensor:
    return vector.to(x.device, x.dtype)


def _blocks(network: nn.Module) -> tuple[nn.Module, nn.ModuleList]:
    """The module whose blocks these are, and the blocks: the one list as long as the model is deep."""
    config = getattr(network, "config", None)
    text = getattr(config, "text_config", None) or config
    depth = getattr(text, "num_hidden_layers", None)
    found = [
        (owner, child)
        for owner in network.modules()
        for child in owner.children()
        if isinstance(child, nn.ModuleList) and len(child) == depth
    ]
    if len(found) != 1:
        raise BadValueError(
            f"cannot tell the blocks of a {type(network).__name__}; give a causal language model of "
            "transformers, or load it with steerscope.load_model and use steerscope.steer."
        )
    return found[0]


def _positions(
    module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Tensor, bool]:
    """The absolute position of every token of the pass that begins: 0 for the first of a text.

    And whether that is known of padded texts, or the mask is one that no longer says what is padded.
    """
    given = inspect.signature(module.forward).bind_partial(*args, **named).arguments
    given = given | given.get("kwargs", {})
    positions = given.get("position_ids")
    if positions is not None:
        return positions[0] if positions.ndim == 3 else positions, True
    said = given.get("input_ids")
    said = given.get("inputs_embeds") if said is None else said
    assert said is not None
    mask = given.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return (mask.long().cumsum(-1) - 1)[:, -said.shape[1] :], True
    cache = given.get("past_key_values")
    start = 0 if cache is None else int(cache.get_seq_length())
    return torch.arange(start, start + said.shape[1], device=said.device)[None], mask is None
