"""Measure conditions on prompts and held-out pairs, and store every number as a row of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import attrgetter
from typing import Any

import numpy as np
from jaxtyping import Float

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.engine.continuations import Continuation
from steerscope.engine.decoding import States
from steerscope.engine.generation import attempt
from steerscope.engine.sampling import Sampler
from steerscope.engine.score import kl_from_plain, preferences
from steerscope.engine.written import written_scores
from steerscope.engine.written_nats import nats_when_asked
from steerscope.errors import NotFiniteError
from steerscope.judges.damage import text_damage
from steerscope.judges.effects import (
    IMPLAUSIBLE_WHEN_ASKED,
    JS_WRITTEN,
    KL_REVERSE,
    KL_WRITTEN,
    UNITS,
)
from steerscope.judges.judges import (
    Judge,
    compares_pairs,
    read_all,
    scored,
    shows_nothing,
    text_metrics,
)
from steerscope.judges.second_model import NLL_SECOND, SecondModel
from steerscope.metrics import distinct_across, self_bleu
from steerscope.models.lens_model import LensModel
from steerscope.progress import Results, Track, silent
from steerscope.runs.judgements import JUDGEMENTS, Judgements
from steerscope.runs.results import Row, Run, as_table
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.prompting import is_prompting, seen_under
from steerscope.steering.scopes import Scope
from steerscope.steering.template_checks import check_templates, directions_of
from steerscope.studies.rows import cell_row, sign_of, status_of, without_numbers
from steerscope.studies.workers import HERE, Block, Measured, Workers
from steerscope.studies.written import Unjudged
from steerscope.texts.contrasts import ContrastSet, PromptSet

_CELLS_AT_ONCE = 32  # a kill loses at most this many conditions, or so many that they are few texts
TEXTS_AT_ONCE = 512  # of conditions on few prompts, so that a batch is not too small to be quick
_NLL_ASKED = IMPLAUSIBLE_WHEN_ASKED.metric
_SCREENED_AT_ONCE = 128  # conditions on pairs alone, which are quick


@dataclass(frozen=True)
class Material:
    """What conditions are measured on: one split of the prompts and of the pairs.

    Attributes:
        split: its name.
        prompts: to continue.
        pairs: to compare.
        first: how many prompts, from the first on, a steered condition is measured on, each with all its
            samples; None for all.
        beside: numbers of the pairs that are compared beside what a judge reads in texts; None for all.
        asked: words before the prompts after which the likelihood of every steered text is read as well.
        judged_alone: whether nothing is measured of a steered text but what the judge reads and its damage.
    """

    split: str
    prompts: PromptSet
    pairs: ContrastSet
    first: int | None = None
    beside: tuple[int, ...] | None = None
    asked: Cell | None = None
    judged_alone: bool = False


@dataclass(frozen=True)
class Decoding:
    """How continuations are made: number of new tokens, sampler, and texts of each prompt.

    Where there are several, each prompt stands so many times in a row among the material.

    Attributes:
        n_new: tokens of a text at most.
        sampler: how each is chosen.
        samples: texts of each prompt.
    """

    n_new: int
    sampler: Sampler
    samples: int = 1


def dose_cells(directions: Iterable[Direction], doses: Sequence[Dose], scope: Scope) -> list[Cell]:
    """Every direction at every dose but zero, added to the activations in a scope."""
    return [
        Cell((Steering(direction, dose, scope=scope),))
        for direction in directions
        for dose in doses
        if dose.value
    ]


def _shared_out(cells: Sequence[Cell], n_prompts: int) -> Iterator[tuple[Cell, ...]]:
    """The conditions in groups of about the same size: 32 at most, or more where those would be few texts."""
    n_groups = math.ceil(len(cells) / max(_CELLS_AT_ONCE, TEXTS_AT_ONCE // max(1, n_prompts)))
    for part in np.array_split(np.arange(len(cells)), n_groups):
        yield tuple(cells[place] for place in part)


class Bench:
    """Measures conditions of one model on one split, into one run.

    For each condition and prompt: the judge's metrics and the repetition of its continuation, its
    nats per token under the plain model, and where the material says so under the model that is asked,
    the KL from plain on the tokens that were written, whether it differs from plain, and the KL from
    plain on the prompt. For each condition and pair, if that is
    the effect or beside a score: the preference for the positive text. A condition whose logits
    overflow has rows without a number and the status `not_finite`; the others go on.
    """

    def __init__(  # noqa: PLR0913 - each is a thing of its own
        self,
        model: LensModel,
        judge: Judge,
        material: Material,
        run: Run,
        decoding: Decoding,
        *,
        plain: dict[tuple[str, int], Continuation] | None = None,
        second: SecondModel | None = None,
        workers: Workers = HERE,
    ) -> None:
        self.model, self.judge, self.material = model, judge, material
        self.run, self.decoding, self.second = run, decoding, second
        self.workers = workers
        self._written_plain = {} if plain is None else plain  # by prompt and number of the sample

    def measure(self, cells: Sequence[Cell], *, progress: Track = silent) -> None:
        """Measure the conditions that the run does not have yet, the plain one first."""
        check_templates(directions_of(cells), self.material.prompts.template)
        wanted = [Cell(), *cells]
        missing = [c for c in dict.fromkeys(wanted) if not self.run.has(self._keys(c))]
        groups: dict[tuple[int, ...], list[Cell]] = {}
        for cell in missing:
            groups.setdefault(self._missing_prompts(cell) or self._prompts_for(cell), []).append(
                cell
            )
        blocks = [
            self._block(cells, prompts)
            for prompts, group in groups.items()
            for cells in _shared_out(group, len(prompts))
        ]
        first = "" if self.material.first is None else f"first {self.material.first} "
        self._store(blocks, progress, f"measuring the {first}{self.material.split} prompts")
        Unjudged(self.run.path).clear()

    def measure_pairs(self, cells: Sequence[Cell], *, progress: Track = silent) -> None:
        """Measure the preference and the KL of conditions alone, the plain one first; no text is made."""
        everyone = range(len(self.material.pairs))
        missing = [
            c
            for c in dict.fromkeys([Cell(), *cells])
            if not self.run.has(self._pair_keys(c, everyone))
        ]
        starts = range(0, len(missing), _SCREENED_AT_ONCE)
        chunks = [tuple(missing[start : start + _SCREENED_AT_ONCE]) for start in starts]
        blocks = [Block(chunk, (), tuple(range(len(chunk)))) for chunk in chunks]
        self._store(blocks, progress, f"screening on the {self.material.split} pairs")

    def work(self, block: Block) -> Measured:
        """Measure one block; what was stored before is neither read nor changed."""
        if not block.prompts:
            kl = kl_from_plain(self.model, self._prompt_ids, block.cells).double().numpy()
            rows = self._pair_rows(block.cells, kl, range(len(self.material.pairs)))
            return Measured(len(block.cells), as_table(rows))
        rows, texts = self._measured(block)
        return Measured(len(block.cells), as_table(rows), texts)

    def _block(self, cells: tuple[Cell, ...], prompts: tuple[int, ...]) -> Block:
        keys = [self._pair_keys(c, self.compared) for c in cells]
        lacking = (n for n, mine in enumerate(keys) if not self.run.has(mine))
        return Block(cells, prompts, tuple(lacking))

    def _store(self, blocks: Sequence[Block], progress: Track, label: str) -> None:
        """Have blocks measured and store each as it is done."""
        results = Results(
            self.workers.measured(self, blocks),
            sum(len(block.cells) for block in blocks),
            "conditions",
            attrgetter("conditions"),
        )
        for measured in progress(results, label):
            self.run.store(measured.rows, measured.texts)
            if measured.judgements:
                Judgements(self.run.path / JUDGEMENTS).add(measured.judgements)

    def _keys(self, cell: Cell) -> list[tuple[str, int, str, str]]:
        split = self.material.split
        keys = [(cell.key, p, split, "degenerate") for p in self._prompts_for(cell)]
        return keys + self._pair_keys(cell, self.compared)

    def _pair_keys(self, cell: Cell, pairs: Sequence[int]) -> list[tuple[str, int, str, str]]:
        return [(cell.key, i, self.material.split, "preference") for i in pairs]

    def _missing_prompts(self, cell: Cell) -> tuple[int, ...]:
        """The prompts of a condition that the run does not have yet."""
        split = self.material.split
        return tuple(
            p
            for p in self._prompts_for(cell)
            if not self.run.has([(cell.key, p, split, "degenerate")])
        )

    @property
    def compared(self) -> Sequence[int]:
        """Numbers of the pairs that a condition is compared on when it writes.

        All where the preference is the effect; beside a score, to see whether it tells what the judge
        reads, those of the material.
        """
        if not compares_pairs(self.judge):
            return ()
        beside = self.judge.effect.is_share and self.material.beside is not None
        return self.material.beside or () if beside else range(len(self.material.pairs))

    def _prompts_for(self, cell: Cell) -> tuple[int, ...]:
        sign = sign_of(cell)
        prompts = self.material.prompts.prompts
        found = [i for i, p in enumerate(prompts) if self.judge.applies(p, sign)]
        first = self.material.first
        most = None if first is None or sign == 0 else first * self.decoding.samples
        return tuple(found[:most])

    @cached_property
    def _prompt_ids(self) -> list[list[int]]:
        return [self.model.tokens(p.text) for p in self.material.prompts.prompts]

    @cached_property
    def _prompt_texts(self) -> list[str]:
        return [p.text for p in self.material.prompts.prompts]

    def _seen(self, cell: Cell, prompt: int) -> str:
        """A prompt as the model sees it under a condition."""
        return str(seen_under(cell, self._prompt_texts[prompt]))

    @cached_property
    def _plain(self) -> list[Continuation]:
        n, known = self.decoding.samples, self._written_plain
        keys = [(text, p % n) for p, text in enumerate(self._prompt_texts)]
        missing = [p for p, key in enumerate(keys) if key not in known]
        if missing:
            written = self._continue(missing, [Cell()])[0]
            known.update({keys[p]: text for p, text in zip(missing, written, strict=True)})
        found = [known[key] for key in keys]
        if not all(c.finite for c in found):
            raise NotFiniteError(
                f"the logits of {self.model.name} are not finite without any steering; "
                "check its weights, or use a wider number format."
            )
        return found

    def _continue(
        self, prompts: Sequence[int], cells: Sequence[Cell], states: States | None = None
    ) -> list[list[Continuation]]:
        d, texts = self.decoding, [self._prompt_texts[p] for p in prompts]
        numbers = [p % d.samples for p in prompts]
        write = partial(
            attempt,
            self.model,
            texts,
            cells,
            n_new=d.n_new,
            sampler=d.sampler,
            numbers=numbers,
            states=states,
        )
        if not scored(self.judge):
            return write()
        asked = (d, texts, numbers, [cell.key for cell in cells])  # a judge may fail
        return Unjudged(self.run.path)(asked, write)

    def _measured(self, block: Block) -> tuple[list[Row], list[dict[str, Any]]]:
        """Rows of conditions on prompts, and the texts that they were read from."""
        cells, prompts = block.cells, block.prompts
        given = [self._prompt_texts[p] for p in prompts]
        steered = [n for n, c in enumerate(cells) if c.interventions]
        seen = None if self.material.judged_alone else States()
        continued = self._continue(prompts, [cells[n] for n in steered], seen)
        by_number = dict(zip(steered, continued, strict=True))
        written = [by_number.get(n) or [self._plain[p] for p in prompts] for n in range(len(cells))]
        if seen is None:
            kl = np.full((len(cells), len(prompts)), math.nan)
            scores: list[dict[str, Any]] = [{} for _ in cells]
        else:
            tokens = [[c.tokens for c in w] for w in written]
            kl, scores = self._read_again(given, cells, tokens, seen.of_cells(steered))
        paired = [*block.paired]
        rows = self._pair_rows([cells[n] for n in paired], kl[paired], self.compared)
        lost = {row.cell for row in rows if math.isnan(row.value)}
        texts: list[dict[str, Any]] = []
        for number, cell in enumerate(cells):
            mine = written[number]
            if not all(c.finite for c in mine):
                lost.add(cell.key)
            values = scores[number]
            if self.second is not None and seen is not None:
                nats = self.second.nats(given, [c.text for c in mine])
                values = values | {NLL_SECOND: np.array(nats)}
            rows += self._continuation_rows(cell, prompts, mine, kl[number], values)
            texts += [self._text(cell, p, c) for p, c in zip(prompts, mine, strict=True)]
        return without_numbers(rows, lost), texts

    def _read_again(
        self,
        given: Sequence[str],
        cells: Sequence[Cell],
        tokens: Sequence[Sequence[Sequence[int]]],
        states: States,
    ) -> tuple[Float[np.ndarray, "cell prompt"], list[dict[str, Any]]]:
        """The KL of each prompt under each condition, and how likely what was written is, and how far from plain."""
        scores = written_scores(self.model, given, cells, tokens, states)
        asked = nats_when_asked(self.model, given, cells, tokens, self.material.asked)
        kl = kl_from_plain(self.model, given, cells, states=states).double().numpy()
        found = []
        for number in range(len(cells)):
            values = {"nll_plain": scores.nll[number], KL_WRITTEN: scores.kl[number]}
            values |= {KL_REVERSE: scores.kl_reverse[number], JS_WRITTEN: scores.js[number]}
            if not np.isnan(asked[number]).all():
                values |= {_NLL_ASKED: asked[number]}
            found.append(values)
        return kl, found

    def _text(self, cell: Cell, prompt: int, written: Continuation) -> dict[str, Any]:
        found = {
            "cell": cell.key,
            "prompt": prompt,
            "split": self.material.split,
            "given": self._prompt_texts[prompt],
            "written": written.text,
        }
        return found | ({"seen": self._seen(cell, prompt)} if is_prompting(cell) else {})

    def _continuation_rows(
        self,
        cell: Cell,
        prompts: tuple[int, ...],
        continuations: Sequence[Continuation],
        kl: Float[np.ndarray, " prompt"],
        scores: Mapping[str, Float[np.ndarray, " prompt"]],
    ) -> list[Row]:
        rows = []
        given = [
            self.model.tokens(self._seen(cell, p)) if is_prompting(cell) else self._prompt_ids[p]
            for p in prompts
        ]
        damage = text_damage(given, [c.tokens for c in continuations])
        asked = [self.material.prompts.prompts[p] for p in prompts]
        reads = read_all(self.judge, asked, continuations)
        for place, p in enumerate(prompts):
            written, read = continuations[place], reads[place]
            values = read | text_metrics(written.tokens) | damage[place]
            if blank := shows_nothing(self.judge.effect, written):
                values["empty"] = 1.0  # tokens without a word
            unknown = any(map(math.isnan, read.values()))
            values["unread"] = float(bool(written.tokens) and unknown and not blank)
            values |= self._diversity(prompts, continuations, place)
            values["changed"] = float(written.tokens != self._plain[p].tokens)
            values |= {metric: float(score[place]) for metric, score in scores.items()}
            status = status_of(written, read, degenerate=bool(values["degenerate"]))
            for metric, value in values.items():
                rows.append(self._row(cell, p, metric, value, kl=float(kl[place]), status=status))
        return rows

    def _diversity(
        self, prompts: Sequence[int], continuations: Sequence[Continuation], place: int
    ) -> dict[str, float]:
        """How different the samples of one prompt are, said once, with the first of them."""
        n = self.decoding.samples
        first = prompts[place]
        if n == 1 or first % n or list(prompts[place : place + n]) != list(range(first, first + n)):
            return {}
        texts = [c.tokens for c in continuations[place : place + n]]
        return {"distinct_2_samples": distinct_across(texts, 2), "self_bleu": self_bleu(texts)}

    def _pair_rows(
        self, cells: Sequence[Cell], kl: Float[np.ndarray, "cell prompt"], pairs: Sequence[int]
    ) -> list[Row]:
        if not cells:
            return []
        whole = self.material.pairs.pairs
        texts = [(whole[i].positive, whole[i].negative) for i in pairs]
        margins = preferences(self.model, texts, cells, written=True).tolist()
        means = [math.nan if np.isnan(k).all() else float(np.nanmean(k)) for k in kl]
        return [
            self._row(cell, i, "preference", margin, kl=means[number], status="ok")
            for number, cell in enumerate(cells)
            for i, margin in zip(pairs, margins[number], strict=True)
        ]

    def _row(
        self, cell: Cell, prompt: int, metric: str, value: float, *, kl: float, status: str
    ) -> Row:
        units = UNITS | {NLL_SECOND: "nats", _NLL_ASKED: "nats"} | self.judge.effect.units
        unit = units.get(metric, "share")
        what = (metric, unit, prompt)
        concept, split = self.material.pairs.concept, self.material.split
        return cell_row(cell, concept, split, what, value, kl=kl, status=status)
