"""The command that tries a token budget."""

from __future__ import annotations

from typing import Annotated

import typer

from steerscope.cli.keeping import KeptOut, kept, run_folder
from steerscope.cli.options import Loading, Talk, grouped
from steerscope.cli.shared import Json, Model, Prompts, Seed, finish, numbers
from steerscope.texts.bundled import DEFAULT_MODEL


@grouped
def budget(
    *,
    tokens: Annotated[str, typer.Argument(help="budgets with commas, such as 16,32,64")],
    model: Model = DEFAULT_MODEL,
    prompts: Prompts = "mood",
    n_prompts: Annotated[int, typer.Option(help="prompts, of which half fit the lengths")] = 80,
    longest: Annotated[int, typer.Option(help="tokens of a text without a budget, at most")] = 128,
    temperature: Annotated[float, typer.Option("--temperature", "-t", help="of sampling")] = 0.7,
    out: KeptOut = None,
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Whether asking for an end within a token budget helps, against cutting the text off there.

    Examples:
        steerscope budget 32,64 --out runs/budget
    """
    from steerscope.progress import bar
    from steerscope.studies.budgets.findings import budget_table
    from steerscope.studies.budgets.measure import run_budgets
    from steerscope.studies.budgets.plan import BudgetPlan
    from steerscope.studies.budgets.wording import budgets_in_words

    plan = BudgetPlan(
        model=model,
        budgets=tuple(numbers(tokens, int, "budgets")),
        prompts=prompts or "mood",
        n_prompts=n_prompts,
        longest=longest,
        temperature=temperature,
        seed=seed,
        **loading.settings(),
    )
    with run_folder(out) as folder:
        loaded = loading.load(model)
        run = run_budgets(folder, plan, chat=talk.asked(), model=loaded, progress=bar)
        found = budget_table(run)
        said = budgets_in_words(found)
        lines = [*said, *kept(run, out)]
    finish(as_json, {"budgets": found.to_dict("records"), "said": said}, lines)
