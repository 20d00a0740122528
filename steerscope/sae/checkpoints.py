"""The state of a training between two steps, in one safetensors file that is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from steerscope.errors import RunError
from steerscope.runs.whole_files import whole_file

if TYPE_CHECKING:
    from sae_lens.training.sae_trainer import SAETrainer

Trainer: TypeAlias = "SAETrainer[Any, Any]"

_WEIGHTS, _ADAM, _FIRED = "weights.", "adam.", "steps_since_fired"


def save_checkpoint(path: Path, trainer: Trainer, identity: str) -> None:
    """Write everything that the next step depends on; the batches follow from the step's number."""
    adam = trainer.optimizer.state_dict()
    tensors: dict[str, Tensor] = {_FIRED: trainer.n_forward_passes_since_fired}
    for name, value in trainer.sae.state_dict().items():
        tensors[_WEIGHTS + name] = value
    for number, state in adam["state"].items():
        for name, value in state.items():
            tensors[f"{_ADAM}{number}.{name}"] = value
    plain = {
        "identity": identity,
        "steps": trainer.n_training_steps,
        "samples": trainer.n_training_samples,
        "scale": trainer.activation_scaler.scaling_factor,
        "groups": adam["param_groups"],
        "learning_rate": trainer.lr_scheduler.state_dict(),
        "coefficients": {
            name: s.state_dict() for name, s in trainer.coefficient_schedulers.items()
        },
    }
    content = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        {"state": json.dumps(plain)},
    )
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def load_checkpoint(path: Path, trainer: Trainer, identity: str) -> None:
    """Put a fresh trainer where a saved one was.

    Raises:
        RunError: the file is damaged, or of another training.
    """
    try:
        with safe_open(path, framework="pt", device=str(trainer.cfg.device)) as file:
            plain = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"cannot read {path} ({error}); delete it to start anew.") from None
    if plain["identity"] != identity and plain["steps"] == 0:
        return  # nothing of the other training would be lost
    if plain["identity"] != identity:
        raise RunError(
            f"{path} is of a training with another plan, site, text or model; choose another "
            "folder, or delete it to start anew."
        )
    trainer.sae.load_state_dict(_under(_WEIGHTS, tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(_ADAM, tensors).items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = value.cpu() if key == "step" else value
    trainer.optimizer.load_state_dict({"state": moments, "param_groups": plain["groups"]})
    trainer.lr_scheduler.load_state_dict(plain["learning_rate"])
    for name, state in plain["coefficients"].items():
        trainer.coefficient_schedulers[name].load_state_dict(state)
    trainer.n_forward_passes_since_fired = tensors[_FIRED]
    trainer.activation_scaler.scaling_factor = plain["scale"]
    trainer.n_training_steps, trainer.n_training_samples = plain["steps"], plain["samples"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
