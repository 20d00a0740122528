"""The shortest way from pairs to an answer: a small study with its page, in one call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from steerscope.errors import BadValueError, RunError
from steerscope.judges.registry import judge_of
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, bar
from steerscope.report import write_report
from steerscope.runs.results import Run
from steerscope.runs.whole_files import write_whole
from steerscope.studies.steering.measure import run_study
from steerscope.studies.steering.plan import StudyPlan
from steerscope.texts.bundled import bundled_models
from steerscope.texts.chats import Conversation
from steerscope.texts.contrasts import ContrastSet, load_contrasts
from steerscope.texts.given_pairs import PairsLike

_RUNS = Path("data/runs")


def quickstart(  # noqa: PLR0913 - what a newcomer asks for
    model: LensModel | str | Path,
    pairs: PairsLike,
    *,
    out: str | Path | None = None,
    layers: Sequence[int] | None = None,
    doses: Sequence[float] = (1.0, 2.0, 3.0),
    prompts: str | Path | None = None,
    judge: str | None = None,
    progress: Track = bar,
) -> Run:
    """Where, how hard and whether, with 40 prompts at most: a run with its page, and the run.

    The same study as `run_study`, of fewer doses and texts; a second call goes on where the first
    was stopped. For what is published take `run_study` with a `StudyPlan`.

    Args:
        model: bundled name, folder or hub name; a loaded model if it is a bundled one.
        pairs: bundled name or file, or pairs in any form that `ContrastSet.from_pairs` reads, which
            are written beside the run.
        out: the run directory; default `data/runs/MODEL-PAIRS`.
        layers: to measure; default all.
        doses: positive, in natural units; both signs are measured.
        prompts: bundled name or file; default those of the contrast set, else openings of the pairs.
        judge: what reads the texts, as `--judge`; default the one that the contrast set names beside
            its pairs, the oracle where it can read them, else preference.
        progress: shows the loops; default a bar on standard error.

    Raises:
        ContrastError: the pairs cannot be read.
        BadValueError: a loaded model that is not bundled.
        RunError: the directory holds another run, or other pairs.
        SteerscopeError: any other error of the input; nothing is measured before it is checked.
    """
    named = isinstance(pairs, str | Path)
    contrasts = load_contrasts(pairs)
    name = Path(str(pairs)).stem if named else contrasts.name
    asked = _named(model)
    folder = Path(out) if out is not None else _RUNS / f"{Path(asked).name}-{_plain(name)}"
    steps = tuple(float(d) for d in doses)
    plan = StudyPlan(
        model=asked,
        contrasts=str(pairs) if named else str(_kept(contrasts, folder)),
        prompts=None if prompts is None else str(prompts),
        layers=None if layers is None else tuple(layers),
        doses=steps,
        reference_dose=steps[len(steps) // 2] if steps else StudyPlan.reference_dose,
        max_select=20,
        max_test=40,
        n_new=32,
        judge=judge or (judge_of(pairs) if isinstance(pairs, str | Path) else None),
    )
    run = run_study(plan, folder, progress=progress)
    write_report(run)
    return run


def _named(model: LensModel | str | Path) -> str:
    """The name by which a run loads the model."""
    if not isinstance(model, LensModel):
        return str(model)
    if model.name not in bundled_models():
        raise BadValueError(
            f"a run loads its model itself; give the folder or hub name of {model.name!r} instead."
        )
    return model.name


def _plain(name: str) -> str:
    """A name as part of a folder's."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def _as_json(text: str) -> str | list[dict[str, str]]:
    """A text, or the messages of a conversation, as a line of a file has them."""
    return [vars(m) for m in text.messages] if isinstance(text, Conversation) else str(text)


def _kept(contrasts: ContrastSet, folder: Path) -> Path:
    """The pairs as a file beside the run, by which the run names them."""
    path = folder.with_name(f"{folder.name}.pairs.jsonl")
    rows = [
        {"positive": _as_json(p.positive), "negative": _as_json(p.negative), "concept": p.concept}
        for p in contrasts
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise RunError(f"{path} holds other pairs; give another out=, or delete the file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path
