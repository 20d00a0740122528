"""The judge of a run against the oracle: by hand, and nothing where one of them cannot read."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.runs.results import Run
from steerscope.studies.steering.oracle_agreement import oracle_agreement
from tests.helpers import row

SHOWN = Effect("shown", "share", "continuations that show mood", "mood", "no")
WRITTEN = ["She laughed.", "She wept.", "She laughed.", "She wept.", "So the day ended."]


def run_of(path, shown, effect=SHOWN, contrasts="mood"):
    run = Run.start(
        path, {"kind": "SweepPlan", "contrasts": contrasts, "effect": asdict(effect)}, provenance={}
    )
    texts = [
        {"cell": "plain", "prompt": p, "split": "select", "given": "x", "written": text}
        for p, text in enumerate(WRITTEN)
    ]
    run.append([row(prompt=p, metric="shown", value=v) for p, v in enumerate(shown)], texts)
    return run


def test_agreement_is_kappa_over_the_texts_that_both_read(tmp_path):
    # laughed 1, wept 0, laughed 0, wept 0, and one that the oracle cannot read: p_o 3/4, p_e 1/2.
    found = oracle_agreement(run_of(tmp_path / "r", [1.0, 0.0, 0.0, 0.0, 1.0]))
    assert (found.value, found.n) == (pytest.approx(0.5), 4)


def test_there_is_none_for_another_judge_or_another_world(tmp_path, words):
    assert oracle_agreement(run_of(tmp_path / "p", [1.0] * 5, PREFERENCE)) is None
    assert oracle_agreement(run_of(tmp_path / "w", [1.0] * 5, contrasts=str(words))) is None
