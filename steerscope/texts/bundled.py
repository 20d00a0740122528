"""The files that travel with the package: a model, contrast sets, prompts, experiment files."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "data", _PACKAGE.parent / "data")  # installed wheel, source checkout

CONTRASTS_SUFFIX = ".jsonl"
PROMPTS_SUFFIX = ".prompts.jsonl"


def data_folder() -> Path:
    """Folder of the bundled data."""
    return next((p for p in _PLACES if (p / "contrasts").is_dir()), _PLACES[-1])


def bundled_models() -> dict[str, Path]:
    """Bundled models: name and Hugging Face folder."""
    return {f.parent.name: f.parent for f in sorted(data_folder().glob("*/config.json"))}


DEFAULT_MODEL = next(iter(bundled_models()))  # what a command or plan takes if none is named


def bundled_experiments() -> dict[str, Path]:
    """Bundled experiment files: name and file."""
    return {f.stem: f for f in sorted((data_folder() / "experiments").glob("*.yaml"))}


def bundled_autoencoders() -> dict[str, Path]:
    """Bundled sparse autoencoders: name of the model and sae-lens folder."""
    return {f.parent.parent.name: f.parent for f in sorted(data_folder().glob("*/sae/cfg.json"))}


def bundled_contrasts() -> dict[str, Path]:
    """Bundled contrast sets: name and file."""
    files = sorted((data_folder() / "contrasts").glob(f"*{CONTRASTS_SUFFIX}"))
    return {
        f.name.removesuffix(CONTRASTS_SUFFIX): f
        for f in files
        if not f.name.endswith(PROMPTS_SUFFIX)
    }


def bundled_prompts() -> dict[str, Path]:
    """Bundled prompt sets: name and file."""
    files = sorted((data_folder() / "contrasts").glob(f"*{PROMPTS_SUFFIX}"))
    return {f.name.removesuffix(PROMPTS_SUFFIX): f for f in files}


def starter_files() -> dict[str, Path]:
    """The files of a folder to start with: name and file."""
    return {f.name: f for f in sorted((data_folder() / "starter").iterdir())}
