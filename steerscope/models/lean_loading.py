"""Loading without the numbers in memory twice: a part of a file is let go once it is converted.

transformers maps a safetensors file into memory and copies from it what is to have another format;
the pages that it has read stay, counted as this process's, until all is loaded. A GGUF tensor is
de-quantised whole, in several steps of its full size, and the reader of its file makes an array of
half a kilobyte of every word of the vocabulary. Files are read here in pieces and by lighter arrays.
Where a version of transformers or a system works otherwise, loading is as it was.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from operator import attrgetter
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import core_model_loading

_DONTNEED = 4  # of madvise in Linux: the pages are read from the file again, should anyone ask
_BYTES_AT_ONCE = 2**22
_MUCH = 2**26  # bytes: with less, looking for what to give back takes longer than the loading


class _LightReader(gguf.GGUFReader):
    """Reads a GGUF file through plain arrays, which take a fifth of the memory and of the time."""

    @property
    def data(self) -> Any:
        """The bytes of the file."""
        return self._plain

    @data.setter
    def data(self, mapped: np.ndarray) -> None:
        self._plain = mapped.view(np.ndarray)


class _Fresh(np.ndarray):
    """An array that nobody else holds, of which a copy is the array itself."""

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """What numpy does, but for a copy."""
        if func is np.copy:
            return np.ascontiguousarray(self).view(np.ndarray)
        return super().__array_function__(func, types, args, kwargs)


@contextmanager
def lean_loading(each: Callable[[Tensor], None] | None = None) -> Iterator[None]:
    """While active, what transformers loads is in memory about once.

    Args:
        each: is given every tensor as soon as it is read or a model has it, so that it may be given one
            twice, and may put other numbers there.
    """
    copy, put = core_model_loading._materialize_copy, core_model_loading.set_param_for_module
    taken, read = torch.from_numpy, _Read()

    def copied(tensor: Any, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
        if isinstance(tensor, Tensor):  # no file behind it, as far as one can tell
            return copy(tensor, device, dtype)
        return read.copied(tensor[...], device, dtype)

    def put_and_told(model: Any, name: str, value: Tensor, info: Any, quantiser: Any) -> None:
        put(model, name, value, info, quantiser)
        if each is not None and isinstance(there := attrgetter(name)(model), Tensor):
            each(there)

    def taken_and_told(array: np.ndarray) -> Tensor:
        """All tensors of a GGUF file are made before a model has the first."""
        tensor = taken(array)
        if each is not None and read.dequantised:
            read.dequantised = False
            each(tensor)
        return tensor

    with ExitStack() as meanwhile:
        for owner, name, ours in (
            (core_model_loading, "_materialize_copy", copied),
            (core_model_loading, "set_param_for_module", put_and_told),
            (gguf, "dequantize", partial(read.in_pieces, gguf.dequantize)),
            (gguf, "GGUFReader", _LightReader),
            (torch, "from_numpy", taken_and_told),
        ):
            meanwhile.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, ours)
        yield
    if read.n_bytes > _MUCH:
        gc.collect()
        give_back()


class _Read:
    """What is read from files, each part let go once it is converted.

    Attributes:
        n_bytes: read so far.
        dequantised: whether an array of a GGUF file waits to become a tensor.
    """

    def __init__(self) -> None:
        self.n_bytes, self.dequantised = 0, False

    def copied(self, read: Tensor, device: Any, dtype: torch.dtype | None) -> Tensor:
        """A tensor of a file on a device, in a format."""
        self.n_bytes += read.nbytes
        made = read.to(device=device, dtype=dtype)
        if made.data_ptr() != read.data_ptr():
            let_go(read)
        return made

    def in_pieces(self, dequantise: Any, data: np.ndarray, kind: Any) -> np.ndarray:
        """A de-quantised tensor, made of a few rows at a time."""
        self.n_bytes += data.nbytes
        self.dequantised = True
        rows = max(1, len(data) * _BYTES_AT_ONCE // max(1, data.nbytes))
        if data.ndim < 2 or rows >= len(data):
            whole = dequantise(data, kind)
        else:
            first = dequantise(data[:rows], kind)
            whole = np.empty((len(data), *first.shape[1:]), first.dtype)
            for start in range(0, len(data), rows):
                whole[start : start + rows] = dequantise(data[start : start + rows], kind)
        if np.shares_memory(whole, data):
            return whole
        _let_go(data.ctypes.data, data.nbytes)
        return whole.view(_Fresh)


def give_back() -> None:
    """Give memory that was used for a while back to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def let_go(tensor: Tensor) -> None:
    """Give back the memory of a tensor that can be read from its file again, unchanged as it is."""
    if tensor.device.type == "cpu":
        _let_go(tensor.data_ptr(), tensor.nbytes)


def _let_go(address: int, length: int) -> None:
    """Give back the pages of a piece of memory, if it is of a mapped file."""
    page = mmap.PAGESIZE
    first = -(-address // page) * page
    stop = (address + length) // page * page
    if sys.platform == "linux" and _is_file(first, stop):
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(first), ctypes.c_size_t(stop - first), ctypes.c_int(_DONTNEED)
        )


def _is_file(first: int, stop: int) -> bool:
    """Whether a piece of memory is of a mapped file, and so can be read again."""
    if first >= stop:
        return False
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            span, *_, name = line.split(maxsplit=5)
            low, high = (int(end, 16) for end in span.split("-"))
            if low <= first < high:
                return stop <= high and name.startswith("/") and "(deleted)" not in name
    return False
