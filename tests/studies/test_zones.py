from __future__ import annotations

from dataclasses import replace

import pytest

from steerscope.report import write_report
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.zones import (
    one_run_in_words,
    run_league,
    zones_of,
)
from tests.audits.recipes import SHARES, clean, condition, made


@pytest.fixture
def recipe():
    """Layer 1 flips most, layer 4 does not move, layer 2 breaks the topic."""
    spoilt = clean()
    spoilt.change(lambda r: r.layer == 4, kl_nats=0.001)
    spoilt.rows += [
        replace(r, metric="grammatical", value=1.0)
        for r in spoilt.rows
        if r.metric == "flipped" and r.split == "select"
    ]  # a cost of nothing beside that of the topic
    spoilt.change(
        lambda r: r.layer == 2 and r.dose_natural > 0 and r.metric == "kept_topic", value=0.0
    )
    return spoilt


def test_zones_of_a_run_follow_effect_damage_and_kl_at_the_chosen_dose(tmp_path, recipe):
    found = zones_of(find(made(recipe, tmp_path)))
    assert found.dose_relative == pytest.approx(0.4)
    zones = found.table.set_index("layer").zone.to_dict()
    assert zones == {0: "weak", 1: "sweet", 2: "destructive", 3: "weak", 4: "rigid"}
    assert found.table.set_index("layer").damage[2] == pytest.approx(1.0 / 0.05)
    assert str(found).startswith(
        "Zones at 0.40 of a typical activation: sweet 1?; weak 0, 3; rigid 4; destructive 2 (?: "
    )


def test_damage_in_few_texts_is_over_its_limit_and_not_surely(tmp_path, recipe):
    whole = zones_of(find(made(recipe, tmp_path, "a"))).table.set_index("layer")
    assert whole.sure[2]  # every text lost its topic
    few = clean()
    prompts = {r.prompt for r in few.rows if r.metric == "kept_topic" and r.split == "select"}
    lost = sorted(prompts)[: len(prompts) // 10]  # a tenth, where a twentieth may be lost
    few.change(
        lambda r: (
            (r.layer, r.metric) == (2, "kept_topic") and r.prompt in lost and r.dose_natural > 0
        ),
        value=0.0,
    )
    found = zones_of(find(made(few, tmp_path, "b")))
    assert found.table.set_index("layer").zone[2] == "destructive"
    assert "destructive 2?" in str(found)


def test_a_layer_without_the_chosen_dose_has_no_zone_and_the_others_keep_theirs(tmp_path):
    spoilt = clean()
    whole = zones_of(find(made(spoilt, tmp_path, "a")))
    spoilt.rows = [
        replace(r, dose_relative=r.dose_relative / 2) if r.layer == 3 else r for r in spoilt.rows
    ]
    found = zones_of(find(made(spoilt, tmp_path, "b")))
    assert found.dose_relative == whole.dose_relative == pytest.approx(0.4)
    others = whole.table[whole.table.layer != 3].reset_index(drop=True)
    assert found.table.equals(others)
    assert (whole.unmeasured, found.unmeasured) == ((), (3,))
    assert "not measured at that dose 3" in str(found)


def test_a_layer_that_overflows_at_the_chosen_dose_was_measured_there(tmp_path, recipe):
    found = find(made(recipe, tmp_path))
    rows = found.summary
    there = (
        (rows.method == found.plan.method)
        & (rows.layer == rows.layer.max())
        & (rows.dose_relative.round(6) == round(found.chosen.dose_relative, 6))
    )
    assert there.any()
    gone = rows.assign(
        **{name: rows[name].mask(there) for name in ("effect", "low", "high", "kl_nats")}
    )
    said = str(zones_of(replace(found, summary=gone)))
    assert f"logits not finite at that dose {int(rows.layer.max())}" in said
    assert "not measured" not in said


def test_the_league_of_a_run_has_what_its_rows_hold_and_says_that_it_decides_nothing(tmp_path):
    f = find(made(clean(), tmp_path))
    league = run_league(f, zones_of(f)).set_index("diagnostic")
    # The gaps of a clean run fall as the effect rises, and nothing else varies over its layers.
    assert league.rho["weakest_gap"] == pytest.approx(-1.0)
    lengths = ["residual_norm", "separation", "kl_sensitivity"]
    assert league.rho[lengths].isna().all()
    assert league.n_points.max() == len(SHARES)
    said = one_run_in_words(league.reset_index())
    assert "n = 5 layers" in said
    assert "decide nothing" in said


def test_four_layers_have_no_league(tmp_path):
    recipe = clean()
    recipe.drop(lambda r: r.layer == 4)
    f = find(made(recipe, tmp_path))
    assert run_league(f, zones_of(f)) is None


def test_the_page_shows_zones_and_audit_and_no_league_of_five_layers(tmp_path):
    recipe = clean()
    recipe.plan = replace(recipe.plan, scope="everywhere")
    recipe.rows += condition(1, 0.5, 0.3)
    page = write_report(made(recipe, tmp_path)).read_text()
    assert "Zones at 0.40 of a typical activation" in page
    assert "So few layers decide nothing" not in page  # and so no ranking of five is drawn
    audit_section = page.split('<h2 id="cautions">')[1]
    assert "the scope everywhere steers it" in audit_section
    assert "Try larger doses" not in audit_section
