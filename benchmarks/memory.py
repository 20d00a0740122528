"""Peak memory of decoding 256 rows at a vocabulary of 151,936: planned, and measured in fresh processes.

Prints a table; each line is a process of its own, whose peak is that of its own life.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import transformers as hf
from shapes import make_tokenizer

from steerscope import Greedy, Sample, extract, find_direction, generate, load_model
from steerscope.doses import Dose
from steerscope.engine.generation import generation_plan
from steerscope.models.memory import shown
from steerscope.sites import Site
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import dose_cells
from steerscope.texts.contrasts import ContrastPair, ContrastSet

VOCABULARY, ROWS, NEW = 151_936, 256, 8
SAMPLERS = {
    "greedy": None,
    "temperature 0.7": Sample(0.7),
    "top-p 0.9": Sample(0.7, top_p=0.9),
    "repetition penalty": Sample(0.7, repetition_penalty=1.2),
}


def make(folder: Path) -> None:
    """A small random model with a large vocabulary."""
    config = hf.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    hf.LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(VOCABULARY).save_pretrained(folder)


def peak(folder: str, name: str) -> None:
    """Print what decoding was planned to need, and what it needed beyond the loaded model."""
    model = load_model(folder)
    pairs = ContrastSet(
        "words", tuple(ContrastPair(f"w{i} w5", f"w{i} w6", "c") for i in range(9, 17))
    )
    site = Site("resid_post", 0)
    direction = find_direction("mean_diff", extract(model, pairs, [site])[site])
    cells = dose_cells([direction], [Dose(0.1 * (n + 1)) for n in range(ROWS // 8)], Scope.all())
    prompts = [f"w{i} w{i + 1} w{i + 2} w7 w8" for i in range(20, 28)]
    generate(model, prompts[:1], cells[:1], n_new=2, sampler=SAMPLERS[name])
    plan = generation_plan(model, 6, NEW, ROWS, SAMPLERS[name] or Greedy())[0]
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts anew
    generate(model, prompts, cells, n_new=NEW, sampler=SAMPLERS[name], batch_size=ROWS)
    print(json.dumps({"planned": plan.total - plan.weights, "measured": high_water() - before}))


def high_water() -> int:
    """Bytes of the peak since it was last cleared."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure every sampler."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(*options.peak)
        return
    print(f"| {ROWS} rows, {VOCABULARY:,} tokens | planned | measured | planned over measured |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for name in SAMPLERS:
            command = [sys.executable, __file__, "--peak", folder, name]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(said.splitlines()[-1])
            ratio = found["planned"] / found["measured"]
            print(
                f"| {name} | {shown(found['planned'])} | {shown(found['measured'])} | {ratio:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
