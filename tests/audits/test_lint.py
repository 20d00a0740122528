"""Each defect planted in contrast pairs is found, alone, and a set without any has no finding."""

from __future__ import annotations

import json
import random
import re

import pytest

import steerscope as ss
from steerscope.audits.lint import CHECKS
from steerscope.cli import main
from steerscope.errors import ContrastError, UnknownNameError

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("l", "m", "n", "rt")]


def rows(n=60, seed=0):
    """Pairs of sentences of random words, the same in nothing but their length."""
    drawn = random.Random(seed)

    def sentence():
        words = drawn.choices(WORDS, k=9)
        return " ".join([words[0].title(), *words[1:]]) + "."

    return [
        {"positive": sentence(), "negative": sentence(), "concept": "made up"} for _ in range(n)
    ]


def write(path, found):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in found))
    return path


def checks(found):
    return [f.check for f in found]


def test_a_clean_set_has_no_finding(tmp_path):
    assert ss.lint(write(tmp_path / "pairs.jsonl", rows())) == []


def changed(change, n=60):
    return [change(i, dict(row)) for i, row in enumerate(rows(n))]


def first_word(i, row):
    return row | {"positive": f"Yes {row['positive']}", "negative": f"No {row['negative']}"}


def last_word(i, row):
    return row | {"positive": row["positive"][:-1] + "!"}


def first_letter(i, row):
    return row | {"negative": row["negative"][0].lower() + row["negative"][1:]}


def last_blank(i, row):
    return row | {"positive": row["positive"] + " "}


def longer(i, row):
    return row | {"positive": row["positive"][:-1] + " bal dem gul."}


def one_word(i, row):
    words = row["positive"].split()
    return row | {"negative": " ".join([*words[:4], WORDS[i % 50] + "x", *words[5:]])}


def one_template(i, row):
    if i >= 30:
        return row
    a, b, c, d, e, f = (w.strip(".") for w in row["positive"].lower().split()[:6])
    text = "So the {} went up to the {} and {} it."
    return row | {"positive": text.format(a, b, c), "negative": text.format(d, e, f)}


def repeated_word_for_word(i, row):
    return rows()[0] if i in (7, 9) else row


def turned_round(i, row):
    first = rows()[0]
    return row | {"negative": first["positive"]} if i == 5 else row


def one_word_apart(i, row):
    if i >= 20:
        return row
    first = rows()[0]
    return first | {s: first[s].replace(" ", f" {WORDS[i]} ", 1) for s in ("positive", "negative")}


def blanks(i, row):
    return row | {"negative": row["positive"].replace(" ", "  ", 1)} if i == 3 else row


def capitals(i, row):
    return row | {"negative": row["positive"].upper()} if i == 3 else row


def other_concept(i, row):
    return row | {"concept": "Made up"} if i == 3 else row


def answers(i, row):
    return row | {"prompt": f"What is {WORDS[i]}?"}


def yes_and_no(i, row):
    return answers(i, first_word(i, row))


def no_answer(i, row):
    return answers(i, row | {"positive": " "} if i == 4 else row)


@pytest.mark.parametrize(
    ("change", "check", "severity", "says"),
    [
        (first_word, "first", "warning", "first word of a text alone.*AUC of 1.00"),
        (last_word, "last", "warning", "last word"),
        (first_letter, "first", "warning", "first character"),
        (last_blank, "last", "warning", "last character"),
        (longer, "length", "warning", r"\+3.0 words longer"),
        (one_word, "one_word", "warning", "60 of 60 pairs differ in one word"),
        (one_template, "template", "warning", "of 60 pairs share one template"),
        (repeated_word_for_word, "duplicates", "error", "lines 8, 10: 2 of 60 pairs"),
        (turned_round, "both_sides", "error", "line 1: the positive text of 1 pair is"),
        (one_word_apart, "near_duplicates", "warning", "only 41 differ by more than one word"),
        (blanks, "alike", "error", "line 4: .*blanks alone"),
        (capitals, "alike", "warning", "line 4: .*capitals or marks"),
        (other_concept, "concepts", "error", "2 concepts: made up .59., Made up .1."),
        (yes_and_no, "first", "warning", "first word"),
        (no_answer, "empty", "error", "line 5: an answer is empty in 1 of 60"),
    ],
)
def test_a_planted_defect_is_found_and_nothing_else(tmp_path, change, check, severity, says):
    found = ss.lint(write(tmp_path / "pairs.jsonl", changed(change)))
    assert checks(found) == [check]
    assert found[0].severity == severity
    assert re.search(says, str(found[0])), str(found[0])


def test_every_line_is_looked_at_where_some_cannot_be_read(tmp_path):
    bad = [
        "{not json",
        {"positive": "a", "concept": "made up"},
        {"positive": " ", "negative": "b", "concept": "made up"},
        {"positive": "same", "negative": "same", "concept": "made up"},
    ]
    found = ss.lint(write(tmp_path / "pairs.jsonl", [*rows(), *bad]))
    assert checks(found) == ["unreadable"] * 4
    for finding, (line, says) in zip(
        found,
        [(61, "not JSON"), (62, "needs the keys"), (63, "empty"), (64, "same text")],
        strict=True,
    ):
        assert f"line {line}: " in finding.what
        assert says in finding.what
    alone = ss.lint(write(tmp_path / "none.jsonl", bad))
    assert checks(alone) == ["unreadable"] * 4


def test_few_contrasts_are_counted_not_pairs(tmp_path):
    def of_contrasts(k):
        ends = rows(k)
        return [
            row
            | {
                side: f"{row['positive'][:-1]} {ends[i % k][side]}"
                for side in ("positive", "negative")
            }
            for i, row in enumerate(rows(60, seed=1))
        ]

    for k, severity in ((2, "error"), (12, "warning"), (45, None)):
        found = [
            f
            for f in ss.lint(write(tmp_path / "p.jsonl", of_contrasts(k)))
            if f.check == "contrasts"
        ]
        assert [f.severity for f in found] == ([] if severity is None else [severity])
        assert all(f.numbers == {"pairs": 60, "distinct": k} for f in found)


def test_what_too_few_pairs_cannot_tell_is_said_not_passed_over(tmp_path):
    found = ss.lint(write(tmp_path / "p.jsonl", changed(first_word)[:9]))
    assert checks(found) == ["contrasts", "not_checked"]
    assert ss.lint(write(tmp_path / "p.jsonl", rows(1)))[0].check == "contrasts"


def test_one_pair_is_said_as_one(tmp_path):
    said = [f.what for f in ss.lint(write(tmp_path / "p.jsonl", rows(1)))]
    said += [f.what for f in ss.lint(write(tmp_path / "q.jsonl", changed(first_word)[:1]))]
    assert any("1 pair" in what for what in said)
    assert not any("1 pairs" in what for what in said)


def test_pairs_and_sets_are_taken_as_files_are(tmp_path):
    loaded = ss.load_contrasts(write(tmp_path / "pairs.jsonl", changed(first_word)))
    for given in (loaded, loaded.pairs, list(loaded.pairs)):
        assert checks(ss.lint(given)) == ["first"]
    with pytest.raises(ContrastError, match="no pairs"):
        ss.lint([])
    with pytest.raises(ContrastError, match="no such file"):
        ss.lint("nothing")
    with pytest.raises(UnknownNameError):
        ss.lint("style:nothing")


def test_what_the_description_says_to_be_inherent_is_a_note_and_an_error_stays_one(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [*changed(longer), rows()[0], rows()[0]])
    beside = tmp_path / "pairs.about.json"
    beside.write_text(
        json.dumps({"inherent": {"length": "Short is the concept.", "duplicates": "no"}})
    )
    found = {f.check: f for f in ss.lint(path)}
    assert found["length"].severity == "note"
    assert str(found["length"]).endswith("Inherent to the concept: Short is the concept.")
    assert found["duplicates"].severity == "error"
    beside.write_text(json.dumps({"inherent": {"lenght": "typing"}}))
    with pytest.raises(UnknownNameError, match="length"):
        ss.lint(path)
    for broken in ('{"inherent": "x"}', '{"judge": 3}', '{"jugde": "length"}', "[]", "{"):
        beside.write_text(broken)
        with pytest.raises(ContrastError, match=r"pairs\.about\.json"):
            ss.lint(path)


def test_the_command_prints_a_line_a_finding_and_leaves_with_2_where_strict(tmp_path, capsys):
    clean = write(tmp_path / "clean.jsonl", rows())
    main(["lint", str(clean), "--strict"])
    assert capsys.readouterr().out == "lint: 0 errors, 0 warnings, 0 notes\n"
    bad = write(tmp_path / "bad.jsonl", changed(repeated_word_for_word))
    main(["lint", str(bad)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error (duplicates), lines 8, 10: 2 of 60 pairs")
    with pytest.raises(SystemExit) as left:
        main(["lint", str(bad), "--strict", "--json"])
    assert left.value.code == 2
    printed = json.loads(capsys.readouterr().out)
    assert [f["check"] for f in printed["findings"]] == ["duplicates"]
    with pytest.raises(SystemExit) as left:
        main(["lint", str(tmp_path / "none.jsonl")])
    assert left.value.code == 2


def test_each_check_says_what_it_looks_for():
    assert all(check.__doc__ for check in CHECKS.values())


def test_texts_that_differ_in_persons_or_numbers_are_not_the_same_words():
    pairs = [
        ("She is a doctor.", "He is a doctor."),
        ("It took 3 days.", "It took 5 days."),
        ("She is a doctor.", "SHE is a doctor!"),
        ("她很高兴。", "她 很高兴。"),
    ]
    found = ss.lint(ss.ContrastSet.from_pairs(pairs))
    alike = [f.where for f in found if f.check == "alike"]
    assert alike == ["pair 4", "pair 3"]


def test_one_contrast_is_too_few_in_scripts_without_spaces_too():
    subjects = "你我他她它谁王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓"
    pairs = [(f"今天{who}非常高兴。", f"今天{who}非常难过。") for who in subjects]
    found = [f for f in ss.lint(ss.ContrastSet.from_pairs(pairs)) if f.check == "contrasts"]
    assert [f.severity for f in found] == ["error"]
    assert found[0].numbers == {"pairs": 40, "distinct": 1}


def test_a_longer_side_is_counted_in_words_of_its_script():
    letters = "你我他她它谁王李张刘陈杨赵黄周吴徐孙胡朱"
    pairs = [(f"今天{a}很高兴真好", f"昨天{a}难过") for a in letters]
    found = [f for f in ss.lint(ss.ContrastSet.from_pairs(pairs)) if f.check == "length"]
    assert found[0].numbers["difference_words"] == 3
    assert found[0].numbers["mean_words"] == 6.5
