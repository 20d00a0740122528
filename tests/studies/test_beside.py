"""What a study stores beside its conditions, each number at the layer and head that it is of."""

from __future__ import annotations

from itertools import product

import pytest

from steerscope.diagnostics import sink_alignment
from steerscope.directions import mean_diff
from steerscope.eigengaps import eigengap
from steerscope.extraction.activations import extract
from steerscope.runs.results import Run
from steerscope.sites import Site
from steerscope.studies.steering.beside import measure_eigengaps, measure_noise, measure_sinks
from tests.helpers import row
from tests.studies.test_comparison import PAIRS

TEXTS = [f"w{i} w{i + 3} w{i + 7} w{i + 2}" for i in range(10, 18)]
SITES = [Site("resid_post", layer) for layer in range(3)]


@pytest.fixture
def run(tmp_path):
    started = Run.start(tmp_path / "run", {}, provenance={})
    started.append([row()])
    return started


def values(run, method):
    rows = run.table()
    return rows[rows.method == method].set_index(["layer", "head", "metric"]).value


def test_the_spectrum_of_every_head_is_stored_at_its_head(load, run):
    measure_eigengaps(run, load(), TEXTS)
    found, spectra = values(run, "eigengap"), eigengap(load(), TEXTS)
    expected = {
        "eigengap": spectra.gap,
        "eigengap_low": spectra.low,
        "eigengap_high": spectra.high,
        "eigengap_null": spectra.nulls["random"],
        "participation_ratio": spectra.statistics["participation_ratio"].value,
        "effective_rank": spectra.statistics["effective_rank"].value,
    }
    assert len(found) == 3 * 2 * len(expected)
    for layer, head, (name, of) in product(range(3), range(2), expected.items()):
        assert found[layer, head, name] == float(of[layer, head]), (layer, head, name)


def test_the_sink_is_stored_at_the_layer_that_it_is_seen_from(load, run):
    directions = [mean_diff(contrast) for contrast in extract(load(), PAIRS, SITES[1:]).values()]
    measure_sinks(run, load(), TEXTS, directions)
    found = values(run, "sink")
    assert len(found) == 4
    for v in sink_alignment(load(), TEXTS, directions):
        assert found[v.layer, -1, v.diagnostic] == v.value


def test_noise_is_stored_at_the_site_whose_pairs_have_it(load, run):
    contrasts = extract(load(), PAIRS, SITES)
    measure_noise(run, contrasts)
    found = values(run, "noise")
    assert found.nunique() == len(SITES)
    for site, contrast in contrasts.items():
        spread = contrast.differences.var(dim=0).sum() / len(PAIRS)
        share = float(spread / contrast.differences.mean(dim=0).square().sum())
        assert found[site.layer, -1, "noise_share"] == pytest.approx(share, rel=1e-4)
