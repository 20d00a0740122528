"""A small example of every public figure, for the laws that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from steerscope import figures
from steerscope.judges.effects import Effect
from steerscope.judges.microworld import LIMITS
from steerscope.statistics import Correlation, Estimate
from steerscope.studies.methods.findings import BETWEEN, LOST, NULL, OWN, TOP
from steerscope.studies.predictors.thresholds import Threshold
from steerscope.studies.steering.cheap_number import CheapNumber
from steerscope.studies.steering.choice import SweetSpot
from steerscope.studies.steering.responses import predict_layers

SHARE = Effect(
    "flipped", "share", "continuations whose mood is flipped", "joyful", "gloomy", limits=LIMITS
)
CHOSEN = SweetSpot(
    "mean_diff12.0", 1, 2.0, 0.4, 8.0, Estimate(0.7, 0.6, 0.8, 50), 0.001, 4, broken=False
)
ZONES = pd.DataFrame(
    {"layer": [0, 1, 2], "zone": ["weak", "sweet", "destructive"], "sure": [True, False, True]}
)
HEADS = pd.DataFrame(
    {
        "layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], "eigengap": [0.5, 0.3, 0.2, 0.6],
        "eigengap_low": [0.4, 0.2, 0.1, 0.5], "eigengap_high": [0.6, 0.4, 0.4, 0.7],
        "eigengap_null": [0.1, 0.1, 0.1, 0.1],
    }
)  # fmt: skip
ANATOMY = pd.DataFrame(
    {
        "layer": [0, 1, 2], "norm": [4.0, 6.0, 9.0], "norm_low": [3.0, 5.0, 8.0],
        "norm_high": [5.0, 7.0, 10.0], "separation": [0.1, 0.3, 0.2],
        "separation_low": [0.05, 0.2, 0.1], "separation_high": [0.2, 0.4, 0.3],
        "stability": [0.8, 0.9, 0.95], "stability_low": [0.7, 0.8, 0.9],
        "stability_high": [0.9, 0.95, 0.99],
    }
)  # fmt: skip
CHEAP = CheapNumber(
    pd.DataFrame(
        {
            "method": ["mean_diff"] * 4 + ["random"],
            "preference": [0.1, 0.9, 1.8, 2.5, 0.0],
            "effect": [0.0, 0.2, 0.5, 0.4, 0.02],
        }
    ),
    Correlation(0.8, 0.1, 0.95, 0.05, 5),
)
DRIFT = pd.DataFrame(
    {
        "attribute": ["flipped", "topic lost", "grammar lost"], "on_target": [True, False, False],
        "change": [65.0, -3.0, 12.0], "low": [57.0, -6.0, 8.0], "high": [74.0, 0.0, 17.0],
        "null": [2.0, 1.0, 0.5], "n": 121,
    }
)  # fmt: skip
GRAM = pd.DataFrame(
    {
        "first": ["mood", "mood", "register"], "second": ["register", "topic", "topic"],
        "cosine": [0.1, -0.4, 0.2], "measured": [0.02, -0.05, 0.01], "low": [0.01, -0.06, 0.0],
        "high": [0.03, -0.04, 0.02], "predicted": [0.01, -0.03, 0.02], "n": 40,
    }
)  # fmt: skip
LENS = pd.DataFrame(
    [
        {"layer": layer, "position": p, "token": token, "top_token": word,
         "probability": 0.1 + 0.2 * layer, "kl_nats": 2.0 - layer}
        for layer in range(3)
        for p, (token, word) in enumerate((("<bos>", "One"), (" day", " was")))
    ]
)  # fmt: skip


def condition(layer: int, dose: float, effect: float, method: str = "mean_diff") -> dict:
    return {
        "cell": f"{method}{layer}{dose}", "method": method, "layer": layer, "dose_natural": dose,
        "effect": effect, "low": effect - 0.1, "high": effect + 0.1, "kl_nats": 0.1 + abs(dose),
        "broken": dose == 2.0 and layer == 2, "over": "", "n": 50,
    }  # fmt: skip


SUMMARY = pd.DataFrame(
    [
        *(
            condition(layer, d, 0.1 + abs(d) / 4)
            for layer in range(3)
            for d in (-2.0, -1.0, 1.0, 2.0)
        ),
        *(condition(layer, 1.0, 0.04, "random") for layer in range(3)),
    ]
)
CURVES = pd.DataFrame(
    [
        {"method": m, "dose_natural": d, "effect": e, "low": e - 0.1, "high": e + 0.1,
         "lowest_seed": e - 0.01, "highest_seed": e + 0.01, "n_seeds": s, "n": 50,
         "plain": 0.1 if d > 0 else 0.05}
        for m, s in (("mean_diff", 1), ("random", 5))
        for d, e in ((-1.0, 0.4), (1.0, 0.5), (2.0, 0.8))
    ]
)  # fmt: skip


def league() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "diagnostic": ["gradient", "weakest_gap"], "expected_sign": [1, -1], "rho": [0.8, -0.3],
            "low": [0.6, -0.7], "high": [0.9, 0.2], "p": [0.001, 0.2], "p_holm": [0.003, 0.4],
            "q_bh": [0.003, 0.3], "partial_rho": [0.7, -0.1], "n_points": 24, "n_layers": 8,
            "n_groups": 3,
        }
    )  # fmt: skip


def ranking() -> pd.DataFrame:
    standings = {"mean_diff": TOP, "repe": BETWEEN, "pca_centred": LOST, "random": NULL}
    return pd.DataFrame(
        [
            {
                "place": OWN, "matching": m, "method": method, "null": standing == NULL,
                "effect": 0.4, "low": 0.3, "high": 0.5, "n": 200, "null_low": 0.01,
                "null_high": 0.12, "null_max": 0.15, "n_nulls": 24, "p": 0.01, "p_holm": 0.03,
                "layer": 3, "dose_natural": 2.0, "kl_nats": 0.2, "standing": standing,
            }
            for m in ("kl", "norm")
            for method, standing in standings.items()
        ]
    )  # fmt: skip


def arms() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": ["all layers", "gate", "random gate"], "reference": "all layers",
            "null": [False, False, True], "effect": [0.5, 0.6, 0.5], "difference": [0.0, 0.1, 0.0],
            "difference_low": [0.0, 0.05, -0.05], "difference_high": [0.0, 0.15, 0.05],
            "p_holm": [1.0, 0.01, 0.9], "n": 60,
        }
    )  # fmt: skip


def styles() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"site": "resid_post.0", "layer": 0, "quantity": "cosine", "style": a, "other": b,
             "read": r, "value": 0.3, "low": 0.2, "high": 0.4, "null": 0.15}
            for a, b in (("warm", "formal"), ("warm", "sink"), ("formal", "sink"))
            for r in ("mean", "mean+sink")
        ]
    )  # fmt: skip


def landscape() -> go.Figure:
    points = pd.DataFrame(
        {"side": ["positive", "negative"], "first": [1.0, -1.0], "second": [0.2, -0.1]}
    )
    path = pd.DataFrame(
        {"dose_natural": [-1.0, 0.0, 1.0], "first": [-2.0, 0.0, 2.0], "second": [0.0, 0.0, 0.5]}
    )
    return figures.activation_landscape(points, path, explained=(0.6, 0.2), site="resid_post.3")


def phases() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": [0, 0, 1, 1], "dose_natural": [1.0, 2.0, 1.0, 2.0],
            "phase": ["dead zone", "effective", "effective", "collapse"],
        }
    )  # fmt: skip


BOARD = pd.DataFrame(
    {
        "claim": ["rigid", "weak"], "words": ["late layers are rigid", "the weakest link predicts"],
        "test": ["effect < 0.05", "rho < 0"], "verdict": ["refuted", "open"], "value": [0.3, None],
        "low": [0.2, None], "high": [0.39, None], "p": [0.001, None], "n": [61, 0],
        "unit": ["share", "rho"], "threshold": [0.05, 0.0], "direction": ["below", "below"],
    }
)  # fmt: skip
FRONT = pd.DataFrame(
    {
        "method": ["gain", "noise of gain", "mean_diff"], "edit": ["gain +0.3", "noise", ""],
        "target": "joyful", "effect": [0.2, 0.0, 0.6], "low": [0.1, -0.1, 0.5],
        "high": [0.3, 0.1, 0.7], "n": 40, "p_corrected": [0.2, 0.9, 0.01],
        "capability_change": [-0.02, -0.01, -0.05], "perplexity_ratio": [1.1, 1.2, 1.3],
        "kl_nats": [0.1, 0.1, 0.2], "front": [True, False, True], "layer": 5,
        "cell": ["edit=gain down.5 +0.3", "edit=noise", "mean_diff"], "operator": "weights",
    }
)  # fmt: skip
TRANSFER = pd.DataFrame(
    {
        "technique": ["plain", "adapter", "adapter", "mean_diff", "mean_diff"],
        "coefficient": [0.0, -1.0, 1.0, -1.0, 1.0], "matched": False, "metric": "target",
        "value": [0.5, 0.2, 0.8, 0.3, 0.7], "change": [0.0, -0.3, 0.3, -0.2, 0.2],
        "low": [0.0, -0.4, 0.2, -0.3, 0.1], "high": [0.0, -0.2, 0.4, -0.1, 0.3], "n": 40,
    }
)  # fmt: skip
GAINS = pd.DataFrame(
    {
        "technique": ["adapter", "mean_diff"],
        "gain": [0.3, 0.2],
        "low": [0.2, 0.1],
        "high": [0.4, 0.3],
        "kl": [0.19, 0.21],
        "kl_low": [0.17, 0.19],
        "kl_high": [0.21, 0.23],
    }
)
OVERLAP = pd.DataFrame(
    {
        "pair": ["mood | register"] * 2, "k": [10, 20], "shared": [1, 2], "jaccard": [0.05, 0.06],
        "jaccard_low": [0.0, 0.0], "jaccard_high": [0.1, 0.08], "chance_low": 0, "chance_high": 3,
        "drawn_low": 0, "drawn_high": 2, "p_hypergeometric": 0.5, "p_permutation": 0.4,
    }
)  # fmt: skip
DIFFUSION = pd.DataFrame(
    [
        {"order": order, "null": null, "n": n, "share": 0.3 * n, "low": 0.2 * n, "high": 0.33 * n}
        for order in ("pursuit", "codes")
        for null in ("", "random_direction")
        for n in (1, 2, 3)
    ]
)
SCORES = pd.DataFrame({"feature": [3, 5], "input_score": [0.2, 0.8], "output_score": [0.1, 0.6]})
TRIALS = pd.DataFrame(
    [
        {
            "method": method,
            "kl": kl,
            "metric": metric,
            "value": 0.5,
            "low": 0.4,
            "high": 0.6,
            "n": 40,
        }
        for method in ("plain", "contrastive", "random direction")
        for kl in (0.1, 0.2)
        for metric in ("flipped", "kept_topic")
    ]
)


def square() -> dict:
    return {
        "a model (8 layers)": np.eye(2),
        "another (3 layers)": np.array([[1.0, 0.3], [0.3, 1.0]]),
    }


RIDGE = (
    pd.DataFrame(
        {
            "layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], "kernel": ["exponential", "mean"] * 2,
            "ridge": 0.1, "r2": [0.4, 0.2, -2.0, 0.1], "error": 0.8, "n_prompts": 8,
        }
    ),
    pd.DataFrame(
        {
            "kernel": ["exponential", "mean"], "median_r2": [0.1, 0.2], "median_r2_low": 0.0,
            "median_r2_high": 0.3,
        }
    ),
)  # fmt: skip
EXAMPLES: dict[str, Callable[[], go.Figure]] = {
    "activation_landscape": landscape,
    "diagnostic_scatter": lambda: figures.diagnostic_scatter(
        predict_layers("gap", {i: 0.1 * i for i in range(5)}, {i: 0.5 - 0.1 * i for i in range(5)}),
        SHARE,
        x_title="smallest eigengap (ratio)",
    ),
    "dose_fan": lambda: figures.dose_fan(
        SUMMARY, CURVES[CURVES.method == "random"], SHARE, method="mean_diff"
    ),
    "dose_phase_diagram": lambda: figures.dose_phase_diagram(phases(), method="mean_diff"),
    "dose_response": lambda: figures.dose_response(CURVES, SHARE, layer=3),
    "side_effects": lambda: figures.side_effects(DRIFT, condition="mean_diff at layer 5"),
    "eigengap_heads": lambda: figures.eigengap_heads(HEADS),
    "gate_comparison": lambda: figures.gate_comparison(arms(), outcome="share (%)", kl=0.3),
    "interference_gram": lambda: figures.interference_gram(GRAM, site="resid_post.3"),
    "kl_by_depth": lambda: figures.kl_by_depth(SUMMARY, method="mean_diff"),
    "layer_anatomy": lambda: figures.layer_anatomy(ANATOMY, ZONES, site="outputs of the blocks"),
    "layer_sweep": lambda: figures.layer_sweep(SUMMARY, SHARE, method="mean_diff", dose=1.0),
    "lens_dots": lambda: figures.lens_dots(
        pd.DataFrame(
            {
                "lens": ["spirit", "food"],
                "change": [2.0, 0.1],
                "low": [1.0, -0.2],
                "high": [3.0, 0.4],
                "threshold": [0.8, 0.5],
                "n": 60,
                "says": ["drifts", "not told from plain text"],
            }
        )
    ),
    "lens_map": lambda: figures.lens_map(LENS),
    "method_forest": lambda: figures.method_forest(
        ranking(), SHARE, place=OWN, matchings={"kl": "KL (0.2 nats)", "norm": "length"}
    ),
    "method_places": lambda: figures.method_places(
        pd.concat([ranking(), ranking().assign(place="k")]).assign(null_max=0.15),
        SHARE,
        [OWN, "k", "up"],
        matching="kl",
        words="KL (0.2 nats)",
    ),
    "predictor_league": lambda: figures.predictor_league(league(), outcome="steerability"),
    "ridge_heads": lambda: figures.ridge_heads(*RIDGE),
    "threshold_roc": lambda: figures.threshold_roc(
        pd.DataFrame({"sensitivity": [0.0, 1.0], "false_positives": [0.0, 0.5]}),
        Threshold("weakest_gap", "effect_kl", 0.77, 0.5, 0.7, 0.3, 0.9, 0.2, 1.0, 0.0, 1.0, 9, 24),
    ),
    "sink_leak": lambda: figures.sink_leak(styles()),
    "style_cosines": lambda: figures.style_cosines(styles(), site="resid_post.0"),
    "sweet_spot_map": lambda: figures.sweet_spot_map(
        SUMMARY, SHARE, method="mean_diff", chosen=CHOSEN, zones=ZONES
    ),
    "token_effects": lambda: figures.token_effects(
        [{"token": " happy", "logit": 2.0}], [{"token": " sad", "logit": -1.5}], site="resid_post.3"
    ),
    "claims_board": lambda: figures.claims_board(BOARD),
    "concept_geometry": lambda: figures.concept_geometry(
        square(), concepts=["joyful", "gloomy"], title="Cosines of concepts"
    ),
    "feature_diffusion": lambda: figures.feature_diffusion(DIFFUSION),
    "feature_overlap": lambda: figures.feature_overlap(OVERLAP[OVERLAP.k == 20], by="pair"),
    "jaccard_curve": lambda: figures.jaccard_curve(OVERLAP),
    "pareto_front": lambda: figures.pareto_front(FRONT, SHARE),
    "preference_scatter": lambda: figures.preference_scatter(CHEAP, SHARE),
    "score_scatter": lambda: figures.score_scatter(SCORES, rho=0.4, p=0.2),
    "steering_pareto": lambda: figures.steering_pareto(
        TRIALS, effect="flipped", cost="kept_topic", words=("flipped", "topic kept")
    ),
    "tokenizer_bars": lambda: figures.tokenizer_bars(
        pd.DataFrame(
            {"tokenizer": ["a", "b"], "kind": ["english"] * 2, "tokens_per_word": [1.2, 1.5]}
        ),
        "tokens_per_word",
    ),
    "transfer_at_one_kl": lambda: figures.transfer_at_one_kl(
        GAINS, words="share gained (points)", kl=0.2
    ),
    "transfer_responses": lambda: figures.transfer_responses(
        TRANSFER, {"target": "positive class (share)"}
    ),
}
