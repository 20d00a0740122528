"""Merging, the linear baselines, and the transfer table."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

from steerscope.doses import Dose
from steerscope.engine.generation import attempt
from steerscope.engine.score import kl_from_plain, preferences
from steerscope.errors import BadValueError, NotFiniteError, RunError, VectorMismatchError
from steerscope.judges import choose_judge
from steerscope.judges.scoring import ScoreJudge
from steerscope.metrics import kl_divergence
from steerscope.models.loading import load_model, load_original
from steerscope.runs.results import plain_row
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.studies.transfer.findings import against, odd_and_even, towards, transfer_table
from steerscope.studies.transfer.matching import matched_coefficients, steering_by_validation
from steerscope.studies.transfer.measure import kl_of_prefix, transfer
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.transfer.runs import start_transfer
from steerscope.studies.transfer.techniques import (
    Technique,
    places_in_words,
    prompting,
    steering_technique,
    trained_technique,
    weights_technique,
)
from steerscope.studies.transfer.wording import verdict, verdicts
from steerscope.texts.contrasts import (
    ContrastPair,
    ContrastSet,
    Prompt,
    PromptSet,
    load_contrasts,
    load_prompts,
)
from steerscope.weights.adapter import (
    Adapted,
    AdapterDesign,
    FullTrainee,
    Objective,
    TrainingPlan,
    fresh_adapter,
    frozen_ruler,
    merge,
)
from steerscope.weights.adapter.lora import LoraTrainee
from steerscope.weights.places import Place
from tests.helpers import random_direction, rounding

PAIRS = ContrastSet(
    "made up",
    tuple(ContrastPair(f"w{i} w10 w{i + 3} w5", f"w{i} w20 w4", "w") for i in range(30, 42)),
)
PROMPTS = PromptSet("made up", tuple(Prompt(f"w{i} w7 w{i + 9}") for i in range(40, 49)))
TOKENS = torch.tensor([[1, 7, 30, 12, 55], [1, 8, 9, 40, 61]])
MATRICES = (Place("o", 0), Place("down", 1))
PLAN = TrainingPlan(epochs=1, batch_pairs=6, learning_rate=1e-2)


def adapter_of(model, matrices):
    generator = torch.Generator().manual_seed(1)
    adapter = fresh_adapter(model, AdapterDesign(matrices=matrices, rank=6, turn="both"), PAIRS)
    return adapter.with_parameters(
        {
            m: {n: 0.3 * torch.randn(t.shape, generator=generator) for n, t in part.items()}
            for m, part in adapter.parameters.items()
        }
    )


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("llama", "q k v o gate up down"),
        ("gpt2", "q k v o up down"),
        ("phi3", "q k v o gate up down"),  # fused, and found by their numbers
    ],
)
def test_a_merged_model_in_transformers_is_the_hooked_one(
    load, tiny_folder, tmp_path, family, names
):
    model = load(family)
    adapter = adapter_of(model, tuple(Place(n, 1) for n in names.split()))
    folder = merge(tiny_folder(family), adapter, -0.8, tmp_path / "merged")
    network = load_original(folder).network
    with steer(model, Adapted(adapter, -0.8)):
        hooked = model.forward(TOKENS)
    with torch.no_grad():
        torch.testing.assert_close(network(TOKENS).logits, hooked, atol=2e-4, rtol=1e-3)
    assert float((hooked - model.forward(TOKENS)).abs().max()) > 1e-2
    torch.testing.assert_close(load_model(folder).forward(TOKENS), hooked, atol=2e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::steerscope.errors.BackboneWarning")
def test_keys_that_heads_share_are_merged_where_they_lie(tiny_folder, tmp_path):
    config = GPTBigCodeConfig(
        vocab_size=96,
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    )
    GPTBigCodeForCausalLM(config).save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_folder("gpt2") / name, tmp_path / "model")
    model = load_model(tmp_path / "model")
    adapter = adapter_of(model, tuple(Place(n, 1) for n in "qkvo"))
    network = load_original(merge(tmp_path / "model", adapter, -0.8, tmp_path / "merged")).network
    with steer(model, Adapted(adapter, -0.8)), torch.no_grad():
        torch.testing.assert_close(
            network(TOKENS).logits, model.forward(TOKENS), atol=2e-4, rtol=1e-3
        )


def test_the_merged_microworld_is_the_hooked_one(microworld, tmp_path):
    generator = torch.Generator().manual_seed(0)
    design = AdapterDesign(matrices=(Place("down", 3), Place("o", 2)), columns="singular")
    adapter = fresh_adapter(microworld, design, PAIRS)
    adapter = adapter.with_parameters(
        {
            m: {n: 0.2 * torch.randn(t.shape, generator=generator) for n, t in part.items()}
            for m, part in adapter.parameters.items()
        }
    )
    tokens = torch.tensor([microworld.tokens("Mia and her uncle went to the cellar early.")])
    folder = merge("microworld", adapter, 1.0, tmp_path / "merged")
    with steer(microworld, Adapted(adapter, 1.0)):
        hooked = microworld.forward(tokens)
    found = load_original(folder).network(tokens).logits
    torch.testing.assert_close(found, hooked, atol=1e-3, rtol=1e-3)


def test_a_merge_refuses_another_model(load, tiny_folder, tmp_path):
    with pytest.raises(VectorMismatchError, match="merge it into the model"):
        merge(tiny_folder("gpt2"), adapter_of(load(), MATRICES), 1.0, tmp_path / "no")


def test_lora_of_peft_is_the_change_that_is_made_of_it(load, tiny_folder):
    model = load()
    trainee = LoraTrainee(load_original(tiny_folder("llama")), MATRICES, rank=2)
    with torch.no_grad():
        plain, _ = trainee.run(TOKENS, 1.0, [0])
        torch.testing.assert_close(plain, model.forward(TOKENS), atol=2e-4, rtol=1e-3)
        for tensor in trainee.parameters().values():
            tensor.normal_(generator=torch.Generator().manual_seed(3))
        expected, states = trainee.run(TOKENS, -0.5, [1])
    change = trainee.change(0, 1)
    with steer(model, Adapted(change, -0.5)):
        found = model.forward(TOKENS)
        read = model.read(TOKENS, list(frozen_ruler(model, PAIRS, [1]).sites.values()))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(next(iter(read.values())), states[1], atol=2e-4, rtol=1e-3)
    assert change.n_parameters == 2 * (32 + 32) + 2 * (64 + 32)
    with pytest.raises(BadValueError, match="share one"):
        LoraTrainee(load_original(tiny_folder("gpt2")), (Place("q", 0),), rank=2)


@pytest.mark.parametrize("kind", ["lora", "fine_tuning"])
def test_the_linear_baselines_learn_both_signs(load, tiny_folder, kind):
    model = load()
    trainee = (
        LoraTrainee(load_original(tiny_folder("llama")), MATRICES, rank=2)
        if kind == "lora"
        else FullTrainee(model)
    )
    technique = trained_technique(
        model,
        trainee,
        (PAIRS, PAIRS),
        ruler=frozen_ruler(model, PAIRS, [1]),
        objective=Objective(aim="preference", coherence=0.0),
        plan=PLAN,
    )
    texts = [(p.positive, p.negative) for p in PAIRS.pairs]
    low, plain, high = preferences(
        model, texts, [technique.cell(c) for c in (-1.0, 0.0, 1.0)]
    ).mean(dim=1)
    assert low < plain < high
    assert technique.name == kind


def test_the_matched_coefficient_has_the_kl_and_is_the_first_that_has_it(load):
    model = load()
    texts = [p.text for p in PROMPTS.prompts]
    technique = weights_technique(adapter_of(model, MATRICES))
    low, high = matched_coefficients(model, technique, texts, 0.02)
    assert low < 0 < high
    for c in (low, high):
        nats = kl_from_plain(model, texts, [technique.cell(c), technique.cell(0.9 * c)]).mean(dim=1)
        assert float(nats[0]) == pytest.approx(0.02, rel=0.021)
        assert float(nats[1]) < 0.02
    assert all(map(math.isnan, matched_coefficients(model, technique, texts, 1e6)))
    assert all(map(math.isnan, matched_coefficients(model, prompting(PAIRS), texts, 0.02)))


def test_prompting_puts_a_text_of_the_class_in_front(load):
    technique = prompting(PAIRS)
    assert technique.prefix(1.0) == "w30 w10 w33 w5 "
    assert technique.prefix(-1.0) == "w30 w20 w4 "
    assert technique.prefix(0.0) == ""
    with pytest.raises(BadValueError, match="-1, 0 and 1"):
        technique.prefix(0.5)
    model = load()
    ids = [model.tokens(t) for t in ("w4 w5 w6", "w30 w10 w33 w5 w4 w5 w6")]
    bare, whole = (model.forward(torch.tensor([i])) for i in ids)
    expected = kl_divergence(whole[:, -3:], bare[:, -3:]).mean()
    assert kl_of_prefix(model, technique.prefix(1.0), "w4 w5 w6") == pytest.approx(float(expected))


def test_many_weights_are_said_by_name_and_block_and_every_one_only_of_all_of_them(load):
    model = load()
    twelve = [Place(name, i) for name in ("o", "down") for i in range(1, 7)]
    assert places_in_words(twelve) == "12 matrices: o, down of blocks 1-6"
    assert places_in_words(twelve[:2]) == "o.1 o.2"
    gaps = [Place("q", i) for i in (0, 1, 2, 4, 6, 7)] + [Place("up", i) for i in (3, 4, 5)]
    assert places_in_words(gaps) == "9 matrices: q of blocks 0-2, 4, 6-7; up of blocks 3-5"
    full = FullTrainee(model).change(0, 1)
    assert weights_technique(full, every=True).where == "every matrix"
    some = replace(full, parts=dict(list(full.parts.items())[:-1]))
    assert weights_technique(some).where == (
        f"{len(full.parts) - 1} matrices: q, k, v, o, gate, up of blocks 0-2; down of blocks 0-1"
    )


def test_a_run_that_called_many_weights_every_matrix_goes_on(load, tmp_path):
    model, plan = load(), TransferPlan(coefficients=(-1.0, 1.0))
    full = FullTrainee(model).change(0, 1)
    techniques = [weights_technique(full, every=True), prompting(PAIRS)]
    older = start_transfer(tmp_path / "run", techniques, model, PAIRS, plan)
    older.append([plain_row("kl", "nats", 0.0)])
    newer = [weights_technique(full), techniques[1]]
    assert newer[0].where != techniques[0].where
    again = start_transfer(tmp_path / "run", newer, model, PAIRS, plan)
    assert again.configuration == older.configuration
    with pytest.raises(RunError, match="techniques"):
        start_transfer(tmp_path / "run", [newer[1]], model, PAIRS, plan)


def test_transfer_measures_every_technique_on_the_same_items(load):
    model = load()
    change = weights_technique(adapter_of(model, MATRICES))
    plan = TransferPlan(
        coefficients=(-1.0, 1.0), kl=0.02, n_prompts=4, n_pairs=3, n_kl_prompts=2, n_new=4
    )
    mean = steering_by_validation(model, PAIRS, PROMPTS, "mean_diff", plan)
    rows = transfer(model, [change, mean, prompting(PAIRS)], PAIRS, PROMPTS, plan=plan)
    counts = rows[rows.metric == "kl"].groupby(["technique", "coefficient", "matched"]).size()
    assert set(counts) == {4}
    assert len(counts) == 1 + 4 + 4 + 2
    plain = rows[(rows.technique == "plain") & (rows.metric == "kl")]
    assert plain.value.max() < rounding(96, 1.0)  # a sum over the vocabulary
    nats = (
        rows[rows.matched & (rows.metric == "kl")]
        .groupby(["technique", "coefficient"])
        .value.mean()
    )
    assert nats.between(0.002, 0.2).all()
    texts = PAIRS.split(0).test.pairs[:3]
    expected = preferences(model, [(p.positive, p.negative) for p in texts], [change.cell(1.0)])
    mine = rows[(rows.technique == "svd_adapter") & (rows.coefficient == 1) & ~rows.matched]
    torch.testing.assert_close(
        torch.tensor(mine[mine.metric == "preference"].value.to_numpy(np.float32)),
        expected[0].float(), atol=1e-3, rtol=1e-3,
    )  # fmt: skip
    with pytest.raises(BadValueError, match="both signs"):
        TransferPlan(coefficients=(0.5, 1.0))
    with pytest.raises(BadValueError, match="at no layer"):
        steering_by_validation(model, PAIRS, PROMPTS, "mean_diff", TransferPlan(kl=1e6))
    assert steering_technique(model, PAIRS, "mean_diff", 1).cell(0.0) == Cell()


def test_a_coefficient_without_numbers_is_named_in_its_rows_and_the_others_go_on(load, caplog):
    model = load()
    direction = random_direction(model, Site("resid_post", 1))

    def steered(factor):
        return lambda c: Cell((Steering(direction, Dose(factor * c, "absolute")),))

    plan = TransferPlan(coefficients=(-1.0, 1.0), kl=0.02, n_prompts=2, n_pairs=2, n_kl_prompts=2,
                        n_new=2)  # fmt: skip
    techniques = [Technique("broken", 0, steered(1e39)), Technique("sound", 0, steered(0.1))]
    rows = transfer(model, techniques, PAIRS, PROMPTS, plan=plan)
    broken = rows[rows.technique == "broken"]
    assert set(broken.status) == {"not_finite"}
    assert broken.value.isna().all()
    assert set(broken.coefficient) == {-1.0, 1.0}
    assert "under the condition broken 1" in caplog.text
    others = rows[rows.technique != "broken"]
    assert set(others.status) == {"ok"}
    assert others[others.metric == "kl"].value.notna().all()
    said = verdict(against(unknown_matched(), "target", "good"), "good", "bad", words="x", kl=0.1)
    assert said.endswith("bad: no number at that KL, so nothing is known.")


class Novel:
    """A scorer to whom a text shows the concept where it was not among those of the first call."""

    words, threshold = "whether a text is new, 0 or 1", 0.5

    def __init__(self):
        self.known = None

    def scores(self, _prompts, texts):
        self.known = self.known or set(texts)
        return [float(text not in self.known) for text in texts]


def test_by_a_judge_that_gives_scores_a_damaged_text_has_gone_nowhere(microworld):
    direction = random_direction(microworld, Site("resid_post", 3))

    def at(factor):
        def cell(c):
            return Cell((Steering(direction, Dose(factor, "relative")),)) if c > 0 else Cell()

        return Technique(f"by {factor:g}", 0, cell)

    plan = TransferPlan(coefficients=(-1.0, 1.0), n_prompts=40, n_pairs=3, n_kl_prompts=4, n_new=16)
    rows = transfer(
        microworld, [at(4.0), at(30.0)], load_contrasts("mood"), load_prompts("mood"), plan=plan,
        judge=ScoreJudge("novel", Novel(), 0.5, 1, "new"),
    )  # fmt: skip
    mean = (
        rows[~rows.matched].groupby(["technique", "coefficient", "metric"]).value.mean().unstack()
    )
    assert mean.loc[("by 30", 1.0), "shown"] == 1  # new indeed
    assert mean.loc[("by 30", 1.0), "undamaged"] == 0
    assert mean.target["by 30"].tolist() == [0, 0]
    assert mean.loc[("by 4", 1.0), "target"] > 0.2  # new and undamaged
    assert mean.loc[("plain", 0.0), "undamaged"] > 0.8
    assert against(rows, "target", "by 4").empty  # neither reaches the KL at both signs
    said = verdicts(rows, "by 4", kl=0.1)
    assert "a damaged text as without steering: by 4 and by 30: no coefficient" in said[0]
    assert not any("damaged" in line for line in verdicts(made_rows(), "good", kl=0.1))


def test_a_layer_whose_preference_is_no_number_is_not_the_best(load, monkeypatch):
    model, lost = load(), set()

    def overflowing(model, texts, cells):
        found = preferences(model, texts, cells)
        for row, cell in zip(found, cells, strict=True):
            if cell.interventions[0].labels()["layer"] in lost:
                row[:] = math.nan
        return found

    monkeypatch.setattr("steerscope.studies.transfer.matching.preferences", overflowing)
    plan = TransferPlan(coefficients=(-1.0, 1.0), kl=0.02, n_pairs=3, n_kl_prompts=2)

    def chosen():
        return steering_by_validation(model, PAIRS, PROMPTS, "mean_diff", plan).where

    for _ in range(model.shape.n_layers):
        layer = int(chosen().rpartition(".")[2])
        assert layer not in lost
        lost.add(layer)
    with pytest.raises(NotFiniteError, match="at every layer"):
        chosen()


def test_a_blank_text_has_stayed_on_the_side_of_its_prompt(microworld, monkeypatch):
    def silent(*args, **options):
        texts = attempt(*args, **options)
        return [[replace(text, tokens=(), text="\n") for text in row] for row in texts]

    monkeypatch.setattr("steerscope.studies.transfer.measure.attempt", silent)
    plan = TransferPlan(coefficients=(-1.0, 1.0), n_prompts=6, n_pairs=2, n_kl_prompts=2, n_new=4)
    contrasts, prompts = load_contrasts("mood"), load_prompts("mood")
    rows = transfer(microworld, [], contrasts, prompts, plan=plan)
    asked = prompts.split(plan.seed).test.prompts[:6]
    judge = choose_judge(contrasts, asked)
    positive = [float(not judge.applies(prompt, 1)) for prompt in asked]
    assert set(positive) == {0.0, 1.0}
    assert rows[rows.metric == "target"].value.tolist() == positive


def unknown_matched():
    rows = made_rows()
    return rows.assign(value=rows.value.where((rows.technique != "bad") | ~rows.matched))


def made_rows():
    """Two techniques on four items: `good` is odd in c, `bad` is even."""
    rows = []
    for technique, up, down in (("good", 0.4, -0.4), ("bad", -0.3, -0.3)):
        for c, change in ((1.0, up), (-1.0, down)):
            for matched in (False, True):
                rows += [(technique, c, matched, i, 0.5 + change + 0.01 * i) for i in range(8)]
    rows += [("plain", 0.0, False, i, 0.5 + 0.01 * i) for i in range(8)]
    table = pd.DataFrame(rows, columns=["technique", "coefficient", "matched", "item", "value"])
    nats = table.assign(metric="kl", value=[0.1 if c > 0 else 0.08 for c in table.coefficient])
    return pd.concat([table.assign(metric="target"), nats]).assign(kind="prompt")


def test_the_tables_by_hand():
    rows = made_rows()
    mine = transfer_table(rows)
    table = mine[mine.metric == "target"].set_index(["technique", "coefficient", "matched"])
    assert table.loc[("good", -1.0, False)].change == pytest.approx(-0.4)
    assert table.loc[("good", -1.0, False)].n == 8
    parts = odd_and_even(rows, "target").set_index("technique")
    assert parts.loc["good"].odd == pytest.approx(0.4)
    assert parts.loc["good"].even == pytest.approx(0.0, abs=1e-9)
    assert parts.loc["bad"].odd == pytest.approx(0.0, abs=1e-9)
    assert parts.loc["bad"].even == pytest.approx(-0.3)
    assert towards(rows, "target").mean().to_dict() == pytest.approx({"good": 0.4, "bad": 0.0})


def test_the_verdict_says_ahead_behind_or_neither():
    rows = made_rows()
    compared = against(rows, "target", "good")
    assert compared.set_index("technique").loc["bad"].difference == pytest.approx(0.4)
    assert "good beats bad by +0.400" in verdict(compared, "good", "bad", words="x", kl=0.1)
    turned = against(rows, "target", "bad")
    assert "bad is behind good by -0.4" in verdict(turned, "bad", "good", words="x", kl=0.1)
    even = against(rows.assign(value=rows.value.where(rows.metric == "kl", 1.0)), "target", "good")
    assert "cannot be told apart" in verdict(even, "good", "bad", words="x", kl=0.1)
    assert "ugly: no coefficient of both signs" in verdict(
        compared, "good", "ugly", words="x", kl=0.1
    )


def test_the_verdict_says_the_kl_that_was_spent_and_whether_it_is_one():
    rows = made_rows()
    line = verdict(against(rows, "target", "good"), "good", "bad", words="x", kl=0.1)
    price = "0.090 [0.090, 0.090] nats"
    assert line.endswith(f"at {price} against {price} on the measured prompts.")
    rows.loc[(rows.metric == "kl") & (rows.technique == "bad"), "value"] = 0.07
    line = verdict(against(rows, "target", "good"), "good", "bad", words="x", kl=0.1)
    assert "against 0.070 [0.070, 0.070] nats" in line
    assert line.endswith("this is not a comparison at one KL.")


def test_the_n_of_a_comparison_is_that_of_the_items_known_of_both():
    rows = made_rows()
    lost = (rows.technique == "good") & (rows.item >= 6) & (rows.metric == "target")
    table = against(rows.assign(value=rows.value.where(~lost)), "target", "good")
    assert table.set_index("technique").n.to_dict() == {"good": 6, "bad": 8}
    assert "after Holm, n 6)" in verdict(table, "good", "bad", words="x", kl=0.1)
    lost = (rows.technique == "good") & (rows.item >= 1) & (rows.metric == "target")
    table = against(rows.assign(value=rows.value.where(~lost)), "target", "good")
    assert "one distinct item is too few" in verdict(table, "good", "bad", words="x", kl=0.1)


def test_what_overflows_at_one_is_not_stated_as_a_number():
    rows = made_rows()
    told = rows[(rows.technique == "good") & ~rows.matched].assign(technique="told")
    told.loc[told.metric == "target", "value"] = math.nan
    *_, line = verdicts(pd.concat([rows, told]), "good", kl=0.1)
    assert line.endswith("At c = ±1 told has no number, so that nothing is known.")


def test_what_has_no_degrees_is_stated_at_its_own_kl():
    rows = made_rows()
    told = rows[(rows.technique == "good") & ~rows.matched].assign(technique="told")
    *_, line = verdicts(pd.concat([rows, told]), "good", kl=0.1)
    assert "told: no coefficient of both signs reaches that KL." in line
    assert "At c = ±1 told has +0.400 [" in line
    assert line.endswith(" at 0.090 [0.090, 0.090] nats.")
