"""Write happy_sad.jsonl and happy_sad.prompts.jsonl: short stories for models of children's tales.

`python data/contrasts/make_happy_sad.py`
"""

import json
from pathlib import Path
from random import Random

HEROES = (
    ("Lily", "She", "her"), ("Tom", "He", "his"), ("Mia", "She", "her"), ("Ben", "He", "his"),
    ("Sara", "She", "her"), ("Max", "He", "his"), ("Anna", "She", "her"), ("Sam", "He", "his"),
    ("Lucy", "She", "her"), ("Jack", "He", "his"),
)  # fmt: skip
OPENINGS = (
    "One day, {name} went to the park with {his} mom.",
    "{name} was in the garden with {his} dog.",
    "Once upon a time, there was a child named {name}.",
    "{name} had a big red ball.",
    "{name} and {his} friend went to the store.",
    "One morning, {name} woke up and looked outside.",
    "{name} saw a little bird in the tree.",
    "{name} wanted to play with {his} toys.",
    "It was time for {name} to go home.",
    "{name} found a box under {his} bed.",
)
ENDINGS = (
    ("{He} was very happy.", "{He} was very sad."),
    ("{He} felt so glad and smiled.", "{He} felt so sad and cried."),
    ("{He} laughed and jumped with joy.", "{He} cried and hid with fear."),
    ("{He} had a big smile.", "{He} had big tears."),
    ('{He} said, "I love this day!"', '{He} said, "I hate this day!"'),
    ("Mom gave {name} a warm hug and {name} laughed.", "Mom was angry at {name} and {name} cried."),
    ("{name} was proud and full of joy.", "{name} was hurt and full of tears."),
    ("{He} danced and sang a happy song.", "{He} sat alone and felt bad."),
    ("The sun was bright and {name} smiled.", "The sky was dark and {name} was scared."),
    ("{name} won the game and was excited.", "{name} lost the game and was upset."),
    ("{He} clapped and had so much fun.", "{He} sobbed and had no fun."),
    ("It was the best day for {name}.", "It was the worst day for {name}."),
)
CUTS = ("{He} felt", "{He} was", "{He} looked at it and", "Then {name}", "{name} was so", "{He}")


def main() -> None:
    """Write both files beside this one."""
    rng = Random("happy and sad")
    here = Path(__file__).parent

    def fill(text: str, hero: tuple[str, str, str]) -> str:
        return text.format(name=hero[0], He=hero[1], his=hero[2])

    stories = [(h, o, e) for h in HEROES for o in OPENINGS for e in ENDINGS]
    pairs = [
        {
            "positive": fill(f"{opening} {ending[0]}", hero),
            "negative": fill(f"{opening} {ending[1]}", hero),
            "concept": "happiness",
        }
        for hero, opening, ending in rng.sample(stories, 300)
    ]
    prompts = [
        {"prompt": fill(f"{opening} {cut}", hero)}
        for hero in HEROES
        for opening in OPENINGS
        for cut in CUTS
    ]
    for name, rows in (("happy_sad", pairs), ("happy_sad.prompts", rng.sample(prompts, 240))):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (here / f"{name}.jsonl").write_text(text)


if __name__ == "__main__":
    main()
