"""People as judges: a sheet of blinded, shuffled texts of a run, read back with how far they agree."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from steerscope.errors import ContrastError, JudgeError
from steerscope.judges import stored_effect
from steerscope.judges.effects import PREFERENCE, SHOWN, Effect
from steerscope.runs.judgements import content_key
from steerscope.runs.results import LOST, Run
from steerscope.runs.spreadsheets import as_csv
from steerscope.runs.whole_files import write_whole
from steerscope.statistics import Estimate
from steerscope.statistics.agreement import cohens_kappa, krippendorffs_alpha
from steerscope.texts.about import About, about
from steerscope.texts.files import parse_json, read_text
from steerscope.texts.groups import distinct_prompts
from steerscope.texts.sheets import sheet_rows
from steerscope.texts.showing import without_template

RATINGS, SHEET = "ratings", "sheet.json"
UNSURE = "?"
_GIVEN = {"1": 1.0, "0": 0.0, UNSURE: math.nan}
_SAME = {"1.0": "1", "1,0": "1", "0.0": "0", "0,0": "0"}  # as a spreadsheet may write them
_KEY = ["split", "cell", "prompt"]
_DIGITS = 12


@dataclass(frozen=True)
class Item:
    """One text of a sheet.

    Attributes:
        id: of which nothing can be read.
        prompt: what was given, without the chat template around it.
        text: what was written.
    """

    id: str
    prompt: str
    text: str


@dataclass(frozen=True)
class Sheet:
    """What people are asked, and about which texts, in the order in which they see them."""

    question: str
    items: tuple[Item, ...]

    def as_csv(self) -> str:
        """The sheet as a table, its last column to be filled in."""
        rows = [{"id": i.id, "prompt": i.prompt, "text": i.text, "rating": ""} for i in self.items]
        return as_csv(pd.DataFrame(rows))


def make_sheet(run: Run, *, n: int = 60, seed: int = 0) -> Sheet:
    """A sheet of a run's texts, which the run then keeps; the one that is kept if there is one.

    Texts of the test split, where there is one; of each method as many, drawn by the seed. An id is a
    hash of the run's own key, so that a rater cannot tell by it, or by the order, what wrote a text.

    Args:
        run: with texts.
        n: texts at most.
        seed: of which, and of their order.

    Raises:
        JudgeError: the run has no texts, or another sheet was made of it.
    """
    texts = _texts_of(run)
    if texts.empty:
        raise JudgeError(f"{run.path} has no texts to rate.")
    split = "test" if (texts.split == "test").any() else str(texts.split.iloc[0])
    there = texts[texts.split == split].assign(
        order=[content_key(str(seed), i) for i in texts[texts.split == split].id]
    )
    there = there.sort_values("order").drop_duplicates(["given", "written"])
    turn = there.groupby("method").cumcount()
    chosen = there.assign(turn=turn).sort_values(["turn", "order"]).head(n).sort_values("order")
    said = list(chosen.given)
    said = without_template(said) if run.configuration.get("chat") else said
    items = tuple(Item(r.id, p, r.written) for r, p in zip(chosen.itertuples(), said, strict=True))
    sheet = Sheet(_question(run), items)
    path = run.path / RATINGS / SHEET
    if path.is_file() and _kept_ids(path) != [i.id for i in items]:
        raise JudgeError(
            f"another sheet was made of {run.path} before; make that one with the same number and "
            f"seed, or delete {path.parent}."
        )
    if not path.is_file():
        write_whole(path, json.dumps({"n": n, "seed": seed, "ids": [i.id for i in items]}) + "\n")
        run.vouch(path)
    return sheet


def _question(run: Run) -> str:
    """What a person is asked of a text: in the words that describe the contrast set, where there are any."""
    effect, known = _effect_of(run), _description(run)
    if effect.is_share and not effect.is_shown:
        return f"Is it one of the {effect.words}?"
    if known.positive:
        return f"Is it so: {known.difference}?"
    if effect.is_shown:
        return f"Does the text show this: {effect.positive}?"
    concepts = run.table().concept
    return f"Does the text show this: {concepts[concepts != ''].iloc[0]}?"


def _description(run: Run) -> About:
    try:
        return about(str(run.configuration.get("contrasts", "")))
    except ContrastError:  # the set is not here
        return About()


def _effect_of(run: Run) -> Effect:
    """What a run's judge counts; preference where a run names no judge."""
    stored = run.configuration.get("effect")
    return PREFERENCE if stored is None else stored_effect(stored)


def _texts_of(run: Run) -> pd.DataFrame:
    """The texts that can be rated, each with its method and its id."""
    texts = run.texts()
    texts = texts[texts.written.str.strip() != ""]
    table = run.table()
    methods = table[~table.status.isin(LOST)].drop_duplicates(_KEY)[[*_KEY, "method"]]
    found = texts.merge(methods, on=_KEY)
    whole = content_key(json.dumps(run.configuration, sort_keys=True))
    return found.assign(
        id=[
            "t" + content_key(whole, str(t.split), str(t.cell), str(t.prompt))[:_DIGITS]
            for t in found.itertuples()
        ]
    )


def _kept_ids(path: Path) -> list[str]:
    fields: Any = parse_json(read_text(path, JudgeError), str(path), JudgeError)
    try:
        return [str(i) for i in fields["ids"]]
    except (KeyError, TypeError):
        raise JudgeError(f"{path} is damaged; delete {path.parent} and export again.") from None


@dataclass(frozen=True)
class Agreement:
    """How far people agree with the judge of a run, and with each other.

    Attributes:
        name: of the sheet that was read.
        n: texts that were rated, those that nobody could tell left out.
        shown: share of them that the rater says show the concept.
        with_judge: Cohen's kappa with the judge, over distinct prompts, which its n counts; None for a run whose
            judge reads no text.
        between: Cohen's kappa with each other sheet of the run, by its name.
        alpha: Krippendorff's alpha over all sheets; None for one.
    """

    name: str
    n: int
    shown: float
    with_judge: Estimate | None
    between: dict[str, Estimate]
    alpha: Estimate | None


def read_ratings(run: Run, path: str | Path) -> Agreement:
    """Read a sheet that was filled in, keep it in the run, and say how far it agrees.

    The run keeps it as `ratings/NAME.csv` with the columns id, prompt, text and label, which may be
    given as labelled texts to a judge.

    Raises:
        JudgeError: no sheet was exported, a row is missing, foreign, twice there or without a rating.
    """
    path = Path(path)
    sheet = run.path / RATINGS / SHEET
    if not sheet.is_file():
        raise JudgeError(f"no sheet of {run.path} was exported; use steerscope ratings export.")
    ids = _kept_ids(sheet)
    given = _ratings_in(path, ids)
    texts = _texts_of(run).set_index("id")
    kept = pd.DataFrame(
        {"id": i, "prompt": texts.given[i], "text": texts.written[i], "label": f"{given[i]:.0f}"}
        for i in ids
        if not math.isnan(given[i])
    )
    name = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:60] or "sheet"
    place = run.path / RATINGS / f"{name}.csv"
    written = kept.to_csv(index=False, lineterminator="\n")
    if place.is_file() and place.read_text(encoding="utf-8") != written:
        raise JudgeError(
            f"other ratings were read from a file called {path.name} before; name this one otherwise, "
            f"or delete {place}."
        )
    write_whole(place, written)
    run.vouch(place)
    return agreement_of(run, name)


def agreement_of(run: Run, name: str) -> Agreement:
    """How far one sheet of a run agrees with its judge and the other sheets."""
    ids = _kept_ids(run.path / RATINGS / SHEET)
    sheets = {p.stem: _stored(p, ids) for p in sorted((run.path / RATINGS).glob("*.csv"))}
    mine = sheets[name]
    judged = _judged(run, ids)
    rated = mine[~np.isnan(mine)]
    every = np.column_stack(list(sheets.values()))
    given = _texts_of(run).drop_duplicates("id").set_index("id").given
    prompts = np.array(distinct_prompts(list(given[ids])))
    return Agreement(
        name,
        len(rated),
        float(rated.mean()) if len(rated) else math.nan,
        None if judged is None else cohens_kappa(mine, judged, prompts),
        {n: cohens_kappa(mine, other, prompts) for n, other in sheets.items() if n != name},
        krippendorffs_alpha(every, prompts) if len(sheets) > 1 else None,
    )


def _stored(path: Path, ids: Sequence[str]) -> np.ndarray:
    table = pd.read_csv(path, dtype={"id": str, "label": float}, keep_default_na=False)
    labels = dict(zip(table.id, table.label, strict=True))
    return np.array([labels.get(i, math.nan) for i in ids])


def _judged(run: Run, ids: Sequence[str]) -> np.ndarray | None:
    """What the judge of the run says of the texts; None where it reads none."""
    effect = _effect_of(run)
    if not effect.is_share:
        return None
    texts = _texts_of(run)
    table = run.table()
    metric = SHOWN if effect.is_shown else effect.metric  # people are not asked about damage
    rows = table[table.metric == metric][[*_KEY, "value"]]
    said = texts.merge(rows, on=_KEY).set_index("id").value
    return said.reindex(list(ids)).to_numpy(float)


def _ratings_in(path: Path, ids: Sequence[str]) -> dict[str, float]:
    """The rating of each text of a sheet, whatever else stands in its rows."""
    known, found = set(ids), {}
    rows = sheet_rows(path, {"id", "rating"}, JudgeError, any_encoding=True)
    for where, row in rows:
        text = row.get("id", "").strip()
        said = row.get("rating", "").strip()
        said = _SAME.get(said, said)
        if text not in known:
            raise JudgeError(
                f"{where}: {text[:20]!r} is of another sheet; import it into its own run."
            )
        if text in found:
            raise JudgeError(f"{where}: {text} is there twice.")
        if said not in _GIVEN:
            raise JudgeError(f"{where}: the rating is {said[:20]!r}; write 1, 0, or ? for unsure.")
        found[text] = _GIVEN[said]
    missing = [i for i in ids if i not in found]
    if missing:
        raise JudgeError(
            f"{path} lacks {len(missing)} of {len(ids)} rows, the first of them {missing[0]}; rate "
            "all, with ? for unsure."
        )
    return found
