"""A run without a mistake, made of rows by hand, to be spoilt before it is made."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from steerscope.directions import Direction, save_directions
from steerscope.doses import Scale
from steerscope.judges.effects import Effect
from steerscope.judges.microworld import LIMITS
from steerscope.runs.results import Row, Run
from steerscope.sites import Site
from steerscope.studies.steering.plan import StudyPlan
from steerscope.texts.contrasts import load_contrasts
from tests.helpers import origin, row

N = 24  # prompts
SEEDS = range(19)
FLIPPED = Effect(
    "flipped", "share", "continuations whose mood is flipped", "joyful", "gloomy", LIMITS
)
SHARES = {0: 0.1, 1: 0.9, 2: 0.5, 3: 0.3, 4: 0.2}  # flipped at the reference dose, by layer
PLAN = StudyPlan(doses=(1.0, 2.0, 3.0), reference_dose=2.0)


@dataclass
class Recipe:
    """What a run is made of, to be spoilt before it is made."""

    rows: list[Row]
    prompts: dict[tuple[str, int], str]
    pairs: list[dict[str, str]]
    directions: list[Direction]
    plan: StudyPlan = PLAN
    stored: dict = field(default_factory=dict)
    in_chat: bool = False  # whether the pairs stood in a template that their file does not have
    n_layers: int = 5
    groups: dict = field(default_factory=dict)  # the distinct prompt of each text, by split

    def change(self, which: Callable[[Row], bool], **changes: object) -> None:
        """Change some rows."""
        self.rows = [replace(r, **changes) if which(r) else r for r in self.rows]

    def drop(self, which: Callable[[Row], bool]) -> None:
        """Leave rows out."""
        self.rows = [r for r in self.rows if not which(r)]

    def flip(self, which: Callable[[Row], bool], share: float) -> None:
        """Have the first `share` of the prompts flipped under some conditions."""
        self.rows = [
            replace(r, value=float(r.prompt < round(share * N)))
            if r.metric == "flipped" and which(r)
            else r
            for r in self.rows
        ]


def condition(layer, dose, share, *, method="mean_diff", seed=-1, split="select", topic=1.0):
    labels = {
        "cell": f"method={method}, layer={layer}, dose_natural={dose}, strength=1, seed={seed}",
        "method": method, "stream": "resid_post", "layer": layer, "operator": "add",
        "scope": "all", "dose_absolute": 10 * dose, "dose_relative": dose / 5,
        "dose_natural": dose, "kl_nats": 0.1, "seed": seed, "split": split,
    }  # fmt: skip
    return [
        row(**labels, prompt=p, metric=metric, value=float(p < round(at * N)))
        for metric, at in (("flipped", share), ("kept_topic", topic))
        for p in range(N)
    ]


def both_signs(layer, dose, share, **options):
    return condition(layer, dose, share, **options) + condition(layer, -dose, share, **options)


EIGENGAP_METRICS = (
    "eigengap", "eigengap_low", "eigengap_high", "eigengap_null", "participation_ratio",
    "effective_rank",
)  # fmt: skip


def eigengap_rows(gaps):
    nan = math.nan
    return [
        row(cell=f"diagnostic eigengap k.{layer}.h0", method="eigengap", stream="k", layer=layer,
            head=0, prompt=-1, metric=metric, unit="ratio", value=gap, dose_absolute=nan,
            dose_relative=nan, dose_natural=nan, kl_nats=nan)
        for layer, gap in gaps.items()
        for metric in EIGENGAP_METRICS
    ]  # fmt: skip


def clean() -> Recipe:
    """Layer 1 flips most, at 2 natural; 3 natural breaks the topic; controls do next to nothing."""
    rows = []
    for split in ("select", "test"):
        rows += [
            row(split=split, prompt=p, metric=m, value=v)
            for m, v in (("flipped", 0.0), ("kept_topic", 1.0))
            for p in range(N)
        ]
    for layer, share in SHARES.items():
        rows += both_signs(layer, 1.0, share / 2)
        rows += both_signs(layer, 2.0, share)
        rows += both_signs(layer, 3.0, share, topic=0.5)
    for dose, share, topic in ((1.0, 0.5, 1.0), (2.0, 0.9, 1.0), (3.0, 0.95, 0.5)):
        rows += both_signs(1, dose, share, split="test", topic=topic)
    for seed in SEEDS:
        for method in ("random", "label_shuffled"):
            rows += condition(1, 2.0, 0.05, method=method, seed=100 + seed, split="test")
    rows += eigengap_rows({layer: 0.9 - share / 2 for layer, share in SHARES.items()})
    # No two texts are the same but for a word, and no word is in more than one of them.
    numbered = [("select", p, p) for p in range(N)] + [("test", p, p + N) for p in range(N)]
    prompts = {(s, p): f"prompt {n} of {n + 100}" for s, p, n in numbered}
    pairs = [
        {"positive": f"now a{i} b{i} c{i} came", "negative": f"now d{i} e{i} f{i} came",
         "concept": "mood"}
        for i in range(20)
    ]  # fmt: skip
    return Recipe(rows, prompts, pairs, [direction(layer) for layer in SHARES])


def direction(layer, *, seed=None, method="mean_diff"):
    seed = layer if seed is None else seed
    unit = torch.randn(64, generator=torch.Generator().manual_seed(seed))
    site = Site("resid_post", layer)
    return Direction(site, unit / unit.norm(), Scale(10.0, 50.0), method, origin())


def made(recipe: Recipe, folder: Path, name: str = "run") -> Run:
    contrasts = folder / "pairs.jsonl"
    contrasts.write_text("".join(json.dumps(p) + "\n" for p in recipe.pairs))
    plan = replace(recipe.plan, contrasts=str(contrasts))
    configuration = {
        "kind": "StudyPlan", **asdict(plan), "effect": asdict(FLIPPED),
        "contrasts_sha256": load_contrasts(contrasts).sha256, "prompts_sha256": ["a", "b"],
        **recipe.stored,
    }  # fmt: skip
    provenance = {
        "fingerprint": "f" * 64, "backbone": "hooked", "versions": {}, "n_pairs": {},
        "n_prompts": {}, "shape": {"n_layers": recipe.n_layers}, "groups": recipe.groups,
    }  # fmt: skip
    if recipe.in_chat:
        provenance["contrasts_source_sha256"] = load_contrasts(contrasts).sha256
    run = Run.start(folder / name, configuration, provenance=provenance)
    texts = [
        {"cell": "plain", "split": s, "prompt": p, "given": given, "written": ""}
        for (s, p), given in recipe.prompts.items()
    ]
    run.append(recipe.rows, texts)
    save_directions(run.path / "directions.safetensors", recipe.directions)
    return run


def shown(recipe: Recipe) -> None:
    """Have a judge that gives scores read the texts: at any dose one counts for showing joy."""
    effect = replace(Effect.of_scores("joy", "words"), limits=LIMITS)
    recipe.change(lambda r: r.metric == "flipped", metric="shown")
    recipe.stored = {"effect": asdict(effect)}


def sampled(recipe: Recipe, samples: int) -> None:
    """Have each prompt written so many times, one text after another."""
    recipe.prompts = {(s, p): recipe.prompts[s, p // samples] for s, p in recipe.prompts}
    of = [p // samples for p in range(N)]
    recipe.groups = {split: {"pairs": of, "prompts": of} for split in ("select", "test")}


def stated(r: Row) -> bool:
    """Rows of the chosen condition on the test split."""
    return r.method == "mean_diff" and (r.split, r.layer, r.dose_natural) == ("test", 1, 2.0)


def control(method: str, split: str = "test") -> Callable[[Row], bool]:
    return lambda r: r.method == method and r.split == split


def plain(split: str) -> Callable[[Row], bool]:
    return lambda r: r.method == "plain" and r.split == split


def no_eigengap(recipe: Recipe) -> None:
    recipe.drop(lambda r: r.method == "eigengap")


def replace_rows(recipe: Recipe, rows: list[Row]) -> Recipe:
    recipe.rows = rows
    return recipe
