"""Objectives and training: a planted rotation is found, a killed training ends the same."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from steerscope.engine.score import log_likelihoods, preferences
from steerscope.errors import (
    BadValueError,
    ContrastError,
    RunError,
    UnknownNameError,
    VectorFileError,
    VectorMismatchError,
)
from steerscope.steering.interventions import Cell
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from steerscope.weights.adapter import (
    Adapted,
    AdapterDesign,
    Factors,
    Objective,
    Ruler,
    SvdAdapter,
    TrainingPlan,
    crossed,
    find_objective,
    fresh_adapter,
    frozen_ruler,
    load_adapter,
    save_adapter,
    train_adapter,
)
from steerscope.weights.adapter.adapter import untrained
from steerscope.weights.adapter.cayley import largest_angle
from steerscope.weights.adapter.fitting import AdapterTrainee
from steerscope.weights.adapter.objectives import Response, shortfall
from steerscope.weights.adapter.passes import respond, texts_of
from steerscope.weights.adapter.records import TrainingRecord
from steerscope.weights.places import Place

WORDS = range(30, 42)
PAIRS = ContrastSet(
    "made up", tuple(ContrastPair(f"w{i} w10 w{i + 3} w5", f"w{i} w20 w4", "w") for i in WORDS)
)
SPLITS = (replace(PAIRS, pairs=PAIRS.pairs[:8]), replace(PAIRS, pairs=PAIRS.pairs[8:]))
DESIGN = AdapterDesign(matrices=(Place("down", 0), Place("o", 1)), rank=8)
PLAN = TrainingPlan(epochs=3, batch_pairs=3, accumulate=2, learning_rate=3e-2, patience=9)


def response(likelihood, projection, kl=0.0):
    likelihood = torch.tensor([likelihood])
    return Response(likelihood, likelihood / 4, torch.tensor([projection]), torch.full((1, 2), kl))


PLAIN = response([-8.0, -4.0], [1.0, 0.0])
NOW = response([-6.0, -10.0], [3.0, 1.0], kl=0.5)


@pytest.mark.parametrize(("aim", "p"), [("shift", 1.5), ("separation", 1.0), ("preference", 8.0)])
def test_each_aim_by_hand(aim, p):
    raw = Objective(aim=aim, link="raw", coherence=0.0)
    assert float(raw(NOW, PLAIN, 1)) == pytest.approx(-p)
    assert float(raw(NOW, PLAIN, -1)) == pytest.approx(p)
    linked = Objective(aim=aim, beta=0.5, gamma=2.0, coherence=0.0)
    expected = -F.logsigmoid(torch.tensor(0.5 * (p - 2.0)))
    assert float(linked(NOW, PLAIN, 1)) == pytest.approx(float(expected))


def test_the_coherence_of_the_favoured_text_is_free_within_its_margin():
    base = dict(aim="shift", link="raw", kl=0.0)
    free, held = (
        Objective(**base, coherence=0.0),
        Objective(**base, coherence=2.0, coherence_margin=0.5),
    )
    assert float(held(NOW, PLAIN, 1)) == float(free(NOW, PLAIN, 1))  # the positive gained
    # at c = -1 the negative text is favoured; it fell from -1 to -2.5 nats per token
    assert float(held(NOW, PLAIN, -1) - free(NOW, PLAIN, -1)) == pytest.approx(2.0 * 1.0**2)
    now = torch.tensor([-1.4], requires_grad=True)
    shortfall(now, torch.tensor([-1.0]), 0.5).sum().backward()
    assert float(now.grad) == 0.0


def test_monotonicity_and_kl_by_hand():
    base = dict(aim="shift", link="raw", coherence=0.0)
    plain = Objective(**base)
    rising = Objective(**base, monotonicity=3.0, monotonicity_margin=0.5)
    assert float(rising(NOW, PLAIN, 1)) == float(plain(NOW, PLAIN, 1))  # 1.5 is beyond 0.5
    assert float(rising(NOW, PLAIN, -1) - plain(NOW, PLAIN, -1)) == pytest.approx(3.0 * 2.0)
    near = Objective(**base, kl=4.0, kl_margin=0.3)
    assert float(near(NOW, PLAIN, 1) - plain(NOW, PLAIN, 1)) == pytest.approx(4.0 * 0.2)


def test_a_response_is_what_scoring_says_and_padding_changes_nothing(load):
    model = load()
    trainee = AdapterTrainee(model, fresh_adapter(model, DESIGN, PAIRS))
    ruler = frozen_ruler(model, PAIRS, [1])
    texts = texts_of(model, PAIRS.pairs)
    with torch.no_grad():
        found, _ = respond(trainee, texts, 0.0, ruler)
    written = [t for p in PAIRS.pairs for t in (p.positive, p.negative)]
    expected = torch.stack([s.sum() for s in log_likelihoods(model, written)]).reshape(-1, 2)
    torch.testing.assert_close(found.likelihood, expected, atol=1e-4, rtol=1e-4)
    # the classes lie one unit apart along the ruler
    gap = found.projection[:, 0] - found.projection[:, 1]
    assert float(gap.mean()) == pytest.approx(1.0, abs=1e-4)
    with torch.no_grad():
        alone, _ = respond(trainee, texts_of(model, PAIRS.pairs[:1]), 0.0, ruler)
    torch.testing.assert_close(alone.projection, found.projection[:1], atol=1e-5, rtol=1e-4)


def test_the_record_of_a_training_refuses_its_pairs_and_finds_them_again():
    def pairs(names):
        return tuple(ContrastPair(f"{n} yes", f"{n} no", "made up") for n in names)

    whole = ContrastSet("mine", pairs("abcdef"))
    fit, select, test = (ContrastSet(f"mine/{n}", pairs(p)) for n, p in
                         (("fit", "abc"), ("select", "d"), ("test", "ef")))  # fmt: skip
    record = TrainingRecord.of((fit, select), {"aim": "shift"}, {"seed": 3})
    assert (record.contrasts, record.plan["seed"], record.objective["aim"]) == ("mine", 3, "shift")
    record.check_unseen(test)
    for seen in (fit, select, replace(test, pairs=pairs("exd"))):
        with pytest.raises(ContrastError, match="used to train this adapter"):
            record.check_unseen(seen)
    found = record.splits_of(whole)
    assert [part.pairs for part in found] == [fit.pairs, select.pairs]
    with pytest.raises(ContrastError, match="--trained-on"):
        record.splits_of(test)


def test_the_ruler_in_s_space_is_the_mean_difference_of_s_space(load):
    from steerscope.extraction.activations import extract
    from steerscope.extraction.reading import ReadToken
    from steerscope.sites import Site
    from steerscope.weights.adapter.passes import weight_of

    model, site = load(), Site("resid_post", 1)
    vector = frozen_ruler(model, PAIRS, [1], space="singular", rank=6).vectors[1].double()
    mean = extract(model, PAIRS, [site], read=ReadToken.mean())[site].mean_difference.double()
    _, s, rows = torch.linalg.svd(weight_of(model, Place("down", 1)).double())
    basis, s = rows[:6].T, s[:6]
    direction = (basis.T @ mean) / s
    h = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = ((basis.T @ h) / s) @ direction / (direction @ direction)
    assert float(h @ vector) == pytest.approx(float(expected), rel=1e-4)


def test_training_recovers_a_planted_rotation():
    """In a linear model, so that the answer is known: x W(c) against a W whose inputs were turned."""
    generator = torch.Generator().manual_seed(0)
    inputs, outputs = (
        torch.linalg.qr(torch.randn(12, 12, generator=generator))[0][:, :4] for _ in "vu"
    )
    where = Place("down", 0)
    factors = Factors(inputs, torch.tensor([4.0, 3.0, 2.0, 1.0]), outputs)
    design = AdapterDesign(matrices=(where,), rank=4, scaling="exp", angle=1.0)
    blank = SvdAdapter(design, {where: factors}, untrained(design), "none", "toy")
    numbers = {
        "turn_inputs": torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0, -0.3]),
        "scale": torch.zeros(4),
    }
    truth = blank.with_parameters({where: numbers})
    fitted = {n: torch.zeros_like(t).requires_grad_() for n, t in numbers.items()}
    adapter = blank.with_parameters({where: fitted})
    optimiser = torch.optim.AdamW(list(fitted.values()), lr=4e-2, weight_decay=0.0)
    x = torch.randn(64, 12, generator=generator)
    for _ in range(150):
        optimiser.zero_grad()
        parts = [
            (adapter.deltas(c)[where].of(x) - truth.deltas(c)[where].of(x)) for c in (1.0, -1.0)
        ]
        loss = torch.stack([part.square().mean() for part in parts]).sum()
        loss.backward()
        optimiser.step()
    found, expected = (
        a.rotation(a.parameters[where]["turn_inputs"], 1.0) for a in (adapter, truth)
    )
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert largest_angle(expected) > 0.3  # something was there to be found
    assert float(fitted["scale"].detach().abs().max()) < 1e-3


@pytest.fixture(scope="module")
def ruler(load):
    return frozen_ruler(load(), SPLITS[0], [1])


def fit(model, ruler, plan=PLAN, **more):
    objective = Objective(aim="preference", coherence=0.0)
    return train_adapter(
        model, SPLITS, design=DESIGN, ruler=ruler, objective=objective, plan=plan, **more
    )


@pytest.fixture(scope="module")
def whole(load, ruler):
    return fit(load(), ruler)


def test_training_lowers_the_loss_and_the_model_stays_as_it_is(load, whole, ruler):
    model = load()
    adapter, trained = whole
    losses = [e.validation for e in trained.history]
    assert math.isnan(trained.history[0].training)
    assert trained.history[-1].training < trained.history[1].training
    assert min(losses) < losses[0]
    texts = [(p.positive, p.negative) for p in SPLITS[1].pairs]
    low, plain, high = preferences(
        model, texts, [Cell((Adapted(adapter, c),)) for c in (-1.0, 0.0, 1.0)]
    ).mean(dim=1)
    assert low < plain < high
    assert not any(p.requires_grad for p in model.transformer.parameters())


def test_a_killed_training_ends_with_the_same_numbers(load, whole, ruler, tmp_path):
    model, path = load(), tmp_path / "unfinished.safetensors"

    def killed(items, label):
        for done, item in enumerate(items):
            if done == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        fit(model, ruler, checkpoint=path, progress=killed)
    resumed, trained = fit(model, ruler, checkpoint=path)
    adapter, uninterrupted = whole
    assert repr(trained.history) == repr(uninterrupted.history)
    for matrix, part in adapter.parameters.items():
        for name, tensor in part.items():
            assert torch.equal(tensor, resumed.parameters[matrix][name])
    with pytest.raises(RunError, match="another training"):
        fit(model, ruler, replace(PLAN, seed=1), checkpoint=path)


def test_it_stops_early_and_keeps_the_best_epoch(load, ruler):
    wild = replace(PLAN, epochs=9, learning_rate=3.0, patience=1)
    _, trained = fit(load(), ruler, wild)
    losses = [e.validation for e in trained.history]
    assert len(losses) < 10
    assert losses[-1] >= min(losses[:-1])


def test_a_training_that_learns_nothing_says_that_it_keeps_the_plain_model(load, ruler, caplog):
    adapter, trained = fit(load(), ruler, replace(PLAN, epochs=1, learning_rate=30.0))
    losses = [e.validation for e in trained.history]
    assert trained.kept == losses.index(min(losses)) == 0
    assert not any(bool(delta.dense.any()) for delta in adapter.deltas(1.0).values())
    assert "the model is plain at every coefficient" in caplog.text
    caplog.clear()
    assert fit(load(), ruler)[1].kept > 0
    assert not caplog.text


def test_the_sign_of_c_follows_the_validation_pairs(load, ruler):
    """Validation pairs with their classes swapped turn the same training round."""
    model = load()
    swapped = replace(
        SPLITS[1],
        pairs=tuple(replace(p, positive=p.negative, negative=p.positive) for p in SPLITS[0].pairs),
    )
    plan = replace(PLAN, epochs=1, patience=1)
    objective = Objective(aim="preference", link="raw", coherence=0.0)
    adapter, trained = train_adapter(
        model,
        (SPLITS[0], swapped),
        design=DESIGN,
        ruler=ruler,
        objective=replace(objective, aim="shift"),
        plan=plan,
    )
    texts = [(p.positive, p.negative) for p in swapped.pairs]
    low, high = preferences(model, texts, [Cell((Adapted(adapter, c),)) for c in (-1.0, 1.0)]).mean(
        dim=1
    )
    assert trained.sign in (-1, 1)
    assert high >= low


def test_a_saved_adapter_comes_back_and_knows_its_model(load, whole, tmp_path):
    adapter, _ = whole
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, adapter)
    back = load_adapter(path, load())
    assert back.design == adapter.design
    for matrix in adapter.matrices:
        assert torch.equal(back.deltas(0.6)[matrix].dense, adapter.deltas(0.6)[matrix].dense)
    with pytest.raises(VectorMismatchError, match="belongs to a model"):
        load_adapter(path, load("gpt2"))
    with pytest.raises(VectorFileError, match="no file"):
        load_adapter(tmp_path / "nothing", load())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(VectorFileError, match="damaged"):
        load_adapter(path, load())


def test_crossed_pairs_share_a_beginning_of_either_class():
    pairs = (
        ContrastPair("so Ann sang and Bob sang loud", "so Ann wept and Bob wept low", "m"),
        ContrastPair("she sang", "he wept and went", "m"),
    )
    found = crossed(ContrastSet("m", pairs)).pairs
    assert [(p.positive, p.negative) for p in found] == [
        ("so Ann wept and Bob sang loud", "so Ann wept and Bob wept low"),
        ("so Ann sang and Bob sang loud", "so Ann sang and Bob wept low"),
    ]
    with pytest.raises(ContrastError, match="no pair of 'm' can be crossed"):
        crossed(ContrastSet("m", pairs[1:]))


def test_unknown_names_and_numbers_are_refused(load):
    with pytest.raises(UnknownNameError, match=r"aim 'love'.*preference, separation, shift"):
        Objective(aim="love")
    with pytest.raises(UnknownNameError, match="link 'cubic'"):
        find_objective("shift", "cubic")
    with pytest.raises(UnknownNameError, match="space 'outer'"):
        frozen_ruler(load(), PAIRS, [1], space="outer")
    with pytest.raises(BadValueError, match="beta is -1"):
        Objective(beta=-1.0)
    with pytest.raises(BadValueError, match="learning_rate is 0"):
        TrainingPlan(learning_rate=0.0)
    with pytest.raises(BadValueError, match="epochs is 0"):
        TrainingPlan(epochs=0)
    with pytest.raises(BadValueError, match="one layer at least"):
        Ruler({})
