"""The texts of a run read by another judge, as a run of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.engine.continuations import Continuation
from steerscope.errors import BadValueError, JudgeError, RunError
from steerscope.judges.effects import SHOWN, SHOWN_UNDAMAGED, UNDAMAGED, Effect
from steerscope.judges.judges import read_all, scored
from steerscope.judges.scoring import SCORE
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.runs.records import check_measured
from steerscope.runs.results import COLUMNS, LOST, Row, Run, check_run_folder, measuring
from steerscope.studies.beginnings import file_hash
from steerscope.studies.judging import Question, find_judge, question_of
from steerscope.studies.loading import Loading
from steerscope.studies.steering.plan import effect_of
from steerscope.texts.chats import as_chat
from steerscope.texts.contrasts import Prompt, load_contrasts, prompts_for, usual_prompts

# Where no layer, dose or arm was chosen by what the judge read, so that another judge would have read the same texts.
KINDS = ("ComparisonStep", "FeaturePlan")
_KEY = ["split", "cell", "prompt"]
_READ = (SHOWN, SCORE, SHOWN_UNDAMAGED)


def rejudge(
    run: Run,
    judge: str,
    out: str | Path,
    *,
    labels: str | None = None,
    url: str | None = None,
    device: str | None = None,
    memory: str | None = None,
    model: LensModel | None = None,
) -> Run:
    """Every text of a finished run, read by another judge: the run that this judge would have made.

    No text is written anew, and whether one is undamaged stays as it was, which is right where both judges read it and
    hold it to the same limits. Of a text that the first judge could not read, as one of emoji, it is not known; where the new
    one does not count it, that changes no effect.

    Args:
        run: a comparison of methods or a trial of features, by a judge that gives scores.
        judge: the other one, such as `regex:PATTERN`.
        out: folder of the new run.
        labels: file of labelled texts for the judge.
        url: endpoint of the judge `lm`.
        device: as in `load_model`; the model may be asked for replies that judges are fitted on.
        memory: as in `load_model`.
        model: the run's model, if it is loaded already.

    Raises:
        RunError: a run of another kind, in which the judge decided what was measured, or without such a judge, or not as
            it was measured, or a folder that is no run.
        JudgeError: the new judge cannot read some of the texts, or the first one some that the new one counts, or they hold
            texts to different limits.
        BadValueError: the judge gives no scores.
    """
    c = run.configuration
    if c.get("kind") not in KINDS or effect_of(run).metric != SHOWN_UNDAMAGED:
        raise RunError(
            f"{run.path} is no comparison of methods and no trial of features by a judge that gives scores: "
            "elsewhere the judge decides what is measured. Measure it with the other judge."
        )
    check_run_folder(out)
    check_measured(run)
    how = {name: c[name] for name in ("backbone", "dtype", "bos", "revision") if name in c}
    loaded = model or Loading(c["model"], **how, device=device, memory=memory).load()
    question = _question(run, loaded, {"judge": judge, "judge_labels": labels, "judge_url": url})
    with measuring(out):
        found = find_judge(question, loaded, out)
        if not scored(found.judge):
            raise BadValueError(
                f"the judge {judge!r} gives no scores; name one that reads any text."
            )
        _check_limits(effect_of(run), found.judge.effect)
        rows = _read_again(run, found.judge, {p.text: p for p in question.prompts})
        now: dict[str, Any] = {
            "judge": judge,
            "effect": asdict(found.judge.effect.undamaged),
            **found.settings,
        }
        asked = {"judge_labels": labels} if labels or "judge_labels" in c else {}
        if "files" in c:
            now["files"] = {name: file_hash(name) for name in found.files}
        kept = {k: v for k, v in c.items() if k != "judge_sha256"}
        again = Run.start(out, kept | now | asked, provenance=run.description["provenance"])
        found.keep(again)
        again.append(rows, run.texts().to_dict("records"))
        again.seal()
    return again


def _question(run: Run, model: LensModel, judging: Mapping[str, str | None]) -> Question:
    """What the judge is asked to tell, as the job of the run asks it."""
    c = run.configuration
    plan, chat = c.get("plan", c), as_chat(c.get("chat"))
    seed = int(plan["seed"])
    spoken = load_contrasts(c["contrasts"])
    asked = prompts_for(spoken, c.get("prompts") or usual_prompts(c["contrasts"]))
    prompts = in_chat(model, asked, chat).split(seed)
    contrasts = in_chat(model, spoken, chat)
    return question_of(judging, contrasts, prompts, int(plan["n_new"]), seed, len(run.texts()))


def _read_again(run: Run, judge: Any, prompts: Mapping[str, Prompt]) -> list[Row]:
    """The rows of a run with what another judge says of its texts; `prompts` know their turns in a chat."""
    table, texts = run.table(), run.texts()
    scores = table[table.metric == SCORE].set_index(_KEY)
    lost = scores.status.isin(LOST).to_dict()
    before = scores.value.to_dict()
    every = pd.Series(texts[_KEY].itertuples(index=False, name=None), index=texts.index)
    texts = texts[(texts.written.str.strip() != "") & ~every.map(lambda key: lost.get(key, False))]
    keys = list(texts[_KEY].itertuples(index=False, name=None))
    readings = read_all(
        judge,
        [prompts.get(text) or Prompt(text) for text in texts.given],
        [Continuation((), text, ended=False) for text in texts.written],
    )
    _check_read(sum(math.isnan(r[SCORE]) for r in readings), len(keys), "the new judge")
    whole = table[table.metric == UNDAMAGED].set_index(_KEY).value.to_dict()
    # What the first judge could not read counts as damaged in its run, and is not known in one made of that.
    unread = {
        key for key in keys if math.isnan(before.get(key, math.nan)) or math.isnan(whole[key])
    }
    counted = {key for key, r in zip(keys, readings, strict=True) if r[SHOWN] == 1}
    _check_read(
        len(unread & counted),
        len(counted),
        "an earlier judge, of those that the new one counts,",
    )
    if absent := {key for key, value in before.items() if not math.isnan(value)} - set(keys):
        raise RunError(
            f"{run.path} lacks {len(absent)} texts that its judge has read; nothing can read them again."
        )
    values = {
        key: {**reading, SHOWN_UNDAMAGED: whole[key] if reading[SHOWN] == 1 else 0.0}
        for key, reading in zip(keys, readings, strict=True)
    }
    rows = []
    for record in table[list(COLUMNS)].to_dict("records"):
        row = Row(**{str(name): value for name, value in record.items()})
        key = (row.split, row.cell, row.prompt)
        if row.metric in _READ and row.status not in LOST and key in values:
            row = replace(row, value=float(values[key][row.metric]), status="ok")
        elif row.metric == UNDAMAGED and key in unread:
            row = replace(row, value=math.nan, status="unread")
        rows.append(row)
    return rows


def _check_limits(before: Effect, now: Effect) -> None:
    """Refuse a judge that holds texts to other limits, as one of length, by which none is too short."""
    metrics = [{limit.metric for limit in effect.held_to} for effect in (before, now)]
    if other := metrics[0] ^ metrics[1]:
        raise JudgeError(
            f"the two judges hold a text to different limits ({', '.join(sorted(other))}), so that it is not known which are "
            "undamaged; measure the run with the other judge."
        )


def _check_read(unread: int, n: int, whose: str) -> None:
    if unread:
        raise JudgeError(
            f"{whose} cannot read {unread} of {n} texts, so that it is not known which are undamaged; measure the "
            "run with the other judge."
        )
