from __future__ import annotations

from dataclasses import replace

import pytest

from steerscope.errors import ModelLoadError
from steerscope.judges.judges import TextJudge
from steerscope.studies.equipment import Equipment
from steerscope.studies.loading import Loading


def test_a_worker_takes_no_second_model_with_other_weights(tiny_folder):
    loading = Loading(str(tiny_folder("llama")), dtype="bfloat16")
    model = loading.load()
    able = Equipment(loading, model.fingerprint, TextJudge(), second=(loading, model.fingerprint))
    tools = able.tools(model)
    assert tools.second.model.dtype == model.dtype
    tools.folder.cleanup()
    other = replace(able, second=(loading, "0" * 64))
    with pytest.raises(ModelLoadError, match="other weights than where the run was started"):
        other.tools(model)
