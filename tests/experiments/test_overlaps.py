"""Which features a concept has: stored, shared by hand, resumed, verified."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from steerscope.errors import ExperimentError
from steerscope.experiments import parse_experiment, run_experiment
from steerscope.experiments.jobs.overlaps import (
    ACTIVE,
    FEATURE,
    RATE,
    SHARED,
    concepts_table,
    readings_of_run,
    resampled_rows,
    routes_table,
    sets_of_run,
)
from steerscope.experiments.running import runs_of
from steerscope.extraction.activations import extract
from steerscope.runs.results import Run, plain_row
from steerscope.sae import load_sae
from steerscope.sae.reading import encoder_projection, mean_code_difference
from steerscope.texts.contrasts import ContrastSet, load_contrasts
from steerscope.verification import verify
from tests.helpers import row

SMALL = """\
name: small
question: Which features?
job: overlap
models: [microworld]
contrasts: [mood]
autoencoder: microworld
sample: {pairs: 6, texts: 4, features: 4, nulls: 9}
"""
ROUTES = {"codes", "decoder", "encoder", "output", "steered"}


def planted(path, concept, sets, n_features=40):
    """A run of which the features are known; every feature fires as often as any other."""
    settings = {
        "model": "m", "contrasts": concept, "seed": 0, "autoencoder": "dictionary", "k": 4,
        "n_features": n_features, "n_pairs": 6, "site": "resid_post.0",
    }  # fmt: skip
    run = Run.start(path, settings, provenance={})
    rows = [
        row(cell=source, metric=FEATURE, prompt=rank, value=float(feature), split="fit")
        for source, features in sets.items()
        for rank, feature in enumerate(features)
    ]
    rows += [row(metric=RATE, prompt=i, value=0.5, split="held out") for i in range(n_features)]
    run.append(rows)
    return run


def test_routes_share_what_their_sets_share_and_concepts_their_codes(tmp_path):
    sets = {"codes": (1, 2, 3, 4), "encoder": (4, 3, 9, 8), "output": (20, 21, 22, 23)}
    run = planted(tmp_path / "one", "one", sets)
    assert sets_of_run(run)["encoder"].ranked == (4, 3, 9, 8)
    table = routes_table(run).set_index(["pair", "k"])
    assert table.shared.loc["codes | encoder"].to_dict() == {1: 0, 2: 0, 4: 2}
    assert table.shared.loc["codes | output", 4] == 0
    assert table.expected.loc["codes | encoder", 4] == pytest.approx(16 / 40)
    assert concepts_table([run]) is None
    other = planted(tmp_path / "two", "two", {"codes": (2, 30, 31, 1)})
    [found] = concepts_table([run, other]).query("k == 4").to_dict("records")
    assert (found["pair"], found["shared"]) == ("one | two", 2)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("overlap") / "whole"
    run_experiment(parse_experiment(SMALL, "small.yaml"), out)
    return out


def tables(out):
    return {p.name: p.read_bytes() for p in sorted((out / "tables").iterdir())}


def test_a_run_has_every_route_and_every_reading_and_draws_its_routes(small):
    [run] = runs_of(parse_experiment(SMALL, "small.yaml"), small)
    sets = sets_of_run(run)
    assert set(sets) == ROUTES
    assert {len(s.ranked) for s in sets.values()} == {4}
    readings = readings_of_run(run)
    assert (readings.n == 9).all()
    assert readings[["value", "expected", "low", "high", "p"]].notna().all(axis=None)
    assert set(tables(small)) == {"readings.csv", "routes.csv"}  # one concept alone
    [figure] = (small / "figures").glob("*.html")
    assert {p.stem for p in (small / "figures").iterdir()} == {figure.stem}
    assert figure.stem.startswith("microworld-mood-0")
    assert figure.stem.endswith("-routes")
    page = figure.read_text()
    assert "Overlap of routes to mood: the first 4 of each" in page


def test_what_was_interrupted_goes_on_and_gives_the_same(small, tmp_path, monkeypatch):
    experiment = parse_experiment(SMALL, "small.yaml")
    with monkeypatch.context() as broken:
        broken.setattr("steerscope.sae.codes.firing_rates", interrupted)
        with pytest.raises(InterruptedError):
            run_experiment(experiment, tmp_path / "again")
    monkeypatch.setattr(
        "steerscope.studies.features.sources.concept_sets", interrupted
    )  # all are stored
    run_experiment(experiment, tmp_path / "again")
    assert tables(tmp_path / "again") == tables(small)


def interrupted(*_given, **_options):
    raise InterruptedError


def test_pairs_that_are_alike_give_the_same_however_they_are_drawn_again(microworld):
    sae = load_sae("microworld", model=microworld)
    pair = ContrastSet("mood", load_contrasts("mood").pairs[:1])
    one = extract(microworld, pair, [sae.site])[sae.site]
    alike = replace(one, positive=one.positive.repeat(6, 1), negative=one.negative.repeat(6, 1))
    found: dict[str, set[float]] = {}
    for drawn in resampled_rows(plain_row("", "", 0.0), sae, alike, 20, 0):
        found.setdefault(drawn.metric, set()).add(drawn.value)
    heard = encoder_projection(sae, one.differences[0])
    first = [{*v.topk(20).indices.tolist()} for v in (mean_code_difference(sae, one), heard)]
    assert found[ACTIVE] == {float((heard > 0).double().mean())}
    assert found[SHARED] == {len(first[0] & first[1])}
    assert 0 < len(first[0] & first[1]) < 20


def test_pairs_that_change_no_feature_share_none_of_those_that_are_dead(microworld):
    sae = load_sae("microworld", model=microworld)
    one = extract(microworld, load_contrasts("mood"), [sae.site])[sae.site]
    same = replace(one, positive=one.positive, negative=one.positive)
    shared = {
        row.value
        for row in resampled_rows(plain_row("", "", 0.0), sae, same, 20, 0)
        if row.metric == SHARED
    }
    assert shared == {0.0}


def test_it_verifies_and_an_altered_feature_is_named(small):
    assert not verify(small).differences  # with its model and its autoencoder
    [part] = [
        p
        for p in small.glob("runs/*/rows/*.parquet")
        if (pd.read_parquet(p).cell == "encoder").any()
    ]
    table, before = pd.read_parquet(part), part.read_bytes()
    table.assign(value=table.value + 1).to_parquet(part)
    said = [str(d) for d in verify(small, weights=False).differences]
    part.write_bytes(before)
    assert any("row 0: feature of prompt 0 (fit) under encoder is" in d for d in said)


def test_another_autoencoder_is_a_difference(small, monkeypatch):
    monkeypatch.setattr("steerscope.sae.dictionary.SparseAutoencoder.digest", "0" * 64)
    [only] = [str(d) for d in verify(small).differences]
    assert only.startswith("microworld-mood-0")
    assert "/autoencoder: the hash is 0000" in only


def test_an_overlap_without_an_autoencoder_says_so():
    with pytest.raises(ExperimentError, match=r"line 3: the job 'overlap' needs an autoencoder"):
        parse_experiment(SMALL.replace("autoencoder: microworld\n", ""), "small.yaml")
