from __future__ import annotations

import math

import pandas as pd
import pytest

from steerscope.activations import extract
from steerscope.contrasts import ContrastPair, ContrastSet, Prompt, PromptSet
from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.evals import MicroworldJudge, TextJudge, choose_judge
from steerscope.generation import Continuation, Greedy, generate
from steerscope.interventions import Cell, Steering
from steerscope.results import Run
from steerscope.scopes import Scope
from steerscope.score import kl_from_plain, log_likelihoods, preference
from steerscope.sites import Site
from steerscope.sweeps import Bench, Decoding, Material, dose_cells

PAIRS = ContrastSet(
    "words",
    tuple(ContrastPair(f"w{i} w6 w7", f"w{i} w8 w9", "c") for i in range(10, 18)),
)
PROMPTS = PromptSet("p", tuple(Prompt(f"w{i} w{i + 1} w5") for i in range(20, 25)))


@pytest.fixture
def cells(tiny):
    contrast = extract(tiny, PAIRS, [Site("resid_post", 1)])[Site("resid_post", 1)]
    doses = [Dose(-1.0), Dose(0.0), Dose(1.0)]
    return dose_cells([find_direction("mean_diff", contrast)], doses, Scope.all())


def bench(model, run, judge=None):
    material = Material("select", PROMPTS, PAIRS)
    return Bench(model, judge or TextJudge(), material, run, Decoding(6, Greedy()))


def test_zero_doses_are_the_plain_model_and_make_no_cell(cells):
    assert [c.interventions[0].dose.value for c in cells] == [-1.0, 1.0]


def test_every_number_is_what_its_own_function_gives(tiny, cells, tmp_path):
    run = Run.start(tmp_path / "r", {}, provenance={})
    bench(tiny, run).measure(cells)
    table = run.table().set_index(["cell", "metric", "prompt"])
    texts = [p.text for p in PROMPTS.prompts]
    written = generate(tiny, texts, [Cell(), *cells], n_new=6)
    kl = kl_from_plain(tiny, texts, [Cell(), *cells])
    for c, cell in enumerate([Cell(), *cells]):
        margins = preference(tiny, [(p.positive, p.negative) for p in PAIRS.pairs], cell)
        for i, margin in enumerate(margins):
            assert table.loc[(cell.key, "preference", i), "value"] == pytest.approx(
                float(margin), abs=1e-4
            )
        for p, text in enumerate(texts):
            ids = tiny.tokens(text)
            nll = -float(
                log_likelihoods(tiny, [[*ids, *written[c][p].tokens]], after=[len(ids)])[0].mean()
            )
            assert table.loc[(cell.key, "nll_plain", p), "value"] == pytest.approx(nll, abs=1e-4)
            changed = written[c][p].tokens != written[0][p].tokens
            assert table.loc[(cell.key, "changed", p), "value"] == changed
            row = table.loc[(cell.key, "nll_plain", p)]
            assert row.kl_nats == pytest.approx(float(kl[c, p]), abs=1e-5)
    steering = cells[1].interventions[0]
    row = table.loc[cells[1].key].iloc[0]
    assert row.dose_natural == pytest.approx(1.0)
    assert row.dose_absolute == pytest.approx(steering.direction.scale.natural)
    assert row.dose_relative == pytest.approx(
        steering.direction.scale.natural / steering.direction.scale.relative
    )
    assert (row.stream, row.layer, row.method, row.concept) == ("resid_post", 1, "mean_diff", "c")


def test_what_is_measured_is_not_measured_again(tiny, cells, tmp_path, monkeypatch):
    run = Run.start(tmp_path / "r", {}, provenance={})
    bench(tiny, run).measure(cells[:1])
    first = run.table()
    import steerscope.sweeps as sweeps

    seen = []
    whole = sweeps.generate
    monkeypatch.setattr(
        sweeps, "generate", lambda m, p, c, **k: (seen.extend(c), whole(m, p, c, **k))[1]
    )
    again = Run.open(tmp_path / "r")
    bench(tiny, again).measure(cells)
    assert [c.key for c in seen if c.interventions] == [cells[1].key]
    merged = again.table()
    kept = merged[merged.cell.isin(first.cell.unique())].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first)


def story(mood, text):
    return Prompt(text, {"mood": mood, "topic": "sea", "register": "terse", "protagonist": "Mia"})


JUDGE = MicroworldJudge("mood", "joyful", "gloomy")
GLOOMY = story("gloomy", "Mia was at the pier late. She wept.")


def said(text):
    return Continuation(tuple(range(len(text.split()))), text, True)


@pytest.mark.parametrize(
    ("text", "flipped", "topic", "grammatical"),
    [
        ("She laughed. The boat was bright.", 1.0, 1.0, 1.0),
        ("She sighed. The boat was grey.", 0.0, 1.0, 1.0),
        ("She laughed. The rose was bright.", 1.0, 0.0, 1.0),
        ("She laughed laughed. The boat was bright.", 1.0, 1.0, 0.5),
        ("So the day ended.", 0.0, 0.0, 1.0),
    ],
)
def test_the_oracle_judges_what_flipped_and_what_broke(text, flipped, topic, grammatical):
    found = JUDGE.read(GLOOMY, said(text))
    assert (found["flipped"], found["kept_topic"]) == (flipped, topic)
    assert found["grammatical"] == grammatical


def test_an_empty_continuation_tells_nothing():
    assert all(math.isnan(v) for v in JUDGE.read(GLOOMY, said("")).values())


def test_a_dose_is_tried_on_prompts_that_have_room_for_it():
    joyful = story("joyful", "Mia was at the pier late. She laughed.")
    assert [JUDGE.applies(GLOOMY, s) for s in (1, -1, 0)] == [True, False, True]
    assert [JUDGE.applies(joyful, s) for s in (1, -1, 0)] == [False, True, True]


def test_the_judge_is_chosen_by_what_the_oracle_can_read():
    moody = ContrastSet("m", (ContrastPair("She laughed.", "She wept.", "mood"),))
    assert choose_judge(moody, [GLOOMY]) == JUDGE
    assert choose_judge(moody, [Prompt("Once upon a time")]) == TextJudge()
    assert choose_judge(PAIRS, list(PROMPTS.prompts)) == TextJudge()


def test_projecting_out_has_no_dose_and_is_tried_on_every_prompt(tiny, cells, tmp_path):
    direction = cells[0].interventions[0].direction
    run = Run.start(tmp_path / "r", {}, provenance={})
    cell = Cell((Steering(direction, operator="project_out"),))
    bench(tiny, run).measure([cell])
    rows = run.table().query("cell == @cell.key")
    assert rows.dose_natural.isna().all()
    assert set(rows.operator) == {"project_out"}
