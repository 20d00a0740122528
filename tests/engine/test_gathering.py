from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from steerscope.directions import CONTROLS, METHODS, NEEDS, find_direction
from steerscope.engine import gathering as evidence
from steerscope.engine.gathering import EVIDENCE, gather
from steerscope.errors import MissingEvidenceError, UnknownNameError, UnsupportedSiteError
from steerscope.extraction.activations import extract
from steerscope.extraction.reading import ReadToken
from steerscope.models.weights import site_weight
from steerscope.sites import HEAD_STREAMS, STREAMS, Site
from steerscope.texts.contrasts import ContrastPair, ContrastSet

WORDS = [f"w{20 + 7 * i % 60} w{30 + 5 * i % 50} w{40 + 3 * i % 40}" for i in range(6)]
PAIRS = ContrastSet("mood", tuple(ContrastPair(f"{w} w5", f"{w} w6 w7", "mood") for w in WORDS))
OTHERS = ContrastSet("tone", tuple(ContrastPair(f"{w} w8", f"{w} w9", "tone") for w in WORDS))


def test_every_method_works_at_every_stream(tiny):
    sites = [Site(stream, 1) for stream in STREAMS]
    sites += [Site(stream, 2, 1) for stream in STREAMS if stream in HEAD_STREAMS]
    names = [*METHODS, *CONTROLS]
    found = gather(tiny, PAIRS, sites, names, other=OTHERS)
    assert list(found) == sites
    for site, contrast in found.items():
        for name in names:
            direction = find_direction(name, contrast)
            assert direction.unit.shape == (tiny.width(site),), (site, name)
            assert float(direction.unit.norm()) == pytest.approx(1.0, abs=1e-4)


def test_activations_are_those_of_extract_and_only_what_is_needed_is_added(tiny):
    site = Site("resid_post", 1)
    read = ReadToken.mean()
    plain = extract(tiny, PAIRS, [site], read=read)[site]
    for method in [*METHODS, *CONTROLS, "pca_pair_centred"]:
        found = gather(tiny, PAIRS, [site], [method], read=read, other=OTHERS)[site]
        assert torch.equal(found.positive, plain.positive)
        assert (found.relative, found.provenance) == (plain.relative, plain.provenance)
        held = {name for name in (*EVIDENCE, "gradients") if getattr(found, name) is not None}
        assert held == set(NEEDS.get(method, ()))


def test_each_piece_of_evidence_is_measured_once(load, monkeypatch):
    asked = []
    for name, measure in EVIDENCE.items():
        monkeypatch.setitem(
            EVIDENCE,
            name,
            lambda q, name=name, measure=measure: (asked.append(name), measure(q))[1],
        )
    reads = []
    monkeypatch.setattr(evidence, "extract", lambda *a, **k: (reads.append(1), extract(*a, **k))[1])
    sites = [Site("resid_post", 0), Site("resid_post", 1)]
    gather(load(), PAIRS, sites, ["sspace_mean", "sspace_project_then_aggregate", "pca_weighted"])
    assert sorted(asked) == ["log_likelihood", "weight"]
    assert len(reads) == 1


def test_the_likelihood_is_the_mean_per_token_of_both_texts(tiny):
    site = Site("resid_post", 1)
    found = gather(tiny, PAIRS, [site], ["pca_weighted"])[site]
    for pair, value in zip(PAIRS.pairs, found.log_likelihood.tolist(), strict=True):
        means = []
        for text in (pair.positive, pair.negative):
            ids = torch.tensor([tiny.tokens(text)])
            with torch.no_grad():
                logp = tiny.forward(ids)[0].log_softmax(dim=-1)
            means.append(logp[range(ids.shape[1] - 1), ids[0, 1:]].mean())
        assert value == pytest.approx(float(sum(means)) / 2, abs=1e-4)


def test_the_other_concept_is_read_in_the_same_way(tiny):
    site = Site("resid_post", 1)
    read = ReadToken.at(-2)
    found = gather(tiny, PAIRS, [site], ["other_concept"], read=read, other=OTHERS)[site]
    expected = extract(tiny, OTHERS, [site], read=read)[site]
    assert torch.equal(found.other.positive, expected.positive)
    assert found.other.provenance == expected.provenance
    with pytest.raises(MissingEvidenceError, match="second contrast set"):
        gather(tiny, PAIRS, [site], ["other_concept"])


def test_unknown_methods_are_refused_before_anything_runs(tiny):
    with pytest.raises(UnknownNameError, match="whitened"):
        gather(tiny, PAIRS, [Site("resid_post", 9)], ["whitend"])


def test_a_planted_head_is_found_at_its_head_and_nowhere_else(tiny):
    shift = torch.zeros(tiny.shape.d_head)
    shift[3] = 5.0
    sites = [Site("z", 1, head) for head in range(tiny.shape.n_heads)]
    found = gather(tiny, PAIRS, sites, ["mean_diff"])
    planted = {
        s: replace(c, positive=c.negative + (shift if s.head == 2 else 0) + 0.01 * c.positive)
        for s, c in found.items()
    }
    for site, contrast in planted.items():
        along = float(find_direction("mean_diff", contrast).unit @ (shift / 5))
        assert (along > 0.98) == (site.head == 2)


def test_a_head_is_a_slice_of_its_stream(tiny):
    d = tiny.shape.d_head
    for stream, layer in (("z", 1), ("k", 2)):
        whole = Site(stream, layer)
        heads = [Site(stream, layer, head) for head in range(tiny.width(whole) // d)]
        found = gather(tiny, PAIRS, [whole, *heads], ["mean_diff", "sspace_mean"])
        for head in heads:
            part = slice(head.head * d, (head.head + 1) * d)
            assert torch.equal(found[head].positive, found[whole].positive[:, part])
            assert torch.equal(found[head].weight, found[whole].weight[:, part])


def test_weights_give_what_the_hooks_see(tiny):
    ids = torch.tensor([tiny.tokens("w5 w6 w7 w8")])
    site = {stream: Site(stream, 1) for stream in STREAMS}
    with torch.no_grad():
        seen = tiny.read(ids, list(site.values()))
    weight = {stream: site_weight(tiny, s) for stream, s in site.items()}
    near = {"atol": 1e-4, "rtol": 1e-4}
    # read from on the left, written to on the right
    torch.testing.assert_close(
        seen[site["mlp_post"]] @ weight["mlp_out"], seen[site["mlp_out"]], **near
    )
    torch.testing.assert_close(
        seen[site["mlp_post"]] @ weight["mlp_post"].T, seen[site["mlp_out"]], **near
    )
    torch.testing.assert_close(seen[site["z"]] @ weight["attn_out"], seen[site["attn_out"]], **near)
    torch.testing.assert_close(seen[site["z"]] @ weight["z"].T, seen[site["attn_out"]], **near)
    norm = seen[site["resid_pre"]].square().mean(dim=-1, keepdim=True).sqrt()
    entry = dict(tiny.transformer.blocks[1].ln1.named_parameters()).values()
    scale = next(iter(entry)).detach()
    normed = seen[site["resid_pre"]] / norm * scale
    for stream in ("q", "k", "v"):
        torch.testing.assert_close(normed @ weight[stream], seen[site[stream]], **near)
    torch.testing.assert_close(
        weight["resid_pre"], torch.cat([weight[stream].T for stream in ("q", "k", "v")])
    )
    middle = seen[site["resid_mid"]]
    scale = next(iter(dict(tiny.transformer.blocks[1].ln2.named_parameters()).values())).detach()
    normed = middle / middle.square().mean(dim=-1, keepdim=True).sqrt() * scale
    for stream in ("mlp_pre", "mlp_pre_linear"):
        torch.testing.assert_close(normed @ weight[stream], seen[site[stream]], **near)


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "phi3", "neox"])
def test_both_backbones_hold_the_same_weights(load, family):
    hooked, bridge = load(family, "hooked"), load(family, "bridge")
    for stream in STREAMS:
        site = Site(stream, 1)
        if hooked.has(site) and bridge.has(site):
            torch.testing.assert_close(site_weight(hooked, site), site_weight(bridge, site))


def test_a_block_without_such_a_weight_is_named(load):
    model = load("lfm2", "bridge")
    with pytest.raises(UnsupportedSiteError, match="resid_mid.0: .* no plain weight"):
        site_weight(model, Site("resid_mid", 0))
    with pytest.raises(UnsupportedSiteError, match="layers 0 to 2"):
        site_weight(model, Site("resid_mid", 7))
    with pytest.raises(UnsupportedSiteError, match="none writes to rot_k alone"):
        site_weight(load("llama", "hooked"), Site("rot_k", 0))
