"""Train a TopK autoencoder here and with sae-lens' runner: same model, tokens, sizes and steps.

    python benchmarks/sae_training.py --out benchmarks/results/cpu-microworld-sae.json

Both train in turns in one process, on rows of one length that the runner reads already tokenised,
without normalisation, logging, checkpoints or evaluation, first positions left out by both. Times are
of the processor, for one thread, so that other work on the machine does not enter; the clock's stand
beside them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import sae_lens
import torch
from datasets import Dataset
from sae_lens import LanguageModelSAERunnerConfig, LanguageModelSAETrainingRunner, LoggingConfig
from sae_lens.saes import TopKTrainingSAEConfig

from steerscope import SaePlan, Site, load_model, train_sae
from steerscope.models.lens_model import LensModel
from steerscope.sae import load_texts, token_rows

LENGTH, BATCH, BUFFER, FEATURES, K = 64, 1024, 65_536, 1024, 16
SITE = Site("resid_post", 3)


def with_steerscope(model: LensModel, rows: list[list[int]], n_activations: int) -> None:
    """Train with `train_sae`."""
    plan = SaePlan(
        n_features=FEATURES,
        k=K,
        n_activations=n_activations,
        batch_size=BATCH,
        normalisation="none",
        buffer=BUFFER,
    )
    train_sae(model, SITE, rows, plan)


def with_sae_lens(model: LensModel, rows: list[list[int]], n_activations: int) -> None:
    """Train with sae-lens' runner."""
    config = LanguageModelSAERunnerConfig(
        sae=TopKTrainingSAEConfig(d_in=model.width(SITE), d_sae=FEATURES, k=K),
        model_name=model.name,
        hook_name=SITE.hook_name,
        dataset_path="rows",
        streaming=False,
        context_size=LENGTH,
        training_tokens=n_activations,
        store_batch_size_prompts=32,
        n_batches_in_buffer=BUFFER // LENGTH,  # it counts rows
        train_batch_size_tokens=BATCH,
        lr=1e-3,
        exclude_special_tokens=True,
        device="cpu",
        logger=LoggingConfig(log_to_wandb=False),
        checkpoint_path=None,
        output_path=None,
        verbose=False,
    )
    dataset = Dataset.from_dict({"input_ids": rows})
    LanguageModelSAETrainingRunner(
        config, override_dataset=dataset, override_model=model.transformer
    ).run()


def main() -> None:
    """Time both in turns and write the result."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--activations", type=int, default=120 * BATCH)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("microworld", backbone="hooked")
    texts = load_texts("microworld", "train", n=3000)
    rows = [row for row in token_rows(model, texts, longest=LENGTH) if len(row) == LENGTH]
    contenders = {"steerscope": with_steerscope, "sae-lens runner": with_sae_lens}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    clock: dict[str, list[float]] = {name: [] for name in contenders}
    for train in contenders.values():
        train(model, rows, 2 * BATCH)  # to warm up
    for _ in range(options.repetitions):
        for name, train in contenders.items():
            began, began_clock = time.process_time(), time.perf_counter()
            train(model, rows, options.activations)
            processor[name].append(time.process_time() - began)
            clock[name].append(time.perf_counter() - began_clock)
    median = {name: statistics.median(values) for name, values in processor.items()}
    result = {
        "task": f"{options.activations} activations of width {model.width(SITE)} at {SITE}, TopK "
        f"{K} of {FEATURES}, batches of {BATCH}, rows of {LENGTH} tokens, microworld, one thread",
        "processor_seconds": processor,
        "clock_seconds": clock,
        "activations_per_processor_second": {
            name: options.activations / seconds for name, seconds in median.items()
        },
        "runner_over_steerscope": median["sae-lens runner"] / median["steerscope"],
        "versions": {"torch": torch.__version__, "sae_lens": sae_lens.__version__},
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
