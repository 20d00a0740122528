from __future__ import annotations

import pytest
import torch

from steerscope.directions import mean_diff
from steerscope.errors import BadValueError, TooLittleDataError, UnsupportedSiteError
from steerscope.extraction.activations import extract, extract_moments
from steerscope.extraction.reading import ReadToken
from steerscope.sites import Site
from steerscope.texts.contrasts import ContrastPair, ContrastSet

PAIRS = ContrastSet(
    "words",
    (
        ContrastPair("w5 w6 w7", "w8 w9", "c"),
        ContrastPair("w10 w11", "w12 w13 w14 w15", "c"),
        ContrastPair("w20 w21 w22", "w23 w24 w25", "c"),
    ),
)
SITES = [Site("resid_post", 0), Site("z", 1, 2), Site("mlp_post", 2)]


def one_by_one(model, site, text):
    seen = {}
    with torch.no_grad(), model.hook(site, lambda x: seen.update(x=x)):
        model.forward(torch.tensor([model.tokens(text)]))
    return seen["x"][0]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_rows_are_the_activations_of_each_text_run_alone(tiny, batch_size):
    found = extract(tiny, PAIRS, SITES, batch_size=batch_size)
    for site in SITES:
        for i, pair in enumerate(PAIRS.pairs):
            for rows, text in (
                (found[site].positive, pair.positive),
                (found[site].negative, pair.negative),
            ):
                torch.testing.assert_close(
                    rows[i], one_by_one(tiny, site, text)[-1], atol=1e-5, rtol=1e-5
                )


@pytest.mark.parametrize(
    ("read", "choose"),
    [
        (ReadToken.at(-2), lambda x: x[-2]),
        (ReadToken.at(1), lambda x: x[1]),
        (ReadToken.mean(), lambda x: x[1:].mean(0)),
    ],
)
def test_other_tokens_can_be_read(tiny, read, choose):
    site = Site("resid_post", 1)
    found = extract(tiny, PAIRS, [site], read=read)[site]
    for i, pair in enumerate(PAIRS.pairs):
        expected = choose(one_by_one(tiny, site, pair.positive))
        torch.testing.assert_close(found.positive[i], expected, atol=1e-5, rtol=1e-5)


def test_the_relative_length_is_the_median_norm_without_position_0(tiny):
    site = Site("resid_post", 1)
    found = extract(tiny, PAIRS, [site])[site]
    texts = [t for p in PAIRS.pairs for t in (p.positive, p.negative)]
    norms = torch.cat([one_by_one(tiny, site, t)[1:].norm(dim=-1) for t in texts])
    assert found.relative == pytest.approx(float(norms.median()), rel=1e-5)


def test_no_hook_stays_and_the_origin_is_recorded(tiny):
    from tests.helpers import count_hooks

    before = count_hooks(tiny)
    found = extract(tiny, PAIRS, SITES)[SITES[0]]
    assert count_hooks(tiny) == before
    origin = found.provenance
    assert (origin.fingerprint, origin.contrasts_sha256) == (tiny.fingerprint, PAIRS.sha256)
    assert (origin.read, origin.n_pairs) == ("token -1", 3)


def test_position_0_is_never_read():
    x = torch.randn(1, 1, 4)
    with pytest.raises(BadValueError, match="attention sink"):
        ReadToken.last()(x)
    with pytest.raises(BadValueError, match="no content tokens"):
        ReadToken.mean()(x)
    with pytest.raises(BadValueError, match="token -5 of a text of 3"):
        ReadToken.at(-5)(torch.randn(1, 3, 4))
    with pytest.raises(BadValueError, match="attention sink"):
        ReadToken.at(0)(torch.randn(1, 3, 4))


def test_reads_are_written_as_text():
    assert ReadToken.parse("last") == ReadToken.last()
    assert ReadToken.parse("mean") == ReadToken.mean()
    assert ReadToken.parse("-2") == ReadToken.at(-2)
    with pytest.raises(BadValueError, match="write last, mean or an index"):
        ReadToken.parse("first")


def test_a_site_out_of_range_is_refused_before_anything_runs(tiny):
    with pytest.raises(UnsupportedSiteError, match="layers 0 to 2"):
        extract(tiny, PAIRS, [Site("resid_post", 9)])


def test_moments_are_those_of_the_activations_for_any_number_of_pairs(tiny):
    words = [f"w{i}" for i in range(3, 96)]
    texts = [" ".join(words[i % 90 : i % 90 + 2 + i % 3]) for i in range(602)]
    pairs = (ContrastPair(a, b, "c") for a, b in zip(texts[0::2], texts[1::2], strict=True))
    many = ContrastSet("many", tuple(pairs))
    kept, means = extract(tiny, many, SITES), extract_moments(tiny, many, SITES)
    for site in SITES:
        for side in ("positive", "negative"):
            mean = getattr(kept[site], side).mean(dim=0)
            torch.testing.assert_close(getattr(means[site], side), mean, atol=1e-5, rtol=1e-4)
        assert means[site].relative == kept[site].relative
        ours, theirs = mean_diff(means[site]), mean_diff(kept[site])
        torch.testing.assert_close(ours.unit, theirs.unit, atol=1e-4, rtol=0)
        assert ours.scale.natural == pytest.approx(theirs.scale.natural, rel=1e-5)


@pytest.mark.parametrize("read", ["last+sink", "last"])
@pytest.mark.parametrize("reads", [extract, extract_moments])
def test_texts_of_one_token_are_refused_by_what_they_are(tiny, reads, read):
    words = ContrastSet("words", (ContrastPair("w5", "w6", "c"), ContrastPair("w7", "w8", "c")))
    with pytest.raises(TooLittleDataError, match="every text of 'words' has one token"):
        reads(tiny, words, SITES[0], read=read, bos="never")
    assert reads(tiny, words, SITES[0], read=read)[SITES[0]].relative > 0
