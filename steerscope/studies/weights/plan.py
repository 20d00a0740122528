"""What a sweep of weight edits is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from steerscope.engine.sampling import Sampler, sampler_of
from steerscope.errors import BadValueError
from steerscope.judges.registry import PREFERENCE, check_judge, check_judge_url
from steerscope.models.matrices import check_weight
from steerscope.studies.weights.findings import Limits
from steerscope.texts.bundled import DEFAULT_MODEL
from steerscope.texts.chats import Chat, as_chat
from steerscope.texts.numbers import check_seed, check_temperature
from steerscope.weights.edits import find_edit
from steerscope.weights.weight_edit import WeightEdit

_COUNTS = ("max_pairs", "shortlist", "n_controls", "n_texts", "n_new", "max_select", "max_test")


@dataclass(frozen=True, kw_only=True)
class WeightSweepPlan:
    """Every edit by every amount at every weight of every layer, and what it is judged by.

    Attributes:
        model: bundled name, folder or hub name.
        contrasts: bundled name or file.
        backbone: `auto`, `hooked` or `bridge`.
        dtype: number format of the weights, as in `load_model`.
        prompts: bundled name or file; None for those of the same name as the contrast set, and
            where there are none, the openings of the held-out pairs.
        capability: contrast set whose positive text a capable model prefers; None where an oracle
            reads what else a continuation kept.
        texts: file of texts, one per line, for perplexity; None for stories of the grammar where an
            oracle reads, else the held-out pairs.
        edits: names of edits.
        weights: `q`, `k`, `v`, `o`, `gate`, `up`, `down`.
        layers: None for all.
        amounts: α or β of the edits; 0 is the plain model, which is measured anyway.
        together: places with amounts, such as `down:15:-0.2,down:16-24:+0.3`, at which every edit acts
            at once, beside the sweep over single places.
        limits: what an edit must do and may cost to be chosen.
        max_pairs: pairs of the select split that screen the edits, for each target.
        shortlist: edits of each kind and target that also continue the prompts of the select split.
        max_select: prompts of the select split at most.
        max_test: prompts of the test split at most.
        seed: of splits, controls and sampling.
        n_controls: seeds of each random control.
        n_texts: texts for perplexity.
        n_new: tokens of each continuation.
        chat: how texts are put into the model's chat template, as in `Plan`.
        temperature: of sampling; 0 for the most likely token.
        top_k: as of `Sample`, like the next three.
        top_p: see there.
        min_p: see there.
        repetition_penalty: see there.
        bos: how texts begin: `auto`, `always` or `never`.
        revision: branch, tag or commit of a model on the hub; None for the newest.
        judge: what reads the texts that are written, as in `Plan`, like what follows.
        judge_labels: file of labelled texts for the judge.
        judge_url: endpoint of the judge `lm`.

    Raises:
        UnknownNameError: no such edit or weight.
        BadValueError: an amount that an edit does not take; counts below 1; nothing to sweep.
    """

    model: str = DEFAULT_MODEL
    contrasts: str = "mood"
    prompts: str | None = None
    capability: str | None = None
    texts: str | None = None
    backbone: str = "auto"
    dtype: str = "auto"
    edits: tuple[str, ...] = ("gain", "zscore", "power")
    weights: tuple[str, ...] = ("down",)
    layers: tuple[int, ...] | None = None
    amounts: tuple[float, ...] = (-0.5, -0.3, -0.1, 0.1, 0.3, 0.5)
    together: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    max_pairs: int = 40
    shortlist: int = 2
    n_controls: int = 3
    n_texts: int = 40
    n_new: int = 48
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_select: int = 60
    max_test: int = 160
    seed: int = 0
    bos: str = "auto"
    revision: str | None = None
    chat: bool | Chat | None = None
    judge: str | None = None
    judge_labels: str | None = None
    judge_url: str | None = None

    def __post_init__(self) -> None:
        check_judge(self.judge or PREFERENCE)
        check_judge_url(self.judge, self.judge_url)
        object.__setattr__(self, "chat", as_chat(self.chat))
        for name in self.weights:
            check_weight(name)
        check_temperature(self.temperature)
        check_seed(self.seed)
        _ = self.sampler  # refuses what it cannot be made of
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise BadValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not any(self.amounts) or not all(map(math.isfinite, self.amounts)):
            raise BadValueError("amounts must be finite numbers, at least one that is not 0.")
        if not self.edits or not self.weights:
            raise BadValueError("a sweep needs at least one edit and one weight.")
        for edit in self.edits:
            for amount in self.amounts:
                find_edit(edit, amount)
            for places in self.together:
                WeightEdit.parse(edit, places)

    @property
    def sampler(self) -> Sampler:
        """How the next token is chosen."""
        return sampler_of(self)
