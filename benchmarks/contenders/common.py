"""What every contender needs, in either environment: the task, and a loop that waits for `go`."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


@dataclass(frozen=True)
class Task:
    """The folder that is the first argument, and the task described in it."""

    folder: Path
    stored: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.stored[name]

    @property
    def device(self) -> str:
        """Where the models run."""
        return self.stored.get("device", "cpu")

    @property
    def dtype(self) -> str:
        """Number format of the weights."""
        return self.stored.get("dtype", "float32")

    @property
    def spares_prompts(self) -> bool:
        """Whether vectors are added to what is written alone, and not to the prompts."""
        return self.stored.get("scope") == "generated"

    @property
    def cells(self) -> list[tuple[int, float]]:
        """Layer and dose of every cell."""
        return [(int(layer), float(dose)) for layer, dose in self.stored["cells"]]

    @property
    def prompts(self) -> torch.Tensor:
        """Token ids of the prompts, all of one length."""
        return torch.tensor(self.stored["prompts"], device=self.device)

    def vector(self, layer: int) -> torch.Tensor:
        """The unit vector that is added to the output of a block."""
        return load_file(self.folder / "vectors.safetensors")[str(layer)].to(self.device)


def read_task() -> Task:
    """The task in the folder that is the first argument."""
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    folder = Path(sys.argv[1])
    return Task(folder, json.loads((folder / "task.json").read_text()))


def serve(run: Callable[[], Any]) -> None:
    """Time one run for every line on standard input; answer with seconds, peak memory, answer."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        answer = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"seconds": seconds, "peak": peak, "answer": answer}), flush=True)


def serve_cells(task: Task, steered: Callable[[int, float], torch.Tensor]) -> None:
    """Serve a loop over the cells; `steered` gives the tokens, prompt included, of one."""
    n_prompt = task.prompts.shape[1]
    serve(lambda: [steered(*cell)[:, n_prompt:].tolist() for cell in task.cells])


def load_original(task: Task) -> Any:
    """The model as transformers runs it, in the task's number format, writing all tokens."""
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, task.dtype)
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=dtype).eval()
    model.generation_config.eos_token_id = None
    return model.to(task.device)


def transformers_generate(
    model: Any, task: Task, prompts: torch.Tensor | None = None
) -> torch.Tensor:
    """Greedy continuations by transformers' own generate, of the task's prompts or of these."""
    prompts = task.prompts if prompts is None else prompts
    return model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=task["n_new"],
        do_sample=False,
        pad_token_id=0,
    )


def word_tokenizer(task: Task) -> Any:
    """The tokenizer of the random models, read by the peers' older transformers."""
    from transformers import PreTrainedTokenizerFast

    file = str(Path(task["model"]) / "tokenizer.json")
    return PreTrainedTokenizerFast(
        tokenizer_file=file,
        bos_token="<s>",
        pad_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],  # GPT-2 would embed token types
    )
