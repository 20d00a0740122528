"""Which features of an autoencoder a concept has, by every route, and how a direction reads in them.

A run stores the features themselves and what their nulls are drawn from; which of them are shared,
and how many chance would share, is computed from the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope import figures
from steerscope.errors import BadValueError, NoFeaturesError
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.job import (
    Job,
    Machine,
    Size,
    Step,
    Tables,
    as_asked,
    label,
    labels,
    load,
)
from steerscope.extraction.activations import extract
from steerscope.figures.files import Plate
from steerscope.models.chat_templates import in_chat
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track
from steerscope.runs.results import Row, Run, plain_row
from steerscope.studies.inputs import stated_inputs
from steerscope.texts.chats import Chat, as_chat
from steerscope.texts.contrasts import ContrastSet, load_contrasts

if TYPE_CHECKING:  # the autoencoders' door takes seconds to open
    from steerscope.extraction.activations import Contrast
    from steerscope.sae.dictionary import SparseAutoencoder
    from steerscope.sae.reading import Reading
    from steerscope.studies.features.feature_sets import FeatureSet

_log = logging.getLogger(__name__)
FEATURE, RATE, SHARED, ACTIVE = "feature", "firing_rate", "shared", "active_share"
RESAMPLED = ("codes", "encoder")  # routes that are taken again on other draws of the pairs
_N_RESAMPLES = 199
_ACROSS = "codes"  # the route by which concepts are compared


@contextmanager
def _going_on() -> Iterator[None]:
    """A route that is above zero for no feature is left out with a warning; the others go on."""
    try:
        yield
    except NoFeaturesError as error:
        _log.warning("%s", error)


@dataclass(frozen=True)
class OverlapStep:
    """The features of one concept in one autoencoder.

    Attributes:
        model: to be loaded.
        contrasts: the concept.
        texts: on which features fire, a bundled world for fresh texts or a file; None for the texts
            of the pairs that are not read.
        autoencoder: bundled name, folder or release.
        k: features of each set.
        n_pairs: pairs of the fit split, at most.
        n_texts: texts on which features fire.
        n_null: draws of each null of the reading.
    """

    model: str
    contrasts: str
    texts: str | None
    autoencoder: str
    k: int
    n_pairs: int
    n_texts: int
    n_null: int
    seed: int
    dtype: str
    backbone: str
    chat: Chat | None = None
    bos: str = "auto"
    revision: str | None = None

    @property
    def name(self) -> str:
        """Model, contrast set and seed."""
        return f"{label(self.model)}-{label(self.contrasts)}-{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        chat = None if self.chat is None else self.chat.stored()
        return as_asked({"kind": "OverlapStep", **asdict(self), "chat": chat})

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Measure the routes, rates and readings that are missing.

        Raises:
            AutoencoderMismatchError: the autoencoder is for another model.
            BadValueError: it has fewer features than are to be compared.
        """
        from steerscope.sae.codes import firing_rates
        from steerscope.sae.files import load_sae
        from steerscope.sae.reading import read_direction
        from steerscope.studies.features.sources import SOURCES, concept_sets

        model = load(self, machine)
        sae = load_sae(self.autoencoder, model=model)
        contrasts = in_chat(model, load_contrasts(self.contrasts), self.chat)
        fit = contrasts.split(self.seed).fit
        pairs = replace(fit, pairs=fit.pairs[: self.n_pairs])
        configuration = {
            **self.settings,
            "n_features": sae.n_features,
            "site": str(sae.site),
            "contrasts_sha256": contrasts.sha256,
            "autoencoder_sha256": sae.digest,
        }
        said = provenance_of(model) | stated_inputs(asdict(self))
        run = Run.start(out, configuration, provenance=said)
        labels = plain_row("", "", 0.0)
        labels = replace(
            labels, concept=contrasts.concept, stream=sae.site.stream, layer=sae.site.layer
        )
        for source in progress([*SOURCES], "features by every route"):
            if not run.has([(source, 0, "fit", FEATURE)]):
                with _going_on():
                    [features] = concept_sets(model, sae, pairs, self.k, sources=[source]).values()
                    run.append(_feature_rows(labels, source, features))
        if not run.has([("plain", 0, "held out", RATE)]):
            rates = firing_rates(model, sae, self._texts(contrasts))
            run.append(_rate_rows(labels, rates))
        contrast = extract(model, pairs, [sae.site])[sae.site]
        if not run.has([(resample(0), -1, "fit", ACTIVE)]):
            run.append(resampled_rows(labels, sae, contrast, self.k, self.seed))
        reading = read_direction(sae, contrast, k=self.k, n_null=self.n_null, seed=self.seed)
        run.append(_reading_rows(labels, reading))
        run.seal()
        return run

    def _texts(self, contrasts: ContrastSet) -> list[str]:
        from steerscope.sae.texts import load_texts

        if self.texts is not None:
            return load_texts(self.texts, "held out", n=self.n_texts, seed=self.seed)
        others = contrasts.split(self.seed).select.pairs
        return [t for p in others for t in (p.positive, p.negative)][: self.n_texts]

    def size(self, n_layers: int) -> Size:  # noqa: ARG002 - one site, whatever the model
        """Routes, and nulls as far as they cost as much as one, on the pairs."""
        return Size(5 + 2 * self.n_null // 10, self.n_pairs)

    def reduced(self, n_texts: int) -> OverlapStep:
        """Few pairs and texts."""
        return replace(self, n_pairs=n_texts, n_texts=n_texts)


def resample(number: int) -> str:
    """Name of a draw of the pairs."""
    return f"pairs drawn again {number}"


def _feature_rows(labels: Row, source: str, features: FeatureSet) -> list[Row]:
    return [
        replace(
            labels, cell=source, method=source, prompt=rank, split="fit",
            metric=FEATURE, unit="number of a feature", value=float(feature),
        )
        for rank, feature in enumerate(features.ranked)
    ]  # fmt: skip


def _rate_rows(labels: Row, rates: Float[Tensor, " feature"]) -> list[Row]:
    return [
        replace(
            labels, prompt=feature, split="held out", metric=RATE, unit="share of tokens", value=rate
        )
        for feature, rate in enumerate(rates.tolist())
    ]  # fmt: skip


def _reading_rows(labels: Row, reading: Reading) -> list[Row]:
    """One row for each number of each statistic against each null."""
    return [
        replace(
            labels, cell=reading_cell(s.way, s.name, s.null), method=s.null, split="fit",
            metric=name, unit="as the statistic has it", value=float(value),
        )
        for s in reading.statistics
        for name, value in asdict(s.chance).items()
    ]  # fmt: skip


def reading_cell(way: str, statistic: str, null: str) -> str:
    """Name of a statistic of a reading against a null."""
    return f"{way}; {statistic}; {null}"


def resampled_rows(
    labels: Row, sae: SparseAutoencoder, contrast: Contrast, k: int, seed: int
) -> list[Row]:
    """How far two numbers depend on which pairs there are: pairs are drawn again, with repetition.

    They are the share of features whose encoder column hears the mean difference, and how many of
    the first k features two routes share.
    """
    from steerscope.sae.reading import code_differences, encoder_projection

    n_pairs = len(contrast.positive)
    drawn = np.random.default_rng(seed).multinomial(
        n_pairs, np.full(n_pairs, 1 / n_pairs), size=_N_RESAMPLES
    )
    weights = torch.from_numpy(drawn).to(contrast.positive) / n_pairs
    codes = weights @ code_differences(sae, contrast)
    heard = encoder_projection(sae, weights @ contrast.differences)
    first = [_largest(values, k) for values in (codes, heard)]
    numbers = {
        ACTIVE: ("share of features", (heard > 0).double().mean(dim=1)),
        SHARED: ("features", (first[0] * first[1]).sum(dim=1)),
    }
    return [
        replace(
            labels, cell=resample(i), method=" | ".join(RESAMPLED), split="fit", seed=i,
            metric=metric, unit=unit, value=float(value),
        )
        for metric, (unit, values) in numbers.items()
        for i, value in enumerate(values)
    ]  # fmt: skip


def _largest(values: Float[Tensor, "sample feature"], k: int) -> Float[Tensor, "sample feature"]:
    """1 at the k largest values of each row that are above zero, as in a set of features."""
    found = values.topk(k)
    chosen = (found.values > 0).to(values)
    return torch.zeros_like(values).scatter(1, found.indices, chosen)


def sets_of_run(run: Run) -> dict[str, FeatureSet]:
    """The features of a concept by every route, as they were stored."""
    from steerscope.studies.features.feature_sets import FeatureSet

    table, settings = run.table(), run.configuration
    rows = table[table.metric == FEATURE].sort_values("prompt")
    return {
        str(source): FeatureSet(
            f"{part.concept.iloc[0]}, {source}",
            tuple(part.value.astype(int)),
            settings["n_features"],
            settings["autoencoder"],
        )
        for source, part in rows.groupby("cell")
    }


def rates_of_run(run: Run) -> dict[str, Float[Tensor, " feature"]]:
    """How often each feature of the autoencoder fires, under the autoencoder's name."""
    table = run.table()
    rates = table[table.metric == RATE].sort_values("prompt").value.tolist()
    return {run.configuration["autoencoder"]: torch.tensor(rates, dtype=torch.float64)}


def readings_of_run(run: Run) -> pd.DataFrame:
    """One row for each statistic and null: way, statistic, null, and the number with its chance."""
    table = run.table()
    rows = table[table.cell.str.count("; ") == 2]
    wide = rows.pivot(index="cell", columns="metric", values="value").reset_index()
    parts = wide.cell.str.split("; ", expand=True)
    names = {name: parts[i] for i, name in enumerate(("way", "statistic", "null"))}
    columns = ["value", "expected", "low", "high", "p", "n"]
    return pd.DataFrame({**names, **wide[columns]})


def routes_table(run: Run) -> pd.DataFrame:
    """What every two routes to a concept share, at every depth."""
    from steerscope.studies.features.overlap import overlap_table
    from steerscope.studies.features.sources import settings_within

    settings = settings_within(sets_of_run(run), {"run": run.path.name})
    return overlap_table(settings, depths=_depths(run), frequency=rates_of_run(run))


def concepts_table(runs: Sequence[Run]) -> pd.DataFrame | None:
    """What every two concepts of a model share by one route; None where no model has two."""
    from steerscope.studies.features.overlap import overlap_table
    from steerscope.studies.features.sources import settings_within

    def group(run: Run) -> tuple[str, int]:
        return run.configuration["model"], run.configuration["seed"]

    parts = []
    called = labels([run.configuration["model"] for run in runs])
    for (model, seed), together in groupby(sorted(runs, key=group), key=group):
        mine = list(together)
        if len(mine) > 1:
            concepts = labels([r.configuration["contrasts"] for r in mine])
            sets = {concepts[r.configuration["contrasts"]]: sets_of_run(r)[_ACROSS] for r in mine}
            settings = settings_within(sets, {"model": called[model], "seed": seed})
            parts.append(
                overlap_table(settings, depths=_depths(mine[0]), frequency=rates_of_run(mine[0]))
            )
    return pd.concat(parts, ignore_index=True) if parts else None


def _concept(run: Run) -> str:
    return label(run.configuration["contrasts"])


def _depths(run: Run) -> list[int]:
    k = run.configuration["k"]
    return sorted({d for d in (1, 2, 5, 10, k) if d <= k})


def _steps(e: Experiment) -> list[Step]:
    if e.autoencoder is None:
        raise BadValueError("the job 'overlap' needs an autoencoder; name one as `autoencoder`.")
    s = e.sample
    return [
        OverlapStep(
            model=model,
            contrasts=contrasts,
            texts=e.prompts,
            autoencoder=e.autoencoder,
            k=s.features or 20,
            n_pairs=s.pairs or 60,
            n_texts=s.texts or 200,
            n_null=s.nulls or 199,
            seed=seed,
            **e.loading(),
            chat=as_chat(e.chat),
        )
        for model, contrasts, seed in product(e.models, e.contrasts, e.seeds)
    ]


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
    readings = [readings_of_run(run).assign(run=run.path.name) for run in runs]
    found = {
        "routes": pd.concat([routes_table(run) for run in runs], ignore_index=True),
        "readings": pd.concat(readings, ignore_index=True),
    }
    concepts = concepts_table(runs)
    return found if concepts is None else {**found, "concepts": concepts}


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    return list(_drawn(experiment, runs))


def _drawn(experiment: Experiment, runs: Sequence[Run]) -> Iterator[Plate]:
    wanted = {*experiment.figures}
    if wanted & {"all", "routes"}:
        for run in runs:
            yield _plate(
                f"{run.path.name}-routes", routes_table(run), run, f"routes to {_concept(run)}"
            )
    concepts = concepts_table(runs) if wanted & {"all", "concepts"} else None
    if concepts is not None:
        yield _plate("concepts", concepts, runs[0], f"concepts, by their {_ACROSS}")


def _plate(name: str, table: pd.DataFrame, run: Run, words: str) -> Plate:
    c = run.configuration
    caption = (
        f"The first {c['k']} at most of {c['n_features']} features of {c['autoencoder']} at {c['site']}, "
        f"from {c['n_pairs']} pairs at most. Bands hold 95 % of what chance shares: of any features "
        "(hypergeometric), and of features that fire as often (1000 draws)."
    )
    drawn = figures.feature_overlap(
        table[table.k == c["k"]], by="pair", title=f"Overlap of {words}"
    )
    return Plate(name, drawn, caption)


OVERLAP = Job(
    name="overlap",
    words="the features of concepts in an autoencoder by every route, against chance",
    takes=frozenset(
        {
            "autoencoder", "prompts", "chat", "sample.pairs", "sample.texts", "sample.features",
            "sample.nulls",
        }
    ),
    figures=("routes", "concepts"),
    steps=_steps,
    tables=_tables,
    plates=_plates,
)  # fmt: skip
