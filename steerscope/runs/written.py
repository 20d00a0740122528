"""What a model wrote in a run: every text with its condition, the plain text beside it, its metrics."""

from __future__ import annotations

import pandas as pd

from steerscope.errors import RunError, UnknownNameError
from steerscope.runs.results import Run
from steerscope.texts.showing import without_template

PLAIN = "plain"  # the cell without steering
ABOUT = (
    "split", "method", "layer", "dose_natural", "prompt", "cell", "seed", "kl_nats", "status",
    "given", "said", "plain", "written",
)  # fmt: skip
_TEXT = ["split", "cell", "prompt"]
_LABELS = ["method", "layer", "dose_natural", "seed", "kl_nats", "status"]
_OF_PAIRS = "preference"  # its rows number pairs and not prompts
_SAME_DOSE = 1e-4  # of the dose, as it is printed
_ROUNDING = 1e-9  # of the dose: one dose comes out of the lengths of layers a little differently


def written_texts(
    run: Run,
    *,
    split: str | None = None,
    method: str | None = None,
    layer: int | None = None,
    dose: float | None = None,
    prompt: int | None = None,
) -> pd.DataFrame:
    """The texts of a run, one a row: what it was asked under, the plain text, and all that it scored.

    Columns: those of `ABOUT`, then one for each metric of the text; NaN where it was not measured.
    `given` is the prompt, and `said` the same without the chat template around it.
    `plain` is what the model wrote for this prompt without steering; missing where that is not stored.

    Args:
        run: with texts.
        split: such as `test`; None for every one, as for all that follow.
        method: such as `mean_diff`, `random` or `plain`.
        layer: 0-based; -1 for conditions that have none.
        dose: signed, in natural units.
        prompt: its number within its split.

    Returns:
        One row a text, with the columns above.

    Raises:
        RunError: the run has no texts, or a part is damaged.
        UnknownNameError: no text is of what was named; the message lists what there is.
    """
    there = all_texts(run)
    return choose_texts(there, split=split, method=method, layer=layer, dose=dose, prompt=prompt)


def choose_texts(
    texts: pd.DataFrame,
    *,
    split: str | None = None,
    method: str | None = None,
    layer: int | None = None,
    dose: float | None = None,
    prompt: int | None = None,
) -> pd.DataFrame:
    """Those of the texts that are of what is named, as in `written_texts`.

    Raises:
        UnknownNameError: none is; the message lists what there is.
    """
    for name, wanted in {"split": split, "method": method, "layer": layer}.items():
        if wanted is not None:
            texts = _only(texts, name, wanted, texts[name] == wanted)
    if dose is not None:
        texts = _only(texts, "dose", dose, _near(texts.dose_natural, dose))
    if prompt is not None:
        texts = _only(texts, "prompt", prompt, texts.prompt == prompt)
    return texts.reset_index(drop=True)


def _only(texts: pd.DataFrame, name: str, wanted: object, kept: pd.Series) -> pd.DataFrame:
    if not kept.any():
        there = texts["dose_natural" if name == "dose" else name].unique()
        known = {f"{v:g}" if name == "dose" else str(v) for v in there}
        raise UnknownNameError(f"{name} among these texts", wanted, sorted(known))
    return texts[kept]


def _near(doses: pd.Series, dose: float) -> pd.Series:
    """Where the dose is the one meant, which may be given as it is printed."""
    distance = (doses - dose).abs()
    nearest = distance.min() + _ROUNDING * abs(dose)
    return (distance <= _SAME_DOSE * abs(dose)) & (distance <= nearest)


def metrics_of(texts: pd.DataFrame) -> list[str]:
    """The metrics among the columns of `written_texts`."""
    return [name for name in texts.columns if name not in ABOUT]


def plain_scores(texts: pd.DataFrame) -> pd.DataFrame:
    """What the texts without steering scored: one row for each split and prompt, one column a metric."""
    return texts[texts.cell == PLAIN].set_index(["split", "prompt"])[metrics_of(texts)]


def all_texts(run: Run) -> pd.DataFrame:
    """`written_texts` without a choice."""
    texts = run.texts()
    if texts.empty:
        raise RunError(f"{run.path} has no texts: nothing was written in it, or nothing was kept.")
    rows = run.table()
    rows = rows[rows.metric != _OF_PAIRS].merge(texts[_TEXT], on=_TEXT)
    scores = rows.pivot(index=_TEXT, columns="metric", values="value")
    scores = scores.rename(columns={name: f"{name}_metric" for name in ABOUT}).reset_index()
    about = rows.drop_duplicates(_TEXT)[[*_TEXT, *_LABELS]]
    before = texts[texts.cell == PLAIN].rename(columns={"written": "plain"})
    found = (
        texts.merge(about, on=_TEXT)
        .merge(before[["split", "prompt", "plain"]], on=["split", "prompt"], how="left")
        .merge(scores, on=_TEXT)
        .sort_values(list(ABOUT[:6]), kind="stable", ignore_index=True)
    )
    chat = run.configuration.get("chat")
    found["said"] = without_template(list(found.given)) if chat else found.given
    return found[[*ABOUT, *sorted(scores.columns.difference(_TEXT))]]
