"""Styles as contrast sets, and how much of a style direction is the attention sink."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pandas as pd
import pytest
import torch

from steerscope import figures
from steerscope.cli import main
from steerscope.directions import load_directions
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.activations import extract
from steerscope.extraction.reading import ReadToken
from steerscope.sites import Site
from steerscope.studies.styles import style_report
from steerscope.texts.contrasts import load_contrasts, opening_prompts, style_contrasts
from steerscope.texts.styles import MESSAGES, STYLES, Style, find_style

SITE = Site("resid_post", 1)
# Styles in the words of the tiny models: the wanted instruction is shorter, by three words.
SHORTER = [
    Style("one", "w10 w11", "w12 w13 w14 w15 w16"),
    Style("two", "w20 w21", "w22 w23 w24 w25 w26"),
    Style("three", "w30 w31", "w32 w33 w34 w35 w36"),
]
LONGER = Style("longer", "w42 w43 w44 w45 w46", "w40 w41")
EQUAL = Style("equal", "w52 w53 w54", "w55 w56 w57")
TALK = tuple(f"w{i} w{i + 1} w{i + 2}" for i in range(60, 84, 2))


@contextmanager
def planted_sink(model, length=5000.0):
    """Something of great length at position 0, the same for every text."""
    sink = torch.randn(model.shape.d_model, generator=torch.Generator().manual_seed(3))
    sink = length * sink / sink.norm()

    def plant(x):
        x = x.clone()
        x[:, 0] += sink
        return x

    with model.hook(Site("resid_pre", 0), plant):
        yield


def sets(*styles, messages=TALK):
    return [style_contrasts(style, messages) for style in styles]


def numbers(table: pd.DataFrame, quantity: str, read: str = "", *, other: str | None = None):
    rows = table[(table.quantity == quantity) & (table["read"] == read)]
    return rows if other is None else rows[rows.other == other]


def between(table: pd.DataFrame, read: str) -> pd.DataFrame:
    rows = numbers(table, "cosine", read)
    return rows[rows.other != "sink"]


# -- contrast sets ------------------------------------------------------------------------------


def test_a_style_is_every_message_under_both_instructions():
    assert set(STYLES) >= {"terse", "formal", "socratic", "dry_wit"}
    for name, style in STYLES.items():
        found = load_contrasts(f"style:{name}")
        assert (found.name, found.concept, len(found)) == (f"style:{name}", name, len(MESSAGES))
        wordings = style.wordings * 2
        for pair, message, (wanted, otherwise) in zip(found.pairs, MESSAGES, wordings, strict=True):
            assert pair.positive == f"{wanted}\n\n{message}"
            assert pair.negative == f"{otherwise}\n\n{message}"
        assert len(found.split(0).fit) == len(MESSAGES) // 2


def test_a_wording_that_found_a_direction_is_not_the_one_it_is_stated_on():
    for name in STYLES:
        parts = load_contrasts(f"style:{name}").split(0)
        asked = [
            {pair.positive.split("\n\n")[0] for pair in part.pairs}
            for part in (parts.fit, parts.select, parts.test)
        ]
        assert len(set().union(*asked)) == sum(map(len, asked)) == 12
        assert len(asked[2]) == len(set(parts.test.groups)) == 3


def test_a_style_of_ones_own_is_two_instructions():
    assert find_style("Answer in verse. | Answer in prose.") == Style(
        "Answer in verse.", "Answer in verse.", "Answer in prose."
    )
    pair = load_contrasts("style:Answer in verse. | Answer in prose.").pairs[0]
    assert pair.negative.startswith("Answer in prose.\n\n")
    own = style_contrasts(Style("haiku", "A haiku.", "No haiku."), ["Why?"])
    assert [(p.positive, p.negative) for p in own.pairs] == [
        ("A haiku.\n\nWhy?", "No haiku.\n\nWhy?")
    ]


def test_unknown_and_empty_styles_are_refused():
    with pytest.raises(UnknownNameError, match="'ters'. Did you mean 'terse'.*dry_wit, formal"):
        load_contrasts("style:ters")
    for bad in ("one | ", "one | one", "one\n\nmore | two"):
        with pytest.raises(BadValueError, match="style"):
            find_style(bad)


def test_the_prompts_of_a_style_are_its_messages():
    part = load_contrasts("style:formal").split(1).test
    assert {p.text for p in opening_prompts(part.name, part.pairs).prompts} < set(MESSAGES)


# -- the sink -------------------------------------------------------------------------------------


def test_a_planted_sink_makes_styles_alike_only_where_position_0_is_read(tiny):
    with planted_sink(tiny):
        found = style_report(tiny, sets(*SHORTER), [SITE], n_resamples=20)
    assert (between(found, "mean+sink").value > 0.98).all()
    assert (numbers(found, "cosine", "mean+sink", other="sink").value > 0.98).all()
    assert (between(found, "mean").value.abs() < 0.6).all()
    assert (numbers(found, "cosine", "mean", other="sink").value.abs() < 0.6).all()
    assert (numbers(found, "natural_ratio").value > 3).all()
    assert numbers(found, "sink_ratio").value.item() > 50
    intervals = found[found.quantity != "length_difference"]
    assert (intervals.low <= intervals.high).all()
    assert ((intervals.high - intervals.low) > 0).all()


def test_the_sink_comes_in_with_the_sign_of_the_difference_in_length(tiny):
    styles = sets(SHORTER[0], LONGER, EQUAL)
    with planted_sink(tiny):
        found = style_report(tiny, styles, [SITE], n_resamples=5)
    assert numbers(found, "length_difference").value.tolist() == [-3, 3, 0]
    leak = numbers(found, "cosine", "mean+sink", other="sink").set_index("style").value
    assert leak["one"] > 0.98
    assert leak["longer"] < -0.98
    without = numbers(found, "cosine", "mean", other="sink").set_index("style").value
    # Prompts of one length T: position 0 cancels, and what is left is (T - 1) / T of the rest.
    assert leak["equal"] == pytest.approx(without["equal"], abs=1e-4)
    ratio = numbers(found, "natural_ratio").set_index("style").value
    assert ratio["equal"] == pytest.approx(6 / 7, abs=1e-4)  # BOS and six words


def test_the_report_is_what_one_finds_by_hand(load):
    tiny = load()
    styles = sets(*SHORTER, EQUAL)
    found = style_report(tiny, styles, [SITE], n_resamples=5)
    texts = [t for s in styles for p in s.pairs for t in (p.positive, p.negative)]
    vectors = {"mean": [], "mean+sink": []}
    sinks = []
    for text in texts:
        x = tiny.read(torch.tensor([tiny.tokens(text)]), [SITE])[SITE][0].double()
        vectors["mean"].append(x[1:].mean(dim=0))
        vectors["mean+sink"].append(x.mean(dim=0))
        sinks.append(x[0] - x[1:].mean(dim=0))
    sink = torch.stack(sinks).mean(dim=0)
    for read, rows in vectors.items():
        sides = torch.stack(rows).unflatten(0, (4, len(TALK), 2)).mean(dim=1)
        units = torch.nn.functional.normalize(sides[:, 0] - sides[:, 1], dim=-1)
        pairs = between(found, read).value.tolist()
        expected = (units @ units.T)[torch.triu(torch.ones(4, 4), 1).bool()]
        assert pairs == pytest.approx(expected.tolist(), abs=1e-4)
        leaks = numbers(found, "cosine", read, other="sink").value.tolist()
        assert leaks == pytest.approx((units @ (sink / sink.norm())).tolist(), abs=1e-4)
    relative = extract(tiny, styles[0], [SITE])[SITE].relative
    ratio = numbers(found, "sink_ratio").value.item()
    assert ratio == pytest.approx(float(sink.norm()) / relative, rel=1e-4)


def test_the_mean_over_all_tokens_gains_the_sink_by_the_difference_of_the_inverse_lengths(load):
    tiny = load()
    contrasts = style_contrasts(SHORTER[0], TALK)
    reads = ReadToken.mean(), ReadToken.mean(sink=True), ReadToken.at(0, sink=True)
    without, with_first, first = (extract(tiny, contrasts, [SITE], read=r)[SITE] for r in reads)
    gained = with_first.differences - without.differences
    shares = 1 / 6 * (first.positive - without.positive) - 1 / 9 * (
        first.negative - without.negative
    )
    assert torch.allclose(gained, shares, atol=1e-4)


def test_the_microworld_model_has_such_a_sink(microworld):
    styles = [Style(n, STYLES[n].wanted, "Answer.") for n in ("terse", "formal")]
    site = Site("resid_post", 4)
    some = sets(*styles, messages=MESSAGES[:2])
    found = style_report(microworld, some, [site], n_resamples=5)
    leak = numbers(found, "cosine", "mean+sink", other="sink").value.abs()
    assert (leak > numbers(found, "cosine", "mean", other="sink").value.abs().to_numpy()).all()


def test_the_same_seed_gives_the_same_intervals_and_any_method_will_do(load):
    tiny = load()

    def made(**options):
        styles = sets(*SHORTER[:2], messages=TALK[:6])
        return style_report(tiny, styles, [SITE], n_resamples=8, **options)

    pd.testing.assert_frame_equal(made(), made())
    assert not made().low.equals(made(seed=1).low)
    assert not made(method="gradient_mean").value.equals(made().value)


def test_impossible_reports_are_refused(load):
    tiny = load()
    for styles, said in (
        (sets(SHORTER[0], SHORTER[0]), "different names.*one with 12, one with 12"),
        ([], "got none"),
        (sets(*SHORTER, messages=TALK[:1]), "2 at least"),
        ([*sets(SHORTER[0]), *sets(EQUAL, messages=TALK[:5])], "equal with 5"),
    ):
        with pytest.raises(BadValueError, match=said):
            style_report(tiny, styles, [SITE])


# -- the command line -----------------------------------------------------------------------------


def test_the_command_prints_a_table_and_leaves_it_with_its_figures(tiny_folder, tmp_path, capsys):
    options = [
        "--model",
        str(tiny_folder("llama")),
        "--layers",
        "1",
        "--out",
        str(tmp_path / "o"),
    ]
    two = ["--style", "w10 w11 | w12 w13 w14 w15", "--style", "w20 w21 w22 | w23"]
    main(["styles", *two, *options])
    said = capsys.readouterr().out
    assert "mean_diff directions at resid_post, 24 messages" in said
    assert "-2.0" in said
    assert "+2.0" in said
    stored = pd.read_csv(tmp_path / "o" / "styles.csv")
    assert set(stored.layer) == {1}
    names = {
        "steerscope.json",
        "styles.csv",
        "sink_leak.html",
        "cosines-resid_post.1.html",
    }
    assert {p.name for p in (tmp_path / "o").iterdir()} == names
    main(["styles", *two[:2], *options[:4], "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {n["style"] for n in told["numbers"]} == {"", "w10 w11"}


def test_a_vector_of_a_style_is_one_command(tiny_folder, tmp_path, capsys):
    out = tmp_path / "v.safetensors"
    style = "style:w10 w11 | w12 w13"
    main(["vectors", "--model", str(tiny_folder("llama")), "--contrasts", style, "--read", "mean",
          "--out", str(out)])  # fmt: skip
    assert len(load_directions(out)) == 3
    with pytest.raises(SystemExit, match="2"):
        main(["vectors", "--contrasts", "style:ters", "--out", str(tmp_path / "none")])
    assert "Did you mean 'terse'" in capsys.readouterr().err


# -- figures --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_up():
    rows = []
    for layer in (0, 1):
        for read, shift in (("mean", 0.0), ("mean+sink", 0.5)):
            for style, other, value in (
                ("a", "b", 0.1), ("a", "sink", 0.2), ("b", "sink", -0.3),
            ):  # fmt: skip
                value += shift + layer / 10
                rows.append(
                    {"style": style, "other": other, "site": f"resid_post.{layer}", "layer": layer,
                     "read": read, "quantity": "cosine", "value": value, "low": value - 0.1,
                     "high": value + 0.1, "unit": "cosine", "null": 0.17, "n": 5}
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_the_map_has_the_cosines_of_both_readings(made_up):
    figure = figures.style_cosines(made_up, site="resid_post.1")
    without, with_first = figure.data
    assert list(without.x) == list(without.y) == ["a", "b", "sink"]
    assert [round(v, 6) for row in without.z for v in row] == [
        1,
        0.2,
        0.3,
        0.2,
        1,
        -0.2,
        0.3,
        -0.2,
        1,
    ]
    assert [round(v, 6) for v in with_first.z[0]] == [1, 0.7, 0.8]
    assert (figure.layout.xaxis.title.text, figure.layout.xaxis2.title.text) == (
        "without position 0", "position 0 in the mean"
    )  # fmt: skip


def test_the_leak_is_drawn_by_layer(made_up):
    figure = figures.sink_leak(made_up)
    lines = {t.name: [round(v, 6) for v in t.y] for t in figure.data if t.fill != "toself"}
    assert lines == {
        "a, without position 0": [0.2, 0.3],
        "a, position 0 in the mean": [0.7, 0.8],
        "b, without position 0": [-0.3, -0.2],
        "b, position 0 in the mean": [0.2, 0.3],
    }
    assert figure.layout.yaxis.title.text == "cosine with the sink"
    assert {round(s.y0, 6) for s in figure.layout.shapes} == {0.17, -0.17}
