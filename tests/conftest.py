"""Models and data that the tests share; nothing here needs a network."""

from __future__ import annotations

import gc
import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the commands: threads that wait do not spin

import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import pandas  # noqa: F401
import plotly.graph_objects  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pydantic  # noqa: F401
import pytest
import statsmodels.api  # noqa: F401
import torch
import transformers
from jaxtyping import install_import_hook
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

# All of these before anything of ours: the shape checker names the bytecode caches of what is
# imported while it reads a module, so that libraries imported there are compiled again every time.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformer_lens  # noqa: F401

# Every module that names a shape is checked. The others are left to mypy: checks of plain types alone
# would make the tests slower and find nothing else.
ROOT = Path(__file__).parents[1]
SHAPED = [
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for p in sorted((ROOT / "steerscope").rglob("*.py"))
    if "jaxtyping" in p.read_text(encoding="utf-8")
]
install_import_hook(SHAPED, "tests.checked")

from steerscope.cli import main  # noqa: E402
from steerscope.errors import BackboneWarning, BadValueError, ModelLoadError  # noqa: E402
from steerscope.models.generations import HAS_HOOKED, without_hooked  # noqa: E402
from steerscope.models.lens_model import LensModel  # noqa: E402
from steerscope.models.loading import load_model  # noqa: E402
from tests.helpers import FAMILIES, tiny_model  # noqa: E402
from tests.rounding import OtherRounding  # noqa: E402

gc.collect()
gc.freeze()  # a million objects of the libraries, which every collection would look through again

torch.set_num_threads(
    int(os.environ.get("OMP_NUM_THREADS", "2"))
)  # more than there are cores crawl
SHARED = Path(__file__).parents[2] / "shared"


# In an environment with TransformerLens 4 or later, which sae-lens does not take.
HAS_SAE_LENS = find_spec("sae_lens") is not None
collect_ignore_glob = [] if HAS_SAE_LENS else ["sae/*"]


@contextmanager
def _asking_for_what_is_not_here() -> Iterator[None]:
    """Skip a test that asks for what the installed TransformerLens cannot have."""
    try:
        yield
    except (ModelLoadError, BadValueError) as error:
        told = [] if HAS_HOOKED else [without_hooked()]
        told += [] if HAS_SAE_LENS else ["sae-lens, which is not here"]
        if any(words in str(error) for words in told):
            pytest.skip(str(error))
        raise


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    with _asking_for_what_is_not_here():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    if item.get_closest_marker("hooked") and not HAS_HOOKED:
        pytest.skip(without_hooked())
    with _asking_for_what_is_not_here():
        return (yield)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rounding", type=int, default=0, help="round as another processor might, by this seed"
    )


@pytest.fixture(scope="session", autouse=True)
def _rounding(request: pytest.FixtureRequest) -> Iterator[None]:
    """The arithmetic of another processor, where it is asked for."""
    seed = request.config.getoption("--rounding")
    with OtherRounding(seed) if seed else nullcontext():
        yield


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """A test that draws without a generator draws the same in any order and in any process."""
    torch.manual_seed(0)


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
                word_tokenizer().save_pretrained(path)
            made[family] = path
        return made[family]

    assert FAMILIES
    return folder


def word_tokenizer() -> PreTrainedTokenizerFast:
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
    """A tiny random model on a backbone, by default the first there is, loaded once."""
    loaded: dict[tuple[str, str], LensModel] = {}

    def get(family: str = "llama", backbone: str = "") -> LensModel:
        backbone = backbone or ("hooked" if HAS_HOOKED else "bridge")
        if backbone == "hooked" and not HAS_HOOKED:
            pytest.skip(without_hooked())
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
