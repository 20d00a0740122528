"""Measures chosen conditions of a comparison on held-out texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import attempt
from steerscope.engine.matched_kl import BOTH, at_signs
from steerscope.engine.score import mean_kl, preferences
from steerscope.judges import Judge
from steerscope.judges.judges import read_all, scored, signs_read, text_metrics
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track
from steerscope.runs.keeping import Keep
from steerscope.steering.interventions import Cell
from steerscope.studies.damage import add_damage
from steerscope.studies.methods.bundles import Bundle
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.studies.rows import tell_lost
from steerscope.studies.steering.success import PLAIN
from steerscope.studies.written import as_table, from_table
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt, PromptSet

CONDITION = ["direction", "matching"]
TEXT = ("given", "written")
_CELLS_AT_ONCE = 32


def _shifts(
    model: LensModel,
    bundles: Sequence[Bundle],
    conditions: pd.DataFrame,
    pairs: Sequence[ContrastPair],
    progress: Track,
) -> Float[np.ndarray, "row pair"]:
    """Half the difference of the preference between +dose and -dose, for each pair.

    NaN for every pair where the logits are not finite on one of them.
    """
    cells = _cells(bundles, conditions)
    texts = [(p.positive, p.negative) for p in pairs]
    found = preferences(model, texts, cells, progress=progress).double().numpy()
    shifts = (found[0::2] - found[1::2]) / 2
    lost = np.isnan(shifts).any(axis=1)
    shifts[lost] = np.nan
    tell_lost([cell.key for cell, gone in zip(cells[::2], lost, strict=True) if gone])
    return shifts


def shift_table(
    model: LensModel,
    bundles: Sequence[Bundle],
    conditions: pd.DataFrame,
    pairs: Sequence[ContrastPair],
    progress: Track,
) -> pd.DataFrame:
    """`_shifts` with a column for each pair."""
    shifts = _shifts(model, bundles, conditions, pairs, progress)
    return pd.DataFrame(shifts, columns=[str(i) for i in range(len(pairs))])


def _cells(
    bundles: Sequence[Bundle], conditions: pd.DataFrame, signs: Sequence[int] = BOTH
) -> list[Cell]:
    """For each condition the cell of each sign, one after another."""
    found = zip(conditions.direction, conditions.dose_relative, strict=True)
    return [cell for i, dose in found for cell in at_signs(bundles[i].directions, dose, signs)]


@dataclass(frozen=True, eq=False)
class Bench:
    """Measures chosen conditions on held-out texts."""

    model: LensModel
    judge: Judge
    bundles: Sequence[Bundle]
    conditions: pd.DataFrame
    plan: ComparisonPlan
    progress: Track
    keep: Keep

    def prefer(self, pairs: ContrastSet) -> pd.DataFrame:
        """The shift of the preference of each pair, one row per condition and pair."""
        pairs_used = pairs.pairs[: self.plan.n_test]
        shifts = self.keep(
            "preferences",
            lambda: shift_table(
                self.model, self.bundles, self.conditions, pairs_used, self.progress
            ),
        ).to_numpy(float)
        keys = self.conditions[CONDITION].to_dict("records")
        return pd.DataFrame(
            [
                {**key, "item": item, "effect": float(value)}
                for key, row in zip(keys, shifts, strict=True)
                for item, value in enumerate(row)
            ]
        )

    def read(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """What the judge reads in the continuations, one row per condition and prompt.

        Each prompt is steered away from the value that it shows. By a judge that gives scores, a
        continuation counts where it shows the concept and is undamaged. A continuation without text, in
        which nothing can be read, counts as no effect; of a condition whose logits are not finite
        somewhere nothing is known, under either sign.
        """
        starts = range(0, len(self.conditions), _CELLS_AT_ONCE)
        parts = [(sign, start) for sign in signs_read(self.judge) for start in starts]
        # a name of its own, since what was kept before counts damaged texts
        kind = "undamaged" if scored(self.judge) else "read"
        tables = [
            self.keep(f"{kind}-{sign}-{start}", partial(self._read, prompts, sign, start))
            for sign, start in self.progress(parts, "reading continuations")
        ]
        found = pd.concat([table for table in tables if len(table)], ignore_index=True)
        unknown = found.effect.isna().groupby([found[key] for key in CONDITION]).transform("any")
        readings = [c for c in found if c not in {*CONDITION, "item", *TEXT}]
        found.loc[unknown, readings] = np.nan
        if "written" in found:  # not in what was kept by a run from before
            found.loc[unknown, "written"] = None
        return found

    def read_plain(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """What the judge reads in the continuations without steering, one row per prompt."""
        written, read = self._plain(prompts)
        if scored(self.judge):
            self._add_damage(prompts, {PLAIN: written}, {PLAIN: read})
        return pd.DataFrame(
            [
                {"item": i, "degenerate": text_metrics(text.tokens)["degenerate"], **values}
                | {"given": prompt.text, "written": text.text}
                for i, (prompt, text, values) in enumerate(zip(prompts, written, read, strict=True))
            ]
        )

    def _plain(
        self, prompts: Sequence[Prompt]
    ) -> tuple[list[Continuation], list[dict[str, float]]]:
        """What the model writes without steering, and what the judge, who is asked once, reads in it."""
        [written] = self._written("plain", [p.text for p in prompts], [Cell()])

        def read() -> pd.DataFrame:
            return pd.DataFrame(read_all(self.judge, prompts, written))

        found = self.keep("judged-plain", read) if scored(self.judge) else read()
        return written, found.astype(float).to_dict("records")

    def _add_damage(
        self,
        prompts: Sequence[Prompt],
        written: Mapping[str, Sequence[Continuation]],
        readings: Mapping[str, list[dict[str, float]]],
    ) -> None:
        texts = [p.text for p in prompts]
        add_damage(self.model, texts, written, readings, self.judge.effect)

    def _written(
        self, name: str, texts: Sequence[str], cells: Sequence[Cell]
    ) -> list[list[Continuation]]:
        """What the model writes, kept under a name until it is judged, where the judge may fail."""
        plan = self.plan
        write = partial(attempt, self.model, texts, cells, n_new=plan.n_new, sampler=plan.sampler)
        if not scored(self.judge):
            return write()
        return from_table(self.keep(f"written-{name}", lambda: as_table(write())))

    def _read(self, prompts: Sequence[Prompt], sign: int, start: int) -> pd.DataFrame:
        """What is read under one sign of some conditions."""
        conditions = self.conditions.iloc[start : start + _CELLS_AT_ONCE]
        cells = _cells(self.bundles, conditions, [sign])
        mine = [i for i, prompt in enumerate(prompts) if self.judge.applies(prompt, sign)]
        written = self._written(f"{sign}-{start}", [prompts[i].text for i in mine], cells)
        both = zip(cells, written, strict=True)
        tell_lost([cell.key for cell, row in both if not _is_finite(row)])
        asked = [prompts[i] for i in mine]
        reads = [read_all(self.judge, asked, found) for found in written]
        if scored(self.judge):
            plain, known = self._plain(prompts)
            names = [PLAIN, *map(str, range(len(cells)))]
            self._add_damage(
                asked,
                dict(zip(names, [plain, *written], strict=True)),
                dict(zip(names, [known, *reads], strict=True)),
            )
        metric, rows = self.judge.effect.undamaged.metric, []
        keys = conditions[CONDITION].to_dict("records")
        for key, found, read in zip(keys, written, reads, strict=True):
            for i, text, values in zip(mine, found, read, strict=True):
                effect = np.nan_to_num(values.pop(metric))
                effect = effect if text.finite else np.nan
                degenerate = text_metrics(text.tokens)["degenerate"]
                said = {"given": prompts[i].text, "written": text.text}
                number = {"item": i, "effect": effect, "degenerate": degenerate}
                rows.append({**key, **number, **values, **said})
        return pd.DataFrame(rows)

    def labelled(self, prompts: PromptSet) -> pd.DataFrame:
        """The conditions with the KL on these prompts, of the signs that are judged, and the cosine with the mean difference."""
        asked = [p.text for p in prompts.prompts[: self.plan.n_kl_prompts]]
        signs = signs_read(self.judge)
        cells = _cells(self.bundles, self.conditions, signs)
        nats = mean_kl(self.model, asked, cells, progress=self.progress)
        straight = {b.sites: b for b in self.bundles if b.method == "mean_diff"}
        cosines = [
            b.cosine(straight[b.sites]) if b.sites in straight else np.nan
            for b in (self.bundles[i] for i in self.conditions.direction)
        ]
        return self.conditions.drop(columns=["effect", "low", "high", "n", "place"]).assign(
            kl_nats=nats.reshape(-1, len(signs)).mean(dim=1).numpy(),
            cosine_to_mean_diff=cosines,
        )


def _is_finite(row: Sequence[Continuation]) -> bool:
    return all(text.finite for text in row)
