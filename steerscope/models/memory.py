"""How many rows fit into memory: stated before anything runs, and refused where not one does.

Sizes are upper bounds from the shape of the model. Weights count once; a row costs its keys and
values, and in every pass the activations of one block and its logits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psutil
import torch

from steerscope.errors import BadValueError, MemoryBudgetError
from steerscope.models.lens_model import LensModel

_SHARE_OF_FREE = 0.8  # of what the machine has left, without a limit of the user's
_MOST_TOKENS = 8192
_REUSED = 24 * 2**20  # bytes of a piece of memory that is kept for the next use
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)
}


def parse_bytes(text: str) -> int:
    """Bytes written as `8GiB`, `500MB` or a plain number.

    Raises:
        BadValueError: none of these, or nothing at all.
    """
    found = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([a-zA-Z]*)\s*", text)
    unit = _UNITS.get((found[2] or "b").lower()) if found else None
    if found is None or unit is None or not float(found[1]) > 0:
        raise BadValueError(f"cannot read memory {text!r}; write it as 8GiB, 500MB or in bytes.")
    return int(float(found[1]) * unit)


def shown(n_bytes: int) -> str:
    """Bytes in a unit that a person reads, such as `1.5 GiB`."""
    amount = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} TiB"


def free_memory(device: torch.device) -> int:
    """Bytes that a device has left now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return int(psutil.virtual_memory().available)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of a piece of work and the number of rows that run at once.

    Attributes:
        limit: what there is for everything.
        weights: of the model.
        shared: of what is there however many rows run: captures, or the pass over the prompts.
        row: of one row.
        rows: at once.
    """

    limit: int
    weights: int
    shared: int
    row: int
    rows: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.shared + self.rows * self.row

    def __str__(self) -> str:
        return (
            f"weights {shown(self.weights)} + shared {shown(self.shared)} + {self.rows:,} rows of "
            f"{shown(self.row)} = {shown(self.total)} of {shown(self.limit)}"
        )


def weights_bytes(model: LensModel) -> int:
    """Bytes of the parameters and buffers of a model, each counted once."""
    tensors = {
        t.data_ptr(): t.nbytes
        for t in (*model.transformer.parameters(), *model.transformer.buffers())
    }
    return sum(tensors.values())


def cache_bytes(model: LensModel) -> int:
    """Bytes of the keys and values of one token in every layer."""
    s = model.shape
    return 2 * s.n_layers * s.n_key_value_heads * s.d_head * model.dtype.itemsize


def pass_bytes(model: LensModel) -> int:
    """Bytes of the activations of one block for one token while it runs."""
    s = model.shape
    heads = s.d_head * (3 * s.n_heads + 2 * s.n_key_value_heads)
    return (6 * s.d_model + heads + 4 * s.d_mlp) * model.dtype.itemsize


def logits_bytes(model: LensModel) -> int:
    """Bytes of the logits of one position, with the float32 copies that are made of them."""
    return model.shape.n_vocab * (model.dtype.itemsize + 3 * 4)


def tokens_in_cache(model: LensModel) -> int:
    """Tokens of one pass from which on more at once cost more.

    The widest activation then is of a size that is used again and not given back to the system.
    """
    s = model.shape
    return max(64, min(_MOST_TOKENS, _REUSED // (max(s.d_mlp, s.d_model) * model.dtype.itemsize)))


def room(model: LensModel) -> int:
    """Bytes that are left beside the weights; negative if the weights alone are too large."""
    weights = weights_bytes(model)
    if model.memory_limit is not None:
        return model.memory_limit - weights
    return int(_SHARE_OF_FREE * free_memory(model.device))


def fit(model: LensModel, work: str, *, shared: int, row: int, at_most: int) -> MemoryPlan:
    """As many rows as the memory holds, up to `at_most`.

    Raises:
        MemoryBudgetError: not one row fits.
    """
    weights, free = weights_bytes(model), room(model)
    rows = min(at_most, (free - shared) // max(row, 1))
    if rows < 1:
        raise MemoryBudgetError(
            f"{work} does not fit into {shown(weights + free)}: {model.name} has {shown(weights)} of "
            f"weights, {shown(shared)} are needed for all rows and {shown(row)} for each. Allow more "
            "memory, or use shorter texts, fewer sites or a smaller number format."
        )
    return MemoryPlan(weights + free, weights, shared, row, rows)
