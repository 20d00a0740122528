"""Changes of weights in safetensors files, each with a description in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from steerscope.errors import SteerscopeError, VectorFileError
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import check_weight, weight_matrix
from steerscope.runs.outputs import check_file
from steerscope.runs.whole_files import whole_file
from steerscope.texts.files import parse_json
from steerscope.weights.adapter.adapter import AdapterDesign, SvdAdapter, untrained
from steerscope.weights.adapter.changes import check_model
from steerscope.weights.adapter.factors import Factors
from steerscope.weights.adapter.kinds import Sizes
from steerscope.weights.adapter.learned import (
    LearnedAdapter,
    LearnedDesign,
    Numbers,
    untrained_numbers,
)
from steerscope.weights.adapter.records import TrainingRecord
from steerscope.weights.places import Place

_KEY = "steerscope"
_KIND, _LEARNED = "svd adapter", "adapter"
_BASES = ("inputs", "values", "outputs")


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    described: Mapping[str, Any],
    refused: type[SteerscopeError] = VectorFileError,
) -> None:
    """Write tensors and their description to a safetensors file, whole or not at all.

    Raises:
        SteerscopeError: of the class `refused`, if the disk refuses.
    """
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    content = save(plain, {_KEY: json.dumps(described, sort_keys=True)})
    with whole_file(path, refused) as unfinished:
        unfinished.write_bytes(content)


def read_tensors(
    path: str | Path, refused: type[SteerscopeError] = VectorFileError
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file that `write_tensors` wrote.

    Raises:
        SteerscopeError: of the class `refused`: no such file, not one of ours, or a NaN in it.
    """
    if not Path(path).is_file():
        raise refused(f"no file {path}; check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[_KEY]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise refused(
            f"{path} is not a file that steerscope wrote, or is damaged ({error}); give another."
        ) from None
    described = parse_json(text, str(path), refused)
    if not isinstance(described, dict):
        raise refused(f"{path} does not describe what it holds; give another.")
    bad = [name for name, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if bad:
        raise refused(f"{path} holds a number in {bad[0]!r} that is not finite; make it again.")
    return tensors, described


def is_adapter_file(path: str | Path) -> bool:
    """Whether a file is of the kind that `save_adapter` writes."""
    try:
        return read_tensors(path)[1].get("kind") in {_KIND, _LEARNED}
    except VectorFileError:
        return False


def save_adapter(
    path: str | Path, adapter: SvdAdapter | LearnedAdapter, *, force: bool = False
) -> None:
    """Write an adapter: what was trained and what it is relative to, and where it belongs.

    Args:
        path: of the file; an adapter that is there is replaced, and nothing else.
        adapter: what is written.
        force: replace a file of any other kind as well.

    Raises:
        OutputError: there is a folder, or a file of something else.
        VectorFileError: the disk refused.
    """
    check_file(path, own=is_adapter_file, force=force)
    if isinstance(adapter, LearnedAdapter):
        write_tensors(path, _numbers(adapter), _described(adapter) | {"kind": _LEARNED})
        return
    tensors: dict[str, Tensor] = {}
    for matrix in adapter.matrices:
        factors, trained = adapter.factors[matrix], adapter.parameters[matrix]
        tensors |= {f"{matrix} {name}": getattr(factors, name) for name in _BASES}
        tensors |= {f"{matrix} {name}": tensor for name, tensor in trained.items()}
    write_tensors(path, tensors, _described(adapter) | {"kind": _KIND})


def _described(adapter: SvdAdapter | LearnedAdapter) -> dict[str, Any]:
    """What a file says of its adapter."""
    found = {
        "design": asdict(adapter.design) | {"matrices": [str(m) for m in adapter.matrices]},
        "fingerprint": adapter.fingerprint,
        "model": adapter.model,
        "seed": adapter.seed,
        "record": None if adapter.record is None else asdict(adapter.record),
    }
    return found | ({"sign": adapter.sign} if isinstance(adapter, LearnedAdapter) else {})


def _numbers(adapter: LearnedAdapter) -> dict[str, Tensor]:
    return {
        f"{matrix} {role} {name}": tensor
        for role in ("parameters", "fixed")
        for matrix, part in getattr(adapter, role).items()
        for name, tensor in part.items()
    }


def load_adapter(path: str | Path, model: LensModel) -> SvdAdapter | LearnedAdapter:
    """Read back what `save_adapter` wrote, for the model that it was trained on.

    Args:
        path: of the file.
        model: of the weights that it was trained on, on either backbone.

    Raises:
        VectorFileError: no such file, or not an adapter of ours: a tensor is missing, is of another
            shape than its design and model say, or is one too many.
        VectorMismatchError: it belongs to another model.
    """
    tensors, described = read_tensors(path)
    if described.get("kind") == _LEARNED:
        return _learned(path, tensors, described, model)
    if described.get("kind") != _KIND:
        raise VectorFileError(f"{path} holds no adapter; give one that steerscope wrote.")
    try:
        matrices = tuple(_place(name) for name in described["design"]["matrices"])
        adapter = SvdAdapter(
            design=AdapterDesign(**{**described["design"], "matrices": matrices}),
            factors={m: Factors(*(tensors[f"{m} {name}"] for name in _BASES)) for m in matrices},
            parameters={m: _trained(tensors, m) for m in matrices},
            fingerprint=described["fingerprint"],
            model=described["model"],
            seed=described["seed"],
            record=_record(described.get("record")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VectorFileError(
            f"{path} does not hold what its design names ({error}); it is damaged."
        ) from None
    check_model(adapter, model)
    _check_shapes(path, tensors, adapter, model)
    return adapter


def _learned(
    path: str | Path, tensors: dict[str, Tensor], described: dict[str, Any], model: LensModel
) -> LearnedAdapter:
    """An adapter of a kind, with the weights of the model that it is relative to."""
    try:
        given = described["design"]
        design = LearnedDesign(
            matrices=tuple(_place(name) for name in given["matrices"]),
            kind=given["kind"],
            sizes=Sizes(**given["sizes"]),
        )
        if described["sign"] not in (1, -1):
            raise ValueError(f"sign {described['sign']}")
        about = {name: described[name] for name in ("fingerprint", "model", "sign", "seed")}
        record = _record(described.get("record"))
        empty = LearnedAdapter(design, {}, {}, {}, **about, record=record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VectorFileError(
            f"{path} does not hold what its design names ({error}); it is damaged."
        ) from None
    check_model(empty, model)
    bases = {m: weight_matrix(model, m.name, m.layer).read().float().cpu() for m in design.matrices}
    trained, fixed = untrained_numbers(design, bases, 0)
    fresh = replace(empty, bases=bases, parameters=trained, fixed=fixed)
    wanted = _numbers(fresh)
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in wanted.items()}:
        raise VectorFileError(
            f"{path} holds other tensors than a {design.kind} adapter of {model.name} has "
            f"({', '.join(sorted(set(tensors) ^ set(wanted))[:3]) or 'their shapes differ'}); it is "
            "damaged."
        )

    def filled(role: str, numbers: Numbers) -> Numbers:
        return {m: {n: tensors[f"{m} {role} {n}"] for n in part} for m, part in numbers.items()}

    return replace(fresh, parameters=filled("parameters", trained), fixed=filled("fixed", fixed))


def _check_shapes(
    path: str | Path, tensors: Mapping[str, Tensor], adapter: SvdAdapter, model: LensModel
) -> None:
    """Refuse tensors that the design does not name, and any of another shape than it needs."""
    rank = adapter.design.rank
    wanted: dict[str, tuple[int, ...]] = {}
    fresh = untrained(adapter.design)
    for matrix in adapter.matrices:
        d, out = weight_matrix(model, matrix.name, matrix.layer).read().shape
        shapes = dict(zip(_BASES, ((d, rank), (rank,), (out, rank)), strict=True))
        shapes |= {name: tuple(tensor.shape) for name, tensor in fresh[matrix].items()}
        wanted |= {f"{matrix} {name}": shape for name, shape in shapes.items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != wanted:
        name = min(set(found.items()) ^ set(wanted.items()))[0]
        raise VectorFileError(
            f"{path}: {name!r} has the shape {found.get(name, 'none, as it is missing')}, its design "
            f"and {model.name} ask for {wanted.get(name, 'no such tensor')}; it is damaged."
        )


def _record(given: dict[str, Any] | None) -> TrainingRecord | None:
    """What the file says of the training; files from before say nothing."""
    if given is None:
        return None
    hashes = {name: tuple(given[name]) for name in ("fit", "select")}
    return TrainingRecord(
        given["contrasts"], **hashes, objective=given["objective"], plan=given["plan"]
    )


def _place(text: str) -> Place:
    """The place written as `down.3`."""
    name, layer = text.split(".")
    return Place(check_weight(name), int(layer))


def _trained(tensors: Mapping[str, Tensor], matrix: Place) -> dict[str, Tensor]:
    """What was trained of one weight."""
    found = {}
    for key, tensor in tensors.items():
        place, name = key.split(" ", 1)
        if place == str(matrix) and name not in _BASES:
            found[name] = tensor
    return found
