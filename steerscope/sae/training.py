"""Train an autoencoder with sae-lens' trainers on activations of ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import RunError, reason
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.runs.outputs import check_folder, files_in
from steerscope.runs.ownership import LOCK, owned
from steerscope.runs.whole_files import UNFINISHED_SUFFIX, clear_unfinished, write_whole
from steerscope.sae.checkpoints import Trainer, load_checkpoint, save_checkpoint
from steerscope.sae.conversion import built, from_sae_lens, sae_lens
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import WEIGHTS, load_sae, save_sae
from steerscope.sae.plan import SaePlan, training_config
from steerscope.sae.stream import ActivationSource, ActivationStream, Stored, digest_of, token_rows
from steerscope.sites import Site

CHECKPOINT, RECORD = "checkpoint.safetensors", "training.json"


def train_sae(
    model: LensModel,
    site: Site,
    texts: Sequence[TextOrIds],
    plan: SaePlan,
    *,
    folder: str | Path | None = None,
    save_every: int = 200,
    track: Track = silent,
) -> SparseAutoencoder:
    """Train an autoencoder on the activations of a text; first positions are left out.

    With a folder, the training is saved every so many steps, and the same call continues it after
    any interruption to the same weights, bit for bit on one machine; a finished one is read back.

    Args:
        model: whose activations.
        site: where; any that has a width.
        texts: documents, as text or token ids.
        plan: everything else that decides the result.
        folder: to write, in sae-lens' format.
        save_every: steps between two checkpoints.
        track: shows the progress.

    Raises:
        BadValueError: too little text.
        UnsupportedSiteError: the model has no such site.
        OutputError: the folder holds something else.
        BusyError: another process trains there.
        RunError: the folder holds another training.
    """
    d = model.width(site)
    rows = token_rows(model, texts)
    trainer = _new_trainer(plan, d, str(model.device))
    source = ActivationStream(
        model, site, rows, batch_size=plan.batch_size, buffer=plan.buffer, seed=plan.seed
    )
    origin = {
        "site": str(site),
        "model": model.name,
        "model_fingerprint": model.fingerprint,
        "text": {"rows": len(rows), "sha256": digest_of(rows)},
    }
    about = {
        "hook_name": site.hook_name,
        "hook_head_index": site.head,
        "model_name": model.name,
        "model_fingerprint": model.fingerprint,
    }
    if folder is None:
        _run(trainer, source, plan, track)
        return _finished(trainer, about, f"{model.name}/{site}")
    folder, record = check_training_folder(folder), _record(plan, origin)
    identity = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    checkpoint = folder / CHECKPOINT

    def save() -> None:
        if trainer.n_training_steps % save_every == 0:
            save_checkpoint(checkpoint, trainer, identity)

    with _made(folder):
        if not _is_finished(folder, record):
            if checkpoint.exists():
                load_checkpoint(checkpoint, trainer, identity)
            save()  # so that the folder is this training's from its first moment
            _run(trainer, source, plan, track, save)
            save_sae(_finished(trainer, about, str(folder)), folder)
            write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")
        checkpoint.unlink(missing_ok=True)
    return load_sae(folder)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, made if it is not there, and held by this training alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {folder} ({error.strerror}); choose another.") from None
    with owned(folder, ours=True):
        clear_unfinished(folder)
        yield


def check_training_folder(folder: str | Path, inputs: Sequence[str | None] = ()) -> Path:
    """Refuse a folder of something else, before a model is loaded for it; the folder.

    Raises:
        OutputError: it is an input, a file, or holds files that no training of ours wrote.
    """

    def own(place: Path) -> bool:
        files = [f for f in files_in(place) if f != LOCK and not f.endswith(UNFINISHED_SUFFIX)]
        return not files or bool({CHECKPOINT, RECORD} & {*files})

    return check_folder(folder, own=own, inputs=inputs)


def train_on_activations(
    activations: Float[Tensor, "token d"], site: Site, plan: SaePlan, *, name: str
) -> SparseAutoencoder:
    """Train an autoencoder on activations that are there already, such as planted ones."""
    trainer = _new_trainer(plan, activations.shape[1], str(activations.device))
    _run(trainer, Stored(activations, batch_size=plan.batch_size, seed=plan.seed), plan, silent)
    about = {"hook_name": site.hook_name, "hook_head_index": site.head}
    return _finished(trainer, about, name)


def _new_trainer(plan: SaePlan, d: int, device: str) -> Trainer:
    """A trainer before its first step; all chance that it holds comes from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        sae = sae_lens("TrainingSAE").from_dict(training_config(plan, d=d, device=device))
    config = sae_lens("SAETrainerConfig", "sae_lens.config")(
        total_training_samples=plan.n_steps * plan.batch_size,
        train_batch_size_samples=plan.batch_size,
        lr=plan.learning_rate,
        lr_end=plan.learning_rate,
        lr_warm_up_steps=plan.warm_up_steps,
        lr_decay_steps=plan.decay_steps,
        device=device,
        dead_feature_window=plan.dead_after,
    )
    made: Trainer = sae_lens("SAETrainer", "sae_lens.training.sae_trainer")(
        config, sae, data_provider=iter(())
    )
    return made


def _run(
    trainer: Trainer,
    source: ActivationSource,
    plan: SaePlan,
    track: Track,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Take the steps that are left."""
    scaler = trainer.activation_scaler
    if plan.normalisation == "mean_norm" and scaler.scaling_factor is None:
        scaler.scaling_factor = trainer.sae.cfg.d_in**0.5 / source.mean_norm()
    source.seek(trainer.n_training_steps)
    for _ in track(range(trainer.n_training_steps, plan.n_steps), "training"):
        trainer.step(next(source))
        trainer.n_training_steps += 1
        after_step()


def _finished(trainer: Trainer, about: dict[str, Any], name: str) -> SparseAutoencoder:
    """What was trained, its scale folded into the weights, as sae-lens would save it to be used."""
    trained = trainer.sae
    if trainer.activation_scaler.scaling_factor is not None:
        trained.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    weights = {key: value.detach().clone() for key, value in trained.state_dict().items()}
    trained.process_state_dict_for_saving_inference(weights)
    config = trained.cfg.get_inference_sae_cfg_dict()
    config["metadata"] |= about
    inner = built(config)
    inner.load_state_dict(weights)
    return from_sae_lens(inner, name)


def _record(plan: SaePlan, origin: dict[str, Any]) -> dict[str, Any]:
    """What decides the result, as it is written beside it."""
    versions = {"torch": torch.__version__, "sae_lens": sae_lens("__version__")}
    return {"plan": asdict(plan), **origin, "versions": versions}


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged ({reason(error)}); delete it, and the same command trains again."
        ) from None
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged; delete it, and the same command trains again.")
    return found


def _is_finished(folder: Path, record: dict[str, Any]) -> bool:
    """Whether a folder holds the result of this very training.

    Raises:
        RunError: it holds another autoencoder.
    """
    if (folder / RECORD).exists():
        found = _read_record(folder / RECORD)
        if same_weights(found.get("model_fingerprint"), record["model_fingerprint"]):
            found["model_fingerprint"] = record["model_fingerprint"]
        if found == record:
            return True
    elif (folder / CHECKPOINT).exists() or not (folder / WEIGHTS).exists():
        return False
    raise RunError(
        f"{folder} holds an autoencoder of another plan, site, text or model; choose another folder."
    )
