"""The numbers of a model, hashed: every one of them, or a sample as earlier versions took it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from steerscope.models.fingerprints import LENGTHS

_AT_ONCE = 2**18  # numbers converted at once, by each of a few threads
# Formats of a checkpoint that a wider one holds without loss, as safetensors names them.
_NARROWER = {
    torch.bfloat16: {"BF16", "F8_E4M3", "F8_E5M2"},
    torch.float16: {"F16", "F8_E4M3", "F8_E5M2"},
    torch.float32: {"F32", "BF16", "F16", "F8_E4M3", "F8_E5M2"},
}
_INTEGERS = {"I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL"}


Place = tuple[int, tuple[int, ...], torch.dtype]


@dataclass(frozen=True)
class Numbers:
    """What fingerprints take of one tensor.

    Attributes:
        whole: hash of all its numbers.
        samples: some of them, as they are and through float16.
    """

    whole: bytes
    samples: tuple[bytes, bytes]


def numbers_of(weight: Tensor, done: Callable[[Tensor], None] | None = None) -> Numbers:
    """What fingerprints take of a tensor; each piece of it is given to `done` once it is read."""
    samples = _sample(weight, None), _sample(weight, torch.half)
    if done is not None:
        done(weight)
    return Numbers(_digest(weight, done), samples)


def place_of(weight: Tensor) -> Place:
    """Where the numbers of a tensor lie: tied weights lie in one place."""
    return weight.data_ptr(), tuple(weight.shape), weight.dtype


def weights_fingerprint(
    architecture: str,
    weights: Mapping[str, Tensor],
    known: Mapping[Place, Numbers] | None = None,
) -> str:
    """Fingerprint of an architecture's name and of all numbers of its weights.

    Args:
        architecture: the name.
        weights: by their names.
        known: what fingerprints take of the tensors that are here in place of others.
    """
    found = dict(known or {})
    names = sorted(weights)
    places = {name: place_of(weights[name]) for name in names}
    new = {place: weights[name] for name, place in places.items() if place not in found}
    with ThreadPoolExecutor(max_workers=4) as pool:
        found.update(zip(new, pool.map(numbers_of, new.values()), strict=True))
    digests = [hashlib.sha256(architecture.encode()) for _ in LENGTHS]
    for name, place in places.items():
        title, numbers = f"{name} {tuple(weights[name].shape)}".encode(), found[place]
        digests[0].update(b"\0" + title + b" " + numbers.whole)
        for digest, sample in zip(digests[1:], numbers.samples, strict=True):
            digest.update(title + sample)
    return "-".join(d.hexdigest()[:n] for d, n in zip(digests, LENGTHS, strict=True))


def sampled(
    architecture: str, weights: Mapping[str, Tensor], through: torch.dtype | None = None
) -> str:
    """Hash of up to 4,096 evenly spaced numbers of each tensor, rounded to bfloat16.

    The whole fingerprint of earlier versions, which took the numbers `through` float16 where the
    model was loaded in it.
    """
    digest = hashlib.sha256(architecture.encode())
    for name in sorted(weights):
        digest.update(f"{name} {tuple(weights[name].shape)}".encode())
        digest.update(_sample(weights[name], through))
    return digest.hexdigest()


def _sample(weight: Tensor, through: torch.dtype | None) -> bytes:
    flat = weight.detach().reshape(-1)
    sample = flat[:: max(1, flat.numel() // 4096)][:4096].to("cpu")
    if through is not None and sample.is_floating_point():
        sample = sample.to(through)
    return sample.to(torch.bfloat16).view(torch.int16).numpy().tobytes()


def _digest(weight: Tensor, done: Callable[[Tensor], None] | None = None) -> bytes:
    """Hash of the numbers of one tensor and of the narrowest format that holds them."""
    flat = weight.detach().reshape(-1)
    kind = _narrowest(flat, done)
    digest = hashlib.sha256(str(kind).encode())
    for chunk in _pieces(flat, done):
        numbers = chunk.to("cpu", kind).contiguous()
        digest.update(numbers.view(torch.uint8).numpy().data)
    return digest.digest()


def _narrowest(flat: Tensor, done: Callable[[Tensor], None] | None = None) -> torch.dtype:
    if not flat.is_floating_point() or flat.dtype == torch.float64:
        return flat.dtype
    for kind in (torch.bfloat16, torch.float16):
        if flat.dtype == kind or all(_holds(kind, chunk) for chunk in _pieces(flat, done)):
            return kind
    return torch.float32


def _pieces(flat: Tensor, done: Callable[[Tensor], None] | None) -> Iterator[Tensor]:
    for chunk in flat.split(_AT_ONCE):
        yield chunk
        if done is not None:
            done(chunk)


def _holds(kind: torch.dtype, numbers: Tensor) -> bool:
    """Whether a format has all these numbers, to the bit."""
    wide = numbers.float()
    return torch.equal(wide.to(kind).float().view(torch.int32), wide.view(torch.int32))


def format_of(files: Sequence[Path]) -> torch.dtype:
    """The narrowest format that is known to have all numbers of a checkpoint."""
    return next(kind for kind in _NARROWER if holds_checkpoint(kind, files))


def holds_checkpoint(kind: torch.dtype, files: Sequence[Path]) -> bool:
    """Whether a model loaded in a format has the numbers of its checkpoint, without rounding.

    Files other than safetensors do not say what they hold, and float32 holds all of it.
    """
    if {file.suffix for file in files} == {".safetensors"}:
        return set().union(*map(_formats, files)) <= _NARROWER[kind] | _INTEGERS
    return kind == torch.float32


def _formats(file: Path) -> set[str]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    return {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
