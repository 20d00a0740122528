"""The container as `docker build` would read it: what it copies is there, what it runs works, and nobody is root."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def instructions():
    """Word and rest of every instruction, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line.split(maxsplit=1) for line in lines if line.strip()]


def asked(word):
    return [rest for name, rest in instructions() if name == word]


def is_ignored(path):
    """Whether .dockerignore keeps a path out: the last line that matches it or a folder above it."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!").replace("**/", "*")
        parts = Path(path).parts
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if any(
            fnmatch(a, pattern) and ("*" in pattern or "/" not in pattern or a == pattern)
            for a in above
        ):
            out = not line.startswith("!")
    return out


def found(pattern, text):
    """What the one group of a pattern holds."""
    match = re.search(pattern, text)
    assert match, pattern
    return match[1]


def copied():
    return [name for rest in asked("COPY") for name in rest.split()[:-1]]


def test_what_is_copied_is_there_and_not_ignored_and_is_all_that_the_package_is_built_of():
    for name in copied():
        assert (ROOT / name).exists(), name
        assert not is_ignored(name), name
        inside = next((p for p in sorted((ROOT / name).rglob("*.*")) if p.is_file()), ROOT / name)
        assert not is_ignored(inside.relative_to(ROOT).as_posix()), inside
    assert is_ignored("tests/helpers.py")
    assert is_ignored("data/runs/x/run.json")
    assert is_ignored("steerscope/serve/__pycache__/app.pyc")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    licences = project["project"].get("license-files", [])
    needed = [project["project"]["readme"], *licences, *wheel["packages"], *wheel["force-include"]]
    for name in [*needed, "pyproject.toml", "constraints.txt"]:
        assert any(Path(name) == Path(c) or Path(c) in Path(name).parents for c in copied()), name


def test_every_requirement_of_the_image_has_a_version_that_fits_and_the_python_does():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(
        (canonicalize_name(name), version)
        for name, version in re.findall(
            r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE
        )
    )
    [run] = asked("RUN")[1:]
    extras = found(r'"\.\[(.*)\]"', run).split(",")
    wanted = [
        *project["dependencies"],
        *(r for e in extras for r in project["optional-dependencies"][e]),
    ]
    for line in [*wanted, "torch"]:
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate():
            assert need.specifier.contains(pinned[canonicalize_name(need.name)]), line
    [base] = asked("FROM")
    version = found(r"python:([\d.]+)", base)
    assert SpecifierSet(project["requires-python"]).contains(f"{version}.0")


def test_it_runs_as_a_user_without_rights_and_writes_nowhere_but_into_a_memory_of_its_own():
    words = [name for name, _ in instructions()]
    [user] = asked("USER")
    assert user not in {"root", "0"}
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert any(f"useradd --create-home {user}" in run for run in asked("RUN"))
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["steerscope"]
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    [port] = asked("EXPOSE")
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert "STEERSCOPE_API_KEY" in service["environment"]


def test_the_health_check_tells_a_server_that_runs_from_none(served):
    [check] = asked("HEALTHCHECK")
    _, _, command = check.partition("CMD ")
    python, *arguments = json.loads(command)
    assert python == "python"
    [port] = asked("EXPOSE")
    assert f":{port}/" in arguments[-1]
    for there, code in ((served.url.rpartition(":")[2], 0), ("1", 1)):
        tried = [a.replace(f":{port}/", f":{there}/") for a in arguments]
        done = subprocess.run(
            [sys.executable, *tried], capture_output=True, timeout=30, check=False
        )
        assert done.returncode == code, done.stderr


def test_the_command_of_the_image_asks_for_a_key(run_cli, monkeypatch):
    monkeypatch.delenv("STEERSCOPE_API_KEY", raising=False)
    [command] = asked("ENTRYPOINT")
    program, *arguments = json.loads(command)
    assert program == "steerscope"
    code, _, err = run_cli(*arguments)
    assert code != 0
    assert "--api-key" in err
