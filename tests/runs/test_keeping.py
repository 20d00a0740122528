"""Tables that are kept: made once, whole or not at all, gone when all is done."""

from __future__ import annotations

import pandas as pd
import pytest

from steerscope.runs.keeping import KeptIn, not_kept

TABLE = pd.DataFrame({"name": ["a", "b"], "value": [0.1, float("nan")], "n": [1, 2]})


def test_a_table_is_made_once_and_comes_back_as_it_was(tmp_path):
    made = []

    def make():
        made.append(1)
        return TABLE

    kept = KeptIn(tmp_path / "parts")
    for _ in range(2):
        pd.testing.assert_frame_equal(kept("one", make), TABLE)
    assert len(made) == 1
    kept("two", make)
    kept.clear()
    kept("one", make)
    assert len(made) == 3
    not_kept("one", make)
    assert len(made) == 4


def test_what_could_not_be_made_is_not_there(tmp_path):
    def fail():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        KeptIn(tmp_path)("one", fail)
    assert not list(tmp_path.iterdir())
