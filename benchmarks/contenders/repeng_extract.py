"""repeng: hidden states of the last token of all texts, then the difference of means."""

from __future__ import annotations

import os

import torch
from common import read_task, serve, word_tokenizer
from repeng.extract import batched_get_hiddens
from transformers import AutoModelForCausalLM


def main() -> None:
    """Load once, then run on demand."""
    os.environ["TQDM_DISABLE"] = "1"
    task = read_task()
    model = AutoModelForCausalLM.from_pretrained(task["model"]).eval().to(task.device)
    tokenizer = word_tokenizer(task)
    layers = list(range(model.config.num_hidden_layers))
    texts = ["<s> " + text for pair in task["pairs"] for text in pair]

    def run() -> list[list[float]]:
        found = batched_get_hiddens(model, tokenizer, texts, layers, task["batch_size"])
        both = [torch.from_numpy(found[layer]) for layer in layers]
        return [(h[0::2].mean(dim=0) - h[1::2].mean(dim=0)).tolist() for h in both]

    serve(run)


if __name__ == "__main__":
    main()
