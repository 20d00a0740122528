"""Methods over several concepts at once: the prompts of all of them, as one comparison."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from steerscope.studies.methods.findings import NULLS, SETTING, rank, rivals, standings

_CONDITION = [*SETTING, "method", "seed"]


def together(
    responses: Mapping[str, pd.DataFrame], *, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`rank` with `standings`, and `rivals`, of methods over the held-out items of several concepts.

    What is small and the same for every concept is told by all prompts together, and by none alone. It is said of
    these concepts, not of others: prompts are resampled and flipped, concepts are not. The first null
    direction of a kind for one concept goes with the first for every other, and so on. A prompt that several concepts
    share is one item, with its mean effect. Left out are conditions that some concept lacks, as where one does not reach
    the matched KL.

    Args:
        responses: of each concept, as `rank` takes them, and where it is known the text of each `prompt`.
        seed: of resamples and flips.

    Returns:
        The ranking with standings, and the rivals; a setting in which no null direction or fewer than two methods
        are left has no row.
    """
    rows = everywhere(responses)
    whole = rows.groupby([*_CONDITION, "item"], sort=False, as_index=False).effect.mean()
    if whole.empty:
        return pd.DataFrame(), pd.DataFrame()
    ranking, pairs = rank(whole, seed=seed), rivals(whole, seed=seed)
    return standings(ranking, pairs), pairs


def everywhere(responses: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows of the conditions that every concept has, with seeds and items named across concepts.

    Args:
        responses: as `together` takes them.

    Returns:
        The rows with all their columns; none of a setting without a null direction or a second method.
    """
    parts = []
    for concept, mine in responses.items():
        known = mine.dropna(subset="effect")
        named = concept + "; " + known["item"].astype(str)
        texts = known.get("prompt", named)
        item = [t if isinstance(t, str) else n for t, n in zip(texts, named, strict=True)]
        numbers = known.groupby([*SETTING, "method"]).seed.rank(method="dense")
        parts.append(known.assign(seed=numbers.astype(int), item=item, measured=named))
    rows = pd.concat(parts, ignore_index=True)
    # A prompt that concepts share is measured for each of them.
    here = rows.groupby(_CONDITION).measured.transform("nunique")
    rows = rows[here == rows.measured.nunique()].drop(columns="measured")
    is_null = rows.method.isin(NULLS)
    groups = [rows[key] for key in SETTING]
    n_methods = rows.method.where(~is_null).groupby(groups).transform("nunique")
    return rows[is_null.groupby(groups).transform("any") & (n_methods > 1)]
