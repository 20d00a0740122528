"""What a change of weights is trained for. Pure functions of what a model makes of pairs of texts.

Column 0 is the positive text of a pair, column 1 the negative one. A change is trained at c = +1 and
c = -1 alike: what is asked for at c is the opposite of what is asked for at -c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError, UnknownNameError

Link = Literal["log_sigmoid", "hinge", "tanh", "raw"]


@dataclass(frozen=True, eq=False)
class Response:
    """What a model makes of pairs.

    Attributes:
        likelihood: log-probability of each text, in nats.
        per_token: the same per token.
        projection: mean activation of each text's content tokens along frozen directions, in class
            separations.
        kl: KL from the plain model, mean over each text's positions, in nats.
    """

    likelihood: Float[Tensor, "pair 2"]
    per_token: Float[Tensor, "pair 2"]
    projection: Float[Tensor, "pair 2"]
    kl: Float[Tensor, "pair 2"]


def shift(now: Response, plain: Response) -> Float[Tensor, " pair"]:
    """How far both texts have moved towards the positive class, in class separations."""
    return (now.projection - plain.projection).mean(dim=1)


def separation(now: Response, plain: Response) -> Float[Tensor, " pair"]:
    """How much further apart the two texts of a pair lie, in class separations."""
    gap, before = (r.projection[:, 0] - r.projection[:, 1] for r in (now, plain))
    return gap - before


def preference(now: Response, plain: Response) -> Float[Tensor, " pair"]:
    """How much more the positive text is preferred to the negative one, in nats.

    Source: Rafailov et al. 2023 (arXiv:2305.18290), the margin of direct preference optimisation.
    """
    gap, before = (r.likelihood[:, 0] - r.likelihood[:, 1] for r in (now, plain))
    return gap - before


_Linked = Callable[[Tensor, float, float], Tensor]
# What is lowered of c p, with the steepness β and the place γ.
LINKS: dict[str, _Linked] = {
    "log_sigmoid": lambda p, beta, gamma: -F.logsigmoid(beta * (p - gamma)),
    "hinge": lambda p, beta, gamma: beta * (gamma - p).clamp_min(0.0),
    "tanh": lambda p, beta, _gamma: -(beta * p).tanh(),
    "raw": lambda p, _beta, _gamma: -p,
}
Aim = Callable[[Response, Response], Float[Tensor, " pair"]]
AIMS: dict[str, Aim] = {"shift": shift, "separation": separation, "preference": preference}


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss of a pair at a coefficient c = ±1, p being its aim, 0 for the plain model.

    loss = link(c p) + w_c max(0, lp₀ - m - lp)² + w_k max(0, KL - m_k) + w_m max(0, m_m - c p)

    lp is the log-probability per token of the text that c favours. Its penalty is exactly zero, and
    without slope, while lp >= lp₀ - m. The last term asks the aim to rise from c = -1 over 0 to +1.

    Attributes:
        aim: `shift`, `separation` or `preference`.
        link: `log_sigmoid`, -log σ(β (c p - γ)); `hinge`, β max(0, γ - c p); `tanh`,
            -tanh(β c p), which no pair can pull beyond 1; or `raw`, -c p.
        beta: steepness β, per unit of the aim.
        gamma: γ, in units of the aim.
        coherence: w_c, per nat² per token².
        coherence_margin: m, in nats per token, free of charge.
        kl: w_k, per nat.
        kl_margin: m_k, in nats, free of charge.
        monotonicity: w_m, per unit of the aim.
        monotonicity_margin: m_m, in units of the aim.

    Raises:
        UnknownNameError: no such aim or link.
        BadValueError: a number that is not finite, or negative.
    """

    aim: str = "shift"
    link: Link = "log_sigmoid"
    beta: float = 2.0
    gamma: float = 1.0
    coherence: float = 40.0
    coherence_margin: float = 0.1
    kl: float = 0.0
    kl_margin: float = 0.0
    monotonicity: float = 0.0
    monotonicity_margin: float = 0.05

    def __post_init__(self) -> None:
        if self.aim not in AIMS:
            raise UnknownNameError("aim", self.aim, AIMS)
        if self.link not in get_args(Link):
            raise UnknownNameError("link", self.link, get_args(Link))
        for name, value in vars(self).items():
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise BadValueError(f"{name} is {value}; it must be a number of at least 0.")

    def __call__(self, now: Response, plain: Response, sign: int) -> Float[Tensor, " pair"]:
        """The loss of each pair at c = `sign`."""
        p = sign * AIMS[self.aim](now, plain)
        loss = LINKS[self.link](p, self.beta, self.gamma)
        favoured = 0 if sign > 0 else 1
        loss = loss + self.coherence * shortfall(
            now.per_token[:, favoured], plain.per_token[:, favoured], self.coherence_margin
        )
        loss = loss + self.kl * (now.kl.mean(dim=1) - self.kl_margin).clamp_min(0.0)
        return loss + self.monotonicity * (self.monotonicity_margin - p).clamp_min(0.0)


def shortfall(
    now: Float[Tensor, " pair"], plain: Float[Tensor, " pair"], margin: float
) -> Float[Tensor, " pair"]:
    """max(0, lp₀ - m - lp)², in nats² per token²: what a text has lost beyond a margin."""
    return (plain - margin - now).clamp_min(0.0).square()


# What an aim needs to be told apart from noise: a preference is a sum over a text, in nats.
_SCALES = {"preference": {"beta": 0.3, "gamma": 5.0}}


def find_objective(aim: str, link: str = "log_sigmoid") -> Objective:
    """The objective of an aim with the numbers that suit its unit.

    Raises:
        UnknownNameError: no such aim or link.
    """
    if link not in get_args(Link):
        raise UnknownNameError("link", link, get_args(Link))
    scale = _SCALES.get(aim, {})
    return Objective(aim=aim, link=cast(Link, link), **scale)
