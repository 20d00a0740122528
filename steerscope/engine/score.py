"""Forward-only measurements: likelihoods of texts, and KL of a steered from the plain model.

Each text runs once, plain; every condition runs again only the blocks from its site upward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from os.path import commonprefix
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.directions import Direction
from steerscope.engine.alike import alike, alike_within
from steerscope.engine.decoding import States, plain_pass
from steerscope.metrics import kl_from_log_q
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.models.memory import cache_bytes, fit, logits_bytes, pass_bytes, tokens_in_cache
from steerscope.models.plain_pass import PlainPass, passes, unembedded
from steerscope.models.prompts import Prompts, as_prompts
from steerscope.progress import Track, silent
from steerscope.steering.cells import Cells, as_cells
from steerscope.steering.interventions import Cell, Intervention, Rows
from steerscope.steering.one_batch import attach_cells
from steerscope.steering.prompting import is_prompting, on_activations, seen_under
from steerscope.steering.scopes import Scope
from steerscope.texts.batches import equal_length_batches

_TEXTS_AT_ONCE = 1024
_Prompt = TypeVar("_Prompt", bound=TextOrIds)


def kl_from_plain(
    model: LensModel,
    prompts: Prompts,
    cells: Cells,
    *,
    batch_size: int | None = None,
    states: States | None = None,
    progress: Track = silent,
) -> Float[Tensor, "cell prompt"]:
    """KL(steered || plain) of the next-token distributions, in nats, mean over the positions.

    Every prompt is teacher-forced; position 0 is left out of the mean.

    Args:
        model: the model.
        prompts: texts or token ids; a text alone is one prompt.
        cells: the conditions, a steering or a direction alone being one; a plain one gives 0, a
            prompting NaN, since it has other positions.
        batch_size: rows in one pass; default as many as are run fastest and the memory holds.
        states: what was kept while something was written after the prompts under the conditions; what the
            last block gave over them is not run again.
        progress: shows the loop.

    Returns:
        Nats for every condition and prompt, [cell, prompt].

    Raises:
        MemoryBudgetError: not one prompt fits into the memory.
    """
    asked = as_prompts(prompts), as_cells(cells)
    found = kl_by_position(model, *asked, batch_size=batch_size, states=states, progress=progress)
    return torch.stack([kl.mean(dim=1) for kl in found], dim=1)


def with_kl(model: LensModel, prompts: Sequence[_Prompt]) -> list[_Prompt]:
    """The prompts that have a KL: those of two tokens or more, since position 0 is left out."""
    return [prompt for prompt in prompts if len(model.tokens(prompt)) > 1]


def mean_kl(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    *,
    progress: Track = silent,
) -> Float[Tensor, " cell"]:
    """`kl_from_plain` as a mean over the prompts that have a KL; NaN where one of those is no number, or none has one.

    Raises:
        MemoryBudgetError: not one prompt fits into the memory.
    """
    asked = with_kl(model, prompts)
    if not asked:
        return torch.full((len(cells),), math.nan, dtype=torch.float64)
    return kl_from_plain(model, asked, cells, progress=progress).double().mean(dim=1)


@torch.no_grad()
def kl_by_position(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    *,
    batch_size: int | None = None,
    states: States | None = None,
    progress: Track = silent,
) -> list[Float[Tensor, "cell pos"]]:
    """KL(steered || plain) at every position but 0 of each prompt, in nats, teacher-forced.

    NaN under a condition that changes the prompt itself.
    """
    ids = [model.tokens(p) for p in prompts]
    found = [torch.full((len(cells), len(i) - 1), torch.nan) for i in ids]
    defined = [c for c, cell in enumerate(cells) if not is_prompting(cell)]
    kept = States() if states is None else states
    texts = rows_that_fit(model, ids, batch_size)
    for batch in progress(equal_length_batches(ids, texts, model.device), "measuring KL"):
        wanted = batch.tokens.shape[1] - 1
        if not wanted:
            continue
        plain = plain_pass(model, batch.tokens, states)
        log_q = torch.log_softmax(_plain_logits(plain, wanted).float(), dim=-1)
        seen = [c for c in defined if all((c, p) in kept.prompts for p in batch.indices)]
        for c in seen:
            residual = torch.stack([kept.prompts[c, p][1:] for p in batch.indices])
            kl = _kl_of_states(model, residual, log_q, plain.n_alike - 1).cpu()
            for prompt, row in zip(batch.indices, kl, strict=True):
                found[prompt][c] = row
        rest = [c for c in defined if c not in seen]
        acting = [cells[c] for c in rest]
        for some, which, logits in under_each(plain, acting, at_most=texts, last=wanted):
            kl = kl_from_log_q(logits, log_q, which).cpu()
            for number, place, row in zip(some, which.tolist(), kl, strict=True):
                found[batch.indices[place]][rest[number]] = row
    return found


def _kl_of_states(
    model: LensModel,
    residual: Float[Tensor, "prompt out d"],
    log_q: Float[Tensor, "prompt out vocab"],
    n_alike: int,
) -> Float[Tensor, "prompt out"]:
    """The KL from plain of what the last block gave, once where prompts begin alike and it gave the same."""
    begun = residual[:, : max(0, n_alike)]
    if len(residual) == 1 or not torch.equal(begun, begun[:1].expand_as(begun)):
        begun = begun[:, :0]
    n, found = begun.shape[1], log_q.new_empty(log_q.shape[:2])
    for rows, where in ((slice(1), slice(n)), (slice(None), slice(n, None))):
        if not found[rows, where].numel():
            continue
        for part, logits in unembedded(model, residual[rows, where]):
            kl = kl_from_log_q(logits, log_q[:, where], part.to(log_q.device))
            found[slice(None) if rows.stop else part, where] = kl
    return found


def rows_that_fit(model: LensModel, ids: Sequence[list[int]], batch_size: int | None) -> int:
    """Texts, or texts under conditions, whose passes and logits the memory holds at once."""
    longest = max(map(len, ids), default=1)
    token = pass_bytes(model) + cache_bytes(model) + 2 * logits_bytes(model)
    token += model.shape.n_layers * model.shape.d_model * model.dtype.itemsize
    at_most = batch_size or max(1, min(_TEXTS_AT_ONCE, tokens_in_cache(model) // longest))
    return fit(
        model, f"a text of {longest} tokens", shared=0, row=longest * token, at_most=at_most
    ).rows


def _plain_logits(plain: PlainPass, last: int) -> Float[Tensor, "prompt out vocab"]:
    everyone = torch.arange(len(plain.tokens), device=plain.tokens.device)
    return plain.resume(everyone, plain.model.shape.n_layers, last=last)


def under_each(
    plain: PlainPass,
    cells: Sequence[Cell],
    *,
    at_most: int,
    last: int,
    ends: Int[Tensor, " prompt"] | None = None,
) -> Iterator[tuple[list[int], Int[Tensor, " row"], Float[Tensor, "row out vocab"]]]:
    """Logits at the last positions of the prompts of a plain pass under conditions, some at a time.

    A row is a prompt under a condition; it comes with the numbers of its condition and prompt.

    Args:
        plain: the prompts.
        cells: the conditions.
        at_most: rows in one pass.
        last: positions at the end that are wanted.
        ends: where each prompt ends for a scope; what comes after it counts as generated. Default at
            the end of the text.
    """
    model, (n, length) = plain.model, plain.tokens.shape
    first = [plain.first_run(b) for b in _first_blocks(model, cells, length, ends)]
    order = sorted(range(len(cells)), key=first.__getitem__)
    at_once = max(1, at_most // n)
    everyone, hooked = torch.arange(n, device=plain.tokens.device), model.is_hooked
    for span in passes([first[number] for number in order], at_once, hooked=hooked):
        part = order[span]
        which = everyone.repeat(len(part))
        blocks = [first[number] for number in part for _ in range(n)]
        places = torch.arange(len(which)).to(which).split(n)
        mine = [(cells[i], Rows(rows)) for i, rows in zip(part, places, strict=True)]
        joined = partial(_assign_first, [rows for _, rows in mine], places)
        with _prompts_end(model, ends, which), attach_cells(model, mine):
            may = ends is None or alike_within([cells[i] for i in part], plain.n_alike, ends)
            same = alike(model, mine, len(which)) if may and not hooked else None
            for rows, logits in plain.resume_in_parts(
                which, blocks, last=last, alike=same, joined=joined
            ):
                yield [part[int(row) // n] for row in rows], which[rows], logits


def _first_blocks(
    model: LensModel, cells: Sequence[Cell], length: int, ends: Int[Tensor, " prompt"] | None
) -> list[int]:
    """The first block that each condition changes in texts of a length, or 0 where that is not known."""
    n_blocks = model.shape.n_layers
    if ends is None:
        return [cell.first_block(length, n_blocks) for cell in cells]
    return [first_block_after(cell, int(ends.min()), n_blocks) for cell in cells]


def first_block_after(cell: Cell, prompt_length: int, n_blocks: int) -> int:
    """The first block that may run otherwise than plain, over a prompt or what is written after it."""
    # A block is None where only what is generated changes: from any block on.
    blocks = (i.first_block(prompt_length) or 0 for i in cell.interventions if _acts(i))
    return min(blocks, default=n_blocks)


def _acts(intervention: object) -> bool:
    """Whether an intervention changes anything: an adapter at coefficient 0 has nothing to attach."""
    return getattr(intervention, "coefficient", 1.0) != 0


def _prompts_end(
    model: LensModel, ends: Int[Tensor, " prompt"] | None, which: Int[Tensor, " row"] | None = None
) -> AbstractContextManager[None]:
    """While active, the prompts of the rows of a pass end there, if it is said where."""
    if ends is None:
        return nullcontext()
    return model.clock.hold(ends if which is None else ends[which])


def _assign_first(
    rows_of: Sequence[Rows], places: Sequence[Int[Tensor, " row"]], n_rows: int
) -> None:
    """Give the conditions whose rows are among the first their own, and the others none."""
    end = 0
    for rows, mine in zip(rows_of, places, strict=True):
        end += len(mine)
        rows.index = mine if end <= n_rows else mine[:0]


def log_likelihoods(
    model: LensModel,
    texts: Prompts,
    cell: Cell | Intervention | Direction | None = None,
    *,
    after: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> list[Float[Tensor, " token"]]:
    """Natural log-probability of each token of each text, given those before it.

    Args:
        model: the model.
        texts: texts or token ids; a text alone is one.
        cell: condition under which they are scored; default plain.
        after: number of leading tokens of each text to leave out, the length of its prompt: for the
            scope of a steering the rest counts as generated. Default 1, the first token, which
            nothing predicts, and all of the text counts as prompt.
        batch_size: texts in one pass; default as many as are run fastest and the memory holds.

    Returns:
        Of each text one number a token, in nats: its length less what `after` leaves out.

    Raises:
        BadValueError: no text, or one that cannot be read.
        PromptTooLongError: a text is longer than the context.
        MemoryBudgetError: not one text fits into the memory.
    """
    asked, cells = as_prompts(texts), as_cells(Cell() if cell is None else cell)
    ends = None if after is None else [max(1, n) for n in after]
    return log_likelihoods_under(
        model, asked, cells, after=after, ends=ends, batch_size=batch_size
    )[0]


@torch.no_grad()
def log_likelihoods_under(
    model: LensModel,
    texts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    *,
    after: Sequence[int] | None = None,
    ends: Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: Track = silent,
) -> list[list[Float[Tensor, " token"]]]:
    """`log_likelihoods` under many conditions; `result[c][t]` is text t under cell c.

    Here `after` only leaves tokens out. Where the prompts end for a scope, `ends` says; default at the
    end of each text.
    """
    ids = [model.tokens(t) for t in texts]
    starts = [1] * len(ids) if after is None else [max(1, n) for n in after]
    result = [[torch.empty(0)] * len(ids) for _ in cells]
    rows = rows_that_fit(model, ids, batch_size)
    for batch in progress(equal_length_batches(ids, rows, model.device), "scoring texts"):
        n = batch.tokens.shape[1]
        wanted = n - min(starts[i] for i in batch.indices)  # tokens at the end to be scored
        if wanted < 1:
            continue
        held = None if ends is None else batch.tokens.new_tensor([ends[i] for i in batch.indices])
        with _prompts_end(model, held):
            plain = model.plain_pass(batch.tokens)
        tokens = batch.tokens[:, -wanted - 1 :]
        for some, which, logits in under_each(
            plain, cells, at_most=rows, last=wanted + 1, ends=held
        ):
            scores = _token_scores(logits, tokens[which]).cpu()
            for number, place, row in zip(some, which.tolist(), scores, strict=True):
                index = batch.indices[place]
                result[number][index] = row[wanted - (n - starts[index]) :]
    return result


def _token_scores(
    logits: Float[Tensor, "batch pos vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch next"]:
    logits = logits[:, :-1].float()
    chosen = logits.gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return chosen - logits.logsumexp(dim=-1)


def preference(
    model: LensModel,
    pairs: Sequence[tuple[str, str]],
    cell: Cell,
    *,
    batch_size: int | None = None,
) -> Float[Tensor, " pair"]:
    """Log P(positive) - log P(negative) for each pair of texts, in nats; what they share cancels."""
    return preferences(model, pairs, [cell], batch_size=batch_size)[0]


def preferences(
    model: LensModel,
    pairs: Sequence[tuple[str, str]],
    cells: Sequence[Cell],
    *,
    written: bool = False,
    batch_size: int | None = None,
    progress: Track = silent,
) -> Float[Tensor, "cell pair"]:
    """`preference` under many conditions; under a prompting, of the texts as they are then seen.

    Tokens that the texts of a pair begin with alike are as likely in both, and are not scored.

    Args:
        model: the model.
        pairs: positive and negative text.
        cells: the conditions.
        written: whether for a scope what a pair begins with alike is the prompt, and the rest is
            generated. By default all of a text counts as prompt, so that a steering of what is
            generated changes nothing.
        batch_size: texts in one pass.
        progress: shows the loop.
    """
    texts = [text for pair in pairs for text in pair]
    written = written and any(map(_reads_the_end, cells))
    said = [c for c, cell in enumerate(cells) if is_prompting(cell)]
    plain = [c for c in range(len(cells)) if c not in said]
    sums = torch.full((len(cells), len(texts)), torch.nan)
    for some in ([plain] if plain else []) + [[c] for c in said]:
        seen = [model.tokens(seen_under(cells[some[0]], text)) for text in texts]
        acting = [on_activations(cells[c]) for c in some]
        alike = [len(commonprefix(seen[i : i + 2])) for i in range(0, len(seen), 2)]
        after = [n for n in alike for _ in range(2)]
        scores = log_likelihoods_under(
            model,
            seen,
            acting,
            after=after,
            ends=[max(1, n) for n in after] if written else None,
            batch_size=batch_size,
            progress=progress,
        )
        sums[some] = torch.tensor([[float(s.sum()) for s in row] for row in scores])
    return sums[:, 0::2] - sums[:, 1::2]


def _reads_the_end(cell: Cell) -> bool:
    """Whether what a condition changes depends on where a prompt ends."""
    scopes = (getattr(i, "scope", None) for i in cell.interventions)
    return any(isinstance(scope, Scope) and scope.reads_the_end for scope in scopes)
