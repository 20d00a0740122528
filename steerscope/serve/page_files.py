"""The page, and the files that it is made of."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse

from steerscope.serve.house import House

_FOLDER = Path(__file__).parent / "page"
_KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def page_routes(house: House) -> APIRouter:
    """The page at `/`, and whether the server is well."""
    routes = APIRouter()
    files = {path.name: path for path in _FOLDER.iterdir() if path.suffix in _KINDS}

    @routes.get("/")
    async def page() -> FileResponse:
        return FileResponse(files["index.html"], media_type="text/html")

    @routes.get("/page/{name}")
    async def part(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404, "the page has no such file.")
        return FileResponse(files[name], media_type=_KINDS[files[name].suffix])

    @routes.get("/health")
    async def health() -> JSONResponse:
        alive = house.worker.is_alive
        status = {"status": "ok" if alive else "stopped", "texts": house.worker.n_rows}
        return JSONResponse(status, status_code=200 if alive else 503)

    return routes
