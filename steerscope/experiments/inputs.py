"""Whether the files that a run was made from are still the same: texts, weights, vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.directions import load_directions
from steerscope.errors import RunError, SteerscopeError
from steerscope.models.chat_templates import in_chat
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import LensModel
from steerscope.runs.continuing import stated
from steerscope.runs.difference import Difference
from steerscope.runs.results import Run
from steerscope.studies.inputs import NAMED, content_sha256, is_read
from steerscope.studies.judging import judge_sha256
from steerscope.studies.loading import Loading
from steerscope.studies.routing.plan import read_phases, texts_of_phases
from steerscope.studies.steering.plan import Plan, plan_of
from steerscope.studies.steering.texts import load_texts
from steerscope.texts.bundled import bundled_contrasts
from steerscope.texts.chats import as_chat
from steerscope.texts.contrasts import load_contrasts, load_prompts, prompts_for, usual_prompts

_OURS = {"PredictorStep", "ComparisonStep", "CombinationStep", "OverlapStep", "PremisePlan"}


@dataclass(frozen=True)
class Inputs:
    """What the inputs of a run are now, against what they were.

    Attributes:
        differences: what is not as it was; one that cannot be read is a difference too.
        not_compared: what the run names and says no hash of, or none that can be had without its model.
    """

    differences: tuple[Difference, ...]
    not_compared: tuple[str, ...]


def check_inputs(run: Run, *, weights: bool = True) -> list[Difference]:
    """What is not as it was when the run was made; the arguments are those of `compare_inputs`."""
    return list(compare_inputs(run, weights=weights).differences)


def compare_inputs(run: Run, *, weights: bool = True) -> Inputs:
    """What a run was made from, as it is now against the hashes that the run keeps.

    Args:
        run: any run.
        weights: whether to load the model for its fingerprint, and an autoencoder that is no folder.
    """
    configuration = run.configuration
    model, found = _weights(run) if weights else (None, [])
    if weights or Path(str(configuration.get("autoencoder"))).is_dir():  # what lies here may change
        found += _autoencoder(configuration)
    hashes: dict[str, Any] = {}
    try:
        hashes = _text_hashes(run, model)
    except SteerscopeError as error:
        name = str(configuration.get("contrasts"))
        found.append(Difference("texts", name, "unreadable", str(error)))
    for name, now in hashes.items():
        found += _same(f"input {name}", now, configuration.get(name))
    kept = _kept(run, hashes)
    for use, held in kept.items():
        found += _named(use, held)
    of_judge, unsaid = _judge(configuration)
    found += [*of_judge, *_vectors(run)]
    return Inputs(tuple(found), (*_without_hash(configuration, {*hashes}, {*kept}), *unsaid))


def _weights(run: Run) -> tuple[LensModel | None, list[Difference]]:
    """The model of a run, and whether its weights and those of other models that it names are the same."""
    c, said = run.configuration, run.provenance
    how: dict[str, Any] = {"dtype": "float32"}
    how |= {name: c[name] for name in ("backbone", "dtype", "bos", "revision") if name in c}
    model, found = _loaded("weights", c["model"], said["fingerprint"], how)
    if c.get("second_model") and said.get("second_model"):
        same = {"dtype": how["dtype"]}
        found += _loaded("second model", c["second_model"], said["second_model"], same)[1]
    if c.get("source") and c.get("source_fingerprint"):
        found += _loaded("source", c["source"], c["source_fingerprint"], how)[1]
    return model, found


def _loaded(
    where: str, name: str, then: str, how: dict[str, Any]
) -> tuple[LensModel | None, list[Difference]]:
    try:
        model = Loading(name, **how).load()
    except SteerscopeError as error:
        return None, [Difference(where, name, "unreadable", str(error))]
    same = same_weights(model.fingerprint, then)
    return model, [] if same else _same(where, model.fingerprint, then)


def _kept(run: Run, compared: Container[str]) -> dict[str, dict[str, str]]:
    """The sets and files of which a run keeps a hash of its own, but for those that are compared anyway."""
    held = stated(run.provenance)
    source = run.provenance.get("contrasts_source_sha256")  # of a run that states no more
    if source is not None and "contrasts" not in held:
        held["contrasts"] = {"name": run.configuration["contrasts"], "sha256": source}
    return {k: v for k, v in held.items() if k in NAMED and f"{k}_sha256" not in compared}


def _named(use: str, held: Mapping[str, str]) -> list[Difference]:
    """Whether a set or file holds what it held."""
    try:
        now = content_sha256(use, held["name"])
    except SteerscopeError as error:
        return [Difference(f"input {use}", held["name"], "unreadable", str(error))]
    return _same(f"input {use}", now, held["sha256"])


def _without_hash(
    configuration: Mapping[str, Any], compared: set[str], kept: set[str]
) -> Iterator[str]:
    """What a run names without a hash that was compared, in words."""
    under = {
        "texts": ("texts_sha256", "taught_sha256"),
        "prompts": ("prompts_sha256", "asked_sha256"),
    }
    for use in NAMED:
        name, hashes = configuration.get(use), under.get(use, (f"{use}_sha256",))
        if not is_read(name) or use in kept or compared & {*hashes}:
            continue
        there = any(h in configuration for h in hashes)
        why = "its hash is of the chat template too" if there else "the run keeps no hash of it"
        yield f"{use} {name} ({why})"


def _text_hashes(run: Run, model: LensModel | None) -> dict[str, Any]:
    """The hashes of the texts that are there now, under the names of the configuration."""
    configuration, kind = run.configuration, run.configuration.get("kind")
    if kind in _OURS:
        return _hashes_of_step(configuration, model)
    if kind == "TransferPlan":
        return _transfer_hashes(configuration)
    if "files" in configuration:
        return _stated_hashes(configuration)
    if kind == "DilemmaPlan":
        found = {"dilemmas_sha256": _file_hash(configuration["dilemmas"])}
        if configuration.get("template"):
            return found  # a template belongs to the model
        return found | {"contrasts_sha256": load_contrasts(configuration["contrasts"]).sha256}
    plan = _plan_of(run)
    texts = load_texts(plan)
    if plan.chat:
        if model is None:
            return {}  # the template belongs to the model
        texts = texts.in_chat(model, plan.chat)
    hashes = [texts.prompts.select.sha256, texts.prompts.test.sha256]
    return {"contrasts_sha256": texts.contrasts.sha256, "prompts_sha256": hashes}


def _hashes_of_step(configuration: dict[str, Any], model: LensModel | None) -> dict[str, Any]:
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


def _judge(configuration: dict[str, Any]) -> tuple[list[Difference], list[str]]:
    """Whether the files that decide what the judge says are the same, where the run keeps their hashes.

    Returns:
        What differs, and what cannot be compared: the labelled texts of a run that does not name them.
    """
    name, then = configuration.get("judge"), configuration.get("judge_sha256")
    if name is None or then is None:
        return [], []
    try:
        now = judge_sha256(name, configuration.get("judge_labels"))
    except SteerscopeError as error:
        return [Difference("judge", name, "unreadable", str(error))], []
    if len(now) >= len(then):
        return _same("judge", now[: len(then)], then), []  # earlier runs knew nothing of code
    older = configuration.get("kind") == "TransferPlan" and "judge_labels" not in configuration
    if older and ":" not in name:
        return [], [f"judge {name} (the run does not name its labelled texts)"]
    return [Difference("judge", name, "unreadable", f"{len(then)} files that decide it")], []


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
