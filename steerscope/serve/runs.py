"""Endpoints of the runs of one folder: what each found, its map, and the texts behind every cell."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from steerscope.audits import sentence
from steerscope.errors import RunError, SteerscopeError, UnknownNameError
from steerscope.runs.results import Run
from steerscope.runs.written import written_texts
from steerscope.serve.house import House
from steerscope.studies.steering.findings import find

_REPORT, _MOST_TEXTS = "report.html", 40
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,127}")


def run_routes(house: House) -> APIRouter:
    """The endpoints; names come from a listing of the folder and never from a request."""
    routes = APIRouter()

    @routes.get("/v1/runs")
    async def runs() -> dict[str, Any]:
        return {"object": "list", "data": await run_in_threadpool(_listed, house.runs)}

    @routes.get("/v1/runs/{name}")
    async def run(name: str) -> dict[str, Any]:
        return await run_in_threadpool(_map, _folder(house.runs, name))

    @routes.get("/v1/runs/{name}/texts")
    async def texts(name: str, layer: int, dose: float) -> dict[str, Any]:
        if not math.isfinite(dose):
            raise RunError(f"a dose of {dose} is not a number; give a finite value.")
        found = await run_in_threadpool(_texts, _folder(house.runs, name), layer, dose)
        return {"object": "list", "data": found}

    @routes.get("/v1/runs/{name}/report")
    async def report(name: str) -> FileResponse:
        path = _folder(house.runs, name) / _REPORT
        if not path.is_file():
            raise RunError(f"the run {name} has no report yet.")
        # The report brings its own script; it is shown apart from the page and may ask nothing of it.
        policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        policy += "img-src data:; sandbox allow-scripts"
        headers = {"Content-Security-Policy": policy}
        return FileResponse(path, media_type="text/html", headers=headers)

    return routes


def _folders(folder: Path | None) -> dict[str, Path]:
    if folder is None or not folder.is_dir():
        return {}
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if _NAME.fullmatch(path.name) and not path.is_symlink() and (path / "run.json").is_file()
    }


def _folder(folder: Path | None, name: str) -> Path:
    known = _folders(folder)
    if name not in known:
        raise UnknownNameError("run", name, known)
    return known[name]


def _listed(folder: Path | None) -> list[dict[str, Any]]:
    found = []
    for name, path in _folders(folder).items():
        entry: dict[str, Any] = {
            "id": name,
            "object": "run",
            "has_report": (path / _REPORT).is_file(),
        }
        try:
            asked = Run.open(path).configuration
            entry["model"], entry["contrasts"] = asked.get("model"), asked.get("contrasts")
        except SteerscopeError as error:
            entry["error"] = str(error).replace(str(path), name)
        found.append(entry)
    return found


def _map(path: Path) -> dict[str, Any]:
    """Effect, KL and damage by layer and dose, and the choice of the run."""
    try:
        run = Run.open(path)
        found = find(run)
        said = sentence(run)
    except SteerscopeError as error:
        error.args = (str(error).replace(str(path), path.name),)
        raise
    mine = found.summary[found.summary.method == found.plan.method]
    columns = [
        "layer",
        "dose_natural",
        "dose_relative",
        "effect",
        "low",
        "high",
        "kl_nats",
        "damage",
        "broken",
    ]
    return {
        "id": path.name,
        "sentence": said,
        "effect": found.effect.words,
        "positive": found.effect.positive,
        "model": run.configuration.get("model"),
        "contrasts": run.configuration.get("contrasts"),
        "stream": run.configuration.get("stream"),
        "method": found.plan.method,
        "chosen": {"layer": found.chosen.layer, "dose_natural": found.chosen.dose_natural},
        "plain": _plain(found.plain),
        "rows": _rows(mine, columns),
    }


def _texts(path: Path, layer: int, dose: float) -> list[dict[str, Any]]:
    run = Run.open(path)
    found = written_texts(run, method=find(run).plan.method, layer=layer, dose=dose)
    columns = ["split", "prompt", "given", "plain", "written", "kl_nats", "status"]
    return _rows(found.head(_MOST_TEXTS), columns)


def _rows(table: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    there = [c for c in columns if c in table.columns]
    return [
        {name: _plain(value) for name, value in zip(there, row, strict=True)}
        for row in table[there].itertuples(index=False)
    ]


def _plain(value: Any) -> Any:
    """A number or text as JSON has them; what is missing is null."""
    value = value.item() if hasattr(value, "item") else value
    missing = (
        value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value))
    )
    return None if missing else value
