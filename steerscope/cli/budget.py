"""The command that tries a token budget."""

from __future__ import annotations

from typing import Annotated

import typer

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
    seed: Seed = 0,
    talk: Talk,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Whether asking for an end within a token budget helps, against cutting the text off there.

    Examples:
        steerscope budget 32,64
    """
    from steerscope.models.chat_templates import in_chat
    from steerscope.progress import bar
    from steerscope.studies.budgets import budget_trial, budgets_in_words
    from steerscope.texts.contrasts import load_prompts

    asked = numbers(tokens, int, "budgets")
    loaded = loading.load(model)
    texts = [p.text for p in in_chat(loaded, load_prompts(prompts or "mood"), talk.asked()).prompts]
    found = budget_trial(
        loaded,
        texts[:n_prompts],
        asked,
        longest=longest,
        temperature=temperature,
        seed=seed,
        progress=bar,
    )
    said = budgets_in_words(found)
    finish(as_json, {"budgets": found.to_dict("records"), "said": said}, said)
