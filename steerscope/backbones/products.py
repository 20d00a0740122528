"""The product of an activation with a weight matrix: read the matrix, add to what it gives.

A change of a weight, W -> W + D, is made where W is used: y -> y + x D. So it may hold for some rows
of a batch alone, and the weights themselves are never written to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from steerscope.backbones.weights import site_weight
from steerscope.errors import UnknownNameError, UnsupportedSiteError
from steerscope.model import LensModel
from steerscope.sites import Site, Stream

MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
_ATTENTION = ("q", "k", "v", "o")
_READS: dict[str, Stream] = {"o": "z", "down": "mlp_post"}
_INPUT_OF = {"k": "key_input", "v": "value_input"}
_BRIDGE_NAMES = {"up": "in", "down": "out"}

# Takes what goes into the product and gives what is added to its result; None for nothing.
Addition = Callable[[Float[Tensor, "batch pos d"]], Float[Tensor, "batch pos out"] | None]


def check_matrix(model: LensModel, name: str, layer: int) -> None:
    """Refuse a matrix that this model lacks.

    Raises:
        UnknownNameError: no such name.
        UnsupportedSiteError: no such block, or a block without such a matrix.
    """
    if name not in MATRICES:
        raise UnknownNameError("weight matrix", name, MATRICES)
    if not 0 <= layer < model.shape.n_layers:
        raise UnsupportedSiteError(
            f"matrix {name}.{layer}: {model.name} has blocks 0 to {model.shape.n_layers - 1}."
        )
    block: Any = model.transformer.blocks[layer]  # type: ignore[index]
    gated = getattr(getattr(block, "mlp", None), "W_gate", None) is not None
    if name == "gate" and not gated:
        raise UnsupportedSiteError(
            f"matrix {name}.{layer}: the MLPs of {model.name} have no gate; name up or down."
        )
    if not model.has(_site(model, name, layer)):
        raise UnsupportedSiteError(f"matrix {name}.{layer}: {model.name} has none in that block.")


def has_matrix(model: LensModel, name: str, layer: int) -> bool:
    """Whether this model has such a matrix."""
    try:
        check_matrix(model, name, layer)
    except UnsupportedSiteError:
        return False
    return True


def read_matrix(model: LensModel, name: str, layer: int) -> Float[Tensor, "d out"]:
    """The matrix W of y = x W as float32; heads are laid end to end.

    Raises:
        UnknownNameError: no such name.
        UnsupportedSiteError: the model has no such matrix.
    """
    check_matrix(model, name, layer)
    return site_weight(model, _site(model, name, layer))


@contextmanager
def adding_to_product(model: LensModel, name: str, layer: int, add: Addition) -> Iterator[None]:
    """While active, `add` sees what each pass multiplies with a matrix and adds to the result.

    Raises:
        UnknownNameError: no such name.
        UnsupportedSiteError: the model has no such matrix.
    """
    check_matrix(model, name, layer)
    attach = _at_linear if model.backbone == "bridge" else _around_product
    with attach(model, name, layer, add):
        yield


def _site(model: LensModel, name: str, layer: int) -> Site:
    """The site whose weight, in the sense of `site_weight`, is this matrix."""
    streams: dict[str, Stream] = {"q": "q", "k": "k", "v": "v", "o": "attn_out", "down": "mlp_out"}
    if name in streams:
        return Site(streams[name], layer)
    block: Any = model.transformer.blocks[layer]  # type: ignore[index]
    gated = getattr(block.mlp, "W_gate", None) is not None
    return Site("mlp_pre_linear" if name == "up" and gated else "mlp_pre", layer)


@contextmanager
def _at_linear(model: LensModel, name: str, layer: int, add: Addition) -> Iterator[None]:
    """On a bridge every product is a module of its own."""
    block: Any = model.transformer.blocks[layer]  # type: ignore[index]
    part = block.attn if name in _ATTENTION else block.mlp
    linear = part._modules[_BRIDGE_NAMES.get(name, name)]

    def call(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        added = add(inputs[0])
        return None if added is None else output + added.reshape(output.shape)

    handle = linear.register_forward_hook(call)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _around_product(model: LensModel, name: str, layer: int, add: Addition) -> Iterator[None]:
    """HookedTransformer multiplies inside its modules: one hook sees the input, one the result."""
    block: Any = model.transformer.blocks[layer]  # type: ignore[index]
    module = block.attn if name in _ATTENTION else block.mlp
    seen: list[Tensor] = []

    def keep(x: Tensor) -> None:
        seen[:] = [x]

    def keep_argument(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        keep(given[0] if given else named[_INPUT_OF.get(name, "query_input")])

    def change(y: Tensor) -> Tensor | None:
        added = add(seen.pop())
        return None if added is None else y + added

    def change_output(_module: nn.Module, _inputs: Any, y: Tensor) -> Tensor | None:
        return change(y)

    with ExitStack() as stack:
        # What comes out of a whole module is taken there: a norm may follow before the next site.
        if name in _READS:
            stack.enter_context(model.hook(Site(_READS[name], layer), keep))
            stack.callback(module.register_forward_hook(change_output).remove)
        else:
            handle = module.register_forward_pre_hook(keep_argument, with_kwargs=True)
            stack.callback(handle.remove)
            stack.enter_context(model.hook(_site(model, name, layer), change))
        yield
