"""The good files of an attack, made once, and the ways in which a file can be bad."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.helpers import tiny_model

_READ = {".json", ".safetensors", ".parquet"}
_SPARE = {"generation_config.json", "tokenizer_config.json"}  # a model goes without
DEEP = "[" * 100_000 + "]" * 100_000
LONG = "x" * 300
DIGITS = "9" * 400
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@dataclass(frozen=True)
class Good:
    """Files that every command accepts, and the call that makes those of a kind bad."""

    home: Path
    model: Path
    pairs: Path
    prompts: Path
    vector: Path
    adapter: Path
    sae: Path
    run: Path
    experiment: Path
    claims: Path

    @property
    def files(self) -> Iterator[Path]:
        """Every file below the home."""
        return (p for p in self.home.rglob("*") if p.is_file())


def make_good(
    home: Path, call: Callable[..., tuple[int, str]], more_words: Sequence[str] = ()
) -> Good:
    """A small world of good files, those of steerscope made by its own commands.

    Args:
        home: the folder to make it in.
        call: runs a command and gives its exit code and what it said.
        more_words: of the vocabulary, instead of its last ones.
    """
    home.mkdir(exist_ok=True)
    model = home / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        tiny_model("llama").save_pretrained(model)
        _tokenizer(more_words).save_pretrained(model)
    pairs, prompts = home / "pairs.jsonl", home / "prompts.txt"
    pairs.write_text("".join(f"{json.dumps(_pair(i))}\n" for i in range(10, 34)))
    prompts.write_text("".join(f"w{i} w{i + 1} w{i + 2} w{i + 3}\n" for i in range(5, 45)))
    experiment, claims = home / "experiment.yaml", home / "claims.yaml"
    experiment.write_text(yaml.safe_dump(_experiment(model, pairs)))
    (home / "experiment.json").write_text(json.dumps(_experiment(model, pairs)))
    claims.write_text("claims: []\n")
    good = Good(
        home, model, pairs, prompts, home / "vector.safetensors", home / "adapter.safetensors",
        home / "sae", home / "run", experiment, claims,
    )  # fmt: skip
    for command in (
        ["vectors", "--out", good.vector, "--layers", "1", *world(good)],
        ["adapter", "train", "--out", good.adapter, "--rank", "2", "--epochs", "1", *world(good)],
        ["sae", "train", "--out", good.sae, "--site", "resid_post.1", "--text", prompts]
        + ["--features", "8", "--k", "2", "--activations", "64", "--batch", "16"]
        + ["--model", model],
        ["sweep", "--out", good.run, "--layers", "1", "--doses", "1", "--n-new", "2", *world(good)],
    ):
        code, said = call(*command)
        assert code == 0, (command, said)
    return good


def world(good: Good) -> list[object]:
    """Options that say which model and pairs."""
    return ["--model", good.model, "--contrasts", good.pairs]


def _pair(i: int) -> dict[str, str]:
    return {"positive": f"w{i} w5 w6 w7", "negative": f"w{i} w5 w8 w9", "concept": "c"}


def _experiment(model: Path, pairs: Path) -> dict[str, object]:
    return {
        "name": "attack",
        "question": "Does it hold?",
        "job": "study",
        "models": [str(model)],
        "contrasts": [str(pairs)],
        "sites": {"layers": [1]},
        "doses": {"values": [1.0]},
        "decoding": {"n_new": 2},
    }


def _tokenizer(more_words: Sequence[str]) -> transformers.PreTrainedTokenizerFast:
    n = 96 - len(more_words)
    words = {f"w{i}": i for i in range(3, n)} | {"<unk>": 0, "<s>": 1, "</s>": 2}
    words |= {word: n + i for i, word in enumerate(more_words)}
    bare = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


# -- bad ones: each yields a place that no command should accept ------------------------------------


def bad_places(home: Path, suffix: str) -> Iterator[Path]:
    """Places that are no file of any kind."""
    folder, empty = home / f"folder{suffix}", home / f"empty{suffix}"
    folder.mkdir(exist_ok=True)
    empty.write_bytes(b"")
    loop = home / f"loop{suffix}"
    if not loop.is_symlink():
        loop.symlink_to(loop)
    yield from (folder, empty, loop, home / f"nowhere{suffix}", home / (LONG + suffix))
    yield from (Path("/dev/null"), home / "pairs.jsonl" / f"below{suffix}")


def bad_texts(home: Path, suffix: str) -> Iterator[Path]:
    """Text files that hold no rows."""
    yield from bad_places(home, suffix)
    for name, content in {
        "latin": "caf\xe9\n".encode("latin-1"),
        "blank": b"\n \n",
    }.items():
        yield _written(home / f"{name}{suffix}", content)


def bad_rows(home: Path, good: dict[str, object]) -> Iterator[Path]:
    """JSON-lines files of which a line cannot be used."""
    yield from bad_texts(home, ".jsonl")
    line, key = json.dumps(good), next(iter(good))
    for name, bad in {
        "deep": DEEP,
        "digits": f'{{"{key}": {"9" * 5000}}}',
        "constant": f'{{"{key}": NaN}}',
        "twice": line[:-1] + f', "{key}": "w9"}}',
        "number": json.dumps({**good, key: 5}),
        "none": json.dumps({**good, key: None}),
        "hollow": json.dumps({**good, key: "  "}),
        "more": json.dumps({**good, "extra": "x"}),
        "fewer": "{}",
        "list": "[]",
        "text": '"x"',
        "broken": line[:-3],
        "python": str(good),
    }.items():
        yield _written(home / f"row-{name}.jsonl", f"{line}\n{bad}\n".encode())


def bad_pairs(home: Path) -> Iterator[Path]:
    """Contrast sets that cannot be used, or are too small to be split."""
    yield from bad_rows(home, _pair(40))
    same, few = {**_pair(40), "negative": _pair(40)["positive"]}, [_pair(40), _pair(41)]
    other = {**_pair(41), "concept": "d"}
    for name, rows in {"same": [same], "mixed": [_pair(40), other], "few": few}.items():
        text = "".join(f"{json.dumps(r)}\n" for r in rows)
        yield _written(home / f"pairs-{name}.jsonl", text.encode())


def bad_tensors(home: Path, good: Path) -> Iterator[Path]:
    """Safetensors files of ours with something wrong in them."""
    yield from bad_places(home, ".safetensors")
    with safe_open(good, framework="pt") as file:
        described = dict(file.metadata() or {"said": "{}"})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    first = next(iter(tensors))
    key = next(iter(described))

    def changed(name: str, held: dict[str, torch.Tensor], said: dict[str, str]) -> Path:
        path = home / f"{good.stem}-{name}.safetensors"
        save_file({n: t.contiguous() for n, t in held.items()}, path, said)
        return path

    yield changed("nan", {**tensors, first: tensors[first] * math.nan}, described)
    yield changed("infinite", {**tensors, first: tensors[first] + math.inf}, described)
    yield changed("narrow", {**tensors, first: tensors[first][..., :-1]}, described)
    yield changed("extra", {**tensors, "another one": torch.ones(3)}, described)
    yield changed("missing", {n: t for n, t in tensors.items() if n != first} or {"x": torch.ones(1)}, described)  # fmt: skip
    yield changed("undescribed", tensors, {})
    for name, text in {"deep": DEEP, "list": "[]", "broken": described[key][:-9], "number": DIGITS, "empty": "{}"}.items():  # fmt: skip
        yield changed(f"says-{name}", tensors, {key: text})
    content = good.read_bytes()
    yield _written(home / f"{good.stem}-cut.safetensors", content[:-7])
    yield _written(home / f"{good.stem}-header.safetensors", b"\xff" * 8 + content[8:])
    yield _written(home / f"{good.stem}-noise.safetensors", bytes(range(256)))


def bad_vectors(home: Path, good: Path) -> Iterator[Path]:
    """Vector files of ours and of other tools that cannot be used."""
    yield from bad_tensors(home, good)
    torch.save(torch.ones(31), home / "layer_1.pt")
    torch.save(torch.full((32,), math.nan), home / "nan_layer_1.pt")
    torch.save({"a": torch.ones(32)}, home / "dict_layer_1.pt")
    torch.save(torch.ones(32), home / "layer_99999999999.pt")
    torch.save(torch.ones(32), home / "unnumbered.pt")
    torch.save(print, home / "code_layer_1.pt")
    yield from home.glob("*.pt")
    for name in ("noise.gguf", "noise.pt", "noise.svec", "noise.json", "noise.xyz"):
        yield _written(home / name, bytes(range(256)))
    for name in ("deep.json", "deep.svec"):
        yield _written(home / name, DEEP.encode())


def bad_folders(home: Path, good: Path) -> Iterator[Path]:
    """Copies of a folder with one file of it damaged, each in every way."""
    yield from bad_places(home, "-folder")
    yield home / "pairs.jsonl"
    for file in sorted(p for p in good.rglob("*") if p.suffix in _READ):
        for name, content in {
            "cut": file.read_bytes()[: file.stat().st_size // 2],
            "none": b"",
            "noise": bytes(range(256)),
            "deep": DEEP.encode(),
            "list": b"[]",
            "digits": DIGITS.encode() * 20,
        }.items():
            copy = home / f"{good.name}-{file.stem}-{name}"
            shutil.copytree(good, copy, dirs_exist_ok=True)
            (copy / file.relative_to(good)).write_bytes(content)
            yield copy
        if file.name in _SPARE:
            continue
        gone = home / f"{good.name}-{file.stem}-gone"
        shutil.copytree(good, gone, dirs_exist_ok=True)
        (gone / file.relative_to(good)).unlink()
        yield gone


def bad_saes(home: Path, good: Path) -> Iterator[Path]:
    """Folders of an autoencoder whose weights are damaged and whose configuration does not say so."""
    yield from (f for f in bad_folders(home, good) if "-training-" not in f.name)  # a record
    config = json.loads((good / "cfg.json").read_text())
    config["metadata"] = {k: v for k, v in config["metadata"].items() if "sha256" not in k}
    for number, weights in enumerate(bad_tensors(home, good / "sae_weights.safetensors")):
        harmless = any(word in weights.name for word in ("says", "undescribed"))
        if weights.name.startswith("sae_weights-") and not harmless:
            copy = home / f"sae-weights-{number}"
            shutil.copytree(good, copy, dirs_exist_ok=True)
            (copy / "cfg.json").write_text(json.dumps(config))
            shutil.copyfile(weights, copy / "sae_weights.safetensors")
            yield copy
    for key, value in {
        "k": 99, "d_sae": 10**12, "d_in": -1, "architecture": "nosuch", "dtype": "float99",
        "normalize_activations": "nosuch", "metadata": None, "d_out": "x",
    }.items():  # fmt: skip
        copy = home / f"sae-{key}"
        shutil.copytree(good, copy, dirs_exist_ok=True)
        (copy / "cfg.json").write_text(json.dumps({**config, key: value}))
        yield copy


def bad_yaml(home: Path, good: Path) -> Iterator[Path]:
    """Experiment files that cannot be used."""
    yield from bad_texts(home, ".yaml")
    text = good.read_text()
    values = yaml.safe_load(text)
    changes: dict[str, object] = {
        "name": [LONG * 2, "../up", "", 5, None, "A B", "x/y", "<b>"],
        "job": ["nosuch", "", [], 3],
        "models": [[], "microworld", [""], ["a", "a"], [5], {}, [LONG]],
        "contrasts": [[], "mood", ["nowhere.jsonl"], [None], [LONG]],
        "methods": [[], ["nosuch"], ["mean_diff", "mean_diff"]],
        "seeds": [[], [-1], [2**70], [0, 0], [1.5], ["0"], [True]],
        "scope": ["nosuch", "(" * 5000, 5, "last:0"],
        "sites": [{"stream": "nosuch"}, {"layers": []}, {"layers": [-1]}, {"layers": [10**400]}, []],
        "doses": [{"values": [0]}, {"values": [float("nan")]}, {"values": [float("inf")]}, {"unit": "x"}, {"values": "1"}],
        "decoding": [{"n_new": 0}, {"n_new": 10**12}, {"temperature": -1}, {"temperature": float("inf")}, {"n_new": True}],
        "sample": [{"select": 0}, {"nosuch": 1}, {"test": -5}, {"select": 10**30}],
        "formats": [["gif"], []],
        "metrics": [["nosuch"]],
        "backbone": ["nosuch"],
        "dtype": ["float8"],
        "read": ["first", "٣"],
        "nosuch": [1],
    }  # fmt: skip
    for key, bads in changes.items():
        for number, bad in enumerate(bads):  # type: ignore[arg-type]
            path = home / f"yaml-{key}-{number}.yaml"
            path.write_text(yaml.safe_dump({**values, key: bad}))
            yield path
    for name, bad in {
        "bomb": BOMB,
        "self": text + "prompts: &a [*a]\n",
        "anchor": text.replace("attack", "&a attack") + "prompts: *a\n",
        "merge": "x: &x {name: y}\n<<: *x\n" + text,
        "deep": text + "prompts: " + DEEP + "\n",
        "twice": text + "name: other\n",
        "date": text + "prompts: 2001-99-99\n",
        "digits": text + f"prompts: {'9' * 5000}\n",
        "code": text + "prompts: !!python/object/apply:os.system ['true']\n",
        "complex": text + "? {a: b}\n: c\n",
        "tab": text + "\tprompts: x\n",
        "many": text + "---\n" + text,
        "list": "- a\n- b\n",
        "scalar": "just words\n",
    }.items():
        yield _written(home / f"yaml-{name}.yaml", bad.encode())


def bad_outputs(home: Path, *, folder: bool) -> Iterator[Path]:
    """Places that cannot be written to."""
    foreign = home / "foreign"
    foreign.mkdir(exist_ok=True)
    (foreign / "theirs.txt").write_text("not ours")
    yield from (home / "pairs.jsonl" / "below", home / LONG, Path("/proc/nowhere/out"))
    yield home / "pairs.jsonl" if folder else foreign
    if folder:
        yield foreign


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
