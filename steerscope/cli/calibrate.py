"""The command that finds the dose at which steering does as much as is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli.options import Drawing, Judged, Loading, Subject, Talk, Writing, grouped
from steerscope.cli.shared import (
    Examples,
    Instruction,
    Json,
    MaxTest,
    ScopeText,
    SiteNames,
    check_vector,
    finish,
    read_several,
    refuse_unused,
)
from steerscope.errors import BadValueError

if TYPE_CHECKING:
    from steerscope.judges import Judge
    from steerscope.models.lens_model import LensModel
    from steerscope.steering.prompting import Prompting
    from steerscope.studies.steering.plan import StudyPlan
    from steerscope.studies.steering.texts import Texts


_LARGEST, _ROUNDS = 4.0, 4  # how far is looked, and how often an interval is halved
_EXAMPLES = 4


@grouped
def calibrate(
    *,
    vector: Annotated[str, typer.Option(help="vector file of steerscope or of another tool")],
    subject: Subject,
    site: SiteNames = None,
    target: Annotated[
        str, typer.Option(help="judge for the share it counts, kl, length or a metric of the judge")
    ] = "judge",
    value: Annotated[
        float | None, typer.Option(help="what to reach; default what asking in words reaches")
    ] = None,
    instruction: Instruction = None,
    examples: Examples = _EXAMPLES,
    largest: Annotated[float, typer.Option(help="natural units up to which is looked")] = _LARGEST,
    rounds: Annotated[int, typer.Option(help="further doses, each halving the interval")] = _ROUNDS,
    scope: ScopeText = "all",
    writing: Writing,
    drawing: Drawing,
    judged: Judged,
    max_prompts: MaxTest = 120,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Find the dose at which steering does as much as asking, or as a share, a length or a KL.

    Examples:
        steerscope calibrate --vector joyful.safetensors --target kl --value 0.5
    """
    from steerscope.steering.scopes import Scope
    from steerscope.studies.bench import Decoding
    from steerscope.studies.parity import KL, LENGTH, Reading, in_words
    from steerscope.studies.parity import calibrate as find
    from steerscope.studies.steering.plan import StudyPlan
    from steerscope.studies.steering.texts import load_texts

    check_vector(vector)
    asking = {"instruction": instruction, "examples": None if examples == _EXAMPLES else examples}
    looked = {"largest": largest, "rounds": rounds}
    _refuse_unused(target, value, asking, looked, (judged, writing, drawing))
    plan = StudyPlan(
        **subject.settings(),
        **writing.settings(),
        **drawing.settings(),
        **judged.settings(subject.contrasts),
        **loading.settings(),
        scope=scope,
        instruction=instruction,
        examples=examples,
        max_select=max_prompts,
        max_test=1,
        chat=talk.asked(),
    )
    model = loading.load(plan.model)
    directions = read_several(vector, site, model)
    texts = load_texts(plan).in_chat(model, plan.chat)
    judge, card = (None, []) if target in {KL, LENGTH} else _judge(plan, model, texts)
    wanted = _asked(plan, model, texts) if value is None else value
    found = find(
        model,
        directions,
        target,
        texts.prompts.select.prompts,
        value=wanted,
        reading=Reading(judge, Decoding(plan.n_new, plan.sampler, plan.samples), largest, rounds),
        scope=Scope.parse(scope),
    )
    result = {"target": target, "found": asdict(found), "judge": card}
    finish(as_json, result, [*in_words(found), *card])


def _refuse_unused(
    target: str,
    value: float | None,
    asking: Mapping[str, object],
    looked: Mapping[str, float],
    written: tuple[Judged, Writing, Drawing],
) -> None:
    """Refuse what says nothing: of a KL, for which no text is written, or beside a value."""
    if target == "kl" and value is None:
        raise BadValueError("--target kl needs --value, in nats.")
    judged, writing, drawing = written
    if target == "kl":
        usual = {"largest": _LARGEST, "rounds": _ROUNDS}
        given: dict[str, object] = {name: n for name, n in looked.items() if n != usual[name]}
        given |= {**asking, **_changed(judged), **_changed(writing), **_changed(drawing)}
        given.pop("seed", None)  # of the splits too
        refuse_unused(given, "a KL is found by reading the prompts")
    else:
        refuse_unused({} if value is None else asking, "--value says what to reach")
        heard = _changed(judged) if target == "length" else {}
        refuse_unused(heard, "a length is counted without one")


def _changed(options: Judged | Writing | Drawing) -> dict[str, object]:
    """The options of a group that are not as they are by default."""
    return {f.name: v for f in fields(options) if (v := getattr(options, f.name)) != f.default}


def _judge(plan: StudyPlan, model: LensModel, texts: Texts) -> tuple[Judge, list[str]]:
    """The judge, and its card in words where it has one."""
    from steerscope.studies.judging import card_in_words, find_judge
    from steerscope.studies.steering.prepare import question_of

    with TemporaryDirectory() as nowhere:
        found = find_judge(question_of(plan, texts, 1), model, Path(nowhere) / "run")
    return found.judge, [] if found.known is None else [card_in_words(found.known)]


def _asked(plan: StudyPlan, model: LensModel, texts: Texts) -> Prompting:
    """The most that is said to ask for the concept: the instruction with the examples, where both are."""
    from steerscope.steering.prompting import Prompting
    from steerscope.studies.steering.asking import asking_cells

    cells = asking_cells(plan, model, texts, judged=True, paired=False)
    if not cells:
        raise BadValueError(
            "there is nothing to ask for the concept by: give --instruction or --examples, or say what "
            "is to be reached with --value."
        )
    [prompting] = cells[-1].interventions
    assert isinstance(prompting, Prompting)
    return prompting
