"""The plane that activations are drawn in, and the path of steering through it."""

from __future__ import annotations

import numpy as np
import pytest

from steerscope import Site, activation_landscape, extract, find_direction
from steerscope.diagnostics.landscapes import AXES
from steerscope.errors import DegenerateDirectionError, UnknownNameError
from steerscope.texts.contrasts import ContrastSet, load_contrasts

SITE = Site("resid_post", 3)
DOSES = (-2.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def material(microworld):
    whole = load_contrasts("mood")
    pairs = ContrastSet(whole.name, whole.pairs[:12])
    return pairs, find_direction("mean_diff", extract(microworld, pairs, [SITE])[SITE])


def test_at_its_own_site_steering_goes_straight_and_as_far_as_its_dose(microworld, material):
    """The direction of these very pairs is the first axis, so that it moves nothing across."""
    pairs, direction = material
    found = activation_landscape(microworld, pairs, direction, doses=DOSES, site=SITE)
    path = found.path.set_index("dose_natural")
    lengths = (path["first"] - path["first"][0.0]) / direction.scale.natural
    np.testing.assert_allclose(lengths, DOSES, atol=1e-4)
    np.testing.assert_allclose(path.second, 0.0, atol=1e-3)


@pytest.mark.parametrize("axes", AXES)
def test_the_first_axis_points_to_the_positive_class_and_shares_are_of_the_whole(
    microworld, material, axes
):
    pairs, direction = material
    found = activation_landscape(microworld, pairs, direction, doses=(0.0,), site=SITE, axes=axes)
    means = found.points.groupby("side")[["first", "second"]].mean()
    assert means["first"]["positive"] > means["first"]["negative"]
    assert 0 < sum(found.explained) < 1
    np.testing.assert_allclose(found.path[["first", "second"]], 0.0, atol=1e-3)
    if axes == "classes":
        assert means.second["positive"] == pytest.approx(means.second["negative"], abs=1e-3)
    else:  # by definition the two largest shares that a plane can have
        others = activation_landscape(microworld, pairs, direction, doses=(0.0,), site=SITE)
        assert sum(found.explained) > sum(others.explained)


def test_what_spans_no_plane_is_refused(microworld, material):
    pairs, direction = material
    with pytest.raises(UnknownNameError, match="classes, components"):
        activation_landscape(microworld, pairs, direction, doses=(0.0,), site=SITE, axes="tsne")
    one = ContrastSet(pairs.name, pairs.pairs[:1])
    with pytest.raises(DegenerateDirectionError, match="give more pairs"):
        activation_landscape(microworld, one, direction, doses=(0.0,), site=SITE)
