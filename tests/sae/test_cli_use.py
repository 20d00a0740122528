"""The commands that use an autoencoder: what they print, and one line for what the user can mend."""

from __future__ import annotations

import json

import pytest

from steerscope.cli import main
from steerscope.sae import save_sae
from steerscope.sites import Site
from tests.sae.dictionaries import small_sae


@pytest.fixture(scope="module")
def folder(tmp_path_factory, microworld):
    path = tmp_path_factory.mktemp("sae") / "small"
    sae = small_sae(d=128, n_features=48, site=Site("resid_post", 3), model=microworld)
    save_sae(sae, path)
    return str(path)


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        main(list(arguments))
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_overlap_compares_routes_of_one_concept_and_concepts_by_one_route(folder, capsys):
    options = ("--k", "6", "--pairs", "4", "--n-texts", "4", "--json")
    code, out, err = run(capsys, "sae", "overlap", folder, *options)
    assert (code, err) == (0, "")
    found = json.loads(out)["overlaps"]
    assert len(found) == 10
    assert {"shared", "chance_low", "p_hypergeometric", "p_permutation"} <= set(found[0])
    two = ("--contrasts", "mood", "--contrasts", "register")
    code, out, _ = run(capsys, "sae", "overlap", folder, *two, *options)
    assert [row["pair"] for row in json.loads(out)["overlaps"]] == ["mood | register"]


def test_features_are_read_and_their_examples_written(folder, capsys, tmp_path):
    page = tmp_path / "examples.html"
    options = ("--top", "3", "--n-null", "5", "--n-texts", "12", "--pairs", "6", "--out", str(page))
    code, out, err = run(capsys, "sae", "features", folder, *options, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert len(found["features"]) == 3
    assert {"way", "low", "high", "p"} <= set(found["reading"][0])
    assert "<mark" in page.read_text()
    code, out, _ = run(capsys, "sae", "features", folder, "--features", "1,2", *options)
    assert code == 0
    assert "95 % of the null" in out


def test_features_are_steered(folder, capsys):
    options = ("--prompt", "The", "--n-new", "4", "--temperature", "0")
    code, out, _ = run(capsys, "sae", "steer", folder, *options, "--clamp", "3=40", "--json")
    assert code == 0
    (found,) = json.loads(out)["continuations"]
    assert found["kl_nats"] > 0
    assert found["plain"] != found["steered"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("overlap", "{}", "--k", "49"), "49 features of a dictionary of 48"),
        (("overlap", "{}", "--contrasts", "mood", "--contrasts", "register",
          "--source", "labels", "--pairs", "4"), "unknown source"),  # fmt: skip
        (("overlap", "{}", "--contrasts", "mood", "--contrasts", "mood"), "names a set twice"),
        (("features", "{}", "--features", "48"), "features 0 to 47"),
        (("features", "{}", "--neuronpedia", "nowhere.json"), "cannot read nowhere.json"),
        (("steer", "{}", "--prompt", "The"), "at least one edit"),
        (("steer", "{}", "--prompt", "The", "--clamp", "x"), "write FEATURE=NUMBER"),
        (("steer", "{}", "--prompt", "The", "--clamp", "٣=1"), "write FEATURE=NUMBER"),
        (("steer", "{}", "--prompt", "The", "--clamp", "48=1"), "features 0 to 47"),
    ],
)  # fmt: skip
def test_what_the_user_can_mend_is_one_line(folder, capsys, arguments, message):
    code, out, err = run(capsys, "sae", *(a.format(folder) for a in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
