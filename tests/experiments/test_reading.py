"""Experiment files: what they say, and one clear line for each way to get them wrong."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import steerscope.report
from steerscope.cli import main
from steerscope.errors import ExperimentError
from steerscope.experiments import bundled_experiments, load_experiment, parse_experiment
from steerscope.experiments.jobs import find_job
from steerscope.report import plates
from tests.claims.test_effects import sweep

GOOD = """\
name: mine
question: Does it work?
job: sweep
models: [microworld]
contrasts: [mood]
methods: [mean_diff]
sites:
  stream: resid_post
  layers: [2, 3]
doses:
  unit: natural
  values: [1.0, 2]
seeds: [0]
figures: [layer_sweep]
"""

BAD = {  # what is replaced, by what, the line, and words of the message
    "unknown key": ("seeds:", "sedes:", 13, "unknown key 'sedes'. Did you mean 'seeds'?"),
    "key of a part": (
        "seeds:",
        "layers:",
        13,
        "unknown key 'layers'. Did you mean 'sites.layers'?",
    ),
    "unknown key in a part": ("unit:", "units:", 11, "'doses.units'. Did you mean 'unit'?"),
    "key twice": ("seeds: [0]", "seeds: [0]\nseeds: [1]", 14, "'seeds' is there twice"),
    "missing key": ("question: Does it work?\n", "", None, "the key 'question' is missing"),
    "no YAML": ("[mood]", "[mood", 6, "this is not YAML"),
    "a tab": ("  stream:", "\tstream:", 8, "this is not YAML"),
    "unknown job": ("job: sweep", "job: sweeep", 3, "Did you mean 'sweep'?"),
    "unknown method": ("[mean_diff]", "[mean_dif]", 6, "Did you mean 'mean_diff'?"),
    "unknown stream": ("resid_post", "resid_pots", 8, "unknown stream 'resid_pots'"),
    "unknown unit": ("natural", "naturel", 11, "Did you mean 'natural'?"),
    "unknown figure": ("[layer_sweep]", "[layer_swep]", 14, "Did you mean 'layer_sweep'?"),
    "unknown metric": ("seeds:", "metrics: [fliped]\nseeds:", 13, "Did you mean 'flipped'?"),
    "unknown format": ("seeds:", "formats: [htm]\nseeds:", 13, "Did you mean 'html'?"),
    "no list": ("[microworld]", "microworld", 4, "models: must be a list; write [microworld]"),
    "empty list": ("[mood]", "[]", 5, "contrasts: must not be an empty list"),
    "twice in a list": ("[2, 3]", "[2, 2]", 9, "sites.layers: names 2 twice"),
    "negative layer": ("[2, 3]", "[2, -1]", 9, "greater than or equal to 0, not -1"),
    "a word for a number": ("[1.0, 2]", "[1.0, two]", 12, "must be a number, not 'two'"),
    "yes for a number": ("seeds: [0]", "seeds: [yes]", 13, "must be a number, not True"),
    "an infinite dose": ("[1.0, 2]", "[1.0, .inf]", 12, "must be finite"),
    "a broken number": ("[2, 3]", "[2, 3.5]", 9, "not 3.5"),
    "only a dose of zero": ("[1.0, 2]", "[0.0]", 10, "at least one dose that is not 0"),
    "a setting of another job": ("seeds:", "other: register\nseeds:", 13, "does not use 'other'"),
    "a name too long for a folder": ("name: mine", f"name: {'m' * 101}", 1, "at most 100"),
    "a name that is a path": ("name: mine", "name: ../mine", 1, "since it names a folder"),
    "an empty text": ("question: Does it work?", "question: ''", 2, "must be a text"),
    "a bad scope": ("seeds:", "scope: nowhere\nseeds:", 13, "scope"),
    "a negative temperature": ("seeds:", "decoding: {temperature: -1}\nseeds:", 13, "not -1"),
    "no samples": ("seeds:", "sample: {select: 0}\nseeds:", 13, "not 0"),
}


def test_a_good_file_is_read_as_it_is_written():
    found = parse_experiment(GOOD, "mine.yaml")
    assert (found.name, found.sites.layers, found.doses.values) == ("mine", (2, 3), (1.0, 2.0))
    step = find_job("sweep").steps(found)[0]
    assert step.plan.layers == (2, 3)
    assert step.size(8).cells == 1 + 2 * 2 * (1 + 2)  # plain; layers, doses, method and two nulls


@pytest.mark.parametrize("kind", BAD)
def test_each_mistake_gets_one_line_with_its_place(kind, tmp_path, capsys):
    old, new, line, words = BAD[kind]
    assert GOOD.count(old) >= 1
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(SystemExit) as stop:
        main(["run", str(path), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    place = f"{path}, line {line}: " if line else f"{path}: "
    assert said.startswith(f"error: {place}")
    assert words in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_without_keys_says_so(text):
    with pytest.raises(ExperimentError, match="no list of `key: value` lines"):
        parse_experiment(text, "mine.yaml")


def test_an_unknown_file_names_the_nearest_bundled_one():
    with pytest.raises(ExperimentError, match="Did you mean 'quickstart'"):
        load_experiment("quikstart.yaml")


@pytest.mark.parametrize("name", bundled_experiments())
def test_every_bundled_experiment_is_good_and_named_as_its_file(name):
    found = load_experiment(f"{name}.yaml")
    assert found.name == name
    assert find_job(found.job).steps(found)


def test_the_documentation_lists_every_bundled_experiment_with_its_job():
    page = Path(__file__).parents[2] / "docs/pages/experiments.md"
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page.read_text(), flags=re.MULTILINE)
    assert dict(listed) == {n: load_experiment(n).job for n in bundled_experiments()}


def test_a_setting_of_one_run_is_a_run_for_each_value():
    text = GOOD.replace("seeds: [0]", "seeds: [0, 1]").replace("[mean_diff]", "[mean_diff, repe]")
    steps = find_job("sweep").steps(parse_experiment(text, "mine.yaml"))
    assert len({s.name for s in steps}) == 4
    assert {(s.plan.method, s.plan.seed) for s in steps} == {
        (m, s) for m in ("mean_diff", "repe") for s in (0, 1)
    }


def drawn_in(*files):
    """The names of figures that are written out in modules of `steerscope.report`."""
    found = set()
    for file in files:
        tree = ast.parse((Path(steerscope.report.__file__).parent / file).read_text())
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        plates = (c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "Plate")
        found |= {c.args[0].value for c in plates if isinstance(c.args[0], ast.Constant)}
    return found


@pytest.mark.parametrize(
    ("job", "file"), [("study", "plates.py"), ("edits", "weights.py"), ("adapter", "transfer.py")]
)
def test_a_file_can_name_every_figure_that_all_draws(job, file):
    drawn = drawn_in(file)
    assert len(drawn) >= 2
    assert drawn == set(find_job(job).figures)


def test_a_sweep_can_be_told_the_figures_that_it_has_and_no_others(tmp_path):
    run = sweep(tmp_path / "run", (0.1, 0.8, 0.6, 0.2))
    assert {plate.name for plate in plates(run)} <= set(find_job("sweep").figures)
    of_a_study = {"dose_response", "side_effects", "token_effects"}
    assert set(find_job("study").figures) - set(find_job("sweep").figures) == of_a_study


def test_a_file_of_a_study_sets_its_nulls_its_search_and_the_smallest_effect():
    text = re.sub(r"(?m)^(job: sweep|  unit: natural\n|figures: .*)", "", GOOD) + "job: study\n"
    usual = find_job("study").steps(parse_experiment(text, "mine.yaml"))[0]
    assert (usual.plan.nulls, usual.plan.n_controls, usual.plan.search) == (19, 3, "auto")
    told = (
        "search: grid\nsmallest_share: 0.2\nsmallest_nats: 0.3\nother: register\n"
        "sample: {nulls: 4, chosen_nulls: 0}\nfigures: [side_effects, dose_fan]\n"
    )
    plan = find_job("study").steps(parse_experiment(text + told, "mine.yaml"))[0].plan
    assert (plan.nulls, plan.n_controls, plan.search, plan.other) == (0, 4, "grid", "register")
    assert (plan.smallest_share, plan.smallest_nats) == (0.2, 0.3)
    with pytest.raises(ExperimentError, match="does not use 'sample.chosen_nulls'"):
        parse_experiment(f"{GOOD}sample: {{chosen_nulls: 3}}\n", "mine.yaml")
    with pytest.raises(ExperimentError, match="Did you mean 'grid'"):
        parse_experiment(f"{text}search: gird\n", "mine.yaml")
