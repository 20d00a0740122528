"""Whatever is done to a finished run or experiment, `verify` sees it and says so in words."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict

import pytest

from steerscope.errors import RunError, SteerscopeError
from steerscope.experiments import parse_experiment, print_experiment
from steerscope.experiments.identity import folder_of
from steerscope.experiments.jobs import find_job
from steerscope.experiments.running import FILE
from steerscope.report import draw_figures, write_report, write_tables
from steerscope.runs.printed import record_printed
from steerscope.runs.records import check_measured, check_records
from steerscope.runs.results import Run
from steerscope.studies.steering.plan import StudyPlan
from steerscope.studies.steering.texts import load_texts
from steerscope.verification import verify
from steerscope.verification.printed import check_printed
from steerscope.verification.printings import compare_pages
from tests.helpers import plain_rows
from tests.studies.test_findings import FLIPPED, held_out_rows, sweep_rows
from tests.verification.tampering import (
    of_experiments,
    of_forgeries,
    of_pages,
    of_prints,
    of_records,
    runs,
)

PLAN = StudyPlan(doses=(1.0, 2.0), reference_dose=1.0)
EXPERIMENT = """\
name: made
question: Is it seen?
job: sweep
models: [microworld]
contrasts: [mood]
seeds: [0, 1]
sites: {layers: [0, 1, 2, 3]}
doses: {values: [1.0, 2.0]}
figures: [kl_by_depth, layer_sweep]
"""


def made_run(path, plan, settings, rows=None):
    """A sealed run of rows made by hand, in two parts, with its texts."""
    texts = load_texts(plan)
    configuration = {
        **settings,
        "contrasts_sha256": texts.contrasts.sha256,
        "prompts_sha256": [texts.prompts.select.sha256, texts.prompts.test.sha256],
        "effect": asdict(FLIPPED),
    }
    provenance = {
        "fingerprint": "f" * 16, "backbone": "hooked", "n_pairs": {}, "n_prompts": {}, "versions": {},
    }  # fmt: skip
    run = Run.start(path, configuration, provenance=provenance)
    text = {"cell": "plain", "split": "test", "given": "a", "written": "b"}
    first, second = rows or (sweep_rows(), held_out_rows())
    run.append(first, [{**text, "prompt": p} for p in range(8)])
    run.append(second)
    run.seal()
    return run


def with_picture(folder):
    """A picture as if a browser had drawn it."""
    path = folder / "figures" / f"{next((folder / 'figures').glob('*kl_by_depth.html')).stem}.png"
    path.write_bytes(b"a picture")
    record_printed(folder, [path])
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("tamper") / "study"
    run = made_run(path, PLAN, {"kind": "StudyPlan", **asdict(PLAN)})
    draw_figures(run, ["html"])
    write_report(run)
    write_tables(run)
    with_picture(path)
    return path


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    path = tmp_path_factory.mktemp("tamper") / "experiment"
    wanted = parse_experiment(EXPERIMENT, "made.yaml")
    for step in find_job(wanted.job).steps(wanted):
        made_run(path / "runs" / folder_of(step), step.plan, step.settings)
    (path / FILE).write_text(wanted.model_dump_json(indent=2, exclude_unset=True) + "\n")
    print_experiment(wanted, path)
    with_picture(path)
    return path


def linked(folder, to):
    """A copy whose files are links, since figures are large; what is altered is replaced."""
    return shutil.copytree(folder, to, copy_function=os.link)


RUN = {
    **dict(of_records()),
    **dict(of_forgeries()),
    **dict(of_pages("report.html")),
    **dict(of_pages("figures/layer_sweep.html")),
    **dict(
        of_prints("figures/kl_by_depth.csv", "tables/conditions.csv", "figures/kl_by_depth.png")
    ),
}
WHOLE = dict(of_experiments())
PAGE = """<!doctype html><html><head><title>A run</title><style>p {color: #222}</style></head>
<body><h1>Yes?</h1><p class="answer">No.</p><figure id="f"><div id="f-plot"></div>
<script>Plotly.newPlot("f-plot", [{"x": [1], "y": [2], "line": {"color": "#0072B2"}}],
{"title": {"text": "Effect"}, "xaxis": {"range": [0, 1]}}, {"displaylogo": false})</script>
<figcaption>n = 3</figcaption></figure></body></html>"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<title>A", "<title>B"),
        ("#222", "#fff"),
        ("No.", "Yes."),
        ("<h1>Yes?", "<h1>Yes!"),
        ("</body>", "<div>Proved.</div></body>"),
        ("</body>", "Proved.</body>"),
        ("</body>", "<script>alert(1)</script></body>"),
        ('"Effect"', '"Proof"'),
        ('"range": [0, 1]', '"range": [0, 9]'),
        ("n = 3", "n = 300"),
        ("#0072B2", "#000000"),
        ('class="answer"', 'class="hidden"'),
        ('[{"x"', '{"x"'),
    ],
)
def test_whatever_is_changed_on_a_page_is_named(before, after):
    assert before in PAGE
    n, found = compare_pages("page.html", PAGE.replace(before, after, 1), PAGE)
    assert len(found) == 1, [str(d) for d in found]
    assert found[0].where.startswith("page.html")
    assert n == compare_pages("page.html", PAGE, PAGE)[0] > 5


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("tamper") / "measured"
    few = plain_rows()[:12], plain_rows("test")[:8]
    run = made_run(path, PLAN, {"kind": "StudyPlan", **asdict(PLAN)}, few)
    assert check_records(run).differences == ()
    return path


@pytest.mark.parametrize("name", sorted(dict(of_records())))
def test_every_tampering_of_what_was_measured_is_seen_in_the_records(name, measured, tmp_path):
    folder = linked(measured, tmp_path / "study")
    RUN[name](folder)
    try:
        run = Run.open(folder)
    except RunError:
        assert name.startswith("run.json")
        return
    assert check_records(run).differences
    if name != "manifest.json gone":  # a run that was not finished may be looked at
        with pytest.raises(RunError, match="is not as it was measured"):
            check_measured(run)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: (r / "figures/a.png").write_bytes(b"other"),
        lambda r: (r / "figures/a.png").rename(r / "figures/b.png"),
        lambda r: (r / "figures/c.png").write_bytes(b"x"),
        lambda r: (r / "report.html").unlink(),
        lambda r: (r / "printed.json").unlink(),
        lambda r: (r / "printed.json").write_text("{}"),
        lambda r: (r / "printed.json").write_text("["),
    ],
)
def test_a_picture_swapped_lost_or_invented_is_seen(change, tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("figures/a.png", "report.html"):
        (tmp_path / name).write_text(name)
    record_printed(tmp_path, [tmp_path / "figures/a.png", tmp_path / "report.html"])
    assert not list(check_printed(tmp_path, old=False))
    change(tmp_path)
    assert list(check_printed(tmp_path, old=False))


@pytest.mark.slow
def test_what_nobody_touched_is_as_it_was_wherever_it_lies(study, experiment, tmp_path):
    for folder in (study, experiment):
        for place in (folder, linked(folder, tmp_path / folder.name)):
            assert [str(d) for d in verify(place, weights=False).differences] == []


def seen(folder):
    """What verify says, which is never nothing and never an error."""
    said = [str(d) for d in verify(folder, weights=False).differences]
    assert said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RUN))
def test_every_tampering_of_a_run_is_seen(name, study, tmp_path):
    folder = linked(study, tmp_path / "study")
    RUN[name](folder)
    seen(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WHOLE))
def test_every_tampering_of_an_experiment_is_seen(name, experiment, tmp_path):
    folder = linked(experiment, tmp_path / "experiment")
    WHOLE[name](folder)
    seen(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(dict(of_records())))
def test_audit_and_figures_look_at_the_seals_first(name, study, tmp_path, run_cli):
    folder = linked(study, tmp_path / "study")
    RUN[name](folder)
    for command in (["audit", folder, "--strict"], ["figures", folder]):
        code, out, err = run_cli(*command)
        # A run without its manifest is one that was not finished, which may be looked at.
        assert code == 2 or name == "manifest.json gone", (command, out, err)
        assert "Traceback" not in err, err


@pytest.mark.slow
def test_a_swapped_picture_of_an_experiment_is_seen(experiment, tmp_path):
    folder = linked(experiment, tmp_path / "experiment")
    one, other = sorted((folder / "figures").glob("*.html"))[:2]
    content = one.read_bytes(), other.read_bytes()
    one.unlink()
    other.unlink()
    one.write_bytes(content[1])
    other.write_bytes(content[0])
    assert any("figures/" in said for said in seen(folder))
    assert runs(folder)


def test_there_are_more_than_a_hundred_ways():
    assert len(RUN) + len(WHOLE) > 100


def test_a_folder_without_anything_measured_is_no_run(tmp_path):
    with pytest.raises(SteerscopeError, match="is no run and no experiment"):
        verify(tmp_path)


def test_of_a_long_text_that_differs_the_part_that_does_is_shown():
    page = "<html><body><p>{}</p></body></html>"
    long = "word " * 900
    one, other = page.format(f"{long}5 of 7 {long}"), page.format(f"{long}6 of 7 {long}")
    [found] = compare_pages("page.html", one, other)[1]
    assert "5 of 7" in str(found)
    assert "6 of 7" in str(found)
    assert len(str(found)) < 600
    short = compare_pages("page.html", page.format("5 of 7"), page.format("6 of 7"))[1]
    assert "'5 of 7', expected '6 of 7'" in str(short[0])
