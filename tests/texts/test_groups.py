"""What says the same thing twice is kept together."""

from __future__ import annotations

import pytest

from steerscope.judges.labelled import from_pairs
from steerscope.models.chat_templates import ChatText
from steerscope.texts.contrasts import ContrastSet, load_contrasts
from steerscope.texts.groups import (
    contrast_of,
    distinct_contrasts,
    distinct_prompts,
    groups_to_split,
)
from steerscope.texts.pairs import ContrastPair, make_pair


def test_pairs_that_differ_in_the_same_words_are_one_contrast_whoever_they_are_about():
    found = distinct_contrasts(
        [
            ("Tom saw a dog. He was very happy.", "Tom saw a dog. He was very sad."),
            ("Mia had a ball. She was very HAPPY!", "Mia had a ball. She was very SAD!"),
            ("Mia had a hat. She was very sad.", "Mia had a hat. She was very happy."),
            ("Tom saw a dog. He won the game.", "Tom saw a dog. He lost the game."),
        ]
    )
    assert found == [0, 0, 0, 1]


def test_prompts_that_are_the_same_but_for_a_name_are_one():
    assert distinct_prompts(["Tom felt so", "Mia felt so", "Mia looked up and"]) == [0, 0, 1]


def test_a_set_of_one_contrast_is_still_split_by_its_texts():
    pairs = [(f"{i} was glad.", f"{i} was sad.") for i in range(9)]
    assert len(set(distinct_contrasts(pairs))) == 1
    assert len(set(groups_to_split(pairs))) == 9


def test_no_contrast_of_the_fit_split_is_held_out():
    for name in ("happy_sad", "mood", "register", "garden_sea"):
        whole = load_contrasts(name)
        group_of = dict(zip(whole.pairs, whole.groups, strict=True))
        parts = whole.split(0)
        seen = [
            {group_of[pair] for pair in part.pairs}
            for part in (parts.fit, parts.select, parts.test)
        ]
        assert len(set().union(*seen)) == sum(map(len, seen)), name


# The same contrast in each script, around which the other words change.
SCRIPTS = {
    "english": ("Today {} was very {}.", "Tom Mia Ben Lucy", "happy", "sad", " "),
    "chinese": ("今天{}非常{}。", "小明 老李 王芳 妈妈", "高兴", "难过", ""),
    "japanese": ("今日{}はとても{}。", "母 友だち 先生 私", "幸せ", "不安", ""),
    "thai": ("วันนี้{}รู้สึก{}", "แม่ ครู ฉัน เพื่อน", "ดี", "แย่", ""),
    "hindi": ("आज {} बहुत {} है।", "माँ दोस्त भाई लड़का", "खुश", "दुखी", " "),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_one_contrast_is_one_in_every_script(script):
    frame, subjects, positive, negative, between = SCRIPTS[script]
    pairs = [(frame.format(who, positive), frame.format(who, negative)) for who in subjects.split()]
    other = (frame.format("X", positive * 2), frame.format("X", between.join([negative, "Y"])))
    assert {"".join(side) for side in contrast_of(*pairs[0])} == {positive, negative}
    assert len(set(distinct_contrasts(pairs))) == 1
    assert len(set(distinct_contrasts([*pairs, other]))) == 2


def answers_to(questions, each):
    """Pairs of answers of which no two are alike, to a few questions."""
    return tuple(
        make_pair(f"a{i}x b{i}x", f"c{i}y d{i}y", "c", f"Why {i % questions}?")
        for i in range(questions * each)
    )


def test_answers_to_one_question_are_one_group_in_intervals_as_in_the_split():
    whole = ContrastSet("answers", answers_to(4, 5))
    assert whole.groups == [i % 4 for i in range(20)]
    parts = whole.split(0)
    asked = [
        {p.positive.messages[0].content for p in part.pairs}
        for part in (parts.fit, parts.select, parts.test)
    ]
    counted = [len(set(part.groups)) for part in (parts.fit, parts.select, parts.test)]
    assert counted == [len(questions) for questions in asked]
    assert sum(counted) == 4
    card = from_pairs(parts)
    assert len({t.group for t in card.held_out}) == sum(counted[1:])


def test_questions_count_alone_where_all_have_the_same_answers():
    pool = [("Yes.", "No."), ("Sure.", "Never."), ("True.", "False.")]
    asked = ("Is it rain?", "Was there tea?", "Has a hill grown?", "Do seas end?")
    pairs = [make_pair(yes, no, "c", question) for yes, no in pool for question in asked]
    assert ContrastSet("pool", tuple(pairs)).groups == [0, 1, 2, 3] * 3


def test_answers_are_of_one_group_in_a_chat_template_too():
    def written(conversation):
        said = "".join(f"<{m.role}>{m.content}" for m in conversation.messages)
        return ChatText(said, conversation.messages, template=None)

    bare = answers_to(4, 5)
    chat = [ContrastPair(written(p.positive), written(p.negative), p.concept) for p in bare]
    in_chat, plain = ContrastSet("chat", tuple(chat)), ContrastSet("bare", tuple(bare))
    assert in_chat.groups == [i % 4 for i in range(20)]
    for seed in range(3):  # the split is the same, whether it comes before the template or after it
        after, before = in_chat.split(seed), plain.split(seed)
        for name in ("fit", "select", "test"):
            said = [tuple(p.positive.turns) for p in getattr(after, name).pairs]
            assert said == [tuple(p.positive.messages) for p in getattr(before, name).pairs]
