"""What a trial of token budgets is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from steerscope.errors import BadValueError
from steerscope.studies.planned import OfModel
from steerscope.texts.numbers import check_temperature


@dataclass(frozen=True, kw_only=True)
class BudgetPlan(OfModel):
    """How budgets are tried.

    Attributes:
        budgets: tokens.
        prompts: bundled name or file.
        n_prompts: at most; the first half fits the lengths, and what is stated is of the others.
        longest: tokens of a plain text, at most.
        temperature: of sampling.

    Raises:
        BadValueError: fewer than four prompts, or no budget, or one twice, below 1 or no whole number.
    """

    budgets: tuple[int, ...]
    prompts: str = "mood"
    n_prompts: int = 80
    longest: int = 128
    temperature: float = 0.7

    def __post_init__(self) -> None:
        if self.n_prompts < 4 or not self.budgets:
            raise BadValueError(
                "a budget is tried on at least 4 prompts, and needs a number of tokens."
            )
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in self.budgets)
        if not whole or min(self.budgets) < 1 or len(set(self.budgets)) < len(self.budgets):
            raise BadValueError(
                f"budgets {', '.join(map(str, self.budgets))}: give whole numbers of tokens, each once and "
                "at least 1."
            )
        if self.longest < 1:
            raise BadValueError(f"longest is {self.longest}; it must be at least 1.")
        check_temperature(self.temperature)
