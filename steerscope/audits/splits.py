"""Checks of what was measured on what: splits, prompts, and the texts of the contrast set."""

from __future__ import annotations

import numpy as np

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding
from steerscope.errors import ContrastError, NotCheckedError
from steerscope.statistics import detectable_difference
from steerscope.studies.steering.findings import items_in_words
from steerscope.texts.chats import Conversation
from steerscope.texts.showing import counted
from steerscope.texts.words import words_in

_FEW = 20  # prompts

# What chat templates put around a turn.
_TEMPLATES = ("<|im_start|>", "[INST]", "<start_of_turn>", "<|start_header_id|>", "<|user|>")


def stated_where_chosen(evidence: Evidence) -> list[Finding]:
    """The effect is stated on the prompts that chose the layer and dose."""
    chosen = evidence.findings.chosen
    if evidence.split == "test" and evidence.cells(evidence.plan.method):
        return []
    return [
        Finding(
            "warning",
            f"the layer and dose were chosen among {chosen.n_cells} conditions on the same prompts "
            "that state their effect, so the effect is too good",
            evidence.place,
            "Measure the chosen condition on the test split with `steerscope report`",
            {"conditions": chosen.n_cells, f"effect_{evidence.unit}": chosen.effect.value},
        )
    ]


def shared_prompts(evidence: Evidence) -> list[Finding]:
    """A prompt is in two splits, or twice in one without an interval that knows it."""
    found = []
    known = evidence.texts.drop_duplicates(["given", "split", "group"])
    by_text = known.groupby("given").split.agg(["nunique", "count"])
    across = int((by_text["nunique"] > 1).sum())
    within = int((by_text["count"] - by_text["nunique"]).sum())
    if across:
        found.append(
            Finding(
                "error",
                f"{counted(across, 'prompt')} of the select split {'is' if across == 1 else 'are'} in the test split too",
                "prompts",
                "Split the prompts so that equal texts stay together, and measure again",
                {"prompts": across},
            )
        )
    if within:
        found.append(
            Finding(
                "warning",
                f"{counted(within, 'prompt')} come{'s' * (within == 1)} more than once in a split, so the intervals are too narrow",
                "prompts",
                "Leave repeated prompts out",
                {"prompts": within},
            )
        )
    return found


def prompts_in_fit_texts(evidence: Evidence) -> list[Finding]:
    """Stated prompts begin or stand in the texts that the directions come from, so that they are not held out."""
    if not evidence.effect.is_share:
        return []  # stated on pairs
    plan = evidence.plan
    try:
        fit = evidence.contrasts.split(plan.seed, plan.grouping).fit
    except ContrastError as error:
        raise NotCheckedError(str(error)) from None
    read = [_in_words(text) for pair in fit for text in (pair.positive, pair.negative)]
    prompts = {_in_words(text) for text in _prompts(evidence)}
    prompts.discard(_in_words(""))
    seen = [prompt for prompt in prompts if any(prompt in text for text in read)]
    if not seen:
        return []
    return [
        Finding(
            "warning",
            f"{len(seen)} of {counted(len(prompts), 'prompt')} of the {evidence.split} split "
            f"{'begins or stands' if len(seen) == 1 else 'begin or stand'} in a "
            "text of the pairs that the directions come from, so that they are not held out",
            "prompts",
            "Give prompts that no pair holds (--prompts), or pairs that begin in other ways",
            {"prompts": len(seen), "of": len(prompts)},
        )
    ]


def _prompts(evidence: Evidence) -> list[str]:
    """What the stated split is asked, without a chat template around it."""
    texts = evidence.texts
    given = list(texts.given[texts.split == evidence.split])
    if not evidence.plan.chat:
        return given
    bare = sorted(map(_said, evidence.bare_prompts), key=len, reverse=True)
    return [next((text for text in bare if text in written), written) for written in given]


def _said(text: str) -> str:
    """A text, or what is said in a conversation."""
    turns = text.messages if isinstance(text, Conversation) else ()
    return "\n".join(turn.content for turn in turns) or text


def _in_words(text: str) -> str:
    return f" {' '.join(words_in(_said(text).lower()))} "


def few_prompts(evidence: Evidence) -> list[Finding]:
    """Fewer prompts than any interval can be trusted on."""
    n = len(np.unique(evidence.distinct(evidence.stated.index)))
    if n >= _FEW:
        return []
    return [
        Finding(
            "warning",
            f"the effect is stated on {n} {items_in_words(evidence.findings)}, fewer than {_FEW}",
            evidence.place,
            "Give more of them; an interval over so few is hardly to be trusted",
            {"prompts": n},
        )
    ]


def underpowered(evidence: Evidence) -> list[Finding]:
    """The effect is told from zero, but is smaller than what so many prompts show reliably."""
    differences = evidence.over_random
    estimate = evidence.mean(differences)
    by_prompt = differences.groupby(evidence.distinct(differences.index)).mean()
    least = detectable_difference(by_prompt.to_numpy(float))
    if not estimate.low > 0 or estimate.value >= least:
        return []
    needed = int(np.ceil(estimate.n * (least / estimate.value) ** 2))
    return [
        Finding(
            "warning",
            f"{counted(estimate.n, 'prompt')} show{'s' * (estimate.n == 1)} an effect of {least:.3g} {evidence.unit} in 4 of 5 cases, and "
            f"the stated one, minus that of random directions, is {estimate.value:.3g}: one that shows in so few prompts is on average "
            "overstated",
            evidence.place,
            f"State it on about {counted(needed, 'prompt')}, or as a trend",
            {"prompts": estimate.n, "effect": estimate.value, "detectable": least},
        )
    ]


def template_mismatch(evidence: Evidence) -> list[Finding]:
    """The pairs stand in a chat template and the prompts do not, or the other way round."""
    shares = _in_chat(evidence) if evidence.plan.chat else _with_marks(evidence)
    if abs(shares[0] - shares[1]) <= 0.5:
        return []
    return [
        Finding(
            "error",
            f"{shares[0]:.0%} of the contrast texts and {shares[1]:.0%} of the prompts stand in a "
            "chat template: the direction was read where it is not used",
            f"contrast set {evidence.plan.contrasts}",
            "Use the same template for both",
            {"pairs_share": shares[0], "prompts_share": shares[1]},
        )
    ]


def _in_chat(evidence: Evidence) -> list[float]:
    """Shares of texts in the template of a chat run: all pairs, and what is not a prompt as written."""
    bare = evidence.bare_prompts
    return [1.0, float(np.mean([text not in bare for text in evidence.texts.given]))]


def _with_marks(evidence: Evidence) -> list[float]:
    """Shares of contrast texts and of prompts that hold the marks of a chat template."""
    pairs = [text for p in evidence.contrasts.pairs for text in (p.positive, p.negative)]
    return [
        float(np.mean([any(mark in text for mark in _TEMPLATES) for text in texts]))
        for texts in (pairs, list(evidence.texts.given))
    ]
