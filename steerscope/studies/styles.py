"""How far style directions are the attention sink in disguise, with position 0 read and without."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.diagnostics.table import interval
from steerscope.directions import find_direction
from steerscope.engine.gathering import gather
from steerscope.errors import BadValueError
from steerscope.extraction.activations import Contrast, extract
from steerscope.extraction.reading import ReadToken
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site
from steerscope.texts.contrasts import ContrastSet

READS = (ReadToken.mean(), ReadToken.mean(sink=True))  # without position 0, and with it
SINK = "sink"
_FIRST = ReadToken.at(0, sink=True)
_NORMAL_95 = 1.959964  # standard deviations that hold 95 % of a normal distribution


@dataclass(frozen=True)
class StyleValue:
    """One number about a style, or about two.

    Attributes:
        style: its name; empty where the number is of the site alone.
        other: the style that it is compared with, `sink`, or empty.
        read: which tokens the mean was taken over; empty where that does not matter.
        quantity: `cosine` of two directions, or of a direction and the sink;
            `length_difference` of the two prompts, wanted minus other; `natural_ratio`, the natural
            length with position 0 over the one without; `sink_ratio`, the length of the sink
            direction over that of a typical activation.
        low: lower end of the 95 % bootstrap interval over messages.
        high: upper end of it.
        null: cosine that 95 % of random directions stay below in size; NaN for the others.
        n: messages.
    """

    style: str
    other: str
    site: str
    layer: int
    read: str
    quantity: str
    value: float
    low: float
    high: float
    unit: str
    null: float
    n: int


def style_report(
    model: LensModel,
    styles: Sequence[ContrastSet],
    sites: Sequence[Site],
    *,
    method: str = "mean_diff",
    n_resamples: int = 200,
    seed: int = 0,
    progress: Track = silent,
) -> pd.DataFrame:
    """What styles have in common at each site, with and without position 0 in the mean.

    The sink direction is k = mean(h₀ - h̄) over all texts, h̄ the mean over the tokens after
    position 0. A mean over all T tokens is h̄ + (h₀ - h̄) / T, so that the difference of two prompts
    gains k (1/T₊ - 1/T₋): whatever the style, a shorter prompt puts the sink into its direction.

    The intervals resample messages, the same ones for all styles and readings.

    Args:
        model: the model.
        styles: as `style_contrasts` makes them of the same messages, in a chat template or not.
        sites: where to read.
        method: how directions are found.
        n_resamples: bootstrap draws.
        seed: of the draws, and of the method where it draws.
        progress: shows the loops.

    Returns:
        One row per number, with the columns of `StyleValue`.

    Raises:
        BadValueError: no style, a name twice or `sink`, fewer than two messages or not equally many.
        DegenerateDirectionError: the instructions make no difference at a site.
    """
    names = [s.concept for s in styles]
    sizes = {len(s) for s in styles}
    if len({SINK, *names}) <= len(names) or len(sizes) != 1 or min(sizes) < 2:
        raise BadValueError(
            f"a report needs styles of different names, none of them {SINK}, all with the same "
            f"messages, 2 at least; got "
            f"{', '.join(f'{s.concept} with {len(s)}' for s in styles) or 'none'}."
        )
    read = [
        [gather(model, s, sites, [method], read=token, progress=progress) for token in READS]
        for s in styles
    ]
    first = [extract(model, s, sites, read=_FIRST, progress=progress) for s in styles]
    lengths = torch.tensor([_lengths(model, s) for s in styles]).double()
    [n_messages] = sizes
    draws = _draws(n_messages, n_resamples, seed)
    rows: list[StyleValue] = []
    for site in dict.fromkeys(sites):
        contrasts = [[by_site[site] for by_site in of_style] for of_style in read]
        sinks = torch.stack(
            [_sink(f[site], pair[0]) for f, pair in zip(first, contrasts, strict=True)]
        )
        measured = _Measured(site, names, n_messages, *_find(contrasts, draws, method, seed))
        rows += measured.alone(_over_draws(lengths, draws))
        rows += measured.between()
        rows += measured.with_sink(_over_draws(sinks, draws).mean(dim=0), contrasts[0][0].relative)
    return pd.DataFrame([asdict(r) for r in rows], columns=[f.name for f in fields(StyleValue)])


def _lengths(model: LensModel, contrasts: ContrastSet) -> list[int]:
    """Tokens of the wanted prompt minus tokens of the other, for each message."""
    return [len(model.tokens(p.positive)) - len(model.tokens(p.negative)) for p in contrasts.pairs]


def _draws(n_items: int, n_resamples: int, seed: int) -> Int[Tensor, "sample item"]:
    """Items with replacement; the first sample is every item once."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n_items, (n_resamples, n_items), generator=generator)
    return torch.cat([torch.arange(n_items)[None], drawn])


def _over_draws(
    values: Float[Tensor, "style item *d"], draws: Int[Tensor, "sample item"]
) -> Float[Tensor, "style sample *d"]:
    """Mean over the items of each sample."""
    weights = torch.zeros(draws.shape, dtype=values.dtype)
    weights.scatter_add_(1, draws, torch.ones(draws.shape, dtype=values.dtype))
    return torch.tensordot(values, weights / draws.shape[1], dims=([1], [1])).movedim(-1, 1)


def _sink(first: Contrast, content: Contrast) -> Float[Tensor, "pair d"]:
    """Activation at position 0 minus the mean of those after it, mean over the texts of a pair."""
    apart = (first.positive - content.positive) + (first.negative - content.negative)
    return apart.double() / 2


def _find(
    contrasts: Sequence[Sequence[Contrast]],
    draws: Int[Tensor, "sample item"],
    method: str,
    seed: int,
) -> tuple[Float[Tensor, "style read sample d"], Float[Tensor, "style read sample"]]:
    """Directions of every style, reading and sample, and their natural lengths."""
    found = [
        find_direction(method, contrast.take(draw), seed=seed)
        for of_style in contrasts
        for contrast in of_style
        for draw in draws
    ]
    shape = (len(contrasts), len(READS), len(draws))
    units = torch.stack([d.unit.double() for d in found])
    natural = torch.tensor([d.scale.natural for d in found], dtype=torch.float64)
    return units.unflatten(0, shape), natural.reshape(shape)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What was found at one site, as rows; sample 0 is the value, the others its interval."""

    site: Site
    names: Sequence[str]
    n_messages: int
    units: Float[Tensor, "style read sample d"]
    natural: Float[Tensor, "style read sample"]

    def alone(self, lengths: Float[Tensor, "style sample"]) -> Iterator[StyleValue]:
        """Difference of the prompts in tokens, and what position 0 does to the natural length."""
        for number, name in enumerate(self.names):
            yield self._row((name, "", ""), "length_difference", lengths[number], "tokens")
            ratio = self.natural[number, 1] / self.natural[number, 0]
            yield self._row((name, "", ""), "natural_ratio", ratio, "ratio")

    def between(self) -> Iterator[StyleValue]:
        """Cosines of every two styles."""
        for one, other in combinations(range(len(self.names)), 2):
            cosines = (self.units[one] * self.units[other]).sum(dim=-1)
            for read, samples in zip(READS, cosines, strict=True):
                who = (self.names[one], self.names[other], str(read))
                yield self._row(who, "cosine", samples, "cosine")

    def with_sink(self, sink: Float[Tensor, "sample d"], relative: float) -> Iterator[StyleValue]:
        """Cosine of every style with the sink direction, and how long that is."""
        lengths = sink.norm(dim=-1)
        yield self._row(("", SINK, ""), "sink_ratio", lengths / relative, "ratio")
        for number, name in enumerate(self.names):
            cosines = (self.units[number] * sink / lengths[:, None]).sum(dim=-1)
            for read, samples in zip(READS, cosines, strict=True):
                yield self._row((name, SINK, str(read)), "cosine", samples, "cosine")

    def _row(
        self, who: tuple[str, str, str], quantity: str, samples: Float[Tensor, " sample"], unit: str
    ) -> StyleValue:
        style, other, read = who
        low, high = interval(samples[1:])
        null = _NORMAL_95 / math.sqrt(self.units.shape[-1]) if quantity == "cosine" else math.nan
        place = (str(self.site), self.site.layer, read, quantity)
        return StyleValue(
            style, other, *place, float(samples[0]), low, high, unit, null, self.n_messages
        )
