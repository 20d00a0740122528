"""The coefficients at which techniques come to one KL, and the layer at which steering does best there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from steerscope.engine.score import mean_kl, preferences, with_kl
from steerscope.engine.searches import sizes_at_kl
from steerscope.errors import BadValueError, NotFiniteError
from steerscope.models.lens_model import LensModel
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.transfer.techniques import Technique, steering_techniques
from steerscope.texts.contrasts import ContrastSet, PromptSet

_SIZES = tuple(2.0**i for i in range(-3, 5))  # of the coefficients tried first
_FEW_PROMPTS = 12  # on which these are tried
_FARTHEST = 16.0  # times from where a few prompts say that the KL is reached
_TOLERANCE = 0.02  # of the KL; so near to it, it counts as reached
_SMALLEST = 1e-12  # nats; what counts as no KL at all is not taken the logarithm of


def matched_coefficients(
    model: LensModel, technique: Technique, prompts: Sequence[str], kl: float
) -> tuple[float, float]:
    """The smallest coefficients, negative and positive, at which the KL from plain reaches a target.

    Coefficients up to 16 in steps of a factor of two come first, on a few of the prompts. Inside
    their first bracket KL = a |c|^b gives the next one, which is then corrected on all prompts. NaN
    where the KL is not reached, or for a technique without degrees.
    """
    if not technique.is_graded:
        return math.nan, math.nan

    def measure(texts: Sequence[str], coefficients: Sequence[float]) -> list[float]:
        cells = [technique.cell(c) for c in coefficients]
        return mean_kl(model, texts, cells).tolist()

    prompts = with_kl(model, prompts)  # the first few among them
    coarse = [sign * size for size in _SIZES for sign in (-1, 1)]
    curve = dict(zip(coarse, measure(prompts[:_FEW_PROMPTS], coarse), strict=True))
    laws = {sign: law for sign in (-1, 1) if (law := _power_law(curve, kl, sign))}
    signs = list(laws)
    sizes = sizes_at_kl(
        lambda wanted: measure(prompts, [signs[i] * size for i, size in wanted]),
        [size for size, _ in laws.values()],
        kl,
        tolerance=_TOLERANCE,
        farthest=_FARTHEST,
        exponents=[exponent for _, exponent in laws.values()],
    )
    found = {sign: sign * size for sign, size in zip(signs, sizes, strict=True)}
    return found.get(-1, math.nan), found.get(1, math.nan)


def _power_law(curve: Mapping[float, float], kl: float, sign: int) -> tuple[float, float] | None:
    """Where KL = a |c|^b through the first bracket of a KL on one side reaches it, and b; None if never."""
    below, least = 0.0, 0.0
    for size in sorted(abs(c) for c in curve if c * sign > 0):
        nats = curve[sign * size]
        if not math.isfinite(nats):
            return None
        if nats >= kl:
            steep = least > _SMALLEST
            exponent = math.log(nats / least) / math.log(size / below) if steep else 2.0
            return size * (kl / nats) ** (1 / exponent), exponent
        below, least = size, nats
    return None


def steering_by_validation(
    model: LensModel,
    contrasts: ContrastSet,
    prompts: PromptSet,
    method: str,
    plan: TransferPlan,
    *,
    splits: tuple[ContrastSet, ContrastSet] | None = None,
    layers: Sequence[int] | None = None,
) -> Technique:
    """Steering at the layer where the preference on validation pairs moves most at the matched KL.

    Args:
        model: the model.
        contrasts: the whole set.
        prompts: the whole set; the KL is matched on its select split.
        method: how the direction is found.
        plan: what is measured.
        splits: pairs that the direction comes from, and pairs that choose the layer; default the fit
            and select splits, else those that what it is compared with was trained on.
        layers: to choose among; default all.

    Raises:
        UnknownNameError: no such method.
        BadValueError: no layer reaches the KL.
        NotFiniteError: the logits overflow on the pairs at every layer that does.
    """
    parts = contrasts.split(plan.seed)
    fit, select = splits or (parts.fit, parts.select)
    few = min(plan.n_kl_prompts, _FEW_PROMPTS)
    asked = [p.text for p in prompts.split(plan.seed).select.prompts[:few]]
    texts = [(p.positive, p.negative) for p in select.pairs[: plan.n_pairs]]
    found = []
    among = range(model.shape.n_layers) if layers is None else layers
    for technique in steering_techniques(model, fit, method, among, seed=plan.seed):
        ends = matched_coefficients(model, technique, asked, plan.kl)
        if all(map(math.isfinite, ends)):
            found.append((technique, ends))
    if not found:
        raise BadValueError(f"{method} reaches {plan.kl:g} nats at no layer; match a smaller KL.")
    cells = [technique.cell(c) for technique, ends in found for c in ends]
    low, high = preferences(model, texts, cells).mean(dim=1).reshape(-1, 2).T
    moved = [float(gain) for gain in high - low]
    known = [i for i, gain in enumerate(moved) if math.isfinite(gain)]
    if not known:
        raise NotFiniteError(
            f"{method}: the logits are not finite at every layer that reaches {plan.kl:g} nats; "
            "match a smaller KL."
        )
    return found[max(known, key=lambda i: moved[i])][0]
