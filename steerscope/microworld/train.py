"""Train the microworld model from nothing: `python -m steerscope.microworld.train`.

The tokenizer is learned from sampled stories, then a small Llama sees an endless stream of fresh
stories, each once. Everything follows from the seed, the number of threads and the versions of
torch and transformers; on two CPU cores it takes under an hour.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
import transformers
from jaxtyping import Int64
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from steerscope.microworld.oracle import sample_story

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
IGNORED = -100
PLAN = "training.json"


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides the trained weights."""

    seed: int = 0
    vocab_size: int = 1000
    n_tokenizer_stories: int = 20_000
    steps: int = 2500
    stories_per_step: int = 64
    warmup_steps: int = 100
    peak_learning_rate: float = 5e-3
    weight_decay: float = 0.1
    threads: int = 2
    n_layers: int = 8
    d_model: int = 128
    n_heads: int = 8
    n_key_value_heads: int = 4
    d_mlp: int = 352


def train_tokenizer(plan: TrainingPlan) -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts the beginning-of-story token in front of every text."""
    rng = Random(f"tokenizer {plan.seed}")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        (sample_story(rng).text for _ in range(plan.n_tokenizer_stories)),
        trainers.BpeTrainer(
            vocab_size=plan.vocab_size,
            special_tokens=[PAD, BOS, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast, plan: TrainingPlan) -> LlamaForCausalLM:
    """The untrained architecture; by default 1.6M weights."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=plan.d_model,
            num_hidden_layers=plan.n_layers,
            num_attention_heads=plan.n_heads,
            num_key_value_heads=plan.n_key_value_heads,
            intermediate_size=plan.d_mlp,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            rms_norm_eps=1e-5,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def story_batches(
    tokenizer: PreTrainedTokenizerFast, plan: TrainingPlan
) -> Iterator[Int64[Tensor, "story pos"]]:
    """Endless batches of fresh stories, right-padded; stories of like length share a batch."""
    rng = Random(f"stories {plan.seed}")
    n_batches = 32
    while True:
        texts = [sample_story(rng).text for _ in range(n_batches * plan.stories_per_step)]
        rows = sorted(
            (ids + [tokenizer.eos_token_id] for ids in tokenizer(texts).input_ids), key=len
        )
        starts = list(range(0, len(rows), plan.stories_per_step))
        rng.shuffle(starts)
        for start in starts:
            batch = [torch.tensor(r) for r in rows[start : start + plan.stories_per_step]]
            yield torch.nn.utils.rnn.pad_sequence(
                batch, batch_first=True, padding_value=tokenizer.pad_token_id
            )


def learning_rate(step: int, plan: TrainingPlan) -> float:
    """Linear warm-up, then a cosine down to 1 % of the peak."""
    if step < plan.warmup_steps:
        return plan.peak_learning_rate * (step + 1) / plan.warmup_steps
    progress = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    return plan.peak_learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def train_model(tokenizer: PreTrainedTokenizerFast, plan: TrainingPlan) -> LlamaForCausalLM:
    """Minimise the cross-entropy of fresh stories, every one seen once."""
    torch.manual_seed(plan.seed)
    model = new_model(tokenizer, plan).train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": plan.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=plan.peak_learning_rate,
        betas=(0.9, 0.98),
    )
    began = time.perf_counter()
    for step, tokens in zip(range(plan.steps), story_batches(tokenizer, plan), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, plan)
        labels = tokens.masked_fill(tokens == tokenizer.pad_token_id, IGNORED)
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0 or step == plan.steps - 1:
            elapsed = time.perf_counter() - began
            sys.stderr.write(f"step {step} loss {loss.item():.4f} nats/token, {elapsed:.0f} s\n")
    return model.eval()


def write_model(
    folder: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: TrainingPlan,
) -> None:
    """Tokenizer and weights in Hugging Face format, and the plan with the versions, last."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    record = {"plan": asdict(plan), "versions": versions}
    (folder / PLAN).write_text(json.dumps(record, indent=2) + "\n")


def trained(folder: Path, tokenizer: PreTrainedTokenizerFast, plan: TrainingPlan) -> Path:
    """A folder with the model of a plan, trained now if it does not hold that already."""
    record = folder / PLAN
    if not (record.is_file() and json.loads(record.read_text())["plan"] == asdict(plan)):
        write_model(folder, train_model(tokenizer, plan), tokenizer, plan)
    return folder


def main() -> None:
    """Train and write tokenizer, weights and the plan in Hugging Face format."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=TrainingPlan.steps)
    options = parser.parse_args()
    plan = TrainingPlan(seed=options.seed, steps=options.steps)
    torch.set_num_threads(plan.threads)
    tokenizer = train_tokenizer(plan)
    write_model(options.out, train_model(tokenizer, plan), tokenizer, plan)


if __name__ == "__main__":
    main()
