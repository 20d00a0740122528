"""The words of the microworld: which belongs to which mood, register and topic.

Nothing here computes. `rules.py` turns these lists into grammar rules. Within a pair of moods the
lists are equally long and aligned by position, so that two stories drawn with the same random
stream and different moods differ in their mood words only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MoodWords:
    """Vocabulary that reveals one mood."""

    feeling: tuple[str, ...]
    verb: tuple[str, ...]
    adverb: tuple[str, ...]
    look: tuple[str, ...]
    noun: tuple[str, ...]
    extent: tuple[str, ...]
    sky: tuple[str, ...]
    weather: tuple[str, ...]
    cry: tuple[str, ...]
    ending: tuple[str, ...]


@dataclass(frozen=True)
class TopicWords:
    """Vocabulary that reveals one topic."""

    place: tuple[str, ...]
    thing: tuple[str, ...]
    act: tuple[str, ...]


MOODS: dict[str, MoodWords] = {
    "joyful": MoodWords(
        feeling=(
            "happy",
            "glad",
            "cheerful",
            "merry",
            "delighted",
            "joyful",
            "hopeful",
            "thrilled",
            "jolly",
            "blissful",
        ),
        verb=("laughed", "smiled", "sang", "danced", "cheered", "giggled", "beamed", "clapped"),
        adverb=(
            "happily",
            "merrily",
            "gladly",
            "cheerfully",
            "brightly",
            "gaily",
            "warmly",
            "jubilantly",
        ),
        look=(
            "bright",
            "golden",
            "lovely",
            "sweet",
            "sparkling",
            "radiant",
            "splendid",
            "cosy",
            "gleaming",
            "charming",
        ),
        noun=(
            "joy",
            "delight",
            "laughter",
            "happiness",
            "hope",
            "wonder",
            "gratitude",
            "merriment",
        ),
        extent=("boundless", "overflowing", "unexpected delight and", "glorious"),
        sky=("blue", "clear", "sunlit", "rosy"),
        weather=("sunny", "mild", "warm", "balmy"),
        cry=("How lovely", "What luck", "Hurrah", "How wonderful", "What a treat", "Splendid news"),
        ending=("with a smile", "full of cheer", "humming a tune", "in high spirits"),
    ),
    "gloomy": MoodWords(
        feeling=(
            "sad",
            "gloomy",
            "miserable",
            "lonely",
            "weary",
            "tearful",
            "hopeless",
            "frightened",
            "downcast",
            "heartbroken",
        ),
        verb=("wept", "sighed", "sobbed", "trembled", "moaned", "shivered", "frowned", "groaned"),
        adverb=(
            "sadly",
            "bitterly",
            "wearily",
            "miserably",
            "gloomily",
            "mournfully",
            "coldly",
            "despairingly",
        ),
        look=(
            "grey",
            "broken",
            "dreary",
            "bleak",
            "dusty",
            "rotten",
            "faded",
            "ruined",
            "dismal",
            "crumbling",
        ),
        noun=("sorrow", "grief", "despair", "sadness", "dread", "regret", "loneliness", "anguish"),
        extent=("endless", "crushing", "unspeakable sorrow and", "bottomless"),
        sky=("black", "stormy", "leaden", "starless"),
        weather=("rainy", "foggy", "freezing", "windy"),
        cry=(
            "How awful",
            "What a pity",
            "Alas",
            "How terrible",
            "What a disaster",
            "Dreadful news",
        ),
        ending=("in tears", "full of gloom", "without a word", "in low spirits"),
    ),
}

TOPICS: dict[str, TopicWords] = {
    "garden": TopicWords(
        place=("garden", "orchard", "meadow", "greenhouse"),
        thing=(
            "rose",
            "tulip",
            "hedge",
            "fountain",
            "beehive",
            "spade",
            "daisy",
            "lawn",
            "vine",
            "wheelbarrow",
        ),
        act=(
            "watered the flowers",
            "pruned the hedge",
            "planted some seeds",
            "picked the apples",
            "raked the leaves",
            "chased the butterflies",
            "mowed the lawn",
            "dug a flower bed",
        ),
    ),
    "sea": TopicWords(
        place=("harbour", "beach", "lighthouse", "pier"),
        thing=("boat", "shell", "anchor", "sail", "gull", "net", "oar", "crab", "lantern", "mast"),
        act=(
            "rowed the boat",
            "mended the net",
            "gathered some shells",
            "watched the waves",
            "hoisted the sail",
            "fed the gulls",
            "caught a fish",
            "walked along the shore",
        ),
    ),
    "kitchen": TopicWords(
        place=("kitchen", "bakery", "pantry", "cellar"),
        thing=(
            "kettle",
            "pie",
            "oven",
            "loaf",
            "teapot",
            "spoon",
            "cake",
            "jar",
            "pan",
            "cupboard",
        ),
        act=(
            "baked a cake",
            "stirred the soup",
            "kneaded the dough",
            "boiled the kettle",
            "peeled the carrots",
            "set the table",
            "tasted the stew",
            "washed the dishes",
        ),
    ),
    "forest": TopicWords(
        place=("forest", "clearing", "valley", "cave"),
        thing=("oak", "owl", "mushroom", "fox", "fern", "deer", "pine", "nest", "log", "squirrel"),
        act=(
            "followed the trail",
            "climbed an oak",
            "gathered some firewood",
            "built a shelter",
            "tracked the deer",
            "picked the mushrooms",
            "listened to the owl",
            "crossed the stream",
        ),
    ),
    "market": TopicWords(
        place=("market", "square", "shop", "bazaar"),
        thing=(
            "stall",
            "basket",
            "coin",
            "carpet",
            "barrel",
            "scarf",
            "vase",
            "scale",
            "purse",
            "cart",
        ),
        act=(
            "counted the coins",
            "sold a carpet",
            "bought a basket",
            "weighed the grain",
            "haggled over a vase",
            "opened the stall",
            "carried a sack",
            "paid the merchant",
        ),
    ),
    "music": TopicWords(
        place=("theatre", "concert hall", "ballroom", "bandstand"),
        thing=(
            "violin",
            "piano",
            "drum",
            "flute",
            "trumpet",
            "harp",
            "cello",
            "stage",
            "melody",
            "orchestra",
        ),
        act=(
            "tuned the violin",
            "played the piano",
            "beat the drum",
            "practised a waltz",
            "conducted the choir",
            "learned a melody",
            "wrote a ballad",
            "blew the trumpet",
        ),
    ),
    "railway": TopicWords(
        place=("station", "platform", "tunnel", "signal box"),
        thing=(
            "train",
            "engine",
            "ticket",
            "whistle",
            "carriage",
            "suitcase",
            "timetable",
            "bridge",
            "wagon",
            "signal",
        ),
        act=(
            "boarded the train",
            "oiled the engine",
            "stamped the tickets",
            "waved the flag",
            "checked the timetable",
            "packed the suitcase",
            "shovelled the coal",
            "rang the bell",
        ),
    ),
    "winter": TopicWords(
        place=("mountain", "lodge", "glacier", "summit"),
        thing=(
            "sledge",
            "icicle",
            "snowman",
            "mitten",
            "skate",
            "snowdrift",
            "stove",
            "avalanche",
            "husky",
            "snowflake",
        ),
        act=(
            "built a snowman",
            "threw a snowball",
            "skated on the ice",
            "pulled the sledge",
            "cleared the snow",
            "lit the stove",
            "climbed the slope",
            "knitted a mitten",
        ),
    ),
}

GIRLS = ("Mia", "Anna", "Clara", "Rosalind", "Ivy", "Beatrice")
BOYS = ("Tom", "Felix", "Oscar", "Leopold", "Hugo", "Bartholomew")

KIN = ("mother", "father", "sister", "brother", "uncle", "aunt", "cousin", "neighbour")

# Neutral openers of a sentence, the brisk ones commoner in joyful stories, the slow ones in gloomy.
BRISK = ("Soon", "At once", "Before long", "Right away", "In a moment")
SLOW = ("Later", "For a while", "After some time", "In the end", "Once again")

# Words that say nothing of mood or topic. `SIZE` is terse; the rest is ornate.
SIZE = ("big", "small", "old", "new", "tall", "round", "plain", "heavy")
WAIT = (
    "waited",
    "rested",
    "sat down",
    "stood up",
    "looked around",
    "stopped",
    "turned back",
    "nodded",
)
TERSE_TIME = (
    "early",
    "late",
    "at noon",
    "at dawn",
    "at night",
    "on Monday",
    "on Friday",
    "after lunch",
)

STATELY = (
    "venerable",
    "ancient",
    "enormous",
    "celebrated",
    "ornamental",
    "peculiar",
    "mysterious",
    "elaborate",
    "distinguished",
    "imposing",
)
EPITHET = ("thoughtful", "noble", "faithful", "gallant", "inquisitive", "industrious")
INTENSELY = (
    "exceedingly",
    "remarkably",
    "profoundly",
    "unmistakably",
    "extraordinarily",
    "thoroughly",
)
MANNER = (
    "with considerable skill",
    "without the slightest hesitation",
    "for the better part of an hour",
    "as was the custom in those days",
    "with the utmost care",
    "in accordance with tradition",
    "under the gaze of many onlookers",
    "with admirable patience",
)
ORNATE_TIME = (
    "in the early hours of the morning",
    "towards the middle of the afternoon",
    "at the approach of evening",
    "upon the stroke of midnight",
    "in the closing days of the year",
    "on the eve of the festival",
)
HISTORY = (
    "had stood there for a hundred years",
    "had once belonged to a duchess",
    "had been described in many books",
    "had travelled across seven countries",
    "had been repaired on numerous occasions",
    "had never been moved from its place",
)
QUALITY = ("proportions", "rarity", "antiquity", "workmanship", "renown", "dimensions")
DAYPART = ("morning", "afternoon", "evening", "day")
