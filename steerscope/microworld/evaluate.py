"""Quality of the microworld model: `python -m steerscope.microworld.evaluate`.

Prints, and with `--json` writes, how close the model is to the grammar that it was trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from steerscope.microworld.oracle import (
    is_grammatical,
    log_probability,
    posterior,
    read,
    sample_story,
    split_sentences,
)
from steerscope.statistics import Estimate, wilson
from steerscope.texts.batches import equal_length_batches
from steerscope.texts.bundled import bundled_models

KEPT = ("mood", "topic", "register")
_TOLD = 0.99  # probability from which an opening tells the value of a hidden variable


@dataclass(frozen=True)
class Quality:
    """How well a model knows the microworld.

    Attributes:
        cross_entropy: nats per token of fresh stories under the model, end of story included.
        entropy: the same under the grammar, hidden variables summed out.
        excess: cross_entropy / entropy - 1.
        grammatical: share of sampled sentences that the grammar can produce.
        kept: for each variable, share of sampled continuations in which the prompt's value is read;
            the prompts are openings of two or three sentences that tell it for certain (99 %).
        kept_by_grammar: the same for the stories that the openings are from, which not always tell.
    """

    n_stories: int
    cross_entropy: float
    entropy: float
    excess: float
    grammatical: Estimate
    kept: dict[str, Estimate]
    kept_by_grammar: dict[str, Estimate]


@torch.no_grad()
def cross_entropy(model: Any, tokenizer: Any, texts: list[str]) -> tuple[float, int]:
    """Total nats of the texts with their end, and number of predicted tokens."""
    rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts).input_ids]
    total = 0.0
    for batch in equal_length_batches(rows, 64, model.device):
        logp = torch.log_softmax(model(batch.tokens).logits[:, :-1].float(), dim=-1)
        total -= float(logp.gather(-1, batch.tokens[:, 1:, None]).sum())
    return total, sum(len(r) - 1 for r in rows)


@torch.no_grad()
def sample_continuations(model: Any, tokenizer: Any, prompts: list[str], seed: int) -> list[str]:
    """One continuation of each prompt, sampled at temperature 1 to its end."""
    torch.manual_seed(seed)
    ids = tokenizer(prompts).input_ids
    texts = [""] * len(ids)
    for batch in equal_length_batches(ids, 64, model.device):
        n_prompt = batch.tokens.shape[1]
        out: Tensor = model.generate(
            batch.tokens,
            attention_mask=torch.ones_like(batch.tokens),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=tokenizer.model_max_length - n_prompt,
            pad_token_id=tokenizer.pad_token_id,
        )
        for index, row in zip(batch.indices, out, strict=True):
            texts[index] = tokenizer.decode(row[n_prompt:], skip_special_tokens=True).strip()
    return texts


def evaluate(folder: Path, *, n_stories: int, n_prompts: int, seed: int) -> Quality:
    """Measure a model on fresh stories of a seed that training does not use."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rng = Random(f"evaluation {seed}")
    texts = [sample_story(rng).text for _ in range(n_stories)]
    nats, n_tokens = cross_entropy(model, tokenizer, texts)
    true_nats = -sum(log_probability(text) for text in texts)
    stories: list[tuple[str, str, Mapping[str, str]]] = []
    while len(stories) < n_prompts:
        story = sample_story(rng)
        cut = rng.randint(2, 3)
        opening, rest = (" ".join(part) for part in (story.sentences[:cut], story.sentences[cut:]))
        if all(posterior(opening, v)[story.hidden[v]] >= _TOLD for v in KEPT):
            stories.append((opening, rest, story.hidden))
    written = sample_continuations(model, tokenizer, [opening for opening, _, _ in stories], seed)
    sentences = [s for text in written for s in split_sentences(text)[0]]
    correct = sum(is_grammatical(s) for s in sentences)
    truth = [hidden for _, _, hidden in stories]
    return Quality(
        n_stories=n_stories,
        cross_entropy=nats / n_tokens,
        entropy=true_nats / n_tokens,
        excess=nats / true_nats - 1,
        grammatical=wilson(correct, len(sentences)),
        kept=_kept(written, truth),
        kept_by_grammar=_kept([rest for _, rest, _ in stories], truth),
    )


def _kept(texts: Sequence[str], truth: Sequence[Mapping[str, str]]) -> dict[str, Estimate]:
    """Share of continuations in which the oracle reads the true value, for each variable."""
    readings = [read(text) for text in texts]
    return {
        v: wilson(
            sum(r.value(v) == hidden[v] for r, hidden in zip(readings, truth, strict=True)),
            len(truth),
        )
        for v in KEPT
    }


def report_lines(quality: Quality) -> list[str]:
    """The quality in words, one finding a line."""

    def share(e: Estimate) -> str:
        return f"{e.value:.1%} [{e.low:.1%}, {e.high:.1%}] of {e.n}"

    return [
        f"cross-entropy {quality.cross_entropy:.4f} nats/token, entropy of the grammar "
        f"{quality.entropy:.4f}, excess {quality.excess:.2%} ({quality.n_stories} stories)",
        f"grammatical sentences: {share(quality.grammatical)}",
        *(
            f"{v} kept: {share(e)} continuations; by the grammar itself "
            f"{quality.kept_by_grammar[v].value:.1%}"
            for v, e in quality.kept.items()
        ),
    ]


def main() -> None:
    """Measure the bundled model, or the one in a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=bundled_models().get("microworld"))
    parser.add_argument("--stories", type=int, default=1000)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.model is None:
        parser.error("there is no bundled microworld; train one first and give its --model")
    torch.set_num_threads(2)
    quality = evaluate(
        options.model, n_stories=options.stories, n_prompts=options.prompts, seed=options.seed
    )
    sys.stdout.write("\n".join(report_lines(quality)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(asdict(quality), indent=2) + "\n")


if __name__ == "__main__":
    main()
