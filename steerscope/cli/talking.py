"""What a chat in the terminal knows and does: the conversation, the vector, and the commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerscope.errors import BadValueError, OutputError, TemplateError, UnknownNameError
from steerscope.texts.numbers import read_real

if TYPE_CHECKING:
    from steerscope.engine.sampling import Sampler
    from steerscope.engine.streaming import Token
    from steerscope.models.lens_model import LensModel, TextOrIds
    from steerscope.serve.shelf import Shelf
    from steerscope.steering.interventions import Cell

STEP = 0.25  # natural units, of a key
HELP = """/dose 1.5 [unit]   how much; /dose +0.5 adds to it; arrow keys up and down likewise
/vector NAME       steer with another vector; /vector none steers with none
/site SITE ...     where; /site alone is the vector's own choice
/compare           plain beside steered, on or off
/system TEXT       a system message, with a new conversation
/new               a new conversation
/save FILE         what was said, as JSON
/help              this list
/quit              leave, as do /exit, /q and the end of the input
Ctrl-C stops an answer; what is typed while one is written is done after it."""


@dataclass
class Talk:
    """A conversation under a condition that may be changed at any time.

    Attributes:
        model: the model.
        shelf: the vectors.
        sampler: how tokens are chosen.
        n_new: tokens of an answer, at most.
        vector: that steers; None for none.
        dose: how much.
        unit: of the dose.
        sites: where; None for the vector's own choice.
        compare: whether the plain answer is shown as well.
        turns: what was said, as role and content; without a chat template each prompt is by itself.
        said: what is saved.
        is_over: whether it was left.
    """

    model: LensModel
    shelf: Shelf
    sampler: Sampler
    n_new: int = 128
    vector: str | None = None
    dose: float = 1.0
    unit: str = "natural"
    sites: list[str] | None = None
    compare: bool = False
    turns: list[dict[str, str]] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    is_over: bool = False

    @property
    def shown(self) -> str:
        """The condition in a few words."""
        if self.vector is None:
            return "plain"
        where = f" at {', '.join(self.sites)}" if self.sites else ""
        return f"{self.vector} {self.dose:+g} {self.unit}{where}"

    def cell(self) -> Cell:
        """The condition.

        Raises:
            SteerscopeError: whatever is wrong with it.
        """
        from steerscope.serve.conditions import SteeringAsked, condition
        from steerscope.steering.interventions import Cell

        if self.vector is None:
            return Cell()
        asked = SteeringAsked(vector=self.vector, sites=self.sites, dose=self.dose, unit=self.unit)
        return condition(self.model, self.shelf, [asked])

    def answers(self, text: str) -> Generator[Token, None, None]:
        """What the model says, a token at a time; cell 0 is steered, cell 1 plain where both are shown.

        The steered answer becomes a turn of the conversation, also one that is stopped on its way.
        """
        from steerscope.engine.streaming import stream
        from steerscope.steering.interventions import Cell

        cells = [self.cell(), *([Cell()] if self.compare else [])]
        prompt, words = self._prompt(text), ["", ""]
        tokens = stream(self.model, [prompt], cells, n_new=self._room(prompt), sampler=self.sampler)
        about: dict[str, Any] = {"prompt": text, "steering": self.shown}
        try:
            for token in tokens:
                words[token.cell] += token.text
                yield token
        except (KeyboardInterrupt, GeneratorExit):
            if words[0]:
                self._keep(about | {"stopped": True}, words)
            raise
        self._keep(about, words)

    def _keep(self, about: dict[str, Any], words: list[str]) -> None:
        entry = about | {"answer": words[0]} | ({"plain": words[1]} if self.compare else {})
        self.said.append(entry)
        if self.has_template:
            self.turns += [
                {"role": "user", "content": entry["prompt"]},
                {"role": "assistant", "content": words[0]},
            ]

    @property
    def has_template(self) -> bool:
        """Whether the model talks in turns."""
        from steerscope.models.chat_templates import ChatTemplate

        try:
            return bool(ChatTemplate(self.model.tokenizer).source)
        except TemplateError:
            return False

    def _prompt(self, text: str) -> TextOrIds:
        from steerscope.models.chat_templates import ChatTemplate
        from steerscope.texts.chats import as_conversation

        if not self.has_template:
            return text
        said = as_conversation([*self.turns, {"role": "user", "content": text}])
        return ChatTemplate(self.model.tokenizer)(said)

    def _room(self, prompt: TextOrIds) -> int:
        left = self.model.shape.n_context - len(self.model.tokens(prompt))
        return max(1, min(self.n_new, left))

    # -- commands -----------------------------------------------------------------------------------

    def turn(self, steps: int) -> None:
        """The dose so many steps up or down."""
        self.dose = round(self.dose + steps * STEP, 6)

    def command(self, line: str) -> str:
        """Do what a line that begins with a stroke says; what there is to say about it.

        Raises:
            SteerscopeError: it cannot be done.
        """
        name, _, rest = line[1:].strip().partition(" ")
        if name not in COMMANDS:
            raise UnknownNameError("command", f"/{name}", [f"/{c}" for c in COMMANDS])
        return COMMANDS[name](self, rest.strip())

    def set_dose(self, rest: str) -> str:
        """A dose with its unit, or what is added to it."""
        from steerscope.doses import Dose, check_unit

        amount, _, unit = rest.partition(" ")
        try:
            value = read_real(amount)
        except ValueError:
            raise BadValueError(
                f"cannot read the dose {rest!r}; write /dose 1.5, or /dose +0.5 to add to it."
            ) from None
        found = Dose(
            self.dose + value if amount.startswith("+") else value,
            check_unit(unit.strip() or self.unit),
        )
        if found.unit == "kl":
            raise BadValueError(
                "a chat takes doses as lengths; write natural, relative or absolute."
            )
        before = self.dose, self.unit
        self.dose, self.unit = found.value, found.unit
        return self._tried(before, ("dose", "unit"))

    def set_vector(self, rest: str) -> str:
        """Another vector, or none."""
        before = self.vector, self.sites
        self.vector, self.sites = (None if rest in {"", "none"} else rest), None
        return self._tried(before, ("vector", "sites"))

    def set_sites(self, rest: str) -> str:
        """Where the vector acts."""
        before = (self.sites,)
        self.sites = rest.split() or None
        return self._tried(before, ("sites",))

    def _tried(self, before: tuple[Any, ...], names: tuple[str, ...]) -> str:
        """The new condition in words; what cannot be is as it was."""
        try:
            self.cell()
        except Exception:
            for name, value in zip(names, before, strict=True):
                setattr(self, name, value)
            raise
        return self.shown

    def set_compare(self, _: str) -> str:
        """Plain beside steered, or not."""
        self.compare = not self.compare
        return f"plain answers are {'shown as well' if self.compare else 'left out'}."

    def set_system(self, rest: str) -> str:
        """A new conversation under a system message."""
        if not self.has_template:
            raise TemplateError(
                f"{self.model.name} has no chat template and takes no system message."
            )
        self.turns = [{"role": "system", "content": rest}] if rest else []
        return "a new conversation."

    def begin_anew(self, _: str) -> str:
        """A new conversation; the system message stays."""
        self.turns = [t for t in self.turns if t["role"] == "system"]
        return "a new conversation."

    def leave(self, _: str) -> str:
        """The end of the talk."""
        self.is_over = True
        return ""

    def save(self, rest: str) -> str:
        """Write what was said; a file of somebody else's is left alone."""
        from steerscope.runs.whole_files import write_whole

        if not rest:
            raise BadValueError("write /save FILE.")
        path = Path(rest).expanduser()
        if path.exists() and not _is_ours(path):
            raise OutputError(f"{path} is there already; choose another name.")
        told = {"steerscope_chat": 1, "model": self.model.name, "said": self.said}
        write_whole(path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        return f"saved: {path}, {len(self.said)} answers"


def _is_ours(path: Path) -> bool:
    try:
        return "steerscope_chat" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


COMMANDS: dict[str, Callable[[Talk, str], str]] = {
    "dose": Talk.set_dose,
    "vector": Talk.set_vector,
    "site": Talk.set_sites,
    "compare": Talk.set_compare,
    "system": Talk.set_system,
    "new": Talk.begin_anew,
    "save": Talk.save,
    "help": lambda *_: HELP,
    "quit": Talk.leave,
    "exit": Talk.leave,
    "q": Talk.leave,
}
