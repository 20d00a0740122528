"""Claims name the runs that counted, and tell those of which nothing is known."""

from __future__ import annotations

import math
from dataclasses import replace

from steerscope.claims import Test, board, check_claims, load_claims
from steerscope.figures import claims_board
from steerscope.judges.effects import SHOWN, SHOWN_UNDAMAGED
from steerscope.runs.results import Row, Run
from tests.claims.test_effects import EFFECT, SETTINGS, arm, overflowed, sweep
from tests.helpers import row


def combined(path, concept, lost=()):
    """A run of single layers that do better than all, of which some arms are lost."""
    run = Run.start(path, {**EFFECT, "model": "m", "contrasts": concept}, provenance={})
    rows = []
    for name, family, share in (
        ("single layer 0", "single layer", 0.9),
        ("all layers", "all layers", 0.1),
    ):
        for split in ("select", "test"):
            gone = {"value": math.nan, "status": "not_finite"} if family in lost else {}
            rows += [replace(r, **gone) for r in arm(name, family, share, split)]
    run.append(rows)
    run.seal()
    return run


def test_runs_in_which_damaged_texts_count_are_not_pooled_with_others(tmp_path, monkeypatch):
    def scored(name, metric):
        run = combined(tmp_path / name, name)
        effect = EFFECT["effect"] | {"metric": metric}
        path = tmp_path / f"{name}-{metric}"
        found = Run.start(path, run.configuration | {"effect": effect}, provenance={})
        table = run.table().assign(metric=metric).drop(columns="run")
        found.append([Row(**fields) for fields in table.to_dict("records")])
        found.seal()
        return found

    before, now = scored("m-mood", SHOWN), scored("m-style", SHOWN_UNDAMAGED)
    judged = judged_by([before, now], monkeypatch, tmp_path, measure="single_minus_all")
    assert judged.measured.n == 20
    assert judged.measured.unknown == (before.path.name,)
    alone = judged_by([before], monkeypatch, tmp_path, measure="single_minus_all")
    assert alone.measured.unknown == ()


def judged_by(runs, monkeypatch, tmp_path, **test):
    """A claim about some runs, judged."""
    monkeypatch.setattr("steerscope.claims.ledger.runs_of", lambda *_given: runs)
    monkeypatch.setattr("steerscope.claims.ledger.find_evidence", lambda *_given: tmp_path)
    claim = load_claims()[0]
    asked = Test(experiment="combinations", direction="above", threshold=0.0, **test)
    [judged] = check_claims([claim.model_copy(update={"test": asked})], tmp_path)
    return judged


def test_a_claim_names_the_runs_that_counted_and_tells_the_others(tmp_path, monkeypatch):
    runs = [
        combined(tmp_path / "m-mood", "mood"),
        combined(tmp_path / "m-style", "style", lost=("all layers",)),
    ]
    judged = judged_by(runs, monkeypatch, tmp_path, measure="single_minus_all")
    assert (judged.verdict, judged.measured.n) == ("supported", 20)
    assert (judged.models, judged.concepts) == (("m",), ("mood",))
    assert judged.words == f"{judged.claim.words} (m: mood; nothing known of m-style)"
    row = board([judged]).iloc[0]
    assert (row.concept, row.unknown) == ("mood", "m-style")
    figure = claims_board(board([judged]))
    assert "nothing known" in figure.layout.yaxis.ticktext[0].replace("<br>", " ")
    nothing = judged_by(runs[1:], monkeypatch, tmp_path, measure="single_minus_all")
    assert nothing.verdict == "inconclusive"
    assert nothing.words.endswith("(m: style; nothing known of m-style)")


def test_a_sweep_or_a_correlation_that_gives_nothing_is_told_too(tmp_path, monkeypatch):
    runs = []
    for concept, changed in (("mood", lambda r: r), ("style", overflowed(3))):
        settings = {"kind": "x", "model": "m", "contrasts": concept}
        path = tmp_path / f"m-{concept}"
        runs.append(sweep(path, (0.1, 0.8, 0.6, 0.9), settings=settings, changed=changed))
    late = {**SETTINGS, "depth": [0.75, 1.0]}
    test = {"measure": "effect_over_layers", "settings": late}
    judged = judged_by(runs, monkeypatch, tmp_path, **test)
    assert (judged.verdict, judged.concepts) == ("supported", ("mood",))
    assert judged.measured.unknown == ("m-style",)
    runs = []
    for concept, slope in (("mood", 1.0), ("style", math.nan)):
        said = {"kind": "PredictorStep", "model": "m", "contrasts": concept}
        runs.append(Run.start(tmp_path / f"p-{concept}", said, provenance={}))
        for layer in range(8):
            same = {"cell": f"layer {layer}", "concept": concept, "layer": layer, "prompt": -1}
            of_metric = {"weakest_gap": float(layer), "effect_kl": layer * slope}
            runs[-1].append([row(**same, metric=m, value=v) for m, v in of_metric.items()])
        runs[-1].seal()
    asked = {"diagnostic": "weakest_gap", "outcome": "effect_kl"}
    for measure, more in (("layer_correlation", {}), ("threshold_auc", {"share": 0.5})):
        settings = {**asked, **more}
        judged = judged_by(runs, monkeypatch, tmp_path, measure=measure, settings=settings)
        assert judged.concepts == ("mood",)
        assert judged.measured.unknown == ("p-style",)
