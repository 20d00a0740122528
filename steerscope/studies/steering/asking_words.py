"""What a report says of asking in words beside steering."""

from __future__ import annotations

from steerscope.studies.steering.asking import Rival
from steerscope.studies.steering.findings import Findings
from steerscope.studies.steering.phrases import amount, number, prices
from steerscope.studies.steering.plan import smallest_effect
from steerscope.studies.steering.verdict import without_score

_NOT_TOLD = "is not told apart"


def compared(f: Findings, rival: Rival) -> str:
    """What asking does beside steering: better, worse, as well, or not told apart from it.

    Not told apart by a judge that cannot tell, nor where the texts that it gave no score may overturn it, nor
    where the logits of the steered model are not finite.
    """
    if f.is_lost or f.card is not None and not f.card.tells:
        return _NOT_TOLD
    low = rival.ahead.low - without_score(f.effect, f.costs)
    high = rival.ahead.high + without_score(f.effect, rival.costs)
    smallest = smallest_effect(f.plan, f.effect)
    if low > 0:
        return "does better"
    if high < 0:
        return "does worse"
    if -smallest < low and high < smallest:
        return "does as well"
    return _NOT_TOLD


def asking_clause(f: Findings) -> str:
    """What the sentence says of asking: only that it does better or as well."""
    if not f.rivals or (found := compared(f, f.rivals[0])) not in {"does better", "does as well"}:
        return ""
    by = amount(f.effect, f.rivals[0].ahead, difference=True)
    return f"; asking for it by {f.rivals[0].words} {found}, by {by}"


def asking_in_words(f: Findings) -> str:
    """How asking in words does beside the chosen condition, on the same items."""
    if not f.rivals:
        return (
            "Asking: not measured, so that nothing is known of how a prompt does beside steering."
        )
    first, *others = f.rivals
    steered = f.joint or f.stated
    assert steered is not None
    done = f"showing {f.effect.positive}" if f.effect.is_shown else "flipped"
    found = compared(f, first)
    if found == _NOT_TOLD and (first.ahead.low > 0 or first.ahead.high < 0):
        found += f" ({_why_not_told(f)})"
    shown = f"{done} and undamaged" if f.joint else "of the log-odds"
    read = corrected = ""
    if f.corrected_effect is not None:
        read, corrected = " as the judge reads them", " once its errors are corrected for"
    said = (
        f"Asking {found}: {amount(f.effect, first.shows)} by {first.words} against "
        f"{amount(f.effect, steered)} by steering, {shown}{read}; difference "
        f"{amount(f.effect, first.ahead, difference=True)}{corrected}; at {number(first.kl_written)} "
        f"against {number(f.kl_written)} nats per token written"
    )
    if price := prices(first.costs):
        said += f"; {price}"
    if others:
        also = (f"by {r.words} {amount(f.effect, r.shows)}" for r in others)
        said += f". Also asked: {', '.join(also)}"
    return f"{said}."


def _why_not_told(f: Findings) -> str:
    """Why a difference that lies on one side of nothing tells nothing."""
    if f.is_lost:
        return "logits of the steered model are not finite"
    if f.card is not None and not f.card.tells:
        return "the judge cannot tell"
    return "texts that the judge could not read may overturn the difference"
