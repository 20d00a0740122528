"""The tests of a sweep keep their level when there is nothing, and their power when there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.statistics import cell_level, holm, max_mean, power_of, sign_flip, wilson
from steerscope.studies.steering.choice import sweet_spot

DOSES = np.array([0.5, 1.0, 2.0, 4.0])
SHARE = Effect("flipped", "share", "flipped")
BASE = 0.15  # share of plain texts that count as flipped


def shared_noise(rng, n_layers, n_prompts):
    """Standard normal noise of [layer, dose, prompt]; cells share prompts, doses their layer too."""
    prompt = rng.normal(size=n_prompts)
    layer = rng.normal(size=(n_layers, 1, n_prompts))
    own = rng.normal(size=(n_layers, len(DOSES), n_prompts))
    return np.sqrt(0.3) * prompt + np.sqrt(0.3) * layer + np.sqrt(0.4) * own, prompt


def null_values(rng, unit, n_layers, n_prompts):
    """Values of steered [cell, prompt] and of plain [prompt] where steering leads nowhere."""
    noise, prompt = shared_noise(rng, n_layers, n_prompts)
    if unit == "nats":  # a larger dose moves the log-odds of a prompt further, either way
        return (noise * DOSES[:, None]).reshape(-1, n_prompts), np.zeros(n_prompts)
    plain = np.sqrt(0.3) * prompt + np.sqrt(0.7) * rng.normal(size=n_prompts)
    bar = stats.norm.isf(BASE)
    return (noise.reshape(-1, n_prompts) > bar).astype(float), (plain > bar).astype(float)


def chosen_p(steered, plain, seed, n_draws):
    """The corrected p of the cell with the largest mean."""
    differences = steered - plain
    return max_mean(differences, seed=seed, n_draws=n_draws)[differences.mean(axis=1).argmax()]


@pytest.mark.parametrize("unit", ["share", "nats"])
def test_a_thousand_sweeps_without_effect_give_five_percent_of_false_positives(unit):
    rng = np.random.default_rng(1)
    values = [null_values(rng, unit, 4, 48) for _ in range(1000)]
    p = np.array([chosen_p(*v, seed, 199) for seed, v in enumerate(values)])
    assert 0.035 <= (p <= 0.05).mean() <= 0.065


PLANTED = 6  # the cell of dose 2 at layer 1


def planted_values(rng, unit, size, n_prompts):
    """A sweep that has an effect of this mean size in one cell and none elsewhere."""
    noise, prompt = shared_noise(rng, 4, n_prompts)
    cells = noise.reshape(-1, n_prompts)
    if unit == "nats":
        scale = np.where(np.tile(DOSES, 4) > 2, 2.0, np.tile(DOSES, 4))[:, None]
        steered = cells * scale
        steered[PLANTED] += size
        return steered, np.zeros(n_prompts)
    plain = np.sqrt(0.3) * prompt + np.sqrt(0.7) * rng.normal(size=n_prompts)
    bars = np.full(len(cells), stats.norm.isf(BASE))
    bars[PLANTED] = stats.norm.isf(BASE + size)
    return (cells > bars[:, None]).astype(float), (plain > bars[0]).astype(float)


@pytest.mark.parametrize(
    ("unit", "size", "low", "high"), [("nats", 0.9, 0.6, 0.9), ("share", 0.2, 0.6, 0.9)]
)
def test_a_planted_effect_is_found_with_the_power_that_is_stated(unit, size, low, high):
    rng = np.random.default_rng(2)
    many = np.subtract(*planted_values(rng, unit, size, 40_000))[PLANTED]
    pilots = [np.subtract(*planted_values(rng, unit, size, 60)) for _ in range(30)]
    level = np.mean([cell_level(p, n_draws=500)[PLANTED] for p in pilots])
    stated = power_of(size, many.std(), 60, level=float(level), one_sided=True)
    found = 0
    for seed in range(400):
        differences = np.subtract(*planted_values(rng, unit, size, 60))
        found += max_mean(differences, seed=seed, n_draws=199)[PLANTED] <= 0.05
    measured = wilson(int(found), 400)
    assert low < stated < high
    assert measured.low <= stated <= measured.high


def table_of(steered, plain, unit):
    """The rows of a run, as one table."""
    n_prompts = len(plain)
    parts = [(0.0, -1, "plain", plain)]
    parts += [
        (DOSES[i % len(DOSES)], i // len(DOSES), f"{i}", values) for i, values in enumerate(steered)
    ]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "cell": cell,
                    "method": "plain" if cell == "plain" else "mean_diff",
                    "stream": "resid_post",
                    "layer": layer,
                    "head": -1,
                    "operator": "add",
                    "scope": "all",
                    "dose_absolute": dose,
                    "dose_relative": dose,
                    "dose_natural": dose,
                    "seed": -1,
                    "split": "select",
                    "kl_nats": dose,
                    "metric": SHARE.metric if unit == "share" else PREFERENCE.metric,
                    "prompt": np.arange(n_prompts),
                    "value": values,
                    "status": "ok",
                }
            )  # fmt: skip
            for dose, layer, cell, values in parts
        ],
        ignore_index=True,
    )


def sweep_p(steered, plain, unit):
    """What a report says of a run with these values."""
    effect = SHARE if unit == "share" else PREFERENCE
    return sweet_spot(table_of(steered, plain, unit), effect, "mean_diff").p_corrected


@pytest.mark.parametrize("unit", ["share", "nats"])
def test_the_sweet_spot_has_the_p_of_the_largest_mean(unit):
    values = null_values(np.random.default_rng(3), unit, 3, 24)
    assert sweep_p(*values, unit) == pytest.approx(chosen_p(*values, 0, 5000), abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["share", "nats"])
def test_a_thousand_runs_without_effect_have_a_false_sweet_spot_in_five_percent(unit):
    rng = np.random.default_rng(4)
    p = np.array([sweep_p(*null_values(rng, unit, 4, 48), unit) for _ in range(1000)])
    assert 0.035 <= (p <= 0.05).mean() <= 0.065


def test_a_thousand_comparisons_without_effect_name_a_method_in_five_percent():
    rng = np.random.default_rng(5)
    # With 199 flips p is a multiple of 0.005; Holm over five methods asks for 0.01.
    p = [holm(sign_flip(rng.normal(size=(5, 30)), seed=i, n_flips=199)).min() for i in range(1000)]
    assert 0.035 <= (np.array(p) <= 0.05 + 1e-9).mean() <= 0.065


def test_the_page_on_statistics_states_the_calibration_that_was_made():
    root = Path(__file__).parents[2]
    made = (root / "benchmarks" / "results" / "calibration.md").read_text(encoding="utf-8")
    page = (root / "docs" / "pages" / "statistics.md").read_text(encoding="utf-8")
    assert made.split("\n\n")[0] in page
    false = [line for line in made.splitlines() if line.startswith("| null ")]
    assert false
    assert all(float(line.split("|")[-2].split("%")[0]) <= 5 for line in false)
