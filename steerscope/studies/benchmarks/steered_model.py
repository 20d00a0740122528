"""A model under conditions as lm-eval asks one."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from steerscope.engine.answers import answer_scores
from steerscope.engine.generation import attempt
from steerscope.engine.sampling import sampler_at
from steerscope.errors import BadValueError
from steerscope.models.chat_templates import ChatTemplate
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import is_prompting, on_activations, seen_under
from steerscope.texts.chats import Chat, as_conversation

_log = logging.getLogger(__name__)
_Ids = list[int]


class SteeredModel(TemplateLM):
    """A model under several conditions, of which one answers lm-eval at a time.

    What is asked is computed under every condition at once, which shares all that they have in common,
    and remembered until `forget`.

    Args:
        model: the model.
        cells: the conditions.
        chat: how chats are written where a task is asked in the chat template; None for plain text.
        seed: of sampling, where a task samples.
        progress: shows the loops.
    """

    def __init__(
        self,
        model: LensModel,
        cells: Sequence[Cell] = (Cell(),),
        *,
        chat: Chat | None = None,
        seed: int = 0,
        progress: Track = silent,
    ) -> None:
        super().__init__()
        self.model, self.cells, self.chat = model, list(cells), chat
        self.seed, self.progress = seed, progress
        self.tokenizer = model.tokenizer
        self.answering = 0
        self.broken: set[tuple[int, Any]] = set()
        self._known: dict[Any, list[Any]] = {}

    def forget(self) -> None:
        """Drop what was computed."""
        self._known.clear()
        self.broken.clear()

    # -- what lm-eval wants to know -------------------------------------------------------------

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that nothing stands before."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    @property
    def max_length(self) -> int:
        """Tokens of the context."""
        return self.model.shape.n_context

    @property
    def max_gen_toks(self) -> int:
        """Tokens of an answer, where a task does not say."""
        return 256

    @property
    def tokenizer_name(self) -> str:
        """By which lm-eval tells stored requests apart."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_kwargs: Any
    ) -> _Ids:
        """Ids of a text, with what begins one in front unless that is refused."""
        bos = "never" if add_special_tokens is False else self.model.bos
        return self.model.vocabulary.begin(string, bos)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as the chat template writes it; a last turn of the assistant stays open."""
        del add_generation_prompt  # the last turn tells
        turns = [{"role": m["role"], "content": m["content"]} for m in chat_history]
        return ChatTemplate(self.tokenizer, self.chat or Chat())(as_conversation(turns))

    # -- what lm-eval asks ----------------------------------------------------------------------

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each answer after its question, and whether it is the likeliest."""
        del disable_tqdm
        asked = [request.args for request in requests]
        self._learn("answer", asked, self._score)
        return [self._known["answer", key][self.answering] for key in asked]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of each whole text, in windows of the context."""
        del disable_tqdm
        asked = [request.args for request in requests]
        self._learn("text", asked, self._roll)
        return [self._known["text", key][self.answering] for key in asked]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What is written after each question, up to a stop string."""
        del disable_tqdm
        asked = [(r.args[0], json.dumps(r.args[1], sort_keys=True)) for r in requests]
        self._learn("written", asked, self._write)
        return [self._known["written", key][self.answering] for key in asked]

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], _Ids, _Ids]], **_kwargs: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(asked, answer) for _, asked, answer in requests]
        return [row[self.answering] for row in self._scored(pairs, self.cells)]

    # -- under all conditions at once -----------------------------------------------------------

    def _learn(
        self,
        kind: str,
        asked: Sequence[Any],
        compute: Callable[[list[Any], list[Cell]], list[list[Any]]],
    ) -> None:
        """Compute what is not known yet: what acts within the model together, each prompting alone."""
        new = list(dict.fromkeys(key for key in asked if (kind, key) not in self._known))
        if not new:
            return
        for key in new:
            self._known[kind, key] = [None] * len(self.cells)
        said = [c for c, cell in enumerate(self.cells) if is_prompting(cell)]
        together = [c for c in range(len(self.cells)) if c not in said]
        for group in ([together] if together else []) + [[c] for c in said]:
            seen = [(seen_under(self.cells[group[0]], key[0]), *key[1:]) for key in new]
            acting = [on_activations(self.cells[c]) for c in group]
            for key, row in zip(new, compute(seen, acting), strict=True):
                for c, (value, finite) in zip(group, row, strict=True):
                    self._known[kind, key][c] = value
                    if not finite:
                        self.broken.add((c, key))

    def _score(self, asked: list[Any], cells: list[Cell]) -> list[list[Any]]:
        pairs = [self._pair(question, answer) for question, answer in asked]
        return [[(v, math.isfinite(v[0])) for v in row] for row in self._scored(pairs, cells)]

    def _pair(self, question: str, answer: str) -> tuple[_Ids, _Ids]:
        """Ids of a question and of the answer as it goes on there, as lm-eval divides them."""
        if question:
            return self._encode_pair(question, answer)
        ids = self.tok_encode(answer, add_special_tokens=False)
        if ids[0] == self.prefix_token_id:
            return ids[:1], ids[1:]
        return [self.prefix_token_id], ids

    def _scored(
        self, pairs: Sequence[tuple[_Ids, _Ids]], cells: Sequence[Cell]
    ) -> list[list[tuple[float, bool]]]:
        """Scores of each answer under each condition; what does not fit is cut off in front."""
        room = self.max_length + 1  # the last token is predicted and not read
        fitting = [(q[max(0, len(q) + len(a) - room) :], a) for q, a in pairs]
        self._tell_cut(
            sum(len(q) < len(pair[0]) for (q, _), pair in zip(fitting, pairs, strict=True))
        )
        found = answer_scores(self.model, fitting, cells, progress=self.progress)
        columns = zip(found.log_likelihood.T.tolist(), found.greedy.T.tolist(), strict=True)
        return [list(zip(*column, strict=True)) for column in columns]

    def _roll(self, asked: list[Any], cells: list[Cell]) -> list[list[Any]]:
        windows: list[tuple[_Ids, _Ids]] = []
        members: list[range] = []
        for (text,) in asked:
            mine = [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(
                    token_list=self.tok_encode(text),
                    prefix_token=self.prefix_token_id,
                    max_seq_len=self.max_length,
                    context_len=1,
                )
            ]
            members.append(range(len(windows), len(windows) + len(mine)))
            windows += mine
        scores = self._scored(windows, cells)
        found = []
        for span in members:
            sums = [sum(scores[w][c][0] for w in span) for c in range(len(cells))]
            found.append([(value, math.isfinite(value)) for value in sums])
        return found

    def _write(self, asked: list[Any], cells: list[Cell]) -> list[list[Any]]:
        found: list[list[Any]] = [[] for _ in asked]
        by_options: dict[str, list[int]] = {}
        for place, (_, options) in enumerate(asked):
            by_options.setdefault(options, []).append(place)
        for options, places in by_options.items():
            given = dict(normalize_gen_kwargs(json.loads(options), self.max_gen_toks))
            rows = self._continued([asked[p][0] for p in places], cells, given)
            for place, row in zip(places, rows, strict=True):
                found[place] = row
        return found

    def _continued(
        self, questions: Sequence[str], cells: Sequence[Cell], given: dict[str, Any]
    ) -> list[list[tuple[str, bool]]]:
        n_new = int(given["max_gen_toks"])
        end = self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False)
        until = [stop for stop in (*given["until"], end) if stop]
        room = self.max_length - n_new
        if room < 1:
            raise BadValueError(
                f"{n_new} new tokens leave no room for a question in the context of {self.max_length}; "
                "give a smaller --max-tokens."
            )
        ids = [self.tok_encode(q) for q in questions]
        self._tell_cut(sum(len(i) > room for i in ids))
        heat = float(given.get("temperature") or 0.0) if given["do_sample"] else 0.0
        narrowing = {k: given[k] for k in ("top_k", "top_p", "min_p") if given.get(k) is not None}
        sampler = sampler_at(heat, self.seed, **(narrowing if heat else {}))
        found = attempt(
            self.model, [i[-room:] for i in ids], cells, n_new=n_new, sampler=sampler, until=until,
            progress=self.progress,
        )  # fmt: skip
        return [
            [(postprocess_generated_text(c.text, until, None), c.finite) for c in row]
            for row in zip(*found, strict=True)
        ]

    def _tell_cut(self, n: int) -> None:
        if n:
            _log.warning("%d prompts are cut off in front, since they do not fit the context.", n)
