"""What a model wrote, as a list of lists that shows its texts side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from steerscope.steering.interventions import Cell, Intervention
from steerscope.texts.showing import shortened, texts_as_html


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt; as a text, `str` of it, it is what was written.

    Attributes:
        tokens: new token ids, without the end-of-sequence token.
        text: the same as text.
        ended: whether the model ended it by itself, or came to a stop string, which the text holds.
        finite: whether the logits were numbers to the end; if not, the text stops where they were
            not, and means nothing.
    """

    tokens: tuple[int, ...]
    text: str
    ended: bool
    finite: bool = True

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        end = "" if self.finite else ", cut off where the logits were not finite"
        return f"Continuation({self.text!r}, {len(self.tokens)} tokens{end})"


class Continuations(list[list[Continuation]]):
    """`found[c][p]` is what was written after prompt p under condition c.

    A list of lists, which prints one text a line and shows them side by side in a notebook.

    Attributes:
        prompts: what was continued, as text.
        conditions: the conditions in words, `plain` for the model as it is.
    """

    def __init__(
        self,
        found: Iterable[list[Continuation]],
        prompts: Sequence[str] = (),
        cells: Sequence[Cell] = (),
    ) -> None:
        super().__init__(found)
        self.prompts = list(prompts)
        self.conditions = [" + ".join(map(_in_words, c.interventions)) or "plain" for c in cells]

    def table(self) -> pd.DataFrame:
        """One row a text: condition, prompt, text, tokens (their number), ended."""
        return pd.DataFrame(
            [
                (name, prompt, written.text, len(written.tokens), written.ended)
                for name, texts in zip(self.conditions, self, strict=True)
                for prompt, written in zip(self.prompts, texts, strict=True)
            ],
            columns=["condition", "prompt", "text", "tokens", "ended"],
        )

    def __repr__(self) -> str:
        lines = [
            line
            for place, prompt in enumerate(self.prompts)
            for line in (
                shortened(prompt, 100),
                *(
                    f"  {name}: {texts[place].text.strip()}"
                    for name, texts in zip(self.conditions, self, strict=False)
                ),
            )
        ]
        return "\n".join(lines) or super().__repr__()

    def _repr_html_(self) -> str:
        columns = [[text.text for text in texts] for texts in self]
        rows = list(zip(self.prompts, *columns, strict=False))
        before = 1 + self.conditions.index("plain") if "plain" in self.conditions else -1
        title = f"{len(self.prompts)} prompts under {len(self)} conditions"
        return texts_as_html(title, ("prompt", *self.conditions), rows, before=before)


def _in_words(intervention: Intervention) -> str:
    """Direction, place and dose of an intervention, as far as it has them."""
    said = intervention.labels()
    dose, layer = said.get("dose_natural"), said.get("layer", -1)
    where = f" at {said.get('stream')}.{layer}" if layer != -1 else ""
    units = f", {dose:+g} natural" if isinstance(dose, float) and dose == dose else ""
    degrees = f", {said['dose_degrees']:g} degrees" if "dose_degrees" in said else ""
    operator = "" if said.get("operator", "") in {"", "add"} else f"{said['operator']} "
    return f"{operator}{said.get('method', type(intervention).__name__)}{where}{units}{degrees}"
