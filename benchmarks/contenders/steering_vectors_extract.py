"""steering-vectors: its training of a steering vector with the mean aggregator."""

from __future__ import annotations

from common import read_task, serve, word_tokenizer
from steering_vectors import train_steering_vector
from transformers import AutoModelForCausalLM


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = AutoModelForCausalLM.from_pretrained(task["model"]).eval().to(task.device)
    tokenizer = word_tokenizer(task)
    pairs = [("<s> " + a, "<s> " + b) for a, b in task["pairs"]]

    def run() -> list[list[float]]:
        found = train_steering_vector(
            model, tokenizer, pairs, move_to_cpu=True, batch_size=task["batch_size"]
        ).layer_activations
        return [found[layer].tolist() for layer in sorted(found)]

    serve(run)


if __name__ == "__main__":
    main()
