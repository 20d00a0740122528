"""The numbers of a model, hashed: every one of them, or a sample as earlier versions took it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from steerscope.models.fingerprints import LENGTHS

_AT_ONCE = 2**18  # numbers converted at once, by each of a few threads
# Formats of a checkpoint that a wider one holds without loss, as safetensors names them.
_NARROWER = {
    torch.float32: {"F32", "BF16", "F16", "F8_E4M3", "F8_E5M2"},
    torch.bfloat16: {"BF16", "F8_E4M3", "F8_E5M2"},
    torch.float16: {"F16", "F8_E4M3", "F8_E5M2"},
}
_INTEGERS = {"I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL"}


def weights_fingerprint(architecture: str, weights: Mapping[str, Tensor]) -> str:
    """Fingerprint of an architecture's name and of all numbers of its weights."""
    known: dict[tuple[int, tuple[int, ...], torch.dtype], bytes] = {}  # tied weights are read once
    names = sorted(weights)
    places = [(w.data_ptr(), tuple(w.shape), w.dtype) for w in (weights[n] for n in names)]
    first = {place: weights[name] for name, place in zip(names, places, strict=True)}
    with ThreadPoolExecutor(max_workers=4) as pool:
        known.update(zip(first, pool.map(_digest, first.values()), strict=True))
    whole = hashlib.sha256(architecture.encode())
    for name, place in zip(names, places, strict=True):
        whole.update(f"\0{name} {tuple(weights[name].shape)} ".encode() + known[place])
    parts = (whole.hexdigest(), *(sampled(architecture, weights, by) for by in (None, torch.half)))
    return "-".join(part[:n] for part, n in zip(parts, LENGTHS, strict=True))


def sampled(
    architecture: str, weights: Mapping[str, Tensor], through: torch.dtype | None = None
) -> str:
    """Hash of up to 4,096 evenly spaced numbers of each tensor, rounded to bfloat16.

    The whole fingerprint of earlier versions, which took the numbers `through` float16 where the
    model was loaded in it.
    """
    digest = hashlib.sha256(architecture.encode())
    for name in sorted(weights):
        flat = weights[name].detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 4096)][:4096].to("cpu")
        if through is not None and sample.is_floating_point():
            sample = sample.to(through)
        digest.update(f"{name} {tuple(weights[name].shape)}".encode())
        digest.update(sample.to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def _digest(weight: Tensor) -> bytes:
    """Hash of the numbers of one tensor and of the narrowest format that holds them."""
    flat = weight.detach().reshape(-1)
    kind = _narrowest(flat)
    digest = hashlib.sha256(str(kind).encode())
    for chunk in flat.split(_AT_ONCE):
        numbers = chunk.to("cpu", kind).contiguous()
        digest.update(numbers.view(torch.uint8).numpy())
    return digest.digest()


def _narrowest(flat: Tensor) -> torch.dtype:
    if not flat.is_floating_point() or flat.dtype == torch.float64:
        return flat.dtype
    for kind in (torch.bfloat16, torch.float16):
        if flat.dtype == kind or all(_holds(kind, chunk) for chunk in flat.split(_AT_ONCE)):
            return kind
    return torch.float32


def _holds(kind: torch.dtype, numbers: Tensor) -> bool:
    """Whether a format has all these numbers, to the bit."""
    wide = numbers.float()
    return torch.equal(wide.to(kind).float().view(torch.int32), wide.view(torch.int32))


def holds_checkpoint(kind: torch.dtype, files: Sequence[Path], own: torch.dtype | None) -> bool:
    """Whether a model loaded in a format has the numbers of its checkpoint, without rounding.

    Args:
        kind: the format.
        files: of the checkpoint; those in safetensors say what they hold.
        own: the format that the checkpoint's configuration names, for other files.
    """
    suffixes = {file.suffix for file in files}
    if suffixes == {".safetensors"}:
        return set().union(*map(_formats, files)) <= _NARROWER[kind] | _INTEGERS
    return kind == (torch.float32 if suffixes == {".gguf"} else own)


def _formats(file: Path) -> set[str]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    return {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
