"""The sentence where the steered texts are empty, canned, repeated or copied, whatever else they show.

A run is measured as ever, with texts written by hand in place of those of the model.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, replace
from functools import cache
from random import Random

import pytest
import torch

from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.engine.continuations import Continuation
from steerscope.engine.sampling import Greedy
from steerscope.extraction.activations import extract
from steerscope.judges import TextJudge
from steerscope.judges.effects import Effect
from steerscope.runs.results import Row, Run
from steerscope.sites import Site
from steerscope.steering.scopes import Scope
from steerscope.studies import bench
from steerscope.studies.bench import Bench, Decoding, Material, dose_cells
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.nulls import KINDS, NULL
from steerscope.studies.steering.plan import StudyPlan
from steerscope.studies.steering.wording import answer, verdict
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt, PromptSet

GOAL, N = 90, 24  # the word that counts as flipped; prompts
PAIRS = ContrastSet(
    "words", tuple(ContrastPair(f"w{i} w6 w7", f"w{i} w8 w9", "c") for i in range(10, 22))
)
PROMPTS = PromptSet(
    "p", tuple(Prompt(f"w{i} w{GOAL} w{i + 30} w{i + 7} w{i + 19} w{i + 3}") for i in range(20, 44))
)
FLIPPED = Effect("flipped", "share", "texts with the word", positive="the word", limits=())


@dataclass(frozen=True)
class WordJudge:
    """Flipped is a text with one word in it; an empty one cannot be read."""

    effect: Effect = FLIPPED
    world: str = ""

    def applies(self, prompt, sign):
        return True

    def read(self, prompt, continuation):
        if not continuation.tokens:
            return {"flipped": math.nan}
        return {"flipped": float(GOAL in continuation.tokens)}


@dataclass(frozen=True)
class ShortJudge:
    """Shows brevity is a text of fewer than six tokens."""

    effect: Effect = replace(Effect.of_scores("brevity", "length"), limits=())
    world: str = ""

    def applies(self, prompt, sign):
        return True

    def read(self, prompt, continuation):
        return {"shown": float(len(continuation.tokens) < 6)}


def ordinary(prompt, cell=""):
    """A text like any other."""
    return Random(f"{prompt} {cell}").sample(range(30, 88), 10)


def looping(a, b, c, d, e):
    """A text that comes back to two words, as in: I am but I am yet I am so."""
    return [a, b, c, a, b, d, a, b, e, a, GOAL]


STEERED = {
    "whole": lambda prompt, ids: [*ordinary(ids, "x"), GOAL],
    "empty": lambda prompt, ids: [],
    "canned": lambda prompt, ids: [*ordinary(0, "canned"), GOAL],
    "repeated": lambda prompt, ids: [GOAL] * 12,
    "looping": lambda prompt, ids: looping(*ordinary(ids, "x")[:5]),
    "copied": lambda prompt, ids: [*ids[1:], *ids[1:3]],
    "short": lambda prompt, ids: ordinary(ids, "x")[:3],
    "one_word": lambda prompt, ids: [GOAL],
    "half_empty": lambda prompt, ids: [*ordinary(ids, "x"), GOAL] if prompt % 2 else [],
}


@pytest.fixture(scope="module")
def measured(load, tmp_path_factory):
    """What is found in a run of one kind of texts under one judge; what is no such text is shared."""
    model, site = load(), Site("resid_post", 1)
    contrast = extract(model, PAIRS, [site])[site]
    ids = [model.tokens(p.text) for p in PROMPTS.prompts]
    plus, minus = dose_cells(
        [find_direction("mean_diff", contrast)], [Dose(1.0), Dose(-1.0)], Scope.all()
    )
    controls = [find_direction(name, contrast, seed=1) for name in ("random", "label_shuffled")]
    nulls = [
        replace(find_direction(kind, contrast, seed=seed), method=name)
        for kind, name in KINDS.items()
        for seed in range(19)
    ]
    beside = {
        "select": [minus],
        "test": [minus, *dose_cells(controls, [Dose(1.0)], Scope.all())],
        NULL: dose_cells(nulls, [Dose(1.0)], Scope.all()),
    }

    def rows_of(judge, kind, cells_of):
        def written(self, prompts, cells, _states=None):
            found = []
            for cell in cells:
                texts = [
                    STEERED[kind](p, ids[p]) if cell == plus else ordinary(ids[p], cell.key)
                    for p in prompts
                ]
                found.append(
                    [Continuation(tuple(t), " ".join(map(str, t)), ended=True) for t in texts]
                )
            return found

        def margins(model, texts, cells, *, written):
            return torch.tensor(
                [[5.0 * (c == plus) + 0.01 * i for i in range(len(texts))] for c in cells]
            )

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Bench, "_continue", written)
            if not judge.effect.is_share:
                patch.setattr(bench, "preferences", margins)
            kept = Run.start(tmp_path_factory.mktemp("rows") / "r", {}, provenance={})
            for split, cells in cells_of.items():
                material = Material(split, PROMPTS, PAIRS)
                Bench(model, judge, material, kept, Decoding(11, Greedy())).measure(cells)
        table = kept.table().drop(columns="run")
        return [Row(**values) for values in table.to_dict("records")]

    shared = cache(lambda judge: rows_of(judge, "whole", beside))

    def found_in(kind, judge):
        plan = StudyPlan(doses=(1.0,), reference_dose=1.0)
        configuration = {"kind": "StudyPlan", **asdict(plan), "effect": asdict(judge.effect)}
        folder = tmp_path_factory.mktemp("runs") / kind
        run = Run.start(folder, configuration, provenance={"fingerprint": "f"})
        run.append(shared(judge))
        run.append(rows_of(judge, kind, {"select": [plus], "test": [plus]}))
        return find(run)

    return found_in


FEW = "24 texts without a sign of it are too few to rule out: "
NOT_ONE = (
    r"Not shown: whether microworld can be steered towards the word; the interval over 24 prompts does "
    r"not tell the effect from the smallest of interest, which takes more of them"
)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "whole",
            rf"Yes, at a price: microworld can be steered towards the word; {FEW}texts empty, ",
        ),
        (
            "empty",
            NOT_ONE
            + r".*; what it costs is unknown \(nats .*\), and over its limit \(texts empty\)",
        ),
        (
            "canned",
            NOT_ONE + r"; 100.0 % .* are flipped, and 0.0 % of all are flipped and undamaged",
        ),
        (
            "repeated",
            NOT_ONE + r"; 100.0 % .* are flipped, and 0.0 % of all are flipped and undamaged",
        ),
        (
            "looping",
            NOT_ONE + r"; 100.0 % .* are flipped, and 0.0 % of all are flipped and undamaged",
        ),
        (
            "copied",
            NOT_ONE + r"; 100.0 % .* are flipped, and 0.0 % of all are flipped and undamaged",
        ),
        (
            "half_empty",
            r"Yes, at a price: .*; texts empty worse by 50.0 points \[22.7, 71.6\] \(limit 5.0\); "
            + FEW,
        ),
    ],
)
def test_texts_that_flip_and_are_damaged_are_not_a_yes(measured, kind, sentence):
    found = measured(kind, WordJudge())
    assert re.match(sentence, verdict(found))
    assert found.joint.value == {"whole": 1.0, "half_empty": 0.5}.get(kind, 0.0)
    assert " nan" not in verdict(found) + " ".join(answer(found))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("empty", r"Not shown: .*; what it costs is unknown \(nats .*\), .* \(texts empty\)\."),
        (
            "canned",
            r"Yes, at a price: .*; texts the same for several prompts worse by 100.0 points",
        ),
        ("repeated", r"Yes, at a price: .*, texts collapsed into repetition worse by 100.0 points"),
        ("copied", r"Yes, at a price: .*; texts copied from their prompt worse by 100.0 points"),
    ],
)
def test_a_preference_says_what_became_of_the_texts_and_never_that_they_are_steered(
    measured, kind, sentence
):
    said = verdict(measured(kind, TextJudge()))
    assert re.match(sentence, said)
    assert "the log-odds of microworld towards the positive texts" in said
    assert "can be steered" not in said


@pytest.mark.parametrize(
    ("kind", "sentence", "shown"),
    [
        ("short", r"Yes, at a price: microworld can be steered towards brevity; 24 texts", 1.0),
        ("one_word", r"Not shown: .*; 100.0 % .* and 0.0 % of all show brevity", 0.0),
        ("empty", r"Not shown: .*\(texts empty\)", 0.0),
    ],
)
def test_by_a_judge_of_length_a_text_is_not_too_short_but_may_be_canned(
    measured, kind, sentence, shown
):
    found = measured(kind, ShortJudge())
    assert re.match(sentence, verdict(found))
    assert found.joint.value == shown
