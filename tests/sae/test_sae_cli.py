"""`steerscope sae train` and `sae evaluate` from the command line."""

from __future__ import annotations

import json

import pytest

from steerscope.cli import main


def run(capsys, *arguments):
    main(arguments)
    return capsys.readouterr().out


def test_an_autoencoder_is_trained_and_judged_from_the_command_line(tmp_path, capsys):
    out = str(tmp_path / "sae")
    sizes = ["--features", "64", "--k", "8", "--activations", "1024", "--batch", "128"]
    trained = json.loads(
        run(capsys, "sae", "train", "--out", out, "--n-texts", "12", *sizes, "--json")
    )
    assert (trained["n_features"], trained["k"], trained["site"]) == (64, 8, "resid_post.3")
    judged = json.loads(run(capsys, "sae", "evaluate", out, "--n-texts", "4", "--json"))
    quality = judged["quality"]
    assert quality["l0"]["value"] == pytest.approx(8, abs=0.1)
    assert quality["fvu"]["low"] <= quality["fvu"]["value"] <= quality["fvu"]["high"]
    shown = run(capsys, "sae", "evaluate", out, "--n-texts", "4")
    assert "cross-entropy recovered" in shown
    with pytest.raises(SystemExit) as stopped:
        main(["sae", "train", "--out", out, "--n-texts", "12", *sizes, "--seed", "1"])
    assert stopped.value.code == 2
    assert "another plan" in capsys.readouterr().err
