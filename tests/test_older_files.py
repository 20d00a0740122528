"""Files written before the rooms of the package were ordered still load, verify and draw.

`older/` holds a small study, its contrast file and its vectors as the program wrote them then, but for
the page, which is drawn from the rows.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from steerscope.audits import audit
from steerscope.directions import import_gguf, load_directions
from steerscope.experiments.running import open_experiment, runs_of
from steerscope.report import write_report
from steerscope.runs.results import Run
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.wording import verdict
from steerscope.texts.contrasts import load_contrasts
from steerscope.verification import verify

OLDER = Path(__file__).parent / "older"
EVIDENCE = Path(__file__).parents[1] / "data" / "claims" / "evidence"


@pytest.fixture
def older(tmp_path, monkeypatch):
    shutil.copytree(OLDER, tmp_path / "older")
    monkeypatch.chdir(tmp_path / "older")
    return tmp_path / "older"


def test_a_study_loads_with_every_row_and_says_what_it_found(older):
    run = Run.open(older / "run")
    assert (len(run.table()), len(run.texts())) == (1552, 252)
    found = find(run)
    assert (found.chosen.layer, found.chosen.n_cells) == (2, 4)
    assert "tiny-llama" in verdict(found)
    assert audit(run)


def test_a_study_is_as_it_was_and_its_page_is_drawn_and_follows_from_its_rows(older):
    before = verify(older / "run", weights=False)
    assert before.differences == ()
    assert (before.n_rows, before.n_files) == (1804, 15)
    page = write_report(Run.open(older / "run"))
    assert page.stat().st_size > 1000
    again = verify(older / "run", weights=False)
    assert again.differences == ()
    assert again.n_printed > 100


def test_vectors_of_both_formats_and_the_directions_of_the_run_are_the_same(older):
    vectors = {str(d.site): d for d in load_directions(older / "vectors.safetensors")}
    assert set(vectors) == {"resid_post.1", "resid_post.2"}
    for direction in import_gguf(older / "vectors.gguf"):
        assert torch.equal(direction.unit, vectors[str(direction.site)].unit)
    whole = load_directions(older / "run" / "directions.safetensors")
    assert any(d.method == "mean_diff" for d in whole)
    assert len(load_contrasts(older / "words.jsonl")) == 24


@pytest.mark.parametrize("folder", sorted(EVIDENCE.iterdir()), ids=lambda p: p.name)
def test_the_evidence_of_claims_opens_as_an_experiment_with_its_runs(folder):
    experiment = open_experiment(folder)
    runs = runs_of(experiment, folder)
    assert runs
    assert all(len(run.table()) for run in runs)
