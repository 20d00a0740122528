"""Time one sweep under every contender, interleaved: `make bench`.

Writes `benchmarks/results/<device>-<shape>.json` and prints a table of ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

HERE = Path(__file__).parent
PEERS = HERE / ".venv/bin/python"
CONTENDERS = {  # name in the results: script, whether it runs in the peers' environment
    "steerscope": ("steerscope_grid.py", False),
    "steering_vectors": ("steering_vectors_loop.py", True),
    "repeng": ("repeng_loop.py", True),
    "hooked_loop": ("hooked_loop.py", False),
    "matmul_bound": ("matmul_bound.py", False),
}
SHAPES = ("microworld", "gpt2-124m", "qwen3-0.6b")


def make_model(shape: str, folder: Path) -> tuple[Path, int, int]:
    """Weights of a shape on disk; the folder, number of blocks and size of the vocabulary."""
    if shape == "microworld":
        path = HERE.parent / "data" / "microworld"
        config = hf.AutoConfig.from_pretrained(path)
        return path, config.num_hidden_layers, config.vocab_size
    torch.manual_seed(0)
    if shape == "gpt2-124m":
        model: Any = hf.GPT2LMHeadModel(hf.GPT2Config())
    else:
        model = hf.Qwen3ForCausalLM(
            hf.Qwen3Config(
                vocab_size=151_936,
                hidden_size=1024,
                intermediate_size=3072,
                num_hidden_layers=28,
                num_attention_heads=16,
                num_key_value_heads=8,
                head_dim=128,
                tie_word_embeddings=True,
            )
        )
    path = folder / shape
    model.save_pretrained(path)
    n_vocab = model.config.vocab_size
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(n_vocab)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    hf.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="w1", eos_token="w2"
    ).save_pretrained(path)
    return path, model.config.num_hidden_layers, n_vocab


def write_task(shape: str, folder: Path, options: argparse.Namespace) -> None:
    """Write weights, unit vectors and the task itself."""
    path, n_layers, n_vocab = make_model(shape, folder)
    generator = torch.Generator().manual_seed(0)
    width = hf.AutoConfig.from_pretrained(path).hidden_size
    vectors = torch.randn(n_layers, width, generator=generator)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    save_file({str(i): v.clone() for i, v in enumerate(vectors)}, folder / "vectors.safetensors")
    size = (options.prompts, options.prompt_tokens)
    prompts = torch.randint(3, n_vocab, size, generator=generator)
    prompts[:, 0] = 1  # the beginning-of-sequence token of all these tokenizers
    n_doses = max(1, options.cells // n_layers)
    cells = [(layer, 2.0 * (k + 1)) for layer in range(n_layers) for k in range(n_doses)]
    task = {
        "model": str(path), "prompts": prompts.tolist(), "cells": cells[: options.cells], "n_new": options.n_new
    }  # fmt: skip
    (folder / "task.json").write_text(json.dumps(task))


class Worker:
    """A contender in its own process, with the model loaded."""

    def __init__(self, name: str, folder: Path) -> None:
        script, is_peer = CONTENDERS[name]
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open while the process runs
        self.process = subprocess.Popen(
            [str(PEERS) if is_peer else sys.executable, str(HERE / "contenders" / script), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)},
        )
        self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(f"the contender {self.name} has ended: {self.errors.read()[-2000:]}")
        return json.loads(line)

    def run(self) -> dict[str, Any]:
        """One timed run."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(shape: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every contender and repetition, ratios of the medians, and whether tokens agree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_task(shape, folder, options)
        workers = [Worker(c, folder) for c in CONTENDERS]
        seconds: dict[str, list[float]] = {w.name: [] for w in workers}
        tokens: dict[str, Any] = {w.name: w.run()["tokens"] for w in workers}  # to warm up
        for _ in range(options.repetitions):
            for worker in workers:
                seconds[worker.name].append(worker.run()["seconds"])
        for worker in workers:
            worker.stop()
    ours = statistics.median(seconds["steerscope"])
    return {
        "shape": shape,
        "device": "cpu",
        "threads": 2,
        "task": {
            "cells": options.cells,
            "prompts": options.prompts,
            "prompt_tokens": options.prompt_tokens,
            "new_tokens": options.n_new,
        },
        "tokens_identical": {
            name: tokens[name] == tokens["steerscope"]
            for name in CONTENDERS
            if name not in {"steerscope", "matmul_bound"}
        },
        "seconds": seconds,
        "ratios": {
            name: statistics.median(values) / ours
            for name, values in seconds.items()
            if name != "steerscope"
        },
    }


def table(result: dict[str, Any]) -> str:
    """Ratios of the medians, with the fastest and slowest repetition."""
    lines = [f"{result['shape']}: contender's time over ours (median of {result['device']} runs)"]
    ours = statistics.median(result["seconds"]["steerscope"])
    for name, ratio in result["ratios"].items():
        values = [v / ours for v in result["seconds"][name]]
        same = result["tokens_identical"].get(name)
        note = "" if same is None else "same tokens" if same else "OTHER TOKENS"
        lines.append(f"  {name:18s} {ratio:6.2f}  [{min(values):.2f}, {max(values):.2f}]  {note}")
    return "\n".join(lines)


def main() -> None:
    """Measure the shapes that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=list(SHAPES[:2]), help=", ".join(SHAPES))
    parser.add_argument("--cells", type=int, default=36)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--n-new", type=int, default=24)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    for shape in options.shapes:
        if shape not in SHAPES:
            parser.error(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")
        result = measure(shape, options)
        path = HERE / "results" / f"cpu-{shape}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(table(result), flush=True)


if __name__ == "__main__":
    main()
