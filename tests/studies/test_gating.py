from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from steerscope import figures
from steerscope.doses import Dose
from steerscope.engine.generation import attempt, generate
from steerscope.engine.score import kl_from_plain
from steerscope.errors import BadValueError
from steerscope.judges.effects import Effect
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.strengths import Constant
from steerscope.studies.gating import (
    Arm,
    arms,
    compare_arms,
    judged,
    matched_dose,
)
from steerscope.studies.gating_words import gates_in_words
from steerscope.texts.contrasts import Prompt
from tests.helpers import random_direction, spectra_with_gaps

PROMPTS = [[1, 5, 9, 12], [1, 7, 20, 33, 41]]


def layer_arms(model, gaps=(0.9, 0.2, 0.5)):
    directions = [random_direction(model, Site("resid_post", i), seed=i) for i in range(3)]
    spectra = spectra_with_gaps(torch.tensor(gaps)[:, None], (0, 1, 2))
    return {a.name: a for a in arms(directions, spectra)}


def open_sites(model, arm):
    """Layers that an arm changes, each on its own."""
    found = []
    for direction, strength in arm.shares:
        alone = Arm("one", ((direction, strength),)).cell(5.0)
        if float(kl_from_plain(model, PROMPTS, [alone]).max()) > 0:
            found.append(direction.site.layer)
    return found


def test_gates_open_at_the_sites_of_large_or_small_gap(load):
    model = load("llama")
    found = layer_arms(model)
    assert open_sites(model, found["ungated layers"]) == [0, 1, 2]
    assert open_sites(model, found["layers of large gap"]) == [0]
    assert open_sites(model, found["layers of small gap"]) == [
        1
    ]  # as many, and the middle in neither


def test_scaled_arms_share_the_dose_by_gap_and_by_instability(load):
    found = layer_arms(load("llama"))

    def shares(name):
        return [s.value for _, s in found[name].shares]

    assert shares("layers scaled by gap") == pytest.approx([1.0, 0.2 / 0.9, 0.5 / 0.9])
    assert shares("layers scaled by instability") == pytest.approx([0.1 / 0.8, 1.0, 0.5 / 0.8])


def test_every_gate_is_made_again_of_gaps_that_belong_to_other_sites(load):
    found = layer_arms(load("llama"))
    nulls = [a for a in found.values() if a.null]
    gates = {a.name for a in found.values() if not a.null} - {"ungated layers"}
    assert {a.of for a in nulls} == gates
    assert {a.draw for a in nulls} == set(range(5))  # the other orders of three layers
    true = {name: {d.site.layer: s.value for d, s in found[name].shares} for name in gates}
    for null in nulls:
        mine = {d.site.layer: s.value for d, s in null.shares}
        assert sorted(mine.values()) == pytest.approx(sorted(true[null.of].values()))
    for draw in range(5):  # one order for all of its gates
        by_gate = {
            a.of: {d.site.layer: s.value for d, s in a.shares} for a in nulls if a.draw == draw
        }
        scaled = by_gate["layers scaled by gap"]
        assert max(scaled, key=scaled.get) in by_gate["layers of large gap"]
        assert min(scaled, key=scaled.get) in by_gate["layers of small gap"]
        assert scaled != true["layers scaled by gap"]


def test_heads_that_share_a_key_head_share_its_gap(load):
    model = load("llama")  # 4 query heads on 2 key heads
    directions = [random_direction(model, Site("z", 0, h), seed=h) for h in range(4)]
    spectra = spectra_with_gaps(torch.tensor([[0.9, 0.2]]), (0,))
    found = {a.name: a for a in arms(directions, spectra, group=2)}
    assert "heads of large gap" in found
    scaled = [s.value for _, s in found["heads scaled by gap"].shares]
    assert scaled == pytest.approx([1.0, 1.0, 0.2 / 0.9, 0.2 / 0.9])
    [other] = [a for a in found.values() if a.of == "heads scaled by gap"]  # key heads, not heads
    assert [s.value for _, s in other.shares] == pytest.approx([0.2 / 0.9, 0.2 / 0.9, 1.0, 1.0])


def test_arms_are_matched_to_one_kl_found_again_independently(load):
    model = load("llama")
    found = layer_arms(model)
    for name in ("ungated layers", "layers scaled by gap"):
        dose, kl = matched_dose(model, found[name], 0.2, PROMPTS)
        again = float(kl_from_plain(model, PROMPTS, [found[name].cell(dose)]).mean())
        assert kl == pytest.approx(again, rel=1e-3)
        assert kl == pytest.approx(0.2, rel=0.021)


def test_a_gate_on_one_site_is_taken_out_again_by_matching(load):
    model = load("llama")
    direction = random_direction(model, Site("resid_post", 1))
    whole, half = (Arm("x", ((direction, Constant(share)),)) for share in (1.0, 0.5))
    doses = [matched_dose(model, a, 0.2, PROMPTS, tolerance=5e-3)[0] for a in (whole, half)]
    assert doses[1] == pytest.approx(2 * doses[0], rel=0.02)


def control(draw, of="gate", reference="ungated"):
    """The gate with gaps of other sites."""
    return Arm(f"{of}, gaps of other sites #{draw}", (), reference, null=True, of=of, draw=draw)


def test_arms_are_compared_with_their_reference_on_the_same_items_by_hand():
    compared = [
        Arm("ungated layers", (), "ungated layers"),
        Arm("good", (), "ungated layers"),
        Arm("same", (), "ungated layers"),
        Arm("bad", (), "ungated layers"),
        control(0, "good", "ungated layers"),
    ]
    plain = np.arange(20.0)
    noise = np.tile([-0.1, 0.1], 10)
    effects = np.stack(
        [plain + 1, plain + 2 + noise, plain + 1 + noise, plain + 0.5 + noise, plain + 1 - noise]
    )
    table = compare_arms(compared, effects, plain=plain).set_index("arm")
    assert table.effect.tolist() == pytest.approx([1, 2, 1, 0.5, 1])
    assert table.difference.tolist() == pytest.approx([0, 1, 0, -0.5, 0])
    assert table.p_holm["good"] == pytest.approx(3 * table.p["good"])
    assert (
        table[["p_holm"]].loc[["ungated layers", "good, gaps of other sites #0"]].isna().all().all()
    )
    assert table.p_gaps.to_dict() == pytest.approx(
        dict.fromkeys(table.index, np.nan) | {"good": 1 / 2}, nan_ok=True
    )
    table = table.reset_index()
    said = gates_in_words(table, kl=0.3, outcome="nats")
    assert (
        "with 1 permutation of the gaps beside ungated layers: none of 3 gates is shown to help; good (+1.00"
        in said
    )
    assert "gains more than every control that is known, but not so much" in said
    assert "bad (-0.50" in said
    assert said.endswith("hurts.")
    more = [control(i, "good", "ungated layers") for i in range(1, 19)]
    many = compare_arms([*compared, *more], np.vstack([effects, *[effects[-1]] * 18]), plain=plain)
    said = gates_in_words(many, kl=0.3, outcome="nats")
    assert (
        "with 19 permutations of the gaps beside ungated layers: good (+1.00 [+0.96, +1.04]) helps; bad"
        in said
    )
    great = many[many.arm == "good"].assign(arm="great"), many[many.null].assign(of="great")
    both = pd.concat([many, *great], ignore_index=True)
    said = gates_in_words(both, kl=0.3, outcome="nats")
    assert "good (+1.00 [+0.96, +1.04]) and great (+1.00 [+0.96, +1.04]) help; bad" in said


def test_a_gate_that_gains_no_more_than_one_that_knows_nothing_does_not_help():
    compared = [
        Arm("ungated layers", (), "ungated layers"),
        Arm("gate", (), "ungated layers"),
        control(0, reference="ungated layers"),
    ]
    plain = np.zeros(20)
    noise = np.tile([-0.1, 0.1], 10)
    table = compare_arms(compared, np.stack([plain, 1 + noise, 1.2 + noise]), plain=plain)
    said = gates_in_words(table, kl=0.3, outcome="nats")
    assert "the gate is not shown to help; gate (+1.00" in said
    assert "gains no more than the best control that knows no gap" in said
    other = replace(compared[2], name="random directions", of="", draw=-1)  # as good as they are
    table = compare_arms(
        [*compared[:2], other], np.stack([plain, 1 + noise, 1.2 + noise]), plain=plain
    )
    assert "gains no more than the best" in gates_in_words(table, kl=0.3, outcome="nats")


class Length:
    effect, world = Effect("words", "share", "words"), ""

    def applies(self, prompt, sign):
        return True

    def read(self, prompt, continuation):
        return {"words": float(sum(continuation.tokens))}


def test_the_judge_reads_every_condition_and_prompt(load, caplog):
    model = load("llama")
    direction = random_direction(model, Site("resid_post", 0))
    cells = [Cell(), Arm("x", ((direction, Constant(1.0)),)).cell(4.0)]
    prompts = [Prompt("w5 w6"), Prompt("w7 w8 w9")]
    found = judged(model, Length(), prompts, cells, n_new=3)
    written = generate(model, [p.text for p in prompts], cells, n_new=3)
    assert found.tolist() == [[float(sum(c.tokens)) for c in row] for row in written]
    lost = Cell((Steering(direction, Dose(1e39, "absolute")),))  # an infinity in float32
    beside = judged(model, Length(), prompts, [*cells, lost], n_new=3)
    assert beside[:2].tolist() == found.tolist()
    assert np.isnan(beside[2]).all()
    assert lost.key in caplog.text


def test_a_blank_text_counts_as_no_effect(load, monkeypatch):
    class Mute(Length):
        def read(self, prompt, continuation):
            return {"words": np.nan}

    def silent(*args, **options):
        [[one, other]] = attempt(*args, **options)
        return [[replace(one, text=" "), other]]

    monkeypatch.setattr("steerscope.studies.gating.attempt", silent)
    found = judged(load("llama"), Mute(), [Prompt("w5 w6"), Prompt("w7 w8")], [Cell()], n_new=3)
    assert found[0, 0] == 0.0
    assert np.isnan(found[0, 1])  # what was written and cannot be read is not known


def test_gates_of_which_nothing_is_known_count_as_at_least_as_good():
    compared, effects = gates_and_random()
    effects[-3:] = np.nan
    table = compare_arms(compared, effects, plain=np.zeros(20))
    assert table.p_gaps[1] == pytest.approx((1 + 3) / 20)
    said = gates_in_words(table, kl=0.2, outcome="x")
    assert (
        "with 19 permutations of the gaps beside ungated (3 of them not known, which count as at least as good):"
        in said
    )
    assert "but not so much that it is told" in said
    assert said.endswith("nothing is known of 3 gates with the gaps of other sites.")
    for n, helps in ((38, False), (39, True)):  # (1 + 1) / (n + 1) is at most 1/20, or not
        compared, effects = gates_and_random(n)
        effects[-1] = np.nan
        said = gates_in_words(
            compare_arms(compared, effects, plain=np.zeros(20)), kl=0.2, outcome="x"
        )
        assert "(1 of them not known, which counts as at least as good)" in said
        assert ("gate (+1.00 [+0.96, +1.04]) helps" in said) == helps


def test_gates_that_know_nothing_are_seldom_said_to_help():
    """Four gates and their draws are alike: sites matter, and gaps say nothing of which."""
    rng, names, noise = np.random.default_rng(0), "abcd", np.tile([-0.1, 0.1], 10)
    compared = [Arm("ungated", (), "ungated"), *(Arm(n, (), "ungated") for n in names)]
    compared += [control(draw, name) for draw in range(19) for name in names]
    helped = 0
    for _ in range(24):
        gains = rng.normal(1.0, 0.3, size=(20, 4)) * np.array([1.0, 1.0, 0.2, 0.2])
        effects = np.vstack([0 * noise, *(gain + noise for gain in gains.ravel())])
        table = compare_arms(compared, effects, plain=0 * noise)
        helped += not gates_in_words(table, kl=0.2, outcome="x").count("none of 4 gates")
    assert helped <= 4  # of 24, at 5 % for all four together


def test_two_kinds_of_sites_are_two_chances():
    compared, effects = gates_and_random(39)
    again = [
        replace(a, name=f"{a.name}'", reference="ungated'", of=a.of and f"{a.of}'")
        for a in compared
    ]
    table = compare_arms([*compared, *again], np.vstack([effects, effects]), plain=np.zeros(20))
    assert table.p_gaps.dropna().tolist() == pytest.approx([2 / 40, 2 / 40])
    fewer = [a for a in again if a.draw < 5]  # tell nothing, and are no chance
    rows = [0, 1, *range(2, 7)]
    table = compare_arms(
        [*compared, *fewer], np.vstack([effects, effects[rows]]), plain=np.zeros(20)
    )
    assert table.p_gaps.dropna().tolist() == pytest.approx([1 / 40, 1 / 6])


def test_a_gate_without_numbers_is_named_as_unknown():
    effects = np.vstack([np.zeros(30), np.full(30, np.nan), np.linspace(0.9, 1.1, 30)])
    compared = [Arm("ungated", ()), Arm("lost", ()), Arm("gate", ())]
    table = compare_arms(compared, effects, plain=np.zeros(30))
    assert table.set_index("arm").effect.isna().to_dict() == {
        "ungated": False, "lost": True, "gate": False
    }  # fmt: skip
    assert "nothing is known of lost" in gates_in_words(table, kl=0.2, outcome="x")


def gates_and_random(n_random=19):
    """A reference, a gate that gains 1 over it, and the same with gaps of other sites that gain nothing."""
    noise = np.tile([-0.1, 0.1], 10)
    random = [control(i) for i in range(n_random)]
    compared = [Arm("ungated", (), "ungated"), Arm("gate", (), "ungated"), *random]
    return compared, np.stack([0 * noise, 1 + noise, *[noise] * n_random])


def test_what_beats_the_ungated_arm_alone_is_not_said_to_gain_no_more_than_unknown_gates():
    compared, effects = gates_and_random()
    effects[2:] = np.nan
    said = gates_in_words(compare_arms(compared, effects, plain=np.zeros(20)), kl=0.2, outcome="x")
    assert said == (
        "At a matched KL of 0.2 nats, x, with 19 permutations of the gaps beside ungated (none of them known against it): "
        "the gate is not shown to help; gate (+1.00 [+0.96, +1.04]) beats the ungated arm, and no gate with the gaps "
        "of other sites is known beside it; nothing is known of 19 gates with the gaps of other sites."
    )


def test_gates_whose_ungated_arm_is_lost_are_named():
    compared, effects = gates_and_random()
    effects[0] = np.nan
    said = gates_in_words(compare_arms(compared, effects, plain=np.zeros(20)), kl=0.2, outcome="x")
    assert said.endswith(
        "(none of them known against it): no gate can be compared with the ungated arm; nothing is known of ungated; "
        "what gate and 19 gates with the gaps of other sites gain over the ungated arm is not known."
    )
    effects[2:5] = np.nan
    said = gates_in_words(compare_arms(compared, effects, plain=np.zeros(20)), kl=0.2, outcome="x")
    assert said.endswith(
        "nothing is known of ungated and 3 gates with the gaps of other sites; "
        "what gate and 16 gates with the gaps of other sites gain over the ungated arm is not known."
    )


def test_the_band_of_draws_says_of_how_many_it_is():
    compared, effects = gates_and_random()
    effects[2:5] = np.nan
    table = compare_arms(compared, effects, plain=np.zeros(20))
    figure = figures.gate_comparison(table, outcome="x", kl=0.2)
    assert figure.data[-1].y == ("gate, gaps of other sites (16 of 19 known)",)
    assert "gate, gaps of other sites (16 of 19 known)" in figure.layout.yaxis.categoryarray


def test_what_cannot_be_gated_or_matched_is_refused(load):
    model = load("llama")
    direction = random_direction(model, Site("resid_post", 1))
    spectra = spectra_with_gaps(torch.full((3, 2), 0.5), (0, 1, 2))
    with pytest.raises(BadValueError, match="at least 2"):
        arms([direction], spectra)
    with pytest.raises(BadValueError, match="all the same"):
        arms([direction, random_direction(model, Site("resid_post", 2))], spectra)
    arm = Arm("x", ((direction, Constant(1.0)),))
    with pytest.raises(BadValueError, match="must be a positive number"):
        matched_dose(model, arm, 0.0, PROMPTS)
    with pytest.raises(BadValueError, match="gives at most"):
        matched_dose(model, arm, 1e6, PROMPTS)


def test_the_figure_shows_differences_without_the_references():
    table = pd.DataFrame(
        {
            "arm": ["ungated layers", "gate", "at random"], "reference": ["ungated layers"] * 3,
            "null": [False, False, True], "effect": [1.0, 1.5, 0.9], "n": [20] * 3,
            "difference": [0.0, 0.5, -0.1], "difference_low": [0.0, 0.3, -0.2],
            "difference_high": [0.0, 0.8, 0.1], "p_holm": [np.nan, 0.01, np.nan],
        }
    )  # fmt: skip
    figure = figures.gate_comparison(table, outcome="shift (nats)", kl=0.3)
    gates, nulls = figure.data
    assert (list(gates.y), list(gates.x)) == (["gate"], [0.5])
    assert (list(nulls.y), list(nulls.x)) == (["at random"], [-0.1])
    assert list(gates.error_x.array) == pytest.approx([0.3])
    assert list(gates.error_x.arrayminus) == pytest.approx([0.2])
    assert "shift (nats)" in figure.layout.xaxis.title.text


def test_nothing_told_from_ungated_is_said_as_well():
    compared = [Arm("ungated layers", (), "ungated layers"), Arm("gate", (), "ungated layers")]
    noise = np.tile([-0.1, 0.1], 10)
    table = compare_arms(compared, np.stack([0 * noise, noise]), plain=0 * noise)
    said = gates_in_words(table, kl=0.3, outcome="nats")
    assert said == (
        "At a matched KL of 0.3 nats, nats, without permutations of the gaps: the gate is not shown to help."
    )
