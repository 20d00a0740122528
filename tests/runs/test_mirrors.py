"""A run at an address is the run of a folder, and goes on from what the address has."""

from __future__ import annotations

import fsspec
import pytest

from steerscope.errors import RunError
from steerscope.runs.mirrors import mirrored
from steerscope.runs.results import Run, plain_row


@pytest.fixture(params=["memory://runs", "file://"])
def address(request, tmp_path):
    yield f"{request.param}{tmp_path}/mine"
    fsspec.filesystem("memory").store.clear()


def started(folder):
    return Run.start(folder, {"a": 1}, provenance={})


def row(number):
    return plain_row(f"metric {number}", "nats", float(number))


def test_a_part_is_at_the_address_when_it_is_pushed_and_a_second_start_has_it(address):
    with mirrored(address) as mirror:
        run = started(mirror.folder)
        run.append([row(1)])
        mirror.push()
        files, root = fsspec.core.url_to_fs(address)
        assert any(name.endswith(".parquet") for name in files.find(root))
    with mirrored(address) as mirror:
        run = started(mirror.folder)
        assert run.table().value.tolist() == [1.0]
        assert run.table().run.tolist() == ["mine"]
        run.append([row(2)])
        run.seal()
    with mirrored(address) as mirror:
        assert Run.open(mirror.folder).table().value.tolist() == [1.0, 2.0]
        assert mirror.shown(mirror.folder / "rows" / "x") == f"{address}/rows/x"


def test_what_is_gone_here_is_gone_at_the_address_and_what_comes_and_goes_is_never_there(address):
    with mirrored(address) as mirror:
        mirror.folder.mkdir()
        for name in ("kept.txt", "gone.txt", ".lock", "half.unfinished"):
            (mirror.folder / name).write_text(name)
        mirror.push()
        (mirror.folder / "gone.txt").unlink()
    files, root = fsspec.core.url_to_fs(address)
    assert [name.rpartition("/")[2] for name in files.find(root)] == ["kept.txt"]


def test_a_path_is_its_own_mirror(tmp_path):
    with mirrored(tmp_path / "run") as mirror:
        assert mirror.folder == tmp_path / "run"
        mirror.push()
        assert mirror.shown(mirror.folder) == str(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_address_of_no_known_kind_is_refused():
    with pytest.raises(RunError, match="cannot reach nowhere://run"), mirrored("nowhere://run"):
        pass
