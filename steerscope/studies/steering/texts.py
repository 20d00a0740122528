"""The texts of a plan: its contrast set, and the splits of pairs and prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from steerscope.errors import BadValueError
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.steering.prompting import METHODS
from steerscope.studies.steering.plan import RACE, Plan, StudyPlan, SweepPlan
from steerscope.studies.steering.search import BESIDE, rounds_of, texts_of_race
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import (
    ContrastSet,
    Prompt,
    PromptSet,
    Split,
    load_contrasts,
    split_prompts_for,
)


@dataclass(frozen=True)
class Texts:
    """What a plan names: the contrast set, and the splits of its pairs and of the prompts."""

    contrasts: ContrastSet
    pairs: Split[ContrastSet]
    prompts: Split[PromptSet]

    def in_chat(self, model: LensModel, chat: bool | Chat | None) -> Texts:
        """The same texts in the model's chat template, if there is to be one."""
        return Texts(
            in_chat(model, self.contrasts, chat),
            self.pairs.map(lambda part: in_chat(model, part, chat)),
            self.prompts.map(lambda part: in_chat(model, part, chat)),
        )

    def repeated(self, samples: int) -> Texts:
        """The same with each prompt so many times in a row, for as many texts of it."""

        def of(part: PromptSet) -> PromptSet:
            return replace(part, prompts=tuple(p for p in part.prompts for _ in range(samples)))

        return self if samples == 1 else replace(self, prompts=self.prompts.map(of))

    @property
    def all_prompts(self) -> tuple[Prompt, ...]:
        """The prompts of both splits."""
        return (*self.prompts.select.prompts, *self.prompts.test.prompts)

    def longest(self, model: LensModel, room: int) -> int:
        """Tokens of the longest prompt, which leaves room for so many more.

        Raises:
            BadValueError: one is a single token: position 0 alone has no eigengap and no norm.
        """
        lengths = {p.text: len(model.tokens(p.text, room=room)) for p in self.all_prompts}
        shortest = min(lengths, key=lambda text: lengths[text])
        if lengths[shortest] < 2:
            raise BadValueError(
                f"prompt {shortest!r} has no token but position 0; use longer prompts, or --bos always."
            )
        return max(lengths.values())


def load_texts(plan: Plan) -> Texts:
    """The texts that a plan names, each split limited to what the plan uses."""
    contrasts = load_contrasts(plan.contrasts)
    pairs = contrasts.split(plan.seed, plan.grouping)
    prompts = split_prompts_for(
        contrasts,
        plan.prompts,
        plan.seed,
        max_select=plan.max_select,
        max_test=plan.max_test,
        grouping=plan.grouping,
    )
    return Texts(contrasts, pairs, prompts)


def most_texts(plan: Plan, texts: Texts, n_layers: int) -> int:
    """Texts that a plan has written at most."""
    n_select, n_test = (len(part.prompts) for part in (texts.prompts.select, texts.prompts.test))
    several = 1 if plan.all_layers else 0
    if isinstance(plan, SweepPlan):
        return (1 + (n_layers * (1 + plan.n_sweep_controls) + several) * len(plan.doses)) * n_select
    assert isinstance(plan, StudyPlan)
    doses = 2 * len(plan.doses)
    if plan.search == RACE:
        n_few = min(BESIDE * plan.samples, n_test)
        n_first = n_select // plan.samples
        rounds = rounds_of(n_layers, len(plan.doses), n_first)
        beside = n_layers * plan.n_sweep_controls * rounds[0].prompts + len(METHODS) * BESIDE
        select = plan.samples * (texts_of_race(rounds) + beside) + (1 + several * doses) * n_select
        other = int(plan.other is not None)
        test = (3 + len(METHODS) + 2 * plan.n_controls + other + several) * n_test + doses * n_few
        return select + test + 2 * plan.nulls * n_test
    select = 1 + (n_layers + several) * doses + n_layers * plan.n_sweep_controls + len(METHODS)
    test = (
        1 + len(METHODS) + several + doses * (1 + 2 * plan.n_controls + int(plan.other is not None))
    )
    nulls = 1 + 2 * plan.nulls if plan.nulls else 0
    return select * n_select + (test + nulls) * n_test
