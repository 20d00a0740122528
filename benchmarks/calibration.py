"""How often the sentence says Yes where there is nothing, and where there is something.

    python benchmarks/calibration.py --runs 200 --workers 2
    python benchmarks/calibration.py --table

Every run is a whole `run_study` at reduced size, with the sentence and the audit as a user gets them.
Each kind of null has nothing to find by construction; of the planted kind the direction is real. What
was found is one line of `results/calibration.jsonl` a run; a second start makes what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "calibration.jsonl"
TABLE = HERE / "results" / "calibration.md"
N_PAIRS = 44
N_CLUSTERS, N_TIMES = 24, 3
MOST_WORDS = 14
SMALL: dict[str, Any] = {
    "layers": (4, 6),
    "doses": (1.0, 2.0),
    "reference_dose": 2.0,
    "n_new": 3,
    "max_select": 4,
    "max_test": 6,
    "n_sweep_controls": 0,
    "n_controls": 3,
}
SHALLOW = SMALL | {"layers": (0, 1)}


@lru_cache(maxsize=1)
def short_pairs() -> list[list[tuple[str, str]]]:
    """The bundled mood pairs of at most so many words, those of one contrast together."""
    from steerscope.texts.contrasts import load_contrasts

    found = load_contrasts("mood")
    by_group: dict[int, list[tuple[str, str]]] = {}
    for pair, group in zip(found.pairs, found.groups, strict=True):
        if len(pair.positive.split()) <= MOST_WORDS:
            by_group.setdefault(group, []).append((pair.positive, pair.negative))
    return list(by_group.values())


def mood_pairs(rng: Random) -> list[tuple[str, str]]:
    """Pairs of the bundled mood set, each of another contrast."""
    return [rng.choice(group) for group in rng.sample(short_pairs(), N_PAIRS)]


def shuffled_pairs(rng: Random) -> list[tuple[str, str]]:
    """The same with the classes of half of them swapped."""
    return [p if rng.random() < 0.5 else (p[1], p[0]) for p in mood_pairs(rng)]


def clustered_pairs(rng: Random) -> list[tuple[str, str]]:
    """Few contrasts, each several times with other words around it.

    Which side of a contrast is positive is drawn at random: five rows say the same, and nothing is
    true of others.
    """
    texts = [text for pair in mood_pairs(rng) for text in pair]
    words = sorted({w for t in texts for w in t.replace(".", " ").split() if w.islower()})
    n = N_CLUSTERS * N_TIMES
    openings = [" ".join(t.split()[:4]) for t in rng.sample(texts, n)]
    contrasts = [rng.sample(words, 2) for _ in range(N_CLUSTERS)] * N_TIMES
    return [
        (f"{opening} {one}.", f"{opening} {other}.")
        for opening, (one, other) in zip(openings, contrasts, strict=True)
    ]


def write_pairs(pairs: list[tuple[str, str]], folder: Path) -> str:
    """A contrast set of these pairs; its file."""
    path = folder / "pairs.jsonl"
    rows = [{"positive": p, "negative": n, "concept": "made up"} for p, n in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def random_model(family: str, seed: int, folder: Path) -> str:
    """A small model of random weights with the tokenizer of the microworld; its folder."""
    import torch
    import transformers as hf

    from steerscope.texts.bundled import bundled_models

    source = bundled_models()["microworld"]
    tokenizer = hf.AutoTokenizer.from_pretrained(source)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    torch.manual_seed(seed)
    config = hf.LlamaConfig(**shape) if family == "llama" else hf.Qwen3Config(**shape, head_dim=12)
    model = hf.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.15)
    place = folder / family
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


def null_pairs(seed: int, folder: Path) -> dict[str, Any]:
    """Labels shuffled: the classes mean nothing."""
    return SMALL | {"contrasts": write_pairs(shuffled_pairs(Random(f"pairs {seed}")), folder)}


def null_random(seed: int, folder: Path) -> dict[str, Any]:
    """A random vector in place of the method, real pairs."""
    contrasts = write_pairs(mood_pairs(Random(f"random {seed}")), folder)
    return SMALL | {"contrasts": contrasts, "method": "placebo_random"}


def null_covariance(seed: int, folder: Path) -> dict[str, Any]:
    """A random vector with the covariance of the activations in place of the method."""
    contrasts = write_pairs(mood_pairs(Random(f"covariance {seed}")), folder)
    return SMALL | {"contrasts": contrasts, "method": "placebo_covariance"}


def random_llama(seed: int, folder: Path) -> dict[str, Any]:
    """Random weights of the Llama family, real pairs."""
    contrasts = write_pairs(mood_pairs(Random(f"llama {seed}")), folder)
    return SHALLOW | {"model": random_model("llama", seed, folder), "contrasts": contrasts}


def random_qwen3(seed: int, folder: Path) -> dict[str, Any]:
    """Random weights of the Qwen3 family, real pairs."""
    contrasts = write_pairs(mood_pairs(Random(f"qwen3 {seed}")), folder)
    return SHALLOW | {"model": random_model("qwen3", seed, folder), "contrasts": contrasts}


def llama_happy_sad(seed: int, folder: Path) -> dict[str, Any]:
    """Random weights of the Llama family, the bundled happy_sad with its prompts."""
    return SHALLOW | {"model": random_model("llama", seed, folder), "contrasts": "happy_sad"}


def styles(seed: int, folder: Path) -> dict[str, Any]:
    """Random weights of the Qwen3 family, one of the four bundled styles after the other."""
    from steerscope.texts.styles import STYLES

    style = sorted(STYLES)[seed % len(STYLES)]
    return SHALLOW | {"model": random_model("qwen3", seed, folder), "contrasts": f"style:{style}"}


def clustered(seed: int, folder: Path) -> dict[str, Any]:
    """Few contrasts, each many times."""
    return SMALL | {"contrasts": write_pairs(clustered_pairs(Random(f"cluster {seed}")), folder)}


def planted(seed: int, folder: Path) -> dict[str, Any]:
    """A real direction of a model that was trained on the concept."""
    return SMALL | {"contrasts": write_pairs(mood_pairs(Random(f"planted {seed}")), folder)}


def planted_judged(seed: int, folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """The same read in the model's own text by the oracle, on as many texts as bound a cost."""
    more = {"contrasts": "mood", "layers": (3,), "doses": (2.0, 3.0), "n_new": 36}
    return SMALL | more | {"max_select": 60, "max_test": 130, "n_controls": 1}


KINDS: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    kind.__name__: kind
    for kind in (
        null_pairs,
        null_random,
        null_covariance,
        random_llama,
        random_qwen3,
        llama_happy_sad,
        styles,
        clustered,
        planted,
        planted_judged,
    )
}


# The share of the runs that each kind makes: the kinds of null together are five times so many.
SHARES = {
    "null_random": 0.5,
    "null_covariance": 0.5,
    "random_llama": 0.35,
    "random_qwen3": 0.35,
    "llama_happy_sad": 0.3,
    "planted": 0.5,
    "planted_judged": 0.05,
}


def in_turn(runs: int, kinds: Sequence[str]) -> list[tuple[str, int]]:
    """Kinds and seeds, every kind with its share at any time, so that a cut leaves all as full."""
    wanted = [(k, seed) for k in kinds for seed in range(round(runs * SHARES.get(k, 1.0)))]
    return sorted(wanted, key=lambda each: (each[1] + 1) / SHARES.get(each[0], 1.0))


@lru_cache(maxsize=1)
def prepare() -> None:
    """Random vectors as methods, and a model that is loaded once for all runs of a process."""
    import torch

    import steerscope.directions as directions
    from steerscope.studies.steering import prepare as studies

    torch.set_num_threads(1)
    for name, control in (
        ("placebo_random", directions.random),
        ("placebo_covariance", directions.covariance_matched_random),
    ):

        def draw(contrast: Any, *, seed: int = 0, control: Any = control, name: str = name) -> Any:
            return replace(control(contrast, seed=7_000_000 + seed), method=name)

        directions.METHODS[name] = draw
        directions.SEEDED = directions.SEEDED | {name}
    load = studies.load_model
    studies.load_model = lru_cache(maxsize=1)(load)  # type: ignore[assignment]


def one(kind: str, seed: int) -> dict[str, Any]:
    """One run of a kind, and the sentence that comes out."""
    prepare()
    from steerscope.audits import sentence
    from steerscope.studies.steering.findings import find
    from steerscope.studies.steering.measure import run_study
    from steerscope.studies.steering.plan import StudyPlan

    start, folder = time.time(), Path(tempfile.mkdtemp())
    try:
        run = run_study(StudyPlan(seed=seed, **KINDS[kind](seed, folder)), folder / "run")
        said, found = sentence(run), find(run)
        assert found.gain is not None
        return {
            "kind": kind,
            "seed": seed,
            "sentence": said.replace(str(folder), ""),
            "gain": found.gain.value,
            "low": found.gain.low,
            "high": found.gain.high,
            "n": found.gain.n,
            "rank_p": max(rank.p for rank in found.nulls),
            "seconds": round(time.time() - start, 1),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def made(path: Path) -> list[dict[str, Any]]:
    """The runs that are there."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def answer_of(sentence: str) -> str:
    """The answer that a sentence opens with."""
    return sentence.split(":")[0]


# Kinds that show the same: what the page on statistics states together.
TOGETHER = {
    "null pairs": ("null_pairs",),
    "null directions": ("null_random", "null_covariance"),
    "random weights, two families": ("random_llama", "random_qwen3", "llama_happy_sad"),
    "styles": ("styles",),
    "clustered pairs": ("clustered",),
    "planted effects": ("planted", "planted_judged"),
}
ANSWERS = ("Yes", "Yes, at a price", "No", "Not shown")


def table(rows: list[dict[str, Any]]) -> str:
    """For every kind, and for those that show the same: runs, answers, and the share of Yes."""
    head = (
        "| runs | Yes | Yes, at a price | No | Not shown | any Yes, Wilson's 95 % |\n|---|"
        + "---|" * 6
    )
    lines = [f"| what {head}"]
    for name, kinds in TOGETHER.items():
        lines += _line(name, [r for r in rows if r["kind"] in kinds])
    lines += ["", f"| kind {head}"]
    for kind, make in KINDS.items():
        what = (make.__doc__ or "").split("\n")[0].rstrip(".:")
        lines += _line(f"{kind.replace('_', ' ')}: {what}", [r for r in rows if r["kind"] == kind])
    seconds = sorted(r["seconds"] for r in rows)
    lines += [
        "",
        f"Median time of a run: {seconds[len(seconds) // 2]:.0f} s on a machine with other work.",
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, rows: list[dict[str, Any]]) -> list[str]:
    from steerscope.statistics import wilson

    if not rows:
        return []
    mine = [answer_of(r["sentence"]) for r in rows]
    counts = [mine.count(a) for a in ANSWERS]
    share = wilson(counts[0] + counts[1], len(mine))
    value, low, high = (100 * x for x in (share.value, share.low, share.high))
    cells = " | ".join(map(str, [len(mine), *counts]))
    return [f"| {name} | {cells} | {value:.1f} % [{low:.1f}, {high:.1f}] |"]


def main() -> None:
    """Make the runs that are missing, or print the table of those that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="of each kind of null")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start none later")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="write the table of what is there")
    options = parser.parse_args()
    if options.table:
        TABLE.write_text(table(made(options.out)))
        return
    there = {(r["kind"], r["seed"]) for r in made(options.out)}
    wanted = [each for each in in_turn(options.runs, options.kinds) if each not in there]
    make_all(wanted, options.workers, options.seconds, options.out)


def make_all(wanted: list[tuple[str, int]], workers: int, seconds: float, out: Path) -> None:
    """Make runs side by side and write each down as it ends; none is started after so many seconds."""
    start, waiting, jobs = time.time(), iter(wanted), set()
    with ProcessPoolExecutor(workers) as pool, out.open("a") as lines:
        while True:
            while len(jobs) < workers and time.time() - start < seconds:
                if (next_one := next(waiting, None)) is None:
                    break
                jobs.add(pool.submit(one, *next_one))
            if not jobs:
                return
            done = next(as_completed(jobs))
            jobs.remove(done)
            if error := done.exception():  # not written down, so that a second start makes it again
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            else:
                lines.write(json.dumps(done.result()) + "\n")
                lines.flush()


if __name__ == "__main__":
    main()
