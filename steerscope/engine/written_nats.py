"""How likely what was written is after prompts, whoever wrote it, and after which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from steerscope.engine.score import rows_that_fit
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import is_prompting, seen_under
from steerscope.texts.batches import equal_length_batches, filled_up


@torch.no_grad()
def written_nats(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    written: Sequence[Sequence[Sequence[int]]],
) -> Float[np.ndarray, "writer prompt"]:
    """-mean log p of the tokens of each text after its prompt, without steering.

    The prompts need not be those after which the texts were written. Each runs once for all texts.

    Args:
        model: the model.
        prompts: texts or token ids.
        written: tokens that each writer wrote for each prompt.

    Returns:
        Nats per token; NaN for a text without any.

    Raises:
        MemoryBudgetError: not one text fits into the memory.
    """
    found = np.full((len(written), len(prompts)), np.nan)
    given = [model.tokens(p) for p in prompts]
    texts = [(w, p) for w, row in enumerate(written) for p, tokens in enumerate(row) if tokens]
    ids = [[*given[p], *written[w][p]] for w, p in texts]
    at_most = rows_that_fit(model, ids, None)
    for batch in equal_length_batches(given, at_most, model.device):
        place = {prompt: row for row, prompt in enumerate(batch.indices)}
        mine = [text for text in texts if text[1] in place]
        if not mine:
            continue
        with model.clock.hold(batch.tokens.shape[1]):
            plain = model.plain_pass(batch.tokens)
            for start in range(0, len(mine), at_most):
                part = mine[start : start + at_most]
                rows = [list(written[w][p]) for w, p in part]
                which = torch.tensor([place[p] for _, p in part], device=model.device)
                new = torch.tensor(filled_up(rows), device=model.device)
                everyone = torch.arange(len(part), device=model.device)
                logits = plain.continued(which, new).resume(
                    everyone, model.shape.n_layers, last=new.shape[1] + 1
                )
                chosen = _log_p(logits[:, :-1], new)
                for (w, p), row, tokens in zip(part, chosen.cpu(), rows, strict=True):
                    found[w, p] = -float(row[: len(tokens)].mean())
    return found


def nats_when_asked(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    written: Sequence[Sequence[Sequence[int]]],
    asked: Cell | None,
) -> Float[np.ndarray, "cell prompt"]:
    """`written_nats` after the words that ask for something: of what was asked for, its own.

    Args:
        model: the model.
        prompts: texts, or token ids where nothing is asked.
        cells: the conditions.
        written: tokens of each condition after each prompt.
        asked: the words for what a condition without any has written; None to leave that out, as NaN. The
            plain one is always left out.
    """
    found = np.full((len(cells), len(prompts)), np.nan)
    by: dict[Cell, list[int]] = {}
    for number, cell in enumerate(cells):
        words = cell if is_prompting(cell) else asked
        if words is not None and cell.interventions:
            by.setdefault(words, []).append(number)
    for words, numbers in by.items():
        seen = [seen_under(words, prompt) for prompt in prompts]
        found[numbers] = written_nats(model, seen, [written[n] for n in numbers])
    return found


def _log_p(
    logits: Float[torch.Tensor, "row pos vocab"], tokens: torch.Tensor
) -> Float[torch.Tensor, "row pos"]:
    logits = logits.float()
    return logits.gather(-1, tokens[..., None]).squeeze(-1) - logits.logsumexp(dim=-1)
