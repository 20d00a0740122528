"""Scores, examples, imports: planted features say and hear what was planted."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
import torch

from steerscope.errors import AutoencoderFileError, BadValueError, UnsupportedSiteError
from steerscope.sae.codes import firing_rates, steering_change
from steerscope.sae.examples import examples_page, top_examples
from steerscope.sae.neuronpedia import neuronpedia_link, read_neuronpedia
from steerscope.sae.scores import (
    ScorePlan,
    agreement,
    concept_scores,
    feature_scores,
    input_scores,
    output_effects,
    output_scores,
    output_target,
)
from steerscope.sae.steering import FeatureEdit, FeatureSteering
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, steer
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from tests.helpers import assert_rounded
from tests.sae.dictionaries import small_sae

SITE = Site("resid_post", 2)
TEXTS = [f"w{5 + i} w{20 + 2 * i} w{60 - i} w{5 + i}" for i in range(12)]


def saying(model, tokens: list[int]):
    """An autoencoder at the last block whose first features each say one token."""
    rows = torch.randn(48, 32, generator=torch.Generator().manual_seed(0))
    probes = torch.eye(32)
    unembedding = model.unembed(probes, capped=False) - model.unembed(-probes, capped=False)
    centred = unembedding - unembedding.mean(dim=1, keepdim=True)
    for place, token in enumerate(tokens):
        rows[place] = centred[:, token]
    return small_sae(rows=rows, site=SITE, model=model)


def test_the_effect_on_the_output_is_that_of_the_final_norm_and_unembedding(load):
    model = load()
    sae = saying(model, [40, 7])
    effects = output_effects(model, sae)
    assert effects.shape == (48, 96)
    assert effects.mean(dim=1).abs().max() < 1e-4
    assert effects[:2].argmax(dim=1).tolist() == [40, 7]
    by_hand = model.unembed(sae.decoder[5] * 32**0.5, capped=False)
    assert torch.allclose(effects[5], by_hand - by_hand.mean(), atol=1e-3)
    size = float(model.unembed(sae.decoder[5].abs() * 32**0.5, capped=False).abs().max())
    assert_rounded(output_effects(model, sae, [5]), effects[5:6], terms=32 + 96, size=size)
    with pytest.raises(UnsupportedSiteError, match="residual|resid_post"):
        output_effects(model, small_sae(d=32, site=Site("z", 1), model=model))


def test_a_feature_that_is_turned_up_at_the_end_says_its_token(load):
    model = load()
    sae = saying(model, [40, 7])
    said = output_effects(model, sae, [0, 1])
    plan = ScorePlan(n_tokens=1, amplitude=500.0, prompts=("w5 w9", "w30 w31 w32"))
    loud = output_scores(model, sae, [0, 1], said, plan=plan)
    for feature, token in ((0, 40), (1, 7)):  # nothing is left in the stream but the decoder row
        alone = torch.softmax(model.unembed(1e4 * sae.decoder[feature]), dim=-1)
        assert loud[feature] == pytest.approx(float(alone[token]), rel=0.05)
    faint = output_scores(model, sae, [0, 1], said, plan=replace(plan, amplitude=1e-6))
    assert all(faint[i] < loud[i] for i in loud)
    total = 0.0  # by hand: steer one prompt, read rank and probability of the token
    for text in plan.prompts:
        tokens = torch.tensor([model.tokens(text)])
        code = sae.encode(model.read(tokens, [SITE])[SITE][:, -1]).max()
        edit = FeatureEdit(0, "add", float(3 * code))
        with steer(model, FeatureSteering(sae, (edit,))):
            p = torch.softmax(model.forward(tokens)[0, -1], dim=-1)
        total += float((1 - (p > p[40]).sum() / 96) * p[40]) / 2
    (found,) = output_scores(model, sae, [0], said[:1], plan=replace(plan, amplitude=3.0)).values()
    assert found == pytest.approx(total, rel=1e-3)


def test_the_input_score_counts_strongest_tokens_that_the_feature_speaks_for(load):
    model = load()
    sae = saying(model, [40, 7])
    said = torch.zeros(2, 96)
    rows = [model.tokens(text) for text in TEXTS]
    strongest = []
    for row in rows:  # by hand: the token at which feature 0 is loudest, position 0 left out
        codes = sae.encode(model.read(torch.tensor([row]), [SITE])[SITE])[0, 1:, 0]
        if codes.max() > 0:
            strongest.append((float(codes.max()), row[1 + int(codes.argmax())]))
    chosen = strongest[0][1]
    said[0, chosen], said[1, 3] = 1.0, 1.0
    plan = ScorePlan(n_tokens=1, at_least=1)
    found = input_scores(model, sae, TEXTS, [0, 1], said, plan=plan)
    assert found[0] == pytest.approx(sum(t == chosen for _, t in strongest) / len(strongest))
    assert found.get(1, 0.0) == 0.0  # token 3 is in no text
    few = input_scores(model, sae, TEXTS, [0], said[:1], plan=replace(plan, at_least=13))
    assert few == {}


def test_scores_come_as_a_table_and_their_agreement_with_a_p(load):
    model = load()
    plan = ScorePlan(n_tokens=5, at_least=1, prompts=("w5 w9",))
    table = feature_scores(model, saying(model, [40]), TEXTS, list(range(10)), plan=plan)
    assert list(table.columns) == ["feature", "input_score", "output_score"]
    assert not table.isna().any().any()
    same = pd.DataFrame({"input_score": range(9), "output_score": range(9)})
    assert agreement(same).rho == pytest.approx(1.0)
    assert agreement(same).p < 0.01
    with pytest.raises(BadValueError, match="97 features of a dictionary of 96"):
        feature_scores(model, saying(model, [40]), TEXTS, [0], plan=ScorePlan(n_tokens=97))
    with pytest.raises(BadValueError, match="amplitude"):
        ScorePlan(amplitude=0.0)


def test_the_score_for_a_concept_is_a_correlation_that_ignores_what_all_rows_say(load):
    target = torch.tensor([1.0, -1.0, 0.0, 0.0])
    effects = torch.stack([2 * target + 5, -target + 1, torch.tensor([0.0, 0.0, 1.0, -1.0])])
    assert concept_scores(effects, target).tolist() == pytest.approx([1.0, -1.0, 0.0])
    model = load()
    pairs = ContrastSet("made up", (ContrastPair("w5 w6", "w7 w8", "x"),))
    wanted = output_target(model, pairs)
    logits = [model.forward(torch.tensor([model.tokens(t)]))[0, -1] for t in ("w5 w6", "w7 w8")]
    by_hand = torch.log_softmax(logits[0], -1) - torch.log_softmax(logits[1], -1)
    assert torch.allclose(wanted, by_hand - by_hand.mean(), atol=1e-4)


def test_firing_and_change_by_steering_are_counted_over_tokens_but_the_first(load):
    model = load()
    sae = saying(model, [40])
    rates = firing_rates(model, sae, TEXTS)
    codes = [
        sae.encode(model.read(torch.tensor([model.tokens(t)]), [SITE])[SITE])[0, 1:] for t in TEXTS
    ]
    assert torch.allclose(rates, (torch.cat(codes) > 0).float().mean(dim=0))
    cell = Cell((FeatureSteering(sae, (FeatureEdit(0, "add", 50.0),)),))
    change = steering_change(model, sae, TEXTS, cell)
    assert int(change.argmax()) == 0
    assert change[0] == pytest.approx(50.0, rel=0.2)
    with pytest.raises(BadValueError, match="after position 0"):
        firing_rates(model, sae, [])


def test_examples_are_the_loudest_texts_and_their_page_is_escaped_and_offline(load):
    model = load()
    sae = saying(model, [40])
    found = top_examples(model, sae, TEXTS, [0, 3], count=3, window=2)
    assert all(len(mine) <= 3 for mine in found.values())
    peaks = [e.codes[e.peak] for e in found[0]]
    assert peaks == sorted(peaks, reverse=True)
    assert all(max(e.codes) == e.codes[e.peak] for e in found[0])
    loudest = max(
        float(sae.encode(model.read(torch.tensor([model.tokens(t)]), [SITE])[SITE])[0, 1:, 0].max())
        for t in TEXTS
    )
    assert peaks[0] == pytest.approx(loudest, rel=1e-4)
    bad = replace(found[0][0], tokens=("<script>alert(1)</script>",), codes=(1.0,), peak=0)
    page = examples_page(
        {0: [bad], 9: []},
        title="<b>features</b>",
        notes={0: "<i>note</i>"},
        links={0: neuronpedia_link("gpt2-small/6-res-jb", 0), 9: "javascript:alert(1)"},
    )
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "javascript" not in page
    assert "never speaks" in page
    assert not re.search(r'(src|href)="(?!https://www\.neuronpedia\.org/)', page)
    with pytest.raises(BadValueError, match="at least 1"):
        top_examples(model, sae, TEXTS, [0], count=0)


def test_a_neuronpedia_export_is_read_and_a_damaged_one_refused(tmp_path):
    feature = {
        "modelId": "gpt2-small",
        "layer": "6-res-jb",
        "index": "650",
        "explanations": [{"description": "days of the week", "explanationModelName": "somebody"}],
        "activations": [
            {"tokens": ["on", " Mon"], "values": [0.0, 2.0], "maxValue": 2.0},
            {"tokens": ["x"], "values": [0.0]},
            {"tokens": ["Tue"], "values": [3.0]},
        ],
        "pos_str": ["day"],
        "neg_str": [],
        "something": {"else": 1},
    }
    path = tmp_path / "export.json"
    for text in (
        json.dumps(feature),
        json.dumps([feature], indent=1),
        json.dumps(feature, indent=2),
    ):
        path.write_text(text)
        (found,) = read_neuronpedia(path)
        assert (found.index, found.explanations[0].description) == (650, "days of the week")
        assert found.link == "https://www.neuronpedia.org/gpt2-small/6-res-jb/650"
        assert [e.peak for e in found.examples()] == [0, 1]
        assert found.examples()[0].tokens == ("Tue",)
    path.write_text(json.dumps(feature) + "\n" + json.dumps(feature))
    assert len(read_neuronpedia(path)) == 2
    feature["activations"][0]["values"] = [1.0]
    path.write_text(json.dumps(feature))
    with pytest.raises(AutoencoderFileError, match="1 values for 2 tokens"):
        read_neuronpedia(path)
    for text in ("{}", "[1]", "nonsense", ""):
        path.write_text(text)
        with pytest.raises(AutoencoderFileError, match="no Neuronpedia export"):
            read_neuronpedia(path)
    with pytest.raises(AutoencoderFileError, match="cannot read"):
        read_neuronpedia(tmp_path / "missing.json")
    with pytest.raises(BadValueError, match="MODEL/SOURCE"):
        neuronpedia_link("gpt2-small", 3)
