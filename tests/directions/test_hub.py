from __future__ import annotations

import shutil

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from steerscope.directions import from_pretrained, push_to_hub
from steerscope.errors import VectorFileError, VectorMismatchError
from tests.directions.test_files import direction
from tests.directions.test_gguf import same


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub in a folder, in place of the three functions that go to the network."""
    calls = {}

    def create_repo(repo_id, *, private, exist_ok):
        calls["create"] = (repo_id, private, exist_ok)
        (tmp_path / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        return f"https://hub/{repo_id}"

    def upload_folder(*, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)

    def hf_hub_download(repo_id, filename, *, revision):
        calls["revision"] = revision
        path = tmp_path / repo_id / filename
        if not path.exists():
            raise LocalEntryNotFoundError(f"no {filename} at {repo_id}\nand more")
        return str(path)

    for function in (create_repo, upload_folder, hf_hub_download):
        monkeypatch.setattr(huggingface_hub, function.__name__, function)
    calls["folder"] = tmp_path
    return calls


def test_directions_come_back_from_the_hub_as_they_went(hub):
    ours = [direction(3), direction(4, seed=1)]
    assert push_to_hub(ours, "me/mood", private=True) == "https://hub/me/mood"
    assert hub["create"] == ("me/mood", True, True)
    read = {d.label: d for d in from_pretrained("me/mood", revision="v1")}
    assert hub["revision"] == "v1"
    assert all(same(d, read[d.label]) for d in ours)
    files = {p.name for p in (hub["folder"] / "me/mood").iterdir()}
    assert files == {"README.md", "directions.safetensors"}


def test_the_card_says_what_the_directions_are_and_how_to_load_them(hub):
    ours = [direction(3), direction(4, natural=12.5)]
    push_to_hub(ours, "me/mood")
    card = (hub["folder"] / "me/mood/README.md").read_text()
    assert card.startswith("---\nlibrary_name: steerscope\n")
    for said in (
        "mean_diff@resid_post.3",
        "output of block 3, 0-based = HF hidden_states[4]",
        "| 2.5 | 7.25 |",
        "| 12.5 | 7.25 |",
        "ss.from_pretrained('me/mood')",
        "ss.load_model('made up')",
    ):
        assert said in card
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")


def test_directions_of_two_models_are_not_published_as_one(hub):
    with pytest.raises(VectorMismatchError, match="me/mood: .* different models"):
        push_to_hub([direction(3), direction(4, fingerprint="other")], "me/mood")
    with pytest.raises(VectorFileError, match="at least one"):
        push_to_hub([], "me/mood")
    assert "create" not in hub


def test_what_is_not_on_the_hub_is_named(hub):
    with pytest.raises(
        VectorFileError, match=r"'me/none' .*no directions.safetensors at me/none\)"
    ):
        from_pretrained("me/none")


@pytest.mark.parametrize(
    "error",
    [
        HFValidationError("bad name"),
        HfHubHTTPError.__bases__[0]("bad name"),
        ConnectionError("bad name"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_refusal_says_what_to_do(hub, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    for name in ("create_repo", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, refuse)
    for call in (lambda: from_pretrained("a b"), lambda: push_to_hub([direction()], "a b")):
        with pytest.raises(VectorFileError, match="'a b' .*bad name.*hf auth login"):
            call()
