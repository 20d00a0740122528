"""Whether what a judge said of every stored text is what it says of it again, without a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from steerscope.engine.continuations import Continuation
from steerscope.errors import JudgeError, SteerscopeError
from steerscope.judges import ORACLE_METRICS, MicroworldJudge
from steerscope.judges.effects import SHOWN, SHOWN_UNDAMAGED, UNDAMAGED
from steerscope.judges.judges import read_all
from steerscope.judges.registry import JUDGES, KEPT, KnownJudge, kind_of, make_judge, read_judge
from steerscope.judges.scoring import SCORE, ScoreJudge
from steerscope.runs.difference import Difference
from steerscope.runs.results import LOST, Run
from steerscope.studies.routing.plan import RoutePlan
from steerscope.studies.steering.plan import StudyPlan, SweepPlan, plan_of
from steerscope.studies.steering.texts import load_texts
from steerscope.texts.contrasts import Prompt

_NEAR = 1e-4  # of a score, in which a neural judge may differ from one batch to another
_KEY = ["split", "cell", "prompt"]
_ORACLE_KINDS = {StudyPlan.__name__, SweepPlan.__name__}


def check_judged(run: Run) -> tuple[int, list[Difference]]:
    """How many numbers of a judge were compared, and which differ from what it says of the texts.

    The judge is had again from `judge.json`; its threshold and its card are made again from the
    labelled texts there. The oracle reads the prompts of the plan.
    """
    table = run.table()
    if SHOWN in set(table.metric) or _is_scored(run) or (run.path / KEPT).exists():
        try:
            known = read_judge(run.path / KEPT, closed=True)
            found = list(_check_card(known))
            n, rows = _compare(run, table, known.judge, _prompts_as_given(run))
        except JudgeError as error:
            return 0, [Difference(KEPT, "the judge", "not usable", str(error))]
        return n + 1, [*found, *rows]
    oracle = _oracle(run)
    return (0, []) if oracle is None else _compare(run, table, *oracle)


def _is_scored(run: Run) -> bool:
    """Whether the run asked for a judge that gives scores; one of routing has others for each phase."""
    judge = run.configuration.get("judge")
    if run.configuration.get("kind") == RoutePlan.__name__:
        return False
    return isinstance(judge, str) and kind_of(judge) in JUDGES


def _check_card(known: KnownJudge) -> Iterator[Difference]:
    """The threshold, the side and the card against those that the labelled texts give."""
    judge = known.judge
    again = make_judge(judge.name, known.means, judge.positive)
    stored = {"threshold": judge.threshold, "sign": judge.sign, **_flat(known.card.stored())}
    now = again.judge
    expected = {"threshold": now.threshold, "sign": now.sign, **_flat(again.card.stored())}
    for name, value in expected.items():
        if not _same(stored[name], value):
            yield Difference(KEPT, name, repr(stored[name]), f"{value!r} by its labelled texts")


def _flat(card: Mapping[str, object]) -> dict[str, object]:
    """The numbers of a card, each by its name."""
    found: dict[str, object] = {}
    for name, value in card.items():
        if isinstance(value, Mapping):
            found |= {f"{name} ({part})": number for part, number in value.items()}
        else:
            found[name] = value
    return found


def _same(a: object, b: object) -> bool:
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return a == b
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return math.isclose(a, b, rel_tol=_NEAR, abs_tol=_NEAR)


def _prompts_as_given(run: Run) -> dict[str, Prompt]:
    return {text: Prompt(text) for text in run.texts().given}


def _oracle(run: Run) -> tuple[MicroworldJudge, dict[str, Prompt]] | None:
    """The oracle of a run and its prompts; None for a run that it did not read, or in a chat."""
    configuration = run.configuration
    if configuration.get("kind") not in _ORACLE_KINDS or configuration.get("chat"):
        return None
    if configuration.get("effect", {}).get("metric") != ORACLE_METRICS[0]:
        return None
    try:
        texts = load_texts(plan_of(run))
    except SteerscopeError:
        return None  # the check of the inputs says so
    judge = MicroworldJudge.for_contrasts(texts.contrasts, texts.all_prompts)
    return None if judge is None else (judge, {p.text: p for p in texts.all_prompts})


def _compare(
    run: Run,
    table: pd.DataFrame,
    judge: ScoreJudge | MicroworldJudge,
    prompts: Mapping[str, Prompt],
) -> tuple[int, list[Difference]]:
    """Every number that the judge reads in the texts, against the row that states it."""
    texts = run.texts()
    texts = texts[texts.given.isin(prompts)]
    asked = [prompts[text] for text in texts.given]
    written = [Continuation((), text, ended=False) for text in texts.written]
    readings = read_all(judge, asked, written)
    stated = table[~table.status.isin(LOST)].set_index([*_KEY, "metric"]).value.to_dict()
    lost = set(map(tuple, table[table.status.isin(LOST)][_KEY].to_numpy()))
    keys = [tuple(key) for key in texts[_KEY].itertuples(index=False, name=None)]
    # A comparison counts a text in which nothing can be read as no effect.
    none_is_no_effect = run.configuration.get("kind") == "ComparisonStep"
    n, found = 0, []
    for key, reading in zip(keys, readings, strict=True):
        if key in lost:
            continue
        for metric, expected in reading.items():
            n += 1
            stored = stated.get((*key, metric))
            unread = (
                none_is_no_effect and metric == SHOWN and math.isnan(expected) and stored == 0.0
            )
            if unread:
                continue
            if stored is None or not _agrees(judge, metric, stored, expected, reading):
                found.append(_difference(key, metric, stored, expected))
        whole, counted = (stated.get((*key, m)) for m in (UNDAMAGED, SHOWN_UNDAMAGED))
        if whole is not None and counted is not None:
            n, expected = n + 1, whole * float(reading.get(SHOWN) == 1.0)
            if counted != expected:
                found.append(_difference(key, SHOWN_UNDAMAGED, counted, expected))
    if isinstance(judge, ScoreJudge) and len(texts):  # some jobs store no text
        found += _without_text(stated, set(keys))
    return n, found


def _without_text(
    stated: Mapping[tuple[str, str, int, str], float], there: set[tuple[str, str, int]]
) -> Iterator[Difference]:
    """Numbers that the judge is said to have read where nothing was written."""
    for (split, cell, prompt, metric), value in stated.items():
        if metric in (SHOWN, SCORE) and (split, cell, prompt) not in there:
            what = _named((split, cell, prompt), metric)
            yield Difference("rows", what, repr(value), "none: no text is stored")


def _agrees(
    judge: ScoreJudge | MicroworldJudge,
    metric: str,
    stored: float,
    expected: float,
    reading: Mapping[str, float],
) -> bool:
    """Whether two readings are the same; at the threshold itself either side will do."""
    at_threshold = (
        metric == SHOWN
        and isinstance(judge, ScoreJudge)
        and stored in (0.0, 1.0)
        and 0 < abs(reading[SCORE] - judge.threshold) <= _NEAR
    )
    return at_threshold or _same(float(stored), expected)


def _named(key: tuple[str, str, int], metric: str) -> str:
    split, cell, prompt = key
    return f"{metric} of prompt {prompt} ({split}) under {cell}"


def _difference(
    key: tuple[str, str, int], metric: str, stored: float | None, expected: float
) -> Difference:
    was = "missing" if stored is None else repr(float(stored))
    return Difference("rows", _named(key, metric), was, f"{expected!r} by the judge of its text")
