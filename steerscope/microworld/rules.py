"""The sentences of the microworld, written as templates, and the grammar they add up to.

A template is a line of text in which `{slot}` stands for a rule. Slots that start a sentence are
written with a capital. The tables below are the whole grammar; `grammar.py` holds the mathematics.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from steerscope.microworld import lexicon as words
from steerscope.microworld.grammar import Grammar, Option, option

VARIABLES: dict[str, tuple[str, ...]] = {
    "mood": tuple(words.MOODS),
    "register": ("terse", "ornate"),
    "topic": tuple(words.TOPICS),
    "protagonist": words.GIRLS + words.BOYS,
}

MIN_BODY = {"terse": 6, "ornate": 4}
MAX_BODY = {"terse": 11, "ornate": 6}
END_HAZARD = 0.3

_OPEN = {
    "terse": (
        "One day , {name} went to the {place} .",
        "{name} was at the {place} {terse_time} .",
        "{name} came to the {size} {place} .",
        "Today {name} saw the {place} .",
        "{name} and {his} {kin} went to the {place} {terse_time} .",
        "{name} left for the {place} {terse_time} .",
    ),
    "ornate": (
        "Once upon a time , near the {stately} {place} , there lived {a_epithet} {child} whose name was {name} .",
        "On a certain {daypart} , the {epithet} {name} made {his} way towards the {stately} {place} .",
        "It so happened that {name} , who was a most {epithet} {child} , arrived at the {place} {ornate_time} .",
        "Many years ago , {ornate_time} , the {epithet} {name} and {his} {kin} journeyed to the {stately} {place} .",
        "Of all the children who ever came to the {place} , none was so {epithet} as {name} .",
    ),
}

# Neutral sentences say no mood word; the lively ones are commoner in joyful stories, the still ones
# in gloomy stories, so that the mood matters to what kind of sentence comes next.
_BODY = {
    "terse": {
        "moody": (
            "{Subject} was {feeling} .",
            "{Subject} felt {feeling} .",
            "{Subject} {mood_verb} .",
            "{Subject} {mood_verb} {mood_adverb} .",
            "The {thing} was {look} .",
            "The {thing} looked {look} and {size} .",
            "{Subject} saw {a_look} {thing} .",
            "{Subject} was full of {mood_noun} .",
            "{His} {kin} {mood_verb} too .",
            "The sky was {sky} .",
            "It was {weather} at the {place} .",
            "Now the {place} was {look} .",
            '" {cry} ! " said {name} .',
            '" {cry} ! " said {his} {kin} .',
            "{opener} , {subject} {act} .",
            "{opener} , {subject} {wait} .",
            "{opener} , {subject} found the {thing} .",
            "{opener} , the {thing} was {look} .",
            "{opener} , {his} {kin} {act} too .",
        ),
        "lively": (
            "{Subject} {act} .",
            "Then {subject} {act} .",
            "{Subject} and {his} {kin} {act} .",
            "{Subject} showed the {thing} to {his} {kin} .",
        ),
        "still": (
            "{Subject} {wait} .",
            "Then {subject} {wait} .",
            "The {thing} and the {thing} were {size} .",
            "{Subject} found the {size} {thing} .",
        ),
    },
    "ornate": {
        "moody": (
            "With {extent} {mood_noun} in {his} heart , {subject} {act} beside the {stately} {thing} .",
            "{Subject} felt so {intensely} {feeling} that {he} {mood_verb} {mood_adverb} before the {stately} {thing} .",
            "The {stately} {thing} , which {history} , seemed {intensely} {look} {ornate_time} .",
            "Thereupon {subject} {act} , while {his} {kin} {mood_verb} {mood_adverb} in the distance .",
            "Never before had {subject} beheld {a_look} {thing} of such {quality} .",
            "Beneath the {sky} sky , the {place} appeared {intensely} {look} , and {subject} {mood_verb} {mood_adverb} .",
            '" {cry} ! " declared {name} , for the {thing} was {intensely} {look} .',
            "In the fullness of time , {subject} came upon the {stately} {thing} of the {place} , and {his} {kin} was {intensely} {feeling} .",
            "There was {mood_noun} in every corner of the {place} , and even the {stately} {thing} looked {look} .",
            "Having rested {ornate_time} , {subject} {act} , whereupon {he} became {intensely} {feeling} .",
            "{opener} , {subject} {act} {manner} .",
            "{opener} , the {stately} {thing} was discovered {ornate_time} .",
            "{opener} , {his} {kin} had arranged the {stately} {thing} {manner} .",
        ),
        "lively": (
            "It must be said that {subject} , together with {his} {kin} , {act} {manner} .",
            "{name} , that most {epithet} {child} , {act} {manner} .",
        ),
        "still": (
            "Nevertheless , the {stately} {thing} and the {stately} {thing} were arranged {manner} .",
            "The {stately} {thing} , it was rumoured , {history} .",
        ),
    },
}

# How often each kind of sentence comes in each mood, relative to its number of templates.
_KIND_WEIGHTS = {
    "joyful": {"moody": 1.5, "lively": 1.6, "still": 0.4},
    "gloomy": {"moody": 1.5, "lively": 0.4, "still": 1.6},
}

# Weights of brisk and slow openers in each mood.
_TEMPO = {"joyful": (1.6, 0.64), "gloomy": (0.64, 1.6)}

# Share of mood words that belong to the other mood: nobody is joyful all day long.
STRAY = 0.05


_CLOSE = {
    "terse": (
        "So {subject} went home {ending} .",
        "At last {subject} left the {place} {ending} .",
        "So the day ended .",
        "At last {name} slept .",
    ),
    "ornate": (
        "And so , as darkness descended upon the {place} , {name} returned home {ending} .",
        "Thus concludes the tale of {name} and the {stately} {thing} .",
        "Thus it was that {mood_noun} accompanied {name} and {his} {kin} for ever after .",
    ),
}


# Rule of the grammar: list of mood words.
_MOOD_RULES = {
    "feeling": "feeling",
    "mood_verb": "verb",
    "mood_adverb": "adverb",
    "look": "look",
    "a_look": "look",
    "mood_noun": "noun",
    "extent": "extent",
    "sky": "sky",
    "weather": "weather",
    "cry": "cry",
    "ending": "ending",
}


def _article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def _fill(lines: tuple[str, ...], when: Mapping[str, str] | None = None) -> list[Option]:
    """Alternatives with falling weights, the first about three times as likely as the tenth."""
    return [option(line, weight=(rank + 1.0) ** -0.5, when=when) for rank, line in enumerate(lines)]


def _body() -> list[Option]:
    return [
        option(line, weight=weights[kind], when={"register": register, "mood": mood})
        for register, kinds in _BODY.items()
        for kind, lines in kinds.items()
        for line in lines
        for mood, weights in _KIND_WEIGHTS.items()
    ]


def _mood_words(own: tuple[str, ...], other: tuple[str, ...], mood: str) -> list[Option]:
    """The words of a mood, and now and then one of the other mood."""
    return [
        Option(o.symbols, o.weight * share, {"mood": mood})
        for entries, share in ((own, 1 - STRAY), (other, STRAY))
        for o in _fill(entries)
    ]


def _sentences(table: dict[str, tuple[str, ...]]) -> list[Option]:
    return [option(line, when={"register": r}) for r, lines in table.items() for line in lines]


@cache
def microworld_grammar() -> Grammar:
    """The grammar of the microworld: hidden variables, templates and words in one object."""
    terse, ornate = {"register": "terse"}, {"register": "ornate"}
    rules: dict[str, list[Option]] = {
        "open": _sentences(_OPEN),
        "body": _body(),
        "close": _sentences(_CLOSE),
        "kin": _fill(words.KIN),
        "size": _fill(words.SIZE, terse),
        "wait": _fill(words.WAIT, terse),
        "terse_time": _fill(words.TERSE_TIME, terse),
        "stately": _fill(words.STATELY, ornate),
        "epithet": _fill(words.EPITHET, ornate),
        "a_epithet": _fill(tuple(map(_article, words.EPITHET)), ornate),
        "intensely": _fill(words.INTENSELY, ornate),
        "manner": _fill(words.MANNER, ornate),
        "ornate_time": _fill(words.ORNATE_TIME, ornate),
        "history": _fill(words.HISTORY, ornate),
        "quality": _fill(words.QUALITY, ornate),
        "daypart": _fill(words.DAYPART, ornate),
        "Subject": [option("{name}", weight=0.4), option("{He}", weight=0.6)],
        "subject": [option("{name}", weight=0.4), option("{he}", weight=0.6)],
    }
    for name in VARIABLES["protagonist"]:
        girl = name in words.GIRLS
        for rule, text in (
            ("name", name),
            ("He", "She" if girl else "He"),
            ("he", "she" if girl else "he"),
            ("His", "Her" if girl else "His"),
            ("his", "her" if girl else "his"),
            ("child", "girl" if girl else "boy"),
        ):
            rules.setdefault(rule, []).append(option(text, when={"protagonist": name}))
    for mood, (brisk, slow) in _TEMPO.items():
        for entries, weight in ((words.BRISK, brisk), (words.SLOW, slow)):
            rules.setdefault("opener", []).extend(
                Option(o.symbols, o.weight * weight, {"mood": mood}) for o in _fill(entries)
            )
    joyful, gloomy = words.MOODS.values()
    for mood, own, other in zip(words.MOODS, (joyful, gloomy), (gloomy, joyful), strict=True):
        for rule, kind in _MOOD_RULES.items():
            mine, strays = (
                tuple(map(_article, m.look)) if rule == "a_look" else getattr(m, kind)
                for m in (own, other)
            )
            rules.setdefault(rule, []).extend(_mood_words(mine, strays, mood))
    for topic, t in words.TOPICS.items():
        for rule, lines in (("place", t.place), ("thing", t.thing), ("act", t.act)):
            rules.setdefault(rule, []).extend(_fill(lines, {"topic": topic}))
    return Grammar(VARIABLES, {name: tuple(options) for name, options in rules.items()})
