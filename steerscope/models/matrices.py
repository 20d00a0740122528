"""The weight matrices of a block under names that all architectures share, to read and to change.

A matrix is always inputs x outputs, so that y = x W, whatever the backbone keeps: one slice per
head, transposed as in `nn.Linear`, or as it is in GPT-2's `Conv1D`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from steerscope.errors import UnsupportedWeightError, check_name
from steerscope.models.attention_kernels import QUERY_NORMS
from steerscope.models.lens_model import LensModel
from steerscope.models.norms_after import bridged_norms_after, hooked_norm_after

WeightName = Literal["q", "k", "v", "o", "gate", "up", "down"]
WEIGHTS: tuple[WeightName, ...] = get_args(WeightName)
Addition = Callable[[Tensor], tuple[Int[Tensor, " row"] | None, Tensor] | None]

_HEADS_FIRST = {"q": "W_Q", "k": "W_K", "v": "W_V", "o": "W_O"}
_PROJECTIONS = {"q": "query_input", "k": "key_input", "v": "value_input"}
_ON_BRIDGE = {"gate": "gate", "up": "in", "down": "out"}
_VALUE_NORMS = ("v_norm", "attn_sub_norm")
_ROUTER = "what is called {0} there chooses among experts and is no matrix of one MLP"


# What transformers and TransformerLens call the same matrices; `c_proj` and the like by their parent.
_ALIASES: dict[WeightName, tuple[str, ...]] = {
    "q": ("q_proj", "query", "q_lin", "W_Q"),
    "k": ("k_proj", "key", "k_lin", "W_K"),
    "v": ("v_proj", "value", "v_lin", "W_V"),
    "o": (
        "o_proj", "attn.c_proj", "attn.out_proj", "self_attn.out_proj", "attention.dense",
        "self_attention.dense", "W_O",
    ),
    "gate": ("gate_proj", "w1", "W_gate"),
    "up": ("up_proj", "w3", "c_fc", "fc1", "fc_in", "dense_h_to_4h", "W_in"),
    "down": ("down_proj", "w2", "mlp.c_proj", "fc2", "fc_out", "dense_4h_to_h", "W_out"),
}  # fmt: skip
_WEIGHT_OF = {alias: name for name, aliases in _ALIASES.items() for alias in aliases}


def check_weight(name: str) -> WeightName:
    """The weight of that name, which may be that of transformers or TransformerLens.

    Raises:
        UnknownNameError: there is none; the message lists the known weights.
    """
    parts = name.removesuffix(".weight").split(".")
    for end in (".".join(parts[-2:]), parts[-1]):
        if end in _WEIGHT_OF and not any("expert" in part for part in parts):
            return _WEIGHT_OF[end]
    return check_name("weight", name, WEIGHTS)


@dataclass(frozen=True, eq=False)
class Matrix(ABC):
    """One weight matrix of one block.

    Attributes:
        name: `q`, `k`, `v`, `o`, `gate`, `up` or `down`.
        layer: the block, 0-based.
        parameter: where its numbers are; grouped heads come once.
        gain_cancels: whether a norm follows that divides out any factor of this matrix.
        norm_behind: whether what it writes, of `o` or `down`, passes a norm on its way to the residual stream.
    """

    name: WeightName
    layer: int
    parameter: nn.Parameter
    gain_cancels: bool
    norm_behind: bool
    component: Any

    def read(self) -> Float[Tensor, "row d"]:
        """The numbers as they are now, inputs x outputs, on the same memory where that can be."""
        return self._flat(self.parameter.detach())

    @contextmanager
    def replaced(self, weight: Float[Tensor, "row d"]) -> Iterator[None]:
        """While active, the block uses other numbers; afterwards the very same memory as before."""
        before = self.parameter.data
        shaped = self._shaped(weight.to(before))
        self.parameter.data = torch.empty_like(before).copy_(shaped)  # laid out in memory as it was
        try:
            yield
        finally:
            self.parameter.data = before

    @property
    def checksum(self) -> str:
        """SHA-256 of the numbers, to the bit."""
        held = self.parameter.detach().to("cpu").contiguous().view(-1).view(torch.uint8)
        return hashlib.sha256(held.numpy().tobytes()).hexdigest()

    @abstractmethod
    def adding(self, addition: Addition) -> Any:
        """While active, `addition` sees each input x and gives what is added to x W.

        It returns the rows of the batch that it is for, None for all, and the numbers for them; or
        None to add nothing. What is read is the input as it is used, after all other hooks.
        """

    @abstractmethod
    def _flat(self, held: Tensor) -> Float[Tensor, "row d"]: ...

    @abstractmethod
    def _shaped(self, weight: Float[Tensor, "row d"]) -> Tensor: ...


def weight_matrix(model: LensModel, name: str, layer: int) -> Matrix:
    """The weight matrix of that name in a block.

    Raises:
        UnknownNameError: no such weight.
        UnsupportedWeightError: the block has no such matrix as plain numbers of its own.
    """
    known = check_weight(name)
    place = f"weight {name} of block {layer} of {model.name} on the {model.backbone} backbone"
    if not 0 <= layer < model.shape.n_layers:
        raise UnsupportedWeightError(
            f"{place}: there are blocks 0 to {model.shape.n_layers - 1}; choose one of them."
        )
    find = _hooked if model.backbone == "hooked" else _bridged
    blocks: Any = model.transformer.blocks
    try:
        found = find(model, blocks[layer], known, layer)
    except AttributeError as error:
        raise UnsupportedWeightError(
            f"{place}: there is no such matrix ({error}); choose another weight or block."
        ) from None
    if not found.parameter.is_floating_point():
        raise UnsupportedWeightError(
            f"{place} is quantised ({found.parameter.dtype}); load the model in float32, bfloat16 or "
            "float16."
        )
    others = (other for i, other in enumerate(blocks) if i != layer)
    if any(p is found.parameter for other in others for p in other.parameters()):
        raise UnsupportedWeightError(
            f"{place} is shared with another block, so that a change here is one there as well; "
            "this model's weights cannot be edited block by block."
        )
    return found


def add_to(output: Tensor, found: tuple[Int[Tensor, " row"] | None, Tensor] | None) -> None:
    """Add to the fresh output of a matrix, in place, for some rows or all."""
    if found is None:
        return
    rows, extra = found
    extra = extra.reshape(len(extra), *output.shape[1:]).to(output.dtype)
    if rows is None:
        output.add_(extra)
    else:
        output.index_add_(0, rows, extra)


class _Hooked(Matrix):
    """A parameter of HookedTransformer; `component` is the attention or MLP that uses it."""

    def _flat(self, held: Tensor) -> Float[Tensor, "row d"]:
        if self.name in _PROJECTIONS:
            return rearrange(held, "head row d -> row (head d)")
        return rearrange(held, "head row d -> (head row) d") if self.name == "o" else held

    def _shaped(self, weight: Float[Tensor, "row d"]) -> Tensor:
        n_heads = len(self.parameter)
        if self.name in _PROJECTIONS:
            return rearrange(weight, "row (head d) -> head row d", head=n_heads)
        if self.name == "o":
            return rearrange(weight, "(head row) d -> head row d", head=n_heads)
        return weight

    @contextmanager
    def adding(self, addition: Addition) -> Iterator[None]:
        if self.name in {"o", "down"}:
            with self._adding_behind(addition):
                yield
            return
        seen: dict[str, Tensor] = {}

        def keep(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            seen["x"] = named[_PROJECTIONS[self.name]] if self.name in _PROJECTIONS else inputs[0]

        def add(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            add_to(inputs[0], addition(seen.pop("x")))  # before any hook on this output

        handles = [
            self.component.register_forward_pre_hook(keep, with_kwargs=True),
            self._output_point.register_forward_pre_hook(add),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def _output_point(self) -> nn.Module:
        if self.name in _PROJECTIONS:
            return getattr(self.component, f"hook_{self.name}")
        gated = getattr(self.component, "W_gate", None) is not None
        return (
            self.component.hook_pre_linear
            if self.name == "up" and gated
            else self.component.hook_pre
        )

    @contextmanager
    def _adding_behind(self, addition: Addition) -> Iterator[None]:
        """For the matrix that makes the component's output."""
        point = self.component.hook_z if self.name == "o" else self.component.hook_post
        seen: dict[str, Tensor] = {}

        with ExitStack() as last:

            def begin(*_: Any) -> None:
                last.close()  # anew in every pass, so that it comes after all other hooks
                handle = point.register_forward_hook(lambda _m, _i, x: seen.update(x=x))
                last.callback(handle.remove)

            def add(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                x = seen.pop("x")
                add_to(output, addition(x.flatten(2)))

            handles = [
                self.component.register_forward_pre_hook(begin),
                self.component.register_forward_hook(add),
            ]
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()


@dataclass(frozen=True, eq=False)
class _OnBridge(Matrix):
    """The layer of transformers that TransformerBridge wraps; `component` is that layer, in `block`."""

    block: nn.Module

    def _flat(self, held: Tensor) -> Float[Tensor, "row d"]:
        return held.T if isinstance(self.component, nn.Linear) else held

    def _shaped(self, weight: Float[Tensor, "row d"]) -> Tensor:
        return weight.T if isinstance(self.component, nn.Linear) else weight

    @contextmanager
    def adding(self, addition: Addition) -> Iterator[None]:
        n_rows = 1

        def count(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            nonlocal n_rows
            n_rows = len(inputs[0] if inputs else named["hidden_states"])

        def add(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0]
            if x.ndim == 2:  # OPT lays the tokens of all rows end to end
                x, output = (t.unflatten(0, (n_rows, -1)) for t in (x, output))
            add_to(output, addition(x))

        handles = [
            self.block.register_forward_pre_hook(count, with_kwargs=True),
            self.component.register_forward_hook(add),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _hooked(model: LensModel, block: Any, name: WeightName, layer: int) -> Matrix:
    component = block.attn if name in _HEADS_FIRST else block.mlp
    if name in _HEADS_FIRST:
        own = component._parameters.get(f"_{_HEADS_FIRST[name]}")  # of grouped keys and values
        parameter = component._parameters[_HEADS_FIRST[name]] if own is None else own
    else:
        parameter = getattr(component, {"gate": "W_gate", "up": "W_in", "down": "W_out"}[name])
        if parameter is None:
            raise AttributeError(f"this MLP has no {name} projection")
        if not isinstance(parameter, nn.Parameter):
            raise AttributeError(_ROUTER.format(name))
    cfg = cast(Any, model.transformer).cfg
    after = hooked_norm_after(model.transformer)
    gated = getattr(getattr(block, "mlp", None), "W_gate", None) is not None
    cancels = (
        bool(cfg.use_qk_norm) or getattr(component, "q_norm", None) is not None
        if name in {"q", "k"}
        else after and (name in {"v", "o", "down"} or (name == "up" and gated))
    )
    behind = after and name in {"o", "down"}
    return _Hooked(name, layer, parameter, cancels, behind, component)


def _is_branch(mlp: Any, component: Any) -> bool:
    """Whether a matrix is as wide as what the MLP's last one takes, so a branch and no router."""
    out = getattr(mlp, "out", None) or getattr(mlp, "dense_out", None)
    down = getattr(out, "original_component", None)
    ours, last = (getattr(c, "weight", None) for c in (component, down))
    if ours is None or last is None or ours.ndim != 2 or last.ndim != 2:
        return False
    return max(ours.shape) == max(last.shape) and min(ours.shape) == min(last.shape)


def _bridged(_model: LensModel, block: Any, name: WeightName, layer: int) -> Matrix:
    side, inside = (block.attn, name) if name in _HEADS_FIRST else (block.mlp, _ON_BRIDGE[name])
    if not hasattr(side, inside):  # an MLP between mixtures of experts
        inside = f"dense_{inside}" if hasattr(side, f"dense_{inside}") else inside
    component = getattr(side, inside).original_component
    if name in {"gate", "up"} and not _is_branch(block.mlp, component):
        raise AttributeError(_ROUTER.format(name))
    weight = getattr(component, "weight", None)
    if not isinstance(weight, nn.Parameter) or weight.ndim != 2:
        raise AttributeError(f"{type(component).__name__} holds no plain matrix")
    if name == "q" and _makes_gates(side, component):
        raise AttributeError("what makes the queries there makes their gates as well")
    cancels = name in _cancelling(block)
    last = {"v": "o", "up": _ON_BRIDGE["down"]}.get(name)
    added = [component, getattr(getattr(side, last or "", None), "original_component", None)]
    stays = any(_has_bias(c) for c in added)  # what a factor leaves alone, the norm cannot undo
    behind = name in {"o", "down"} and cancels
    return _OnBridge(name, layer, weight, cancels and not stays, behind, component, block)


def _makes_gates(attention: Any, component: Any) -> bool:
    """Whether a matrix makes twice as many numbers as its attention puts out: a gate for each query."""
    out = getattr(getattr(attention, "o", None), "original_component", None)
    if not (isinstance(out, nn.Linear) and isinstance(component, nn.Linear)):
        return False
    return component.out_features == 2 * out.in_features


def _cancelling(block: Any) -> set[str]:
    """The matrices of a block behind which a norm divides out any factor of theirs."""
    mlp = getattr(block, "mlp", None)
    attention, inside = (
        getattr(part, "original_component", None) for part in (getattr(block, "attn", None), mlp)
    )
    after_attention, after_mlp = bridged_norms_after(block)
    gated = mlp is not None and bool({"gate", "dense_gate"} & dict(mlp.named_children()).keys())
    within = hasattr(inside, "ffn_sub_norm")  # of BitNet
    bends = not type(getattr(inside, "act_fn", None)).__name__.startswith("ReLU")
    found = {
        "q": any(hasattr(attention, norm) for norm in QUERY_NORMS),
        "v": after_attention or any(hasattr(attention, norm) for norm in _VALUE_NORMS),
        "o": after_attention,
        "gate": within and not bends,
        "up": (after_mlp or within) and gated,
        "down": after_mlp,
    }
    return {name for name, cancels in (found | {"k": found["q"]}).items() if cancels}


def _has_bias(component: Any) -> bool:
    bias = getattr(component, "bias", None)
    return isinstance(bias, Tensor) and bool(bias.any())
