"""What a person sees who types a name and presses return: short, and in words."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest

import steerscope as ss
from steerscope.audits import sentence
from steerscope.errors import RunError, UnknownNameError
from steerscope.progress import silent
from steerscope.studies.steering.findings import find
from steerscope.texts.contrasts import load_prompts

PAIRS = [("w3 w4 w5", "w3 w4 w6"), ("w7 w8 w5", "w7 w8 w6"), ("w9 <b>", "w9 w6")]


@pytest.fixture(scope="module")
def model(load):
    return load("gpt2")


@pytest.fixture(scope="module")
def older_run():
    return ss.Run.open(Path(__file__).parent / "older" / "run")


@pytest.fixture(scope="module")
def found(model):
    return ss.extract(model, PAIRS, "resid_post.1")


@pytest.fixture(scope="module")
def direction(found):
    return ss.find_direction("mean_diff", found)


def test_what_a_name_prints_is_a_line_in_words(model, found, direction):
    for thing, says in [
        (model, ["3 layers", f"{model.backbone} backbone", "float32 on cpu"]),
        (ss.load_contrasts("mood"), ["'mood'", "480 pairs of mood", "|"]),
        (load_prompts("mood"), ["'mood'", "prompts"]),
        (found, ["resid_post.1", "3 pairs"]),
        (found["resid_post.1"], ["Contrast(resid_post.1", "3 pairs"]),
        (direction, ["mean_diff@resid_post.1", "3 pairs", "natural unit"]),
        (ss.extract_moments(model, PAIRS, 1)[1], ["Moments(resid_post.1"]),
    ]:
        line = repr(thing)
        assert "\n" not in line
        assert len(line) < 350
        assert all(word in line for word in says), line


def test_the_texts_of_a_set_are_shown_from_where_they_part():
    long = "the same words again and again " * 9
    pairs = ss.load_contrasts([(f"{long}joy at last", f"{long}woe at last")])
    assert "joy at last | " in repr(pairs)
    assert "woe at last" in repr(pairs)


def test_texts_are_shown_side_by_side_with_what_differs_marked(model, direction):
    cells = [ss.Cell(), ss.Steering(direction, 40.0)]
    found = ss.generate(model, ["w3 w4", "w5 <b>"], cells, n_new=4)
    plain, steered = found
    assert plain[0].text != steered[0].text
    page = found._repr_html_()
    assert page.count("<tr>") == 3  # a head and two prompts
    assert "<mark>" in page
    assert "w5 &lt;b&gt;" in page
    assert "<b>" not in page.replace("<b>2 prompts under 2 conditions</b>", "")
    for text in (plain[0].text, steered[0].text, "w3 w4", "+40 natural"):
        assert text in repr(found)
    assert str(plain[0]) == plain[0].text
    table = found.table()
    assert list(table.text) == [c.text for row in found for c in row]
    assert list(table.condition.unique()) == [
        "plain", "mean_diff at resid_post.1, +40 natural",
    ]  # fmt: skip


def test_a_direction_and_pairs_show_themselves_in_a_notebook(direction):
    assert "natural unit" in direction._repr_html_()
    page = ss.load_contrasts(PAIRS)._repr_html_()
    assert "w9 &lt;b&gt;" in page
    assert "<mark>" in page


def test_a_run_shows_what_it_is_and_what_it_found(older_run):
    line = repr(older_run)
    assert len(line) < 200
    assert line.endswith(", finished)") or line.endswith(", not finished)")
    page = older_run._repr_html_()
    assert sentence(older_run) in unescape(page)
    assert "run.plot()" in page


def test_a_summary_is_a_row_a_condition_with_the_means_of_its_rows(older_run):
    table, found = older_run.table(), older_run.summary()
    assert len(found) == table[["split", "cell"]].drop_duplicates().shape[0]
    metric = table.metric.iloc[0]
    row = found[found[metric].notna()].iloc[-1]
    of_row = table[(table.cell == row.cell) & (table.split == row.split)]
    assert row[metric] == pytest.approx(of_row[of_row.metric == metric].value.mean())
    assert row.n == of_row.prompt.nunique()
    assert row.kl_nats == pytest.approx(of_row.kl_nats.mean(), nan_ok=True)
    known = find(older_run).summary
    shown = found[(found.split == "select") & found.effect.notna()]
    assert sorted(shown.effect) == pytest.approx(sorted(known.effect.dropna()))


def test_what_was_given_stands_beside_what_the_model_read(older_run):
    texts = older_run.texts()
    assert list(texts.columns) == ["split", "cell", "prompt", "given", "seen", "written"]
    assert (texts.seen == texts.given).all()


def test_every_figure_of_a_run_is_drawn_by_its_name(older_run):
    names = ss.plot.names(older_run)
    assert {"sweet_spot_map", "layer_sweep"} <= set(names)
    assert older_run.plot(names[-1]).data
    assert ss.plot.caption(older_run, names[-1])
    main = older_run.plot(look=ss.plot.Look("dark", title=False))
    assert main.layout.title.text is None
    assert ss.plot.sweet_spot_map(older_run).layout.title.text
    with pytest.raises(UnknownNameError, match="sweet_spot_map"):
        older_run.plot("radar")


def test_a_quick_start_of_pairs_at_hand_is_a_run_with_its_page(tiny_folder, tmp_path):
    pairs = [(f"w{i} w6 w7", f"w{i} w8 w9") for i in range(10, 34)]
    options = {"out": tmp_path / "run", "layers": [1], "doses": [2.0], "progress": silent}
    run = ss.quickstart(tiny_folder("gpt2"), pairs, **options)
    assert (run.path / "report.html").is_file()
    assert ss.load_contrasts(run.configuration["contrasts"]).pairs == ss.load_contrasts(pairs).pairs
    with pytest.raises(RunError, match="other pairs"):
        ss.quickstart(tiny_folder("gpt2"), pairs[1:], **options)
