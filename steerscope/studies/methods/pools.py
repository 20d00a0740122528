"""The concepts that runs of one model and seed compared methods on, as one comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from steerscope.errors import BadValueError
from steerscope.judges.effects import SHOWN, SHOWN_UNDAMAGED, Effect
from steerscope.runs.results import Run
from steerscope.studies.methods.stored import responses_of_rows, with_labels
from steerscope.studies.methods.together import everywhere, together
from steerscope.studies.steering.plan import effect_of
from steerscope.texts.contrasts import usual_prompts

_OF_ALL = {
    SHOWN_UNDAMAGED: "undamaged texts that show their concept",
    SHOWN: "texts that show their concept",
    "flipped": "texts whose concept is flipped",
}  # what several concepts count
_ALIKE = ("model", "revision", "dtype", "backbone", "chat", "bos", "seed", "plan")


@dataclass(frozen=True)
class Pool:
    """Methods over several concepts of one model and seed.

    Attributes:
        model: as the runs name it.
        seed: see there.
        effect: of one of the concepts; what all count is called the same.
        concepts: their contrast sets.
        plan: as the runs state it.
        ranking: as `together` gives it, like the next.
        pairs: see there.
    """

    model: str
    seed: int
    effect: Effect
    concepts: tuple[str, ...]
    plan: Mapping[str, Any]
    ranking: pd.DataFrame
    pairs: pd.DataFrame


def pools(runs: Sequence[Run]) -> list[Pool]:
    """Of each model and seed with two or more concepts of which the same is counted, measured alike.

    Runs of another plan or of another loading of the model, such as at another KL, are of another pool.

    Raises:
        BadValueError: two runs of one contrast set measured alike.
    """
    groups: dict[tuple[str, str], dict[str, Run]] = {}
    for run in runs:
        mine = groups.setdefault((effect_of(run).metric, _measured_how(run)), {})
        name = run.configuration["contrasts"]
        if name in mine:
            raise BadValueError(
                f"{mine[name].path} and {run.path} are both of {name}, whose prompts cannot count twice; give one of "
                "them."
            )
        mine[name] = run
    found = []
    for (metric, _), mine in groups.items():
        [first, *others] = mine.values()
        if not others or not effect_of(first).is_share:
            continue  # one concept is its own run; nats of one are not those of another
        model, seed = (first.configuration[key] for key in ("model", "seed"))
        responses = {name: _responses(run, metric) for name, run in mine.items()}
        ranking, pairs = together(responses, seed=seed)
        if len(ranking):
            ranking = with_labels(ranking, everywhere(responses))
            effect = replace(effect_of(first), words=_OF_ALL.get(metric, f"effect ({metric})"))
            plan = first.configuration["plan"]
            found.append(Pool(model, seed, effect, (*mine,), plan, ranking, pairs))
    return found


def _measured_how(run: Run) -> str:
    """All that runs of several concepts must have in common to be one comparison, as text."""
    c = run.configuration
    asked = c.get("prompts")
    named = asked if asked != usual_prompts(c["contrasts"]) else None
    return json.dumps([named, *(c.get(key) for key in _ALIKE)], sort_keys=True)


def _responses(run: Run, metric: str) -> pd.DataFrame:
    """What was measured, with the first prompt that says what each item says, as far as texts are kept."""
    found, texts = responses_of_rows(run.table(), metric), run.texts()
    said = texts[texts.split == "test"].drop_duplicates("prompt").set_index("prompt").given
    first = found.groupby("group")["item"].min()
    item = found["group"].map(first)
    return found.drop(columns="group").assign(item=item, prompt=item.map(said))
