"""Training finds what was planted, continues where it was stopped, and refuses bad plans by name."""

from __future__ import annotations

import json

import pytest
import torch

import steerscope.runs.whole_files
from steerscope.errors import BadValueError, RunError, UnknownNameError, UnsupportedSiteError
from steerscope.sae import SaePlan, load_sae, token_rows, train_on_activations, train_sae
from steerscope.sae.stream import ActivationStream, counted
from steerscope.sae.training import CHECKPOINT, RECORD
from steerscope.sites import Site
from tests.helpers import assert_rounded
from tests.sae.builders import SITE, planted

TEXTS = [" ".join(f"w{3 + (i * j) % 90}" for j in range(6 + i % 3)) for i in range(60)]
PLANS = {
    "standard": SaePlan("standard", 16, n_activations=640, batch_size=32, buffer=128),
    "topk": SaePlan("topk", 16, 3, n_activations=640, batch_size=32, buffer=128, dead_after=2),
    "batchtopk": SaePlan("batchtopk", 16, 2.5, n_activations=640, batch_size=32, buffer=128),
    "jumprelu": SaePlan("jumprelu", 16, 3, n_activations=640, batch_size=32, buffer=128),
}
RECOVERED = {"standard": 0.93, "topk": 0.9, "batchtopk": 0.9, "jumprelu": 0.9}


@pytest.mark.parametrize("architecture", RECOVERED)
def test_a_planted_dictionary_is_recovered(architecture):
    features, activations = planted()
    k = {"standard": None, "topk": 3, "batchtopk": 2.5, "jumprelu": 2.5}[architecture]
    plan = SaePlan(
        architecture=architecture,
        n_features=48,
        k=k,
        n_activations=150_000,
        batch_size=500,
        buffer=1000,
        learning_rate=1e-2,
        dead_after=50,
    )
    sae = train_on_activations(activations, SITE, plan, name="planted")
    best = (features @ sae.decoder.T).max(dim=1).values
    codes = sae.encode(activations)
    l0 = float((codes > 0).sum(dim=-1).float().mean())
    shuffled = features[:, torch.randperm(32, generator=torch.Generator().manual_seed(1))]
    assert float(best.mean()) > RECOVERED[architecture]
    assert float((shuffled @ sae.decoder.T).max(dim=1).values.mean()) < 0.65  # chance level
    assert 0.8 < l0 < 4.5
    missed = (activations - sae.reconstruct(activations)).square().sum()
    assert missed / (activations - activations.mean(dim=0)).square().sum() < 0.2


class Stopped(Exception):
    pass


def stop_after(n):
    def track(items, label):
        for number, item in enumerate(items):
            if number == n:
                raise Stopped
            yield item

    return track


def weights(sae):
    return {name: value for name, value in vars(sae).items() if torch.is_tensor(value)}


def same(a, b):
    return all(torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


@pytest.mark.parametrize("architecture", PLANS)
def test_a_training_that_was_stopped_continues_to_the_same_bits(architecture, load, tmp_path):
    model, plan = load(), PLANS[architecture]
    whole = train_sae(model, SITE, TEXTS, plan)
    random = torch.Generator().manual_seed(len(architecture))
    folder = tmp_path / "sae"
    for _ in range(3):
        n = int(torch.randint(1, 8, (1,), generator=random))
        with pytest.raises(Stopped):
            train_sae(model, SITE, TEXTS, plan, folder=folder, save_every=2, track=stop_after(n))
    resumed = train_sae(model, SITE, TEXTS, plan, folder=folder, save_every=2)
    straight = train_sae(model, SITE, TEXTS, plan, folder=tmp_path / "straight")
    assert same(resumed, straight)
    assert_rounded(whole.decoder, resumed.decoder, terms=32)
    assert not (folder / CHECKPOINT).exists()
    again = train_sae(model, SITE, TEXTS, plan, folder=folder, track=stop_after(0))
    assert same(again, resumed)


def test_a_stop_while_a_checkpoint_is_written_leaves_the_one_before(load, tmp_path, monkeypatch):
    model, plan, folder = load(), PLANS["topk"], tmp_path / "sae"
    replace, left = steerscope.runs.whole_files.os.replace, 3

    def failing(source, target):
        nonlocal left
        left -= 1
        if not left:
            raise Stopped
        replace(source, target)

    monkeypatch.setattr(steerscope.runs.whole_files.os, "replace", failing)
    with pytest.raises(Stopped):
        train_sae(model, SITE, TEXTS, plan, folder=folder, save_every=3)
    monkeypatch.undo()
    assert sorted(p.name for p in folder.iterdir()) == [".lock", CHECKPOINT]
    resumed = train_sae(model, SITE, TEXTS, plan, folder=folder)
    assert same(resumed, train_sae(model, SITE, TEXTS, plan, folder=tmp_path / "straight"))


def test_a_folder_of_another_training_is_refused(load, tmp_path):
    model, plan, folder = load(), PLANS["topk"], tmp_path / "sae"
    other = SaePlan("topk", 16, 3, n_activations=640, batch_size=32, buffer=128, seed=1)
    with pytest.raises(Stopped):
        train_sae(model, SITE, TEXTS, plan, folder=folder, save_every=2, track=stop_after(5))
    with pytest.raises(RunError, match="another plan"):
        train_sae(model, SITE, TEXTS, other, folder=folder)
    (folder / CHECKPOINT).write_bytes(b"nonsense")
    with pytest.raises(RunError, match="delete it to start anew"):
        train_sae(model, SITE, TEXTS, plan, folder=folder)
    (folder / CHECKPOINT).unlink()
    trained = train_sae(model, SITE, TEXTS, plan, folder=folder)
    with pytest.raises(RunError, match="another plan"):
        train_sae(model, SITE, TEXTS, other, folder=folder)
    assert json.loads((folder / RECORD).read_text())["site"] == str(SITE)
    assert load_sae(folder, model=model).model_fingerprint == trained.model_fingerprint
    assert not same(trained, train_sae(model, SITE, TEXTS, other))


def test_a_training_does_not_touch_the_random_numbers_of_others(load):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train_sae(load(), SITE, TEXTS, PLANS["standard"])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("site", [SITE, Site("z", 1), Site("z", 1, 2), Site("mlp_post", 0)])
def test_any_site_with_a_width_can_be_trained_on(site, tiny):
    plan = SaePlan("topk", 16, 3, n_activations=64, batch_size=32, buffer=64)
    sae = train_sae(tiny, site, TEXTS, plan)
    assert (sae.site, sae.d) == (site, tiny.width(site))


def test_layer_norm_is_undone_after_training(load):
    plan = SaePlan(
        "standard", 64, penalty=0.01, n_activations=12_800, batch_size=64, buffer=4096,
        normalisation="layer_norm", learning_rate=3e-3,
    )  # fmt: skip
    model = load()
    sae = train_sae(model, SITE, TEXTS, plan)
    stream = ActivationStream(
        model, SITE, token_rows(model, TEXTS), batch_size=200, buffer=400, seed=3
    )
    x = next(stream)
    assert sae.normalisation == "layer_norm"
    assert (x - sae.reconstruct(x)).square().sum() < 0.3 * (x - x.mean(dim=0)).square().sum()


def test_the_stream_leaves_out_first_positions_and_gives_each_other_once(load):
    model = load()
    rows = token_rows(model, TEXTS)
    expected = torch.cat([model.read(torch.tensor([row]), [SITE])[SITE][0, 1:] for row in rows])
    total = len(expected)
    stream = ActivationStream(model, SITE, rows, batch_size=total, buffer=total, seed=0)
    given = next(stream)
    order = [int((given - x).abs().sum(dim=-1).argmin()) for x in expected]
    assert given.shape == expected.shape
    torch.testing.assert_close(given[order], expected, rtol=1e-4, atol=1e-5)
    assert order != sorted(order)


def test_neither_the_first_position_nor_a_beginning_of_text_counts(load):
    found = counted(load(), torch.tensor([[5, 1, 7], [1, 8, 9]]))
    assert found.tolist() == [[False, False, True], [False, True, True]]


def test_the_stream_can_be_entered_at_any_batch(load):
    model = load()
    rows = token_rows(model, TEXTS)

    def new():
        return ActivationStream(model, SITE, rows, batch_size=20, buffer=90, seed=2)

    stream = new()
    given = [next(stream) for _ in range(60)]  # more than one round through the text
    assert 2 * sum(len(row) - 1 for row in rows) < 60 * 20
    for n in (0, 3, 17, 41, 59):
        entered = new()
        entered.seek(n)
        assert torch.equal(next(entered), given[n])
    assert not torch.equal(given[0], given[30])


def test_long_documents_become_rows_that_each_begin_alike(load):
    rows = token_rows(load(), [" ".join(["w5"] * 20), ""], longest=9)
    assert [len(row) for row in rows] == [9, 9, 5]
    assert {row[0] for row in rows} == {1}
    with pytest.raises(BadValueError, match="no row of two tokens"):
        token_rows(load(), [""])
    with pytest.raises(BadValueError, match="rows of 1 token"):
        token_rows(load(), ["w5"], longest=1)


def test_bad_plans_are_refused_by_name(load):
    with pytest.raises(UnknownNameError, match="architecture"):
        SaePlan(architecture="dense")
    with pytest.raises(UnknownNameError, match="normalisation"):
        SaePlan(normalisation="batch_norm")
    for changes, match in (
        ({"k": 2000}, "choose 1 to 1024"),
        ({"k": 2.5}, "no whole number"),
        ({"k": 0}, "choose 1 to 1024"),
        ({"architecture": "standard", "k": 3}, "has no k"),
        ({"architecture": "standard", "penalty": -1.0}, "penalty"),
        ({"penalty": 1.0}, "has no penalty"),
        ({"normalisation": "layer_norm"}, "mean_norm"),
        ({"n_activations": 0}, "above 0"),
        ({"learning_rate": float("nan")}, "above 0"),
        ({"buffer": 1500}, "at least 2048"),
    ):
        with pytest.raises(BadValueError, match=match):
            SaePlan(**changes)
    with pytest.raises(BadValueError, match="fewer than a batch"):
        train_sae(load(), SITE, ["w3 w4"], PLANS["topk"])
    with pytest.raises(UnsupportedSiteError):
        train_sae(load(), Site("resid_post", 9), TEXTS, PLANS["topk"])
