"""How good judges are where the truth is known: the bundled world, whose oracle reads every text.

Texts are continuations of the held-out prompts, plain and steered. Each judge is fitted on the fit
pairs, or on labelled texts, and has its card on half of the continuations by the oracle's labels. On
the other half its share is corrected for its errors, and the interval is compared with the oracle's
share: 100 times, each on prompts drawn again with replacement for the card and for the share.

    python analyses/how_good_are_judges.py
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from steerscope.directions import mean_diff
from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Sample
from steerscope.errors import SteerscopeError
from steerscope.extraction.activations import extract
from steerscope.judges import MicroworldJudge
from steerscope.judges.card import measure_card
from steerscope.judges.labelled import LabelledText, from_pairs
from steerscope.judges.registry import Means, make_judge
from steerscope.judges.scoring import ScoreJudge
from steerscope.microworld.oracle import read
from steerscope.models.lens_model import LensModel
from steerscope.models.loading import load_model
from steerscope.sites import Site
from steerscope.statistics.agreement import cohens_kappa
from steerscope.statistics.clusters import clustered_share
from steerscope.statistics.misclassification import corrected_share
from steerscope.steering.interventions import Cell, Steering
from steerscope.texts.contrasts import ContrastSet, Prompt, load_contrasts, prompts_for

WORDS = """\
positive: [laugh\\w*, sang, smil\\w*, joy\\w*, merriment, bright\\w*, glad\\w*, happ\\w*, delight\\w*]
negative: [wept, sob\\w*, sigh\\w*, cried, anguish, grey\\w*, gloom\\w*, sad\\w*, sorrow\\w*, misery]
"""


def written(
    model: LensModel,
    contrasts: ContrastSet,
    prompts: Sequence[Prompt],
    n_new: int,
    dose: float,
) -> tuple[list[LabelledText], MicroworldJudge]:
    """Continuations of every prompt, plain and at either sign, with the oracle's label."""
    site = Site("resid_post", 3)
    direction = mean_diff(extract(model, contrasts.split(0).fit, [site])[site])
    cells = [Cell(), *(Cell((Steering(direction, Dose(s * dose)),)) for s in (1, -1))]
    texts = [p.text for p in prompts]
    found = generate(model, texts, cells, n_new=n_new, sampler=Sample(0.7, 0))
    oracle = MicroworldJudge.for_contrasts(contrasts, prompts)
    assert oracle is not None
    rows = []
    for row in found:
        for number, c in enumerate(row):
            value = read(c.text).value(oracle.variable)
            if value in (oracle.positive, oracle.negative):
                rows.append(LabelledText(c.text, value == oracle.positive, number, texts[number]))
    return rows, oracle


def resampled(
    said: np.ndarray, truth: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[float, float, float, float]:
    """Truth, corrected share and its interval of one draw of prompts: some card it, others state it."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.unique(groups))
    half = len(names) // 2
    rows = [
        np.concatenate([np.flatnonzero(groups == g) for g in rng.choice(part, len(part))])
        for part in (names[:half], names[half:])
    ]
    card, stated = rows
    rates = [
        clustered_share(
            (said if side else ~said)[card][truth[card] == side].astype(float),
            groups[card][truth[card] == side],
        )
        for side in (True, False)
    ]
    share = clustered_share(said[stated].astype(float), groups[stated])
    sensitivity, specificity = rates
    found = corrected_share(share, sensitivity, specificity)
    return float(truth[stated].mean()), found.value, found.low, found.high


def main() -> None:
    """Print a table: the card of each judge, its agreement with the oracle, and the coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contrasts", default="mood")
    parser.add_argument("--prompts", type=int, default=160)
    parser.add_argument("--n-new", type=int, default=24)
    parser.add_argument("--dose", type=float, default=2.0)
    parser.add_argument("--draws", type=int, default=100)
    options = parser.parse_args()
    model, contrasts = load_model("microworld"), load_contrasts(options.contrasts)
    prompts = prompts_for(contrasts, None).prompts[: options.prompts]
    rows, oracle = written(model, contrasts, prompts, options.n_new, options.dose)
    truth = np.array([t.positive for t in rows])
    groups = np.array([t.group for t in rows])
    print(f"{len(rows)} texts that the oracle reads, {truth.mean():.2f} of them {oracle.positive}")
    with TemporaryDirectory() as folder:
        words = Path(folder) / "words.yaml"
        words.write_text(WORDS)
        means = Means(from_pairs(contrasts.split(0)), contrasts.concept, model)
        for name in ("classifier", f"words:{words}", "length", "sentiment", "lm:self"):
            try:
                judge = make_judge(name, means, contrasts.concept).judge
                report(judge, rows, truth, groups, options.draws)
            except SteerscopeError as error:
                print(f"{name.partition(':')[0]:10}  cannot: {error}")


def report(
    judge: ScoreJudge,
    rows: Sequence[LabelledText],
    truth: np.ndarray,
    groups: np.ndarray,
    draws: int,
) -> None:
    """One line about a judge."""
    name = judge.name.partition(":")[0]
    scores = np.array(judge.scores([t.prompt for t in rows], [t.text for t in rows]))
    there = ~np.isnan(scores)
    said = judge.sign * scores > judge.sign * judge.threshold
    card = measure_card(judge, rows, "the oracle")
    kappa = cohens_kappa(said[there].astype(float), truth[there].astype(float))
    found = [resampled(said[there], truth[there], groups[there], seed) for seed in range(draws)]
    known = [f for f in found if not math.isnan(f[1])]
    covered = sum(low <= share <= high for share, _, low, high in known)
    width = np.mean([high - low for *_, low, high in known]) if known else math.nan
    print(
        f"{name:10}  AUC {card.auc.value:.3f}, sensitivity {card.sensitivity.value:.2f}, specificity "
        f"{card.specificity.value:.2f}, kappa {kappa.value:.2f}, raw share {said[there].mean():.2f}; "
        f"covers the oracle's share in {covered} of {len(known)} draws ({draws - len(known)} unknown), "
        f"width {width:.2f}"
    )


if __name__ == "__main__":
    main()
