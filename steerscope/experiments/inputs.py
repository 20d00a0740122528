"""Whether the files that a run was made from are still the same: texts, weights, vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steerscope.directions import load_directions
from steerscope.errors import RunError, SteerscopeError
from steerscope.models.chat_templates import in_chat
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import LensModel
from steerscope.runs.difference import Difference
from steerscope.runs.results import Run
from steerscope.studies.loading import Loading
from steerscope.studies.routing.plan import read_phases, texts_of_phases
from steerscope.studies.steering.plan import Plan, plan_of
from steerscope.studies.steering.texts import load_texts
from steerscope.texts.bundled import bundled_contrasts
from steerscope.texts.chats import as_chat
from steerscope.texts.contrasts import load_contrasts, load_prompts, prompts_for, usual_prompts

_OURS = {"PredictorStep", "ComparisonStep", "CombinationStep", "OverlapStep", "PremisePlan"}


def check_inputs(run: Run, *, weights: bool = True) -> list[Difference]:
    """What is not as it was when the run was made; one that cannot be read is a difference too.

    Args:
        run: any run.
        weights: whether to load the model for its fingerprint, and an autoencoder that is no folder.
    """
    configuration, found = run.configuration, []
    model: LensModel | None = None
    if weights:
        try:
            how = {
                name: configuration[name]
                for name in ("backbone", "dtype", "bos", "revision")
                if name in configuration
            }
            model = Loading(configuration["model"], **({"dtype": "float32"} | how)).load()
            then = run.description["provenance"]["fingerprint"]
            if not same_weights(model.fingerprint, then):
                found += _same("weights", model.fingerprint, then)
        except SteerscopeError as error:
            found.append(Difference("weights", configuration["model"], "unreadable", str(error)))
    if weights or Path(str(configuration.get("autoencoder"))).is_dir():  # what lies here may change
        found += _autoencoder(configuration)
    try:
        hashes = _text_hashes(run, model)
    except SteerscopeError as error:
        return [
            *found,
            Difference("texts", str(configuration.get("contrasts")), "unreadable", str(error)),
        ]
    for name, now in hashes.items():
        found += _same(f"input {name}", now, configuration.get(name))
    return [*found, *_vectors(run)]


def _text_hashes(run: Run, model: LensModel | None) -> dict[str, Any]:
    """The hashes of the texts that are there now, under the names of the configuration."""
    configuration = run.configuration
    if configuration.get("kind") in _OURS:
        contrasts = load_contrasts(configuration["contrasts"])
        prompts = None
        if "prompts_sha256" in configuration:
            prompts = prompts_for(contrasts, configuration["prompts"])
        if configuration.get("chat"):
            if model is None:
                return {}  # the template belongs to the model
            chat = as_chat(configuration["chat"])
            contrasts = in_chat(model, contrasts, chat)
            prompts = None if prompts is None else in_chat(model, prompts, chat)
        found: dict[str, Any] = {"contrasts_sha256": contrasts.sha256}
        return found if prompts is None else found | {"prompts_sha256": prompts.sha256}
    if configuration.get("kind") == "TransferPlan":
        return _transfer_hashes(configuration)
    if "files" in configuration:
        return _stated_hashes(configuration)
    if configuration.get("kind") == "DilemmaPlan":
        return {"dilemmas_sha256": _file_hash(configuration["dilemmas"])}
    plan = _plan_of(run)
    texts = load_texts(plan)
    if plan.chat:
        if model is None:
            return {}  # the template belongs to the model
        texts = texts.in_chat(model, plan.chat)
    hashes = [texts.prompts.select.sha256, texts.prompts.test.sha256]
    return {"contrasts_sha256": texts.contrasts.sha256, "prompts_sha256": hashes}


def _transfer_hashes(configuration: dict[str, Any]) -> dict[str, Any]:
    """Of a transfer, which names its texts, but not always where they lie."""
    name = configuration["contrasts"]
    where_known = name in bundled_contrasts() or "adapter" in configuration
    if configuration.get("chat") or "contrasts_sha256" not in configuration or not where_known:
        return {}  # a template belongs to the model
    return {"contrasts_sha256": load_contrasts(name).sha256}


def _stated_hashes(configuration: dict[str, Any]) -> dict[str, Any]:
    """Of a run that states its files, and its texts as they are before any chat template."""
    found: dict[str, Any] = {"files": {name: _file_hash(name) for name in configuration["files"]}}
    if "prompts_sha256" in configuration:
        found["prompts_sha256"] = load_prompts(configuration["prompts"]).sha256
    if "contrasts_sha256" in configuration:
        found["contrasts_sha256"] = load_contrasts(configuration["contrasts"]).sha256
    if "asked_sha256" in configuration:
        contrasts, name = load_contrasts(configuration["contrasts"]), configuration["contrasts"]
        prompts = prompts_for(contrasts, configuration["prompts"] or usual_prompts(name))
        found |= {"asked_sha256": prompts.sha256}
    if "taught_sha256" in configuration:
        taught = configuration["texts"] or configuration["contrasts"]
        found |= {"taught_sha256": load_contrasts(taught).sha256}
    if "texts_sha256" in configuration:
        found["texts_sha256"] = texts_of_phases(read_phases(configuration["phases"]))
    return found


def _file_hash(path: str) -> str:
    """Of a file as it is now.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise RunError(f"cannot read {path} ({error.strerror}).") from None


def _plan_of(run: Run) -> Plan:
    """The plan of a run as far as it names texts."""
    configuration = run.configuration
    if configuration.get("kind") == "WeightSweepPlan":
        names = ("contrasts", "prompts", "max_select", "max_test", "seed")
        chat = as_chat(configuration.get("chat"))
        return Plan(**{name: configuration[name] for name in names}, chat=chat)
    return plan_of(run)


def _autoencoder(configuration: dict[str, Any]) -> list[Difference]:
    """Whether the autoencoder of a run is still the same, where it has one."""
    if "autoencoder" not in configuration:
        return []
    from steerscope.sae import load_sae  # takes seconds to import

    name = configuration["autoencoder"]
    try:
        now = load_sae(name).digest
    except SteerscopeError as error:
        return [Difference("autoencoder", name, "unreadable", str(error))]
    return _same("autoencoder", now, configuration["autoencoder_sha256"])


def _vectors(run: Run) -> Iterator[Difference]:
    """Directions that are not of this run's model and contrast set."""
    path = run.path / "directions.safetensors"
    if not path.is_file():
        return
    try:
        directions = load_directions(path)
    except SteerscopeError as error:
        yield Difference(path.name, "the file", "unreadable", str(error))
        return
    fingerprint = run.description["provenance"]["fingerprint"]
    for direction in directions:
        origin = direction.provenance
        if not same_weights(origin.fingerprint, fingerprint):
            yield from _same(f"{path.name}, {direction.label}", origin.fingerprint, fingerprint)


def _same(where: str, now: Any, then: Any) -> list[Difference]:
    if now == then:
        return []
    return [Difference(where, "the hash", _short(now), _short(then))]


def _short(value: Any) -> str:
    parts = value if isinstance(value, list) else [value]
    return ", ".join(str(v)[:16] for v in parts)
