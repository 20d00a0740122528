from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy, Sample
from steerscope.engine.score import kl_from_plain, log_likelihoods, preference
from steerscope.errors import NotFiniteError
from steerscope.extraction.activations import extract
from steerscope.judges import TextJudge
from steerscope.judges.scoring import ScoreJudge
from steerscope.judges.second_model import SecondModel
from steerscope.models.chat_templates import ChatText
from steerscope.runs.results import Run
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.prompting import Prompting, seen_under
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import Bench, Decoding, Material, dose_cells
from steerscope.studies.steering.choice import sweet_spot
from steerscope.texts.chats import Message
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt, PromptSet

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


def test_a_second_model_that_is_the_first_finds_a_text_as_likely_as_the_first_does(
    tiny, cells, tmp_path
):
    run = Run.start(tmp_path / "r", {}, provenance={})
    material = Material("select", PROMPTS, PAIRS)
    second = SecondModel(tiny)
    bench = Bench(tiny, TextJudge(), material, run, Decoding(6, Greedy()), second=second)
    bench.measure(cells)
    table = run.table()
    nats = table.pivot_table(index=["cell", "prompt"], columns="metric", values="value")
    texts = run.texts().set_index(["cell", "prompt"])
    same = [
        at
        for at, given, written in zip(texts.index, texts.given, texts.written, strict=True)
        if tiny.tokens(given + written) == [*tiny.tokens(given), *tiny.tokens(written, bos=False)]
    ]
    assert len(same) >= 5
    first, other = (nats.loc[same, name] for name in ("nll_plain", "nll_second"))
    assert other.to_numpy() == pytest.approx(first.to_numpy(), abs=1e-4)
    assert set(table[table.metric == "nll_second"].unit) == {"nats"}


def test_a_second_model_sees_what_was_said_and_not_the_template_of_the_first(tiny):
    class Template:
        def __call__(self, text):
            return ChatText(f"<user>{text}</user>", (Message("user", text),), self)

    second = SecondModel(tiny)
    chat, plain = Template()("w1 w2"), "w1 w2\n"
    assert second.nats([chat], ["w3 w4"]) == second.nats([plain], ["w3 w4"])
    assert all(math.isnan(n) for n in second.nats([plain, plain], ["", "w3 " * 5000]))


def test_zero_doses_are_the_plain_model_and_make_no_cell(cells):
    assert [c.interventions[0].dose.value for c in cells] == [-1.0, 1.0]


def test_the_first_prompts_come_with_all_their_samples_and_what_is_there_is_not_written_again(
    tiny, cells, tmp_path
):
    run = Run.start(tmp_path / "r", {}, provenance={})
    thrice = PromptSet("p", tuple(p for p in PROMPTS.prompts for _ in range(3)))
    decoding = Decoding(4, Sample(1.0, 0), samples=3)
    for first in (2, 4):
        material = Material("select", thrice, PAIRS, first)
        Bench(tiny, TextJudge(), material, run, decoding).measure(cells[:1])
        table = run.table()
        rows = table[(table.cell == cells[0].key) & (table.metric == "changed")]
        assert list(rows.prompt) == list(range(3 * first))
    assert not run.texts().duplicated(["cell", "prompt", "split"]).any()


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


def test_texts_are_scored_after_the_words_that_ask_for_the_concept(tiny, cells, tmp_path):
    asked, other = (Cell((Prompting(w),)) for w in ("w40 w41", "w42"))
    run = Run.start(tmp_path / "r", {}, provenance={})
    bench(tiny, run).measure([asked, other])  # as long as nobody knows after which words
    material = Material("select", PROMPTS, PAIRS, asked=asked)
    again = Bench(tiny, TextJudge(), material, run, Decoding(6, Greedy()))
    again.measure(cells)
    table = run.table()
    nats = table[table.metric == "nll_asked"].set_index(["cell", "prompt"])
    assert set(nats.unit) == {"nats"}
    assert len(nats) == 4 * len(PROMPTS.prompts)  # two that ask, two that steer
    before, texts = len(table), [p.text for p in PROMPTS.prompts]
    written = generate(tiny, texts, [asked, other, *cells], n_new=6)
    for c, cell in enumerate([asked, other, *cells]):
        words = other if cell == other else asked
        for p, text in enumerate(texts):
            ids = tiny.tokens(seen_under(words, text))
            scores = log_likelihoods(tiny, [[*ids, *written[c][p].tokens]], after=[len(ids)])
            assert nats.loc[(cell.key, p), "value"] == pytest.approx(
                -float(scores[0].mean()), abs=1e-4
            )
    again.measure(cells)
    assert len(run.table()) == before


class ReadsWhatIsLong:
    def scores(self, prompts, texts):
        return [float(len(text)) if len(text) > 2 else math.nan for text in texts]


def test_a_blank_text_is_empty_and_not_one_that_the_judge_could_not_read(
    tiny, cells, tmp_path, monkeypatch
):
    texts = [" \n", "w5", "w5 w6", "", "w7 w8"]  # blank, without a score, read, empty, read

    def written(_self, prompts, cells, _states=None):
        found = [Continuation((5, 6) if texts[p] else (), texts[p], ended=False) for p in prompts]
        return [found for _ in cells]

    monkeypatch.setattr(Bench, "_continue", written)
    run = Run.start(tmp_path / "r", {}, provenance={})
    judge = ScoreJudge("long", ReadsWhatIsLong(), 3.0, 1, "long")
    bench(tiny, run, judge).measure(cells[:1])
    table = run.table()
    by = table[table.cell == cells[0].key].pivot(index="prompt", columns="metric", values="value")
    assert by["empty"].tolist()[:5] == [1, 0, 0, 1, 0]
    assert by["unread"].tolist()[:5] == [0, 1, 0, 0, 0]
    statuses = table[table.metric == "unread"].set_index(["cell", "prompt"]).status
    assert [statuses[cells[0].key, p] for p in range(5)] == ["empty", "unread", "ok", "empty", "ok"]


def test_what_is_measured_is_not_measured_again(tiny, cells, tmp_path, monkeypatch):
    run = Run.start(tmp_path / "r", {}, provenance={})
    bench(tiny, run).measure(cells[:1])
    first = run.table()
    import steerscope.studies.bench as sweeps

    seen = []
    whole = sweeps.attempt
    monkeypatch.setattr(
        sweeps, "attempt", lambda m, p, c, **k: (seen.extend(c), whole(m, p, c, **k))[1]
    )
    again = Run.open(tmp_path / "r")
    bench(tiny, again).measure(cells)
    assert [c.key for c in seen if c.interventions] == [cells[1].key]
    merged = again.table()
    kept = merged[merged.cell.isin(first.cell.unique())].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first)


def test_projecting_out_has_no_dose_and_is_tried_on_every_prompt(tiny, cells, tmp_path):
    direction = cells[0].interventions[0].direction
    run = Run.start(tmp_path / "r", {}, provenance={})
    cell = Cell((Steering(direction, operator="project_out"),))
    bench(tiny, run).measure([cell])
    rows = run.table().query("cell == @cell.key")
    assert rows.dose_natural.isna().all()
    assert set(rows.operator) == {"project_out"}


def test_a_condition_without_numbers_is_named_in_its_rows_and_the_others_go_on(
    tiny, cells, tmp_path, monkeypatch
):
    contrast = extract(tiny, PAIRS, [Site("resid_post", 1)])[Site("resid_post", 1)]
    direction = find_direction("mean_diff", contrast)
    lost = Cell((Steering(direction, Dose(1e39, "absolute")),))  # an infinity in float32
    run = Run.start(tmp_path / "r", {}, provenance={})
    bench(tiny, run).measure([*cells, lost])
    table = run.table()
    mine = table[table.cell == lost.key]
    assert set(mine.status) == {"not_finite"}
    assert mine.value.isna().all()
    assert {"preference", "degenerate", "changed"} <= set(mine.metric)
    alone = Run.start(tmp_path / "alone", {}, provenance={})
    bench(tiny, alone).measure(cells)
    columns = ["cell", "prompt", "metric", "value", "status"]
    kept = table[table.cell != lost.key][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept, alone.table()[columns], check_exact=False, rtol=1e-4, atol=1e-5
    )
    monkeypatch.setattr("steerscope.studies.bench.attempt", None)  # any measurement would fail
    bench(tiny, run).measure([*cells, lost])
    with pytest.raises(
        NotFiniteError, match="under the condition method=mean_diff.*lower the dose"
    ):
        generate(tiny, ["w20 w21 w5"], [lost], n_new=4)
    best = sweet_spot(table, TextJudge().effect, "mean_diff")
    assert best.dose_natural == pytest.approx(1.0)


@pytest.mark.hooked
def test_a_model_without_numbers_is_refused_as_such(load, tmp_path, monkeypatch):
    model = load()
    weight = model.transformer.blocks[1].mlp.W_out
    broken = weight.detach().clone()
    broken[0, 0] = torch.nan
    monkeypatch.setattr(weight, "data", broken)
    run = Run.start(tmp_path / "r", {}, provenance={})
    with pytest.raises(NotFiniteError, match="without any steering; check its weights"):
        bench(model, run).measure([])
