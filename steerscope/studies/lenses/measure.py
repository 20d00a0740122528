"""Texts of a model with and without steering, seen through lenses, as the rows of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from steerscope.directions.choosing import one_of_each_site
from steerscope.doses import Dose, check_unit
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import attempt, generate
from steerscope.engine.sampling import sampler_at
from steerscope.errors import BadValueError
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.distinct import PROMPTS
from steerscope.runs.results import NOT_FINITE, WEIGHTLESS, Row, Run, measuring
from steerscope.steering.control_vectors import along
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.studies.beginnings import load_planned, start_planned
from steerscope.studies.lenses.findings import AGAIN, PLAIN, UNIT, WEIGHING
from steerscope.studies.lenses.plan import LensPlan
from steerscope.studies.lenses.vocabularies import Lens, read_lenses
from steerscope.studies.rows import cell_row
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import load_prompts
from steerscope.texts.groups import distinct_prompts


def run_lenses(
    path: str | Path,
    plan: LensPlan,
    *,
    chat: Chat | None = None,
    device: str | None = None,
    memory: str | None = None,
    model: LensModel | None = None,
    progress: Track = silent,
) -> Run:
    """How far each lens moves under a vector, into a run.

    Args:
        path: the run's folder.
        plan: what is measured.
        chat: puts prompts into the chat template; None for plain text.
        device: as in `load_model`.
        memory: as in `load_model`.
        model: the model, if it is loaded already.
        progress: shows the loops.

    Raises:
        BadValueError: fewer than two prompts, or two lenses of one name.
        VectorFileError: the vector cannot be read.
        RunError: the folder holds another run, or something else.
    """
    lenses, spoken, where = (
        read_lenses(plan.lenses),
        load_prompts(plan.prompts),
        Scope.parse(plan.scope),
    )
    loaded = model or load_planned(plan, device=device, memory=memory)
    vectors = one_of_each_site(plan.vector, plan.sites, loaded)
    cell = Cell((along(vectors, Dose(plan.dose, check_unit(plan.unit)), "add", where),))
    asked = in_chat(loaded, spoken, chat)
    texts = [prompt.text for prompt in asked.prompts]
    more = {
        "prompts_sha256": spoken.sha256,
        "template": asked.template,
        "lens_names": [lens.name for lens in lenses],
    }
    with measuring(path):
        groups = {"test": {PROMPTS: distinct_prompts(texts[: plan.n_prompts])}}
        run = start_planned(path, plan, loaded, chat, more, groups=groups)
        run.append(*lens_rows(loaded, lenses, texts, cell, plan, progress=progress))
        run.seal()
    return run


def lens_rows(
    model: LensModel,
    lenses: Sequence[Lens],
    prompts: Sequence[str],
    cell: Cell,
    plan: LensPlan,
    *,
    progress: Track = silent,
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows of a run, one for each text and lens, and the texts.

    Prompts are continued thrice plain and once steered, the steered text with the random numbers of the first
    plain one. Words are weighted by their rarity in the third plain texts alone, which nothing is compared with: in
    texts that weigh them a word counts less than in others of the same model. A text without words, or whose
    logits overflowed, has no number. One whose words of a lens all weigh 0 has 0, and the status `weightless`.

    Raises:
        BadValueError: fewer than two prompts, or two lenses of one name.
        NotFiniteError: the model overflows without any steering.
    """
    names = [lens.name for lens in lenses]
    if len(set(names)) < len(names) or not names:
        raise BadValueError("give lenses, each of its own name.")
    asked, sampler = list(prompts)[: plan.n_prompts], sampler_at(plan.temperature, plan.seed)
    if len(asked) < 2:
        raise BadValueError(f"lenses need texts on at least 2 prompts; there are {len(asked)}.")
    write = partial(generate, model, asked, n_new=plan.n_new, sampler=sampler, progress=progress)
    [plain] = write(cells=Cell(), samples=3)
    [moved] = attempt(model, asked, [cell], n_new=plan.n_new, sampler=sampler, progress=progress)
    weighed = [lens.rarer([text.text for text in plain[2::3]]) for lens in lenses]
    arms = {PLAIN: (Cell(), plain[::3]), AGAIN: (Cell(), plain[1::3]), cell.key: (cell, moved)}
    rows, texts = [], _texts(WEIGHING, asked, plain[2::3])
    for name, (condition, written) in arms.items():
        for prompt, text in enumerate(written):
            rows += [replace(_row(condition, lens, prompt, text), cell=name) for lens in weighed]
        texts += _texts(name, asked, written)
    return rows, texts


def _texts(
    cell: str, asked: Sequence[str], written: Sequence[Continuation]
) -> list[dict[str, Any]]:
    return [
        {"cell": cell, "prompt": i, "split": "test", "given": given, "written": text.text}
        for i, (given, text) in enumerate(zip(asked, written, strict=True))
    ]


def _row(cell: Cell, lens: Lens, prompt: int, text: Continuation) -> Row:
    value = lens.score(text.text) if text.finite else math.nan
    status = NOT_FINITE if not text.finite else "empty" if math.isnan(value) else "ok"
    if value == 0 and lens.knows(text.text):
        status = WEIGHTLESS
    return cell_row(cell, lens.name, "test", (lens.name, UNIT, prompt), value, status=status)
