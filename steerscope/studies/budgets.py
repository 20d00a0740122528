"""Does asking for an end within a budget help, against cutting the text off there?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from steerscope.engine.budgets import Budget, fit_lengths
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import generate
from steerscope.engine.sampling import sampler_at
from steerscope.engine.score import log_likelihoods
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.statistics import Estimate, bootstrap_mean, holm, sign_flip_p
from steerscope.steering.interventions import Cell

_SURE = 0.05


def budget_trial(
    model: LensModel,
    prompts: Sequence[str],
    budgets: Sequence[int],
    *,
    longest: int = 128,
    temperature: float = 0.7,
    seed: int = 0,
    progress: Track = silent,
) -> pd.DataFrame:
    """Texts under a budget, beside the plain texts cut off at it, paired by prompt.

    The lengths are fitted on plain texts of the first half of the prompts; what is stated is of the others.

    Args:
        model: the model.
        prompts: texts.
        budgets: tokens.
        longest: of a plain text.
        temperature: of sampling.
        seed: of sampling and resamples.
        progress: shows the loop.

    Returns:
        One row per budget: budget, ended_cut and ended (shares of texts that end before it, cut off and under
        the budget) with the difference `gain`, low, high, p (sign flips), p_holm; forced (share that the
        budget itself ended, which is as good as cut off), tokens (mean length under the budget), nats_cut and nats (per token of the text and of its end if it has
        one, under the plain model) with the difference `cost`, cost_low, cost_high, over prompts with a
        token under both; n.

    Raises:
        BadValueError: fewer than four prompts, no budget, or too few plain texts that end.
    """
    if len(prompts) < 4 or not budgets:
        raise BadValueError(
            "a budget is tried on at least 4 prompts, and needs a number of tokens."
        )
    sampler, half = sampler_at(temperature, seed), len(prompts) // 2
    [plain] = generate(
        model, list(prompts), Cell(), n_new=longest, sampler=sampler, progress=progress
    )
    lengths = fit_lengths([len(text.tokens) for text in plain[:half] if text.ended])
    asked, unbound = list(prompts[half:]), plain[half:]
    ends = tuple(sorted(model.vocabulary.ends))
    rows = []
    for budget in budgets:
        bound = Budget(budget, lengths, ends, sampler)
        most = min(budget + 1, longest)
        [guided] = generate(model, asked, Cell(), n_new=most, sampler=bound, progress=progress)
        cut = [_cut(text, budget) for text in unbound]
        nats = [_nats(model, asked, texts, ends[0]) for texts in (cut, guided)]
        rows.append(_row(budget, (cut, guided), (nats[0], nats[1]), seed))
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table.p.to_numpy(float)))


def _row(
    budget: int,
    texts: tuple[Sequence[Continuation], Sequence[Continuation]],
    nats: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> dict[str, float]:
    """What a budget does, paired by prompt: texts and nats cut off at it, then under it."""
    before = [
        np.array([t.ended and len(t.tokens) < budget for t in part], dtype=float) for part in texts
    ]
    gain = bootstrap_mean(before[1] - before[0], seed=seed)
    cost = bootstrap_mean(nats[1] - nats[0], seed=seed)
    return {
        "budget": budget,
        "ended_cut": before[0].mean(),
        "ended": before[1].mean(),
        **_named(gain, "gain", "low", "high"),
        "p": sign_flip_p(before[1] - before[0], seed=seed),
        "forced": float(np.mean([t.ended and len(t.tokens) >= budget for t in texts[1]])),
        "tokens": float(np.mean([len(t.tokens) for t in texts[1]])),
        "nats_cut": np.nanmean(nats[0]),
        "nats": np.nanmean(nats[1]),
        **_named(cost, "cost", "cost_low", "cost_high"),
        "n": gain.n,
    }


def budgets_in_words(table: pd.DataFrame) -> list[str]:
    """Whether each budget helps, in sentences."""
    lines = []
    for row in table.itertuples():
        sure = row.p_holm < _SURE and row.gain > 0
        dear = row.cost_low > 0
        verdict = (
            "helps" if sure and not dear else "helps at a price" if sure else "is not shown to help"
        )
        lines.append(
            f"A budget of {row.budget} tokens {verdict}: {100 * row.ended:.0f} % of the texts end "
            f"before it, without it {100 * row.ended_cut:.0f} % ({100 * row.gain:+.0f} points "
            f"[{100 * row.low:+.0f}, {100 * row.high:+.0f}], p = {row.p_holm:.2g}), and it ended {100 * row.forced:.0f} % itself; nats per token "
            f"{row.nats_cut:.2f} to {row.nats:.2f} ({row.cost:+.2f} [{row.cost_low:+.2f}, "
            f"{row.cost_high:+.2f}], n = {row.n} prompts)."
        )
    return lines


def _named(found: Estimate, *names: str) -> dict[str, float]:
    return dict(zip(names, (found.value, found.low, found.high), strict=True))


def _cut(text: Continuation, budget: int) -> Continuation:
    """A text cut off at a budget; one that is short enough stays as it is."""
    if len(text.tokens) <= budget:
        return text
    return Continuation(text.tokens[:budget], "", ended=False)


def _nats(
    model: LensModel, prompts: Sequence[str], texts: Sequence[Continuation], end: int
) -> np.ndarray:
    """Nats per token of each text and of its end, under the plain model; NaN for none."""
    asked = [model.tokens(prompt) for prompt in prompts]
    whole = [
        [*ids, *text.tokens, *([end] if text.ended else [])]
        for ids, text in zip(asked, texts, strict=True)
    ]
    scores = log_likelihoods(model, whole, after=[len(ids) for ids in asked])
    return np.array([-float(s.mean()) if len(s) else np.nan for s in scores])
