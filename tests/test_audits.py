"""A clean run has no findings, and a run made to commit one mistake has exactly that one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from steerscope.audits import CHECKS, Finding, audit
from steerscope.contrasts import load_contrasts
from steerscope.directions import Direction, save_directions
from steerscope.doses import Scale
from steerscope.errors import RunError, UnknownNameError
from steerscope.plans import StudyPlan
from steerscope.report import write_report
from steerscope.results import Row, Run
from steerscope.sites import Site
from steerscope.studies import Effect
from tests.helpers import origin, row

N = 24  # prompts
SEEDS = range(19)
FLIPPED = Effect("flipped", "share", "continuations whose mood is flipped", "joyful", "gloomy")
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
    n_layers: int = 5

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
    prompts = {(s, p): f"{s} prompt {p}" for s in ("select", "test") for p in range(N)}
    pairs = [
        {"positive": f"{i} a b c", "negative": f"{i} d e f", "concept": "mood"} for i in range(20)
    ]
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
        "n_prompts": {}, "shape": {"n_layers": recipe.n_layers},
    }  # fmt: skip
    run = Run.start(folder / name, configuration, provenance=provenance)
    texts = [
        {"cell": "plain", "split": s, "prompt": p, "given": given, "written": ""}
        for (s, p), given in recipe.prompts.items()
    ]
    run.append(recipe.rows, texts)
    save_directions(run.path / "directions.safetensors", recipe.directions)
    return run


def stated(r: Row) -> bool:
    """Rows of the chosen condition on the test split."""
    return r.method == "mean_diff" and (r.split, r.layer, r.dose_natural) == ("test", 1, 2.0)


def control(method: str, split: str = "test") -> Callable[[Row], bool]:
    return lambda r: r.method == method and r.split == split


def plain(split: str) -> Callable[[Row], bool]:
    return lambda r: r.method == "plain" and r.split == split


def no_eigengap(recipe: Recipe) -> None:
    recipe.drop(lambda r: r.method == "eigengap")


MISTAKES: dict[str, Callable[[Recipe], None]] = {}


def mistake(spoil: Callable[[Recipe], None]) -> Callable[[Recipe], None]:
    """A function that makes a run commit the mistake that the check of the same name finds."""
    MISTAKES[spoil.__name__] = spoil
    return spoil


@mistake
def stated_where_chosen(recipe):
    recipe.drop(lambda r: r.split == "test")
    for seed in SEEDS:
        recipe.rows += condition(1, 2.0, 0.05, method="random", seed=seed)


@mistake
def shared_prompts(recipe):
    recipe.prompts["test", 0] = recipe.prompts["select", 0]


@mistake
def few_prompts(recipe):
    recipe.drop(lambda r: r.split == "test" and r.prompt >= 12)


@mistake
def underpowered(recipe):
    recipe.flip(stated, 0.25)


@mistake
def class_lengths(recipe):
    for pair in recipe.pairs:
        pair["positive"] += " and more words"


@mistake
def template_mismatch(recipe):
    for pair in recipe.pairs:
        pair["positive"] = "<|im_start|> " + pair["positive"]
        pair["negative"] = "<|im_start|> " + pair["negative"]


@mistake
def no_null(recipe):
    recipe.drop(control("random"))


@mistake
def few_nulls(recipe):
    recipe.drop(lambda r: control("random")(r) and r.seed >= 103)


@mistake
def null_not_beaten(recipe):
    recipe.flip(control("label_shuffled"), 0.9)


@mistake
def inside_null_band(recipe):
    recipe.flip(lambda r: control("random")(r) and r.seed == 100, 0.88)


@mistake
def interval_holds_zero(recipe):
    """Nothing gained over plain, though the controls lose."""
    recipe.flip(plain("test"), 0.5)
    recipe.flip(stated, 0.5)
    recipe.flip(control("random"), 0.0)
    recipe.flip(control("label_shuffled"), 0.0)


@mistake
def wrong_sign(recipe):
    recipe.flip(plain("test"), 1.0)
    recipe.flip(stated, 0.5)
    recipe.flip(control("random"), 0.0)
    recipe.flip(control("label_shuffled"), 0.0)


@mistake
def signs_disagree(recipe):
    recipe.flip(plain("select"), 0.3)


@mistake
def both_signs_alike(recipe):
    recipe.flip(plain("test"), 0.5)
    recipe.flip(lambda r: r.split == "test" and r.dose_natural == -2, 0.0)


@mistake
def damage(recipe):
    recipe.change(lambda r: stated(r) and r.metric == "kept_topic" and r.prompt < 6, value=0.0)


@mistake
def collapsed_texts_counted(recipe):
    recipe.change(lambda r: stated(r) and r.prompt < 6, status="degenerate")


@mistake
def dropped_values(recipe):
    gone = {"value": math.nan, "status": "unread"}
    recipe.change(lambda r: stated(r) and r.metric == "flipped" and r.prompt < 4, **gone)


@mistake
def missing_rows(recipe):
    recipe.drop(lambda r: control("random")(r) and r.seed == 100 and r.prompt >= 20)


@mistake
def uncorrected_choice(recipe):
    recipe.flip(lambda r: r.split == "select", 0.0)
    recipe.flip(lambda r: (r.split, r.layer, r.dose_natural) == ("select", 1, 2.0), 0.12)
    no_eigengap(recipe)


@mistake
def edge_of_grid(recipe):
    recipe.drop(lambda r: abs(r.dose_natural) == 3)


@mistake
def unstable_layer(recipe):
    """Layer 2 flips as many prompts, but others."""

    def second(r):
        return (r.method, r.layer, r.dose_natural, r.metric) == ("mean_diff", 2, 2.0, "flipped")

    recipe.change(second, value=1.0)
    recipe.change(lambda r: second(r) and r.prompt < 2, value=0.0)
    no_eigengap(recipe)


@mistake
def one_prompt_decides(recipe):
    recipe.change(lambda r: stated(r) and r.metric == "flipped" and r.prompt == 3, value=8.0)


@mistake
def missing_conditions(recipe):
    recipe.drop(lambda r: (r.method, r.layer, r.dose_natural) == ("mean_diff", 3, 1.0))


@mistake
def unmatched_doses(recipe):
    recipe.rows = [
        replace(r, dose_relative=r.dose_relative / (1 + r.layer)) if r.layer >= 0 else r
        for r in recipe.rows
    ]


@mistake
def position_zero(recipe):
    recipe.plan = replace(recipe.plan, scope="everywhere")


@mistake
def unpredictive_diagnostic(recipe):
    no_eigengap(recipe)
    recipe.rows += eigengap_rows({layer: 0.4 + share / 2 for layer, share in SHARES.items()})


@mistake
def idle_gate(recipe):
    gated = condition(1, 2.0, 0.9, method="gated")
    recipe.rows += [
        replace(r, cell=r.cell.replace("strength=1", "strength=eigengap:0.01")) for r in gated
    ]


@mistake
def same_vector(recipe):
    twin = recipe.directions[1]
    recipe.directions.append(replace(twin, unit=twin.unit.clone(), method="whitened"))


@mistake
def one_vector_many_layers(recipe):
    recipe.directions = recipe.directions[1:2]


@mistake
def sink_alignment(recipe):
    recipe.rows += [
        row(cell="diagnostic sink resid_post.3", method="sink", layer=3, prompt=-1, metric=metric,
            unit=unit, value=value)
        for metric, unit, value in (
            ("sink_cosine", "ratio", -0.6), ("sink_length", "relative", 9.0),
        )
    ]  # fmt: skip


@mistake
def status_disagrees(recipe):
    for value in range(2):
        recipe.rows += [
            replace(r, metric="degenerate", value=float(value))
            for r in recipe.rows
            if stated(r) and r.metric == "flipped" and r.prompt == value
        ]


def names(found: list[Finding]) -> set[str]:
    return {f.check for f in found}


def test_a_clean_run_has_no_findings(tmp_path):
    assert audit(made(clean(), tmp_path)) == []


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found_and_nothing_else(tmp_path, name):
    recipe = clean()
    MISTAKES[name](recipe)
    found = audit(made(recipe, tmp_path))
    assert names(found) == {name}, "\n".join(map(str, found))
    for finding in found:
        assert finding.where
        assert finding.remedy
        assert all(np.isfinite(v) for v in finding.numbers.values())


def test_every_check_has_its_mistake():
    apart = {"report_disagrees", "baseline_differs"}
    assert set(MISTAKES) | apart == set(CHECKS)


def test_a_page_that_says_other_numbers_than_the_rows_is_found(tmp_path):
    run = made(clean(), tmp_path)
    page = write_report(run)
    assert audit(run) == []
    page.write_text(page.read_text().replace("91.7 %", "99.7 %"))
    assert names(audit(run)) == {"report_disagrees"}
    assert audit(run, leave_out=["report_disagrees"]) == []


def test_a_plain_model_that_scores_otherwise_beside_it_is_found(tmp_path):
    run, same = made(clean(), tmp_path, "one"), made(clean(), tmp_path, "same")
    assert audit(run) == []
    assert audit(same) == []
    recipe = clean()
    recipe.change(lambda r: plain("test")(r) and r.prompt == 5, value=1.0)
    made(recipe, tmp_path, "other")
    found = audit(run)
    assert names(found) == {"baseline_differs"}
    assert found[0].where.endswith("other")
    recipe.stored = {"n_new": 7}  # another number of new tokens shares no baseline
    made(recipe, tmp_path, "longer")
    assert len(audit(run)) == 1


def test_what_cannot_be_checked_is_said(tmp_path):
    run = made(clean(), tmp_path)
    (run.path / "directions.safetensors").unlink()
    (tmp_path / "pairs.jsonl").unlink()
    found = audit(run)
    assert names(found) == {
        "class_lengths", "template_mismatch", "same_vector", "one_vector_many_layers",
    }  # fmt: skip
    assert {f.severity for f in found} == {"note"}
    assert all("not checked" in f.what for f in found)


def test_one_vector_at_all_layers_is_found_though_each_has_its_own_name(tmp_path):
    recipe = clean()
    recipe.directions = [direction(layer, seed=1) for layer in SHARES]
    assert names(audit(made(recipe, tmp_path))) == {"one_vector_many_layers"}


def test_a_layer_at_the_end_of_those_tried_is_an_edge(tmp_path):
    recipe = clean()
    recipe.drop(lambda r: r.layer == 0)
    no_eigengap(recipe)
    recipe.plan = replace(recipe.plan, layers=(1, 2, 3, 4))
    recipe.n_layers = 8
    found = audit(made(recipe, tmp_path))
    assert names(found) == {"edge_of_grid"}
    assert "end of those tried" in found[0].what


def test_damage_above_the_effect_is_an_error_and_errors_come_first(tmp_path):
    recipe = clean()
    recipe.change(lambda r: stated(r) and r.metric == "kept_topic", value=0.0)
    recipe.plan = replace(recipe.plan, scope="everywhere")
    found = audit(made(recipe, tmp_path))
    assert [(f.check, f.severity) for f in found] == [
        ("damage", "error"), ("position_zero", "warning"),
    ]  # fmt: skip
    assert found[0].numbers["worse"] == pytest.approx(1.0)
    assert found[0].numbers["gain"] == pytest.approx(22 / 24)


def test_two_layers_that_do_as_well_are_chosen_in_turn(tmp_path):
    recipe = clean()
    MISTAKES["unstable_layer"](recipe)
    (found,) = audit(made(recipe, tmp_path))
    shares = [found.numbers[f"share_layer_{layer}"] for layer in (1, 2)]
    assert min(shares) > 0.2
    assert sum(shares) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("gate", "words"),
    [("0.01", "open at all 5 layers"), ("0.01:below", "shut at all 5 layers"), ("0.6", None)],
)
def test_a_gate_is_idle_where_it_is_open_or_shut_everywhere(tmp_path, gate, words):
    recipe = clean()
    gated = condition(1, 2.0, 0.9, method="gated")
    recipe.rows += [
        replace(r, cell=r.cell.replace("strength=1", f"strength=eigengap:{gate}")) for r in gated
    ]
    found = audit(made(recipe, tmp_path))
    assert [words in f.what for f in found] == ([] if words is None else [True])


def test_a_run_without_rows_and_an_unknown_check_are_refused(tmp_path):
    run = made(replace_rows(clean(), []), tmp_path)
    with pytest.raises(RunError, match="no rows yet"):
        audit(run)
    with pytest.raises(UnknownNameError, match="few_prompts"):
        audit(run, leave_out=["few_prompt"])


def replace_rows(recipe: Recipe, rows: list[Row]) -> Recipe:
    recipe.rows = rows
    return recipe
