"""The server: OpenAI's endpoints, those of vectors and readings, and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from steerscope.serve.completions import completion_routes
from steerscope.serve.errors import error_handlers
from steerscope.serve.guard import Guard
from steerscope.serve.house import House
from steerscope.serve.page_files import page_routes
from steerscope.serve.readings import reading_routes
from steerscope.serve.runs import run_routes
from steerscope.serve.vectors import vector_routes


def make_app(house: House) -> FastAPI:
    """The application, whose worker runs as long as it does."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        house.worker.start()
        try:
            yield
        finally:
            house.worker.close()

    app = FastAPI(
        title="steerscope",
        lifespan=running,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        exception_handlers=error_handlers(),
        middleware=[Middleware(Guard, access=house.access, limits=house.limits)],
    )
    for routes in (completion_routes, vector_routes, reading_routes, run_routes, page_routes):
        app.include_router(routes(house))
    return app
