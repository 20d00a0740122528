"""`steerscope adapter train | evaluate | merge`, as a stranger would run them."""

from __future__ import annotations

import json
import shlex

import pytest

from steerscope.models.loading import load_model
from steerscope.runs.results import Run
from steerscope.runs.written import written_texts
from steerscope.verification import verify
from steerscope.verification.judged import check_judged


def test_an_adapter_is_trained_evaluated_and_merged(run_cli, tiny_folder, words, tmp_path):
    model, out = ["--model", tiny_folder("llama")], tmp_path / "adapter.safetensors"
    asked = [
        "--contrasts",
        words,
        "--kind",
        "svd",
        "--rank",
        4,
        "--epochs",
        1,
        "--layers",
        "0-1",
        "--json",
        "--pairs",
        8,
    ]
    code, printed, said = run_cli("adapter", "train", "--out", out, *model, *asked)
    assert code == 0, said
    result = json.loads(printed)
    assert len(result["history"]) == 2
    assert result["epoch"] == min(result["history"], key=lambda e: e["validation"])["number"]
    assert result["parameters"] == 4 * (6 + 4)
    assert out.is_file()
    assert not out.with_name(out.name + ".training").exists()

    few = ["--coefficients", "1", "--kl", 1e-5, "--n-prompts", 2, "--out", tmp_path / "run"]
    code, printed, said = run_cli("adapter", "evaluate", out, *model, "--contrasts", words, *few)
    assert code == 0, said
    assert "svd_adapter" in printed
    assert "mean_diff" in printed
    assert "At a matched KL of 1e-05 nats" in printed
    assert "held-out pairs" in (tmp_path / "run" / "report.html").read_text()
    assert not verify(tmp_path / "run").differences

    again = ["adapter", "evaluate", out, *model, "--contrasts", words, *few[:-2]]
    evaluated_by_a_judge(run_cli, again, tmp_path / "judged")

    code, printed, said = run_cli("adapter", "merge", out, *model, "--out", tmp_path / "merged")
    assert code == 0, said
    assert load_model(tmp_path / "merged").shape == load_model(tiny_folder("llama")).shape

    code, _, said = run_cli(
        "adapter", "merge", out, "--model", tiny_folder("gpt2"), "--out", tmp_path / "no"
    )
    assert code == 2
    assert "belongs to a model" in said
    code, _, said = run_cli(
        "adapter", "train", "--out", out, *model, "--contrasts", words, "--aim", "love"
    )
    assert code == 2
    assert "unknown aim 'love'" in said


def test_the_commands_after_a_training_are_about_what_was_trained_for(
    run_cli, tiny_folder, words, tmp_path
):
    """The pairs and their split are those of the training, not the usual ones."""
    small = ["--matrices", "o", "--layers", 0, "--rank", 2, "--epochs", 1, "--pairs", 4]
    asked = ["--model", tiny_folder("llama"), "--contrasts", words, "--seed", 5]
    code, printed, said = run_cli(
        "adapter", "train", "--out", tmp_path / "a.safetensors", *asked, *small
    )
    assert code == 0, said
    few = ["--n-prompts", 2, "--coefficients", 1, "--kl", 1e-5]
    for line in printed.partition("next:")[2].strip().splitlines():
        command = shlex.split(line)[1:]
        code, _, said = run_cli(*command, *(few if "evaluate" in command else []))
        assert code == 0, said
    asked_of = Run.open(tmp_path / "a.safetensors-run").configuration
    assert asked_of["contrasts"] == "words"
    assert asked_of["seed"] == 5


def test_lora_of_matrices_that_share_a_module_is_trained_saved_and_merged(
    run_cli, tiny_folder, words, tmp_path
):
    model, out = ["--model", tiny_folder("gpt2")], tmp_path / "lora.safetensors"
    asked = ["--kind", "lora", "--rank", 2, "--matrices", "q,v", "--layers", "1", "--pairs", 6]
    code, printed, said = run_cli(
        "adapter",
        "train",
        "--out",
        out,
        *model,
        "--contrasts",
        words,
        *asked,
        "--epochs",
        1,
        "--json",
    )
    assert code == 0, said
    assert json.loads(printed)["parameters"] == 2 * 2 * (32 + 32)
    code, _, said = run_cli("adapter", "merge", out, *model, "--out", tmp_path / "merged")
    assert code == 0, said
    code, _, said = run_cli(
        "adapter",
        "train",
        "--out",
        out,
        *model,
        "--contrasts",
        words,
        "--kind",
        "lora",
        "--turn",
        "both",
    )
    assert code == 2
    assert "turn is no setting of a lora adapter" in said


@pytest.mark.parametrize(
    ("kind", "option"), [("lora", "--block"), ("ia3", "--rank"), ("oft", "--rank")]
)
def test_a_size_that_a_kind_does_not_have_is_refused(run_cli, tmp_path, kind, option):
    out = tmp_path / "a.safetensors"
    code, _, said = run_cli("adapter", "train", "--out", out, "--kind", kind, option, 2)
    assert code == 2
    assert f"{option} is not used here" in said
    assert not out.exists()


def evaluated_by_a_judge(run_cli, command, out):
    """The texts of an evaluation are stored, each judged, and judged again to the same."""
    code, printed, said = run_cli(*command, "--judge", "regex:w[1-4]", "--out", out)
    assert code == 0, said
    assert "judge regex:w[1-4]: counts" in printed
    assert "Not shown: the judge cannot tell" in printed  # its card says so
    assert "the share in the positive class: svd_adapter" not in printed
    assert "what regex:w[1-4] counts, AUC" in (out / "report.html").read_text()
    run = Run.open(out)
    texts = written_texts(run)
    assert set(texts.method) == {"plain", "svd_adapter", "mean_diff"}
    assert texts.plain.notna().all()
    assert len(texts) == 2 * (1 + 2 * 4)  # of two prompts, plain and both signs, given and matched
    n, differences = check_judged(run)
    assert (n, differences) == (2 * len(texts) + 1, [])
    assert not (run.path / "unfinished").exists()
    code, printed, _ = run_cli("texts", run.path, "--method", "plain")
    assert (code, "2 of 2 texts" in printed) == (0, True)
