from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from steerscope.errors import ContrastError
from steerscope.texts.bundled import bundled_contrasts, bundled_prompts
from steerscope.texts.contrasts import (
    ContrastPair,
    ContrastSet,
    load_contrasts,
    load_prompts,
    opening_prompts,
    prompts_for,
    split_prompts_for,
)


def write(path, *rows):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def pair(positive="she smiled", negative="she wept", concept="mood"):
    return {"positive": positive, "negative": negative, "concept": concept}


def test_every_bundled_set_loads_and_splits():
    assert {"mood", "register", "garden_sea", "happy_sad"} <= set(bundled_contrasts())
    for name in bundled_contrasts():
        assert len(load_contrasts(name).split(0).fit) > 0
    for name in bundled_prompts():
        assert len(load_prompts(name).split(0).test) >= 100


def test_a_file_round_trips_and_its_hash_ignores_the_file_itself(tmp_path):
    rows = [pair(), pair("he laughed", "he cried")]
    first = load_contrasts(write(tmp_path / "a.jsonl", *rows))
    second = load_contrasts(write(tmp_path / "b.jsonl", rows[0], "", rows[1]))
    assert first.pairs == second.pairs
    assert first.sha256 == second.sha256
    swapped = load_contrasts(write(tmp_path / "c.jsonl", *reversed(rows)))
    assert swapped.sha256 != first.sha256


def test_pairs_without_a_concept_are_of_the_one_that_their_file_is_named_after(tmp_path):
    bare = {"positive": "she smiled", "negative": "she wept"}
    assert load_contrasts(write(tmp_path / "joy.jsonl", bare, bare)).concept == "joy"
    assert load_contrasts(write(tmp_path / "mood.jsonl", bare, pair())).concept == "mood"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2: not JSON"),
        (
            {"positive": "a", "concept": "b"},
            "line 2: needs the keys negative, positive and may have",
        ),
        ({**pair(), "weight": 1}, "line 2: needs the keys.*found.*weight"),
        ({**pair(), "positive": " "}, "line 2: the positive text is empty"),
        ({**pair(), "negative": 3}, "line 2: 'negative' must be a text, not 3"),
        (pair("same", "same"), "line 2: positive and negative are the same"),
        ("[1, 2]", "line 2: needs the keys"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, message):
    with pytest.raises(ContrastError, match=message):
        load_contrasts(write(tmp_path / "a.jsonl", pair(), line))


@pytest.mark.parametrize("names", [("positive", "negative"), ("chosen", "rejected")])
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv", ".tsv"])
def test_a_table_of_pairs_is_read_as_its_rows_at_hand_are(tmp_path, kind, names):
    rows = [("she smiled, all day", "she wept"), ("he laughed", "he cried")]
    path = tmp_path / f"joy{kind}"
    between = "\t" if kind == ".tsv" else ","
    dicts = [dict(zip(names, row, strict=True)) for row in rows]
    if kind == ".json":
        path.write_text(json.dumps(dicts))
    elif kind == ".jsonl":
        write(path, *dicts)
    else:
        write(path, *[between.join(f'"{cell}"' for cell in row) for row in [names, *rows]])
    found = load_contrasts(path)
    assert found.pairs == ContrastSet.from_pairs(rows, concept="joy").pairs


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, np.float64("nan"), ""])
def test_an_empty_cell_beside_a_pair_is_nothing_that_was_given(missing):
    frame = pd.DataFrame({"positive": ["a b"], "negative": ["a c"]}).assign(
        concept=[missing], prompt=[None if isinstance(missing, str) else missing]
    )
    for rows in (frame, [("a b", "a c", missing)], frame.to_dict("records")):
        assert ContrastSet.from_pairs(rows, concept="joy").pairs == (
            ContrastPair("a b", "a c", "joy"),
        )


@pytest.mark.parametrize("concept", [1, 1.0, True, ["joy"], [{"role": "user", "content": "x"}]])
def test_a_concept_that_is_no_text_is_named_with_its_pair(concept):
    good = {"positive": "a b", "negative": "a c"}
    for bad in (("a b", "a c", concept), good | {"concept": concept}):
        with pytest.raises(ContrastError, match="pair 2: its concept is .*name it in words"):
            ContrastSet.from_pairs([good, bad])


def test_a_table_that_holds_no_pairs_or_prompts_says_where_and_what_it_needs(tmp_path):
    write(tmp_path / "a.csv", "good,bad", "x,y")
    with pytest.raises(ContrastError, match="line 2: needs the keys negative, positive.*found bad"):
        load_contrasts(tmp_path / "a.csv")
    write(tmp_path / "b.csv", "positive,negative", "x,y", "same,same")
    with pytest.raises(ContrastError, match="line 3: positive and negative are the same"):
        load_contrasts(tmp_path / "b.csv")
    (tmp_path / "p.json").write_text('[{"prompt": "one"}, {"prompt": "two"}]')
    assert [p.text for p in load_prompts(tmp_path / "p.json").prompts] == ["one", "two"]
    (tmp_path / "p.json").write_text('["one", "two"]')
    with pytest.raises(ContrastError, match="item 1: an item is a JSON object"):
        load_prompts(tmp_path / "p.json")


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1e"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_at_newlines_and_a_byte_order_mark_goes(tmp_path, inside, end):
    text = f"the bird was{inside}happy"
    lines = [json.dumps(pair(text), ensure_ascii=ord(inside) < 32), json.dumps(pair())]
    for name, coding in (("plain", "utf-8"), ("marked", "utf-8-sig")):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes("".join(line + end for line in lines).encode(coding))
        assert [p.positive for p in load_contrasts(path).pairs] == [text, "she smiled"]
        path = tmp_path / f"{name}.txt"
        path.write_bytes(f"{text}{end}another day".encode(coding))
        assert [p.text for p in load_prompts(path).prompts] == [text, "another day"]


def test_half_a_surrogate_pair_is_named_wherever_a_text_is_said(tmp_path, load):
    broken = "the bird \ud83d was happy"
    with pytest.raises(ContrastError, match=r"line 2: the positive text .*U\+D83D, character 10"):
        load_contrasts(write(tmp_path / "a.jsonl", pair(), pair(broken)))
    with pytest.raises(ContrastError, match="line 1: the prompt .*surrogate"):
        load_prompts(write(tmp_path / "p.jsonl", {"prompt": "x", "facts": {"mood": "\udc00"}}))
    with pytest.raises(ContrastError, match="the prompt .*surrogate"):
        load().tokens(broken)
    whole = load_contrasts(write(tmp_path / "b.jsonl", pair("the bird \U0001f600 was happy")))
    assert whole.pairs[0].positive == "the bird \U0001f600 was happy"


def test_a_git_lfs_pointer_is_no_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")
    with pytest.raises(ContrastError, match="git-lfs pointer.*git lfs pull"):
        load_contrasts(path)


def test_missing_empty_and_mixed_files_are_refused(tmp_path):
    with pytest.raises(ContrastError, match="bundled names are .*mood"):
        load_contrasts("moood")
    with pytest.raises(ContrastError, match="is empty"):
        load_contrasts(write(tmp_path / "a.jsonl"))
    with pytest.raises(ContrastError, match="2 concepts"):
        load_contrasts(write(tmp_path / "a.jsonl", pair(), pair("x", "y", "other")))
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ContrastError, match="not UTF-8"):
        load_contrasts(tmp_path / "b.jsonl")


def test_the_parts_of_a_split_are_disjoint_complete_and_repeatable():
    contrasts = ContrastSet(
        "numbers", tuple(ContrastPair(f"p{i}", f"n{i}", "c") for i in range(40))
    )
    split = contrasts.split(3)
    parts = [split.fit.pairs, split.select.pairs, split.test.pairs]
    assert [len(p) for p in parts] == [20, 10, 10]
    assert set().union(*parts) == set(contrasts.pairs)
    assert contrasts.split(3) == split
    assert contrasts.split(4) != split


def test_pairs_that_share_a_text_stay_together():
    chain = [ContrastPair(f"t{i}", f"t{i + 1}", "c") for i in range(10)]
    loose = [ContrastPair(f"p{i}", f"n{i}", "c") for i in range(10)]
    split = ContrastSet("chain", (*chain, *loose)).split(0)
    for part in (split.fit, split.select, split.test):
        texts = {p.positive for p in part.pairs}
        assert texts >= {c.positive for c in chain} or not texts & {c.positive for c in chain}


def test_too_few_pairs_cannot_be_split():
    two = ContrastSet("two", tuple(ContrastPair(f"p{i}", f"n{i}", "c") for i in range(2)))
    with pytest.raises(ContrastError, match="needs at least 3"):
        two.split(0)


def test_three_pairs_fill_every_part():
    three = ContrastSet("three", tuple(ContrastPair(f"p{i}", f"n{i}", "c") for i in range(3)))
    split = three.split(0)
    assert [len(p) for p in (split.fit, split.select, split.test)] == [1, 1, 1]


def test_prompts_come_from_text_files_and_json_lines(tmp_path):
    (tmp_path / "a.txt").write_text("one day\n\nanother day\n")
    assert [p.text for p in load_prompts(tmp_path / "a.txt").prompts] == ["one day", "another day"]
    path = write(tmp_path / "a.jsonl", {"prompt": "one day", "facts": {"mood": "joyful"}})
    assert load_prompts(path).prompts[0].facts == {"mood": "joyful"}
    with pytest.raises(ContrastError, match="line 1: the facts must be texts"):
        load_prompts(write(tmp_path / "b.jsonl", {"prompt": "x", "facts": ["mood"]}))


def test_opening_prompts_are_what_both_sides_share():
    pairs = [
        ContrastPair("Tom was very happy", "Tom was very sad", "m"),
        ContrastPair("Joy came over us", "Grief came over us", "m"),
    ]
    assert [p.text for p in opening_prompts("x", pairs).prompts] == ["Tom was very", "Grief came"]


@pytest.mark.parametrize(
    ("positive", "negative", "opening"),
    [
        ("今天小明非常高兴。", "今天小明非常难过。", "今天小明非常"),
        ("今日、母は幸せだ。", "今日、母は不安だ。", "今日、母は"),
        ("วันนี้ฉันรู้สึกดี", "วันนี้ฉันรู้สึกแย่", "วันนี้ฉันรู้สึก"),
        ("आज माँ खुश है।", "आज माँ दुखी है।", "आज माँ"),
        ("我 feel 高兴", "我 feel 难过", "我 feel"),
        ("高兴得很多", "难过", "难"),  # none is shared: the first half
        ("One.\n\nTwo:  good", "One.\n\nTwo:  bad", "One.\n\nTwo:"),  # as they stand there
    ],
)
def test_an_opening_ends_where_the_texts_part_in_every_script(positive, negative, opening):
    [found] = opening_prompts("x", [ContrastPair(positive, negative, "m")]).prompts
    assert found.text == opening


def test_bundled_prompts_go_with_the_bundled_pairs_alone(tmp_path):
    rows = [pair(f"Die Suppe {i} ist gut", f"Die Suppe {i} ist schlecht") for i in range(9)]
    mine = load_contrasts(write(tmp_path / "sentiment.jsonl", *rows))
    named = [ContrastSet(name, mine.pairs) for name in (*bundled_prompts(), "mine")]
    for found in (mine, *named):
        assert [p.text for p in prompts_for(found).prompts][0] == "Die Suppe 0 ist", found.name
    bundled = load_contrasts("sentiment")
    copy = tmp_path / "copy" / "sentiment.jsonl"
    copy.parent.mkdir()
    copy.write_bytes(bundled_contrasts()["sentiment"].read_bytes())
    for found in (bundled, load_contrasts(copy), ContrastSet("sentiment", bundled.pairs[:5])):
        assert prompts_for(found).sha256 == load_prompts("sentiment").sha256


def test_an_opening_stays_in_the_part_of_its_pair():
    """A prompt that chose the dose must not be one that states the effect."""
    rows = [ContrastPair(f"{i} was glad.", f"{i} was sad.", "mood") for i in range(40)]
    pairs = ContrastSet("none of the bundled", tuple(rows))
    parts = pairs.split(seed=0)
    found = split_prompts_for(pairs, None, 0, max_select=5, max_test=100)
    assert len(found.select.prompts) == 5
    for part, prompts in ((parts.select, found.select), (parts.test, found.test)):
        assert {p.text for p in prompts.prompts} <= {
            f"{pair.positive.split()[0]} was" for pair in part.pairs
        }


def test_openings_that_are_split_by_themselves_stay_with_their_pairs():
    words = [f"{'abcdefgh'[i % 8]}{'rstuvwxy'[i // 8]}" for i in range(60)]
    pairs = tuple(ContrastPair(f"In {w} there {w}x", f"In {w} there {w}y", "c") for w in words)
    contrasts = ContrastSet("mine", pairs)
    asked = prompts_for(contrasts)
    for seed in (0, 1):
        parts, of = asked.split(seed), contrasts.split(seed)
        for name in ("fit", "select", "test"):
            mine, theirs = getattr(parts, name), getattr(of, name)
            assert mine.name == f"openings of mine/{name}"
            assert {p.text for p in mine.prompts} == {
                p.positive.rpartition(" ")[0] for p in theirs.pairs
            }
        assert sum(map(len, (parts.fit, parts.select, parts.test))) == len(asked)


def test_openings_that_many_pairs_share_are_in_one_part_each():
    def contrasts(openings, n):
        ends = [f"{'abcdefgh'[i % 8]}{'rstuvwxy'[i // 8]}" for i in range(n)]
        return ContrastSet(
            "mine",
            tuple(ContrastPair(f"{o} {e}x", f"{o} {e}y", "c") for e in ends for o in openings),
        )

    few = prompts_for(contrasts(["The film", "The book", "A day", "Some rain"], 9)).split(0)
    parts = [{p.text for p in part.prompts} for part in (few.fit, few.select, few.test)]
    assert all(parts)
    assert len(set.union(*parts)) == sum(map(len, parts)) == 4
    with pytest.raises(ContrastError, match="1 independent item;"):
        prompts_for(contrasts(["I feel"], 12)).split(0)


def test_an_opening_of_several_pairs_is_not_chosen_on_and_stated_on():
    ends = [f"{'abcdefgh'[i % 8]}{'rstuvwxy'[i // 8]}" for i in range(32)]
    openings = ["The film", "The book", "A day", "Some rain"]
    pairs = tuple(
        ContrastPair(f"{openings[i % 4]} {e}x", f"{openings[i % 4]} {e}y", "c")
        for i, e in enumerate(ends)
    )
    for seed in range(3):
        found = split_prompts_for(
            ContrastSet("mine", pairs), None, seed, max_select=120, max_test=240
        )
        select, test = ({p.text for p in part.prompts} for part in (found.select, found.test))
        assert select
        assert test
        assert not select & test
    for n in (1, 2, 3):  # too few to go round stay where they are, which the audit tells
        few = tuple(
            ContrastPair(f"{openings[i % n]} {e}x", f"{openings[i % n]} {e}y", "c")
            for i, e in enumerate(ends)
        )
        found = split_prompts_for(ContrastSet("few", few), None, 0, max_select=120, max_test=240)
        assert len(found.select.prompts) == (1 if n == 3 else n)
        assert found.test.prompts
