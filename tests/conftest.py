"""Models and data that the tests share; nothing here needs a network."""

from __future__ import annotations

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from steerscope.cli import main
from steerscope.errors import BackboneWarning
from steerscope.models.lens_model import LensModel
from steerscope.models.loading import load_model
from tests.helpers import FAMILIES, tiny_model

torch.set_num_threads(
    int(os.environ.get("OMP_NUM_THREADS", "2"))
)  # more than there are cores crawl
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with independent results and public models, where there is one."""
    if not (SHARED / "goldens").is_dir():
        pytest.skip("the folder with stored results of independent tools is not here")
    return SHARED


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a random model of a family, made on first use."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            path = tmp_path_factory.mktemp("tiny") / family
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                transformers.logging.set_verbosity_error()
                transformers.logging.disable_progress_bar()
                tiny_model(family).save_pretrained(path)
                _word_tokenizer().save_pretrained(path)
            made[family] = path
        return made[family]

    assert FAMILIES
    return folder


def _word_tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(3, 96)} | {"<unk>": 0, "<s>": 1, "</s>": 2}
    bare = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    bare.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="session")
def load(tiny_folder: Callable[[str], Path]) -> Callable[..., LensModel]:
    """A tiny random model on a backbone, loaded once."""
    loaded: dict[tuple[str, str], LensModel] = {}

    def get(family: str = "llama", backbone: str = "hooked") -> LensModel:
        if (family, backbone) not in loaded:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BackboneWarning)
                loaded[family, backbone] = load_model(tiny_folder(family), backbone=backbone)
        return loaded[family, backbone]

    return get


@pytest.fixture(params=["hooked", "bridge"])
def tiny(request: pytest.FixtureRequest, load: Callable[..., LensModel]) -> LensModel:
    """A tiny random Llama, on each backbone in turn."""
    return load("llama", request.param)


@pytest.fixture(scope="session")
def microworld() -> LensModel:
    """The bundled model."""
    return load_model("microworld")


@pytest.fixture
def run_cli(capsys):
    """Run a command in this process: exit code, standard output, standard error."""

    def call(*arguments):
        code = 0
        try:
            main(list(map(str, arguments)))
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def words(tmp_path):
    """A contrast file for the tiny models, whose vocabulary is w3 to w95."""
    path = tmp_path / "words.jsonl"
    rows = [
        {"positive": f"w{i} w6 w7", "negative": f"w{i} w8 w9", "concept": "c"}
        for i in range(10, 34)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path
