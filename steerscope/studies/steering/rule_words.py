"""The rule of the sentence in words, as it met a run."""

from __future__ import annotations

from steerscope.studies.steering.findings import Findings, items_in_words
from steerscope.studies.steering.phrases import size
from steerscope.studies.steering.plan import smallest_effect


def rule(findings: Findings) -> list[str]:
    """The rule of the sentence, with the numbers of this run."""
    effect = findings.effect
    smallest = size(effect, smallest_effect(findings.plan, effect))
    what = "the shift of the log-odds from plain"
    if effect.is_share:
        done = f"show {effect.positive} and are" if effect.is_shown else "are flipped and"
        what = f"texts that {done} undamaged, above plain"
    room = ", and the texts, steered or not, leave room for it" if effect.is_share else ""
    room += ", and no other condition surely has one on the select split where the chosen one has none, or is clear of it"
    unread = tells = other_way = plain_unread = ""
    if effect.is_shown:
        tells = "; the judge tells texts apart"
        unread = ", also if every steered text without a score showed it, by a judge that tells texts apart"
        plain_unread = ", also if every plain text without a score showed it"
        other_way = ", also if the texts without a score went the other way, and not by a judge that cannot tell"
    return [
        f"The gain is {what}, on held-out texts; its interval is 95 % over {items_in_words(findings)}. The "
        f"smallest effect of interest is {smallest}.",
        f"No: the interval lies below the smallest effect of interest{unread}{room}.",
        f"Yes: it lies above{plain_unread}; the effect is ahead of at least 19 null directions of each kind, "
        "each at the layer and dose that does most to the likelihood of the pairs (rank p <= 0.05), and clearly of those that were asked fewer items; the choice has a corrected p <= 0.05 (after a "
        "race: on the held-out items, which chose nothing); the effect is above that of label-shuffled "
        f"directions; the audit finds no error{tells}; of a concept that the plain model finds unlikely by "
        "itself, the texts are as likely as those that are asked for, with the whole interval, under the "
        "plain model and under the model that is asked; and every cost is within its limit with its whole "
        "interval.",
        "Yes, at a price: all of this but the costs, which are known and not surely within their limits.",
        "Not shown: anything else, and always where logits on held-out texts are not finite. What was not "
        "measured counts as not good.",
        "Asking does better or as well where the interval of its difference from steering, on the same "
        "items, lies above 0, or within the smallest effect of interest on both sides"
        f"{other_way}; of several ways of asking, the one is compared that did best on the select split.",
        "A limit is two standard deviations of the model's own plain texts, at most what the judge "
        "allows and of a share at least 5 points. A text is damaged where a metric is worse than plain "
        "by more than three of them (distinct-2 by 0.1 at least), has the worse value of a yes or no, or "
        "could not be read. Where most texts that show the concept when the model is asked for it are "
        "over the limit of likelihood alone, plain texts do not surely show it in more than one of twenty, "
        "and no layer and dose surely gains 10 points by texts that are within it, likelihood is held to those texts, and that after the words that ask is a limit too, of all texts "
        "but the plain ones and those as likely as they are.",
    ]
