"""`steerscope sae train` and `sae evaluate` from the command line."""

from __future__ import annotations

import json
import shlex

import pytest

from steerscope.cli import main
from steerscope.errors import BadValueError
from steerscope.sae import load_texts


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


def test_the_commands_after_a_training_read_the_same_kind_of_text(tmp_path, capsys):
    path, out = tmp_path / "my stories.txt", str(tmp_path / "sae")
    path.write_text("".join(f"One day, Clara saw {i} roses in the garden.\n" for i in range(80)))
    sizes = ["--features", "64", "--k", "8", "--activations", "256", "--batch", "64"]
    asked = ["--bos", "never", "--text", str(path)]
    said = run(capsys, "sae", "train", "--out", out, *sizes, *asked)
    commands = [shlex.split(line) for line in said.partition("next:")[2].strip().splitlines()]
    for command in commands:
        assert set(asked) < set(command)
    judged = json.loads(run(capsys, *commands[0][1:], "--json"))
    assert judged["text"] == str(path)
    assert judged["quality"]["n_rows"] == 40  # every other document


@pytest.mark.parametrize("n", [2, 50])
def test_no_document_of_a_file_is_trained_on_and_held_out(tmp_path, n):
    path = tmp_path / "stories.txt"
    path.write_text("".join(f"w{i % 15}\n" for i in range(40)))  # some twice
    train, held = (load_texts(str(path), use, n=n) for use in ("train", "held out"))
    assert len(train) == min(n, 8)
    assert len(held) == min(n, 7)
    assert not {*train} & {*held}
    assert load_texts(str(path), "held out", n=1) == held[:1]
    path.write_text("w1\nw1\n")
    assert load_texts(str(path), "train", n=n) == ["w1"]
    with pytest.raises(BadValueError, match="one distinct document"):
        load_texts(str(path), "held out", n=n)
