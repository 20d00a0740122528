"""Everything about a run that a check may look at, read once and only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from steerscope.directions import Direction, load_directions
from steerscope.errors import (
    ContrastError,
    NotCheckedError,
    RunError,
    SteerscopeError,
    VectorFileError,
)
from steerscope.judges.effects import Effect
from steerscope.runs.distinct import Groups, groups_of
from steerscope.runs.results import Run
from steerscope.statistics import Estimate, distinct_difference
from steerscope.studies.steering.findings import Findings, find
from steerscope.studies.steering.plan import StudyPlan, SweepPlan, effect_of, plan_of
from steerscope.studies.steering.responses import PLAIN, conditions, responses
from steerscope.texts.contrasts import ContrastSet, load_contrasts, prompts_for


@dataclass(frozen=True, eq=False)
class Evidence:
    """A run with what can be read off it.

    A gain is the response of a condition to a dose minus that of the plain model on the same
    prompt, in the unit of the effect.
    """

    run: Run

    @cached_property
    def table(self) -> pd.DataFrame:
        """All rows."""
        return self.run.table()

    @cached_property
    def plan(self) -> StudyPlan | SweepPlan:
        """What was asked for."""
        return plan_of(self.run)

    @cached_property
    def effect(self) -> Effect:
        """What counts as success."""
        return effect_of(self.run)

    @cached_property
    def findings(self) -> Findings:
        """What the report would say.

        Raises:
            RunError: the method of the plan was not measured on the select split.
        """
        here = self.table[(self.table.split == "select") & (self.table.method == self.plan.method)]
        if not ((here.metric == self.effect.metric) & (here.dose_natural > 0)).any():
            raise RunError(
                f"{self.run.path} has no {self.effect.metric} of {self.plan.method} at a positive "
                "dose; let the run finish."
            )
        return find(self.run)

    @cached_property
    def split(self) -> str:
        """The split that the effect is stated on."""
        return "test" if (self.table.split == "test").any() else "select"

    @cached_property
    def labels(self) -> pd.DataFrame:
        """What each cell is."""
        return conditions(self.table)

    @cached_property
    def gains(self) -> dict[str, pd.DataFrame]:
        """Per split: gain of each cell on each prompt."""
        found = {}
        for split in ("select", self.split):
            effects = responses(self.table, self.effect, split)
            plain = effects.loc[PLAIN]
            found[split] = effects.sub(plain, axis=1) if self.effect.is_share else effects
        return found

    def cells(self, method: str, *, sign: int = 1) -> list[str]:
        """Cells of a method at the chosen layer and dose on the stated split, one per seed."""
        chosen = self.findings.chosen
        here = self.labels.loc[self.labels.index.intersection(self.gains[self.split].index)]
        dose = np.isclose(here.dose_natural, sign * chosen.dose_natural)
        return list(here.index[(here.method == method) & (here.layer == chosen.layer) & dose])

    @cached_property
    def stated(self) -> pd.Series:
        """Gain of the chosen condition on each prompt of the stated split.

        Raises:
            NotCheckedError: the chosen condition was not measured there.
        """
        cells = self.cells(self.plan.method)
        if not cells:
            raise NotCheckedError(f"the chosen condition has no rows on the {self.split} split")
        return self.gains[self.split].loc[cells[0]].dropna()

    def nulls(self, control: str) -> pd.DataFrame:
        """Gain of each seed of a control at the chosen layer and dose, on the stated prompts."""
        found = self.gains[self.split].loc[self.cells(control)]
        return found.reindex(columns=self.stated.index)

    @property
    def over_random(self) -> pd.Series:
        """Stated gain minus the mean of the random directions; the gain itself without any.

        Of the prompts that at least one of them could be read on.
        """
        nulls = self.nulls("random")
        return (self.stated - nulls.mean(axis=0)).dropna() if len(nulls) else self.stated

    @cached_property
    def groups(self) -> Groups:
        """What of the prompts or pairs is distinct; each its own where the run does not say."""
        return groups_of(self.run)

    def distinct(self, items: pd.Index, split: str | None = None) -> np.ndarray:
        """The number of the distinct prompt or contrast of each item, by default of the stated split.

        Several texts of one prompt have one number.
        """
        return self.groups.of(split or self.split, self.effect.metric, list(items))

    def mean(self, values: pd.Series, split: str | None = None) -> Estimate:
        """Mean of differences over texts or pairs with an interval over the distinct ones, by Student's t for few."""
        labels = self.distinct(values.index, split)
        return distinct_difference(values.to_numpy(float), labels, share=self.effect.is_share)

    @property
    def unit(self) -> str:
        """Unit of a gain."""
        return "share" if self.effect.is_share else "nats"

    @property
    def place(self) -> str:
        """The chosen layer and dose, and where they are stated."""
        c = self.findings.chosen
        return f"layer {c.layer}, {c.dose_natural:+g} natural, {self.split} split"

    @cached_property
    def texts(self) -> pd.DataFrame:
        """The prompts, one row each: split, prompt, given, and the group of equal ones.

        Raises:
            NotCheckedError: the run holds no texts.
        """
        texts = self.run.texts().drop_duplicates(["split", "prompt"])
        texts = texts[texts.split != "null"]  # those of test again
        if texts.empty:
            raise NotCheckedError("the run holds no texts")
        groups = [
            int(self.groups.of(split, "", [prompt])[0])
            for split, prompt in zip(texts.split, texts.prompt, strict=True)
        ]
        return texts[["split", "prompt", "given"]].assign(group=groups)

    @cached_property
    def directions(self) -> list[Direction]:
        """The directions of the run.

        Raises:
            NotCheckedError: it has none, or they cannot be read.
        """
        path = self.run.path / "directions.safetensors"
        try:
            return load_directions(path)
        except VectorFileError as error:
            # By its name alone: a page says the same wherever its run lies.
            raise NotCheckedError(str(error).replace(str(path), path.name)) from None

    @cached_property
    def contrasts(self) -> ContrastSet:
        """The contrast set that the run was made from, without its chat template.

        Raises:
            NotCheckedError: it is not here any more, or has changed since.
        """
        try:
            found = load_contrasts(self.plan.contrasts)
        except ContrastError as error:
            raise NotCheckedError(str(error)) from None
        if found.sha256 != self._source_sha256:
            raise NotCheckedError(f"{self.plan.contrasts} has changed since the run")
        return found

    @property
    def _source_sha256(self) -> str | None:
        """Hash of the contrast set as its file has it; a chat hashes what stood in its template."""
        if not self.plan.chat:
            return self.run.configuration.get("contrasts_sha256")
        source = self.run.description["provenance"].get("contrasts_source_sha256")
        if source is None:
            raise NotCheckedError("the run does not say which texts stood in its chat template")
        return source

    @cached_property
    def bare_prompts(self) -> frozenset[str]:
        """The texts of the prompts as their file has them.

        Raises:
            NotCheckedError: they are not here any more.
        """
        try:
            found = prompts_for(self.contrasts, self.plan.prompts)
        except SteerscopeError as error:
            raise NotCheckedError(str(error)) from None
        return frozenset(prompt.text for prompt in found.prompts)
