"""Edits of weights as a job: the plan that a file gives, the run sealed and verified."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import pytest
from transformers import AutoTokenizer

from steerscope.errors import ExperimentError, SteerscopeError
from steerscope.experiments import parse_experiment, run_experiment
from steerscope.experiments.jobs import find_job
from steerscope.runs.results import Run
from steerscope.studies.steering.plan import Plan
from steerscope.studies.steering.texts import load_texts
from steerscope.studies.weights.findings import CONTROL, EDIT, KL, ROLES
from steerscope.studies.weights.measure import run_weight_sweep
from steerscope.studies.weights.plan import WeightSweepPlan
from steerscope.studies.weights.screening import CROSSED
from steerscope.verification import verify
from tests.helpers import row
from tests.studies.test_fronts import FLIPPED, cell_rows

SMALL = """\
name: small
question: Does it steer?
job: edits
models: [microworld]
contrasts: [mood]
sites: {layers: [3]}
edits: {names: [power], matrices: [down], amounts: [1.0]}
decoding: {n_new: 4}
sample: {select: 6, test: 6, texts: 2, nulls: 1}
"""


def test_a_file_says_which_edits():
    [step] = find_job("edits").steps(parse_experiment(SMALL, "small.yaml"))
    assert (step.plan.edits, step.plan.amounts, step.plan.layers) == (("power",), (1.0,), (3,))
    assert (step.plan.n_texts, step.plan.n_controls) == (2, 1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[power]", "[pwer]", "line 7: unknown edit 'pwer'. Did you mean 'power'"),
        ("[down]", "[dwn]", "line 7: unknown weight 'dwn'. Did you mean 'down'"),
        ("[1.0]", "[0.0]", "line 7: amounts must be"),
    ],
)
def test_an_edit_that_is_not_known_is_refused_before_anything_is_measured(old, new, words):
    with pytest.raises(ExperimentError, match=words):
        parse_experiment(SMALL.replace(old, new), "small.yaml")


def planted(plan, out, **_machine):
    """A sweep of which every number is known, written as `run_weight_sweep` writes it."""
    texts = load_texts(Plan(contrasts=plan.contrasts, max_select=6, max_test=6))
    settings = {
        "kind": "WeightSweepPlan",
        **asdict(plan),
        "contrasts_sha256": texts.contrasts.sha256,
        "prompts_sha256": [texts.prompts.select.sha256, texts.prompts.test.sha256],
        "effect": asdict(FLIPPED),
        "screened_by": CROSSED,
    }
    provenance = {"fingerprint": "f", "backbone": "hooked", "versions": {}, "shape": {}}
    run = Run.start(out, settings, provenance=provenance)
    rows = []
    for split in ("select", "test"):
        rows += cell_rows("plain", (0.1, 0.1), method="plain", split=split)
        rows += cell_rows("edit=a", (0.9, 0.1), split=split)
        rows += cell_rows("noise", (0.3, 0.1), method="noise of power", split=split)
    for cell, method, shift in (
        ("plain", "plain", 0.0),
        ("edit=a", "power", 2.0),
        ("noise", "noise of power", 0.5),
    ):
        label = {"cell": cell, "method": method, "layer": 3, "split": "select", "kl_nats": 0.1}
        rows += [
            row(**label, prompt=p, metric=metric, unit="nats", value=value)
            for p in range(4)
            for metric, value in (
                ("leaning_joyful", p + shift),
                ("leaning_gloomy", p - shift),
                (KL, 0.1),
            )
        ]
    run.append([r if r.method == "plain" else replace(r, operator="weights") for r in rows])
    roles = {"edit=a": EDIT, "noise": CONTROL}
    said = [{"cell": cell, "target": "joyful", "role": role} for cell, role in roles.items()]
    (run.path / ROLES).write_text(json.dumps(said))
    (run.path / "descriptions.json").write_text("[]")
    run.seal()
    return run


def test_a_run_is_sealed_printed_and_verified(tmp_path, monkeypatch):
    monkeypatch.setattr("steerscope.experiments.jobs.edits.run_weight_sweep", planted)
    out = tmp_path / "out"
    run_experiment(parse_experiment(SMALL, "small.yaml"), out)
    assert (out / "tables/conditions.csv").read_text().startswith("cell,")
    [run] = (out / "runs").glob("microworld-mood-0*")
    assert "Edits of the weights" in (run / "report.html").read_text()
    assert [str(d) for d in verify(out, weights=False).differences] == []
    with (run / "roles.json").open("a") as roles:
        roles.write(" ")
    [only] = verify(out, weights=False).differences
    assert "roles.json: the hash of the file" in str(only)


def test_a_real_sweep_in_which_nothing_may_be_chosen_is_printed_and_verified(tmp_path):
    run_experiment(parse_experiment(SMALL, "small.yaml"), tmp_path / "out")
    assert [str(d) for d in verify(tmp_path / "out").differences] == []


@pytest.mark.filterwarnings("ignore::steerscope.errors.PureGainWarning")
def test_what_tells_capability_is_asked_in_the_chat_template_as_all_else(tiny_folder, tmp_path):
    folder = tmp_path / "chat"
    shutil.copytree(tiny_folder("llama"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    tokenizer.save_pretrained(folder)
    for name, first in (("kind", 3), ("facts", 40)):
        rows = [
            {"prompt": f"w{first + i}", "positive": f"w9 w{20 + i}", "negative": f"w8 w{20 + i}"}
            for i in range(12)
        ]
        lines = "".join(json.dumps(r | {"concept": name}) + "\n" for r in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    plan = WeightSweepPlan(
        model=str(folder), contrasts=str(tmp_path / "kind.jsonl"),
        capability=str(tmp_path / "facts.jsonl"), chat=True, edits=("gain",), layers=(1,),
        amounts=(0.5,), n_controls=1, n_texts=2, n_new=3, max_select=3, max_test=3,
    )  # fmt: skip
    rows = run_weight_sweep(plan, tmp_path / "run").table()
    kept = rows[rows.metric == "capability"]
    assert {*kept.split} == {"select", "test"}
    assert kept.value.notna().all()
    lost = replace(plan, capability=str(tmp_path / "gone.jsonl"))
    with pytest.raises(SteerscopeError, match=r"gone\.jsonl"):
        run_weight_sweep(lost, tmp_path / "lost")
