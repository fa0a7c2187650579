"""The web side of the workbench: addresses and answers, behind the guard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import traceback
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError, defect
from cosmos_cli.files.documents import parse_json
from cosmos_cli.workbench.bench import Bench
from cosmos_cli.workbench.folders import CLIPS, PICTURES, OutsideError
from cosmos_cli.workbench.guard import Guard
from cosmos_cli.workbench.jobs import documents
from cosmos_cli.workbench.runner import Runner

PAGES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "compare.js": "text/javascript; charset=utf-8",
    "form.js": "text/javascript; charset=utf-8",
    "looks.js": "text/javascript; charset=utf-8",
    "painter.js": "text/javascript; charset=utf-8",
    "players.js": "text/javascript; charset=utf-8",
    "questions.js": "text/javascript; charset=utf-8",
    "queue.js": "text/javascript; charset=utf-8",
}
"""Files of the page to their types."""

_SERVED = {
    **dict.fromkeys(CLIPS, "video/mp4"),
    ".webm": "video/webm",
    **{suffix: f"image/{suffix[1:]}" for suffix in PICTURES},
    ".jpg": "image/jpeg",
    ".json": "application/json",
}
"""Suffixes of files that the page may read to what it is told they are."""

_MAX_BODY_BYTES = 4 << 20


class Document(JSONResponse):
    """JSON in ASCII alone: a name of a file may hold bytes that are no text, which stay as escapes."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode("ascii")


class Border:
    """Middleware that answers what nobody has foreseen in the words of all errors, and goes on serving."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # the border: one request must not cost the others
            if scope["type"] != "http":
                raise
            if os.environ.get("COSMOS_DEBUG") == "1":
                output.trace(traceback.format_exc())
            if not has_begun:
                await _answer(_described(error), 500)(scope, receive, send)


def make_app(bench: Bench, *, token: str, port: int, previews: Path) -> Starlette:
    """The application.

    Args:
        token: that every request must have.
        port: that it is served at.
        previews: folder for pictures of what is being made.
    """
    runner = Runner(bench.jobs, bench.options, previews)

    @contextlib.asynccontextmanager
    async def working(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(runner.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in PAGES:
            return _answer(CosmosError("is no part of the workbench.", where=name), 404)
        content = (files("cosmos_cli.workbench") / "pages" / name).read_bytes()
        return Response(content, headers={"content-type": PAGES[name]})

    async def about(_: Request) -> Response:
        return Document(bench.about())

    async def clips(_: Request) -> Response:
        return Document({"clips": await run_in_threadpool(bench.clips)})

    async def facts(request: Request) -> Response:
        return Document(await run_in_threadpool(bench.facts, await _file(request)))

    async def thumbnail(request: Request) -> Response:
        return Response(await run_in_threadpool(bench.thumbnail, await _file(request)), media_type="image/jpeg")

    async def file(request: Request) -> Response:
        path = await _file(request)
        media_type = _SERVED.get(path.suffix.lower())
        if media_type is None:
            raise OutsideError(str(path))
        return FileResponse(path, media_type=media_type)

    async def preview(request: Request) -> Response:
        path = previews / f"{request.path_params['number']}.webp"
        try:
            content = await run_in_threadpool(path.read_bytes)
        except FileNotFoundError:
            return Response(status_code=404)
        return Response(content, media_type="image/webp")

    async def state(_: Request) -> Response:
        shown = [bench.shown(job) for job in bench.jobs.all()]
        return Document({"jobs": shown, "worker": runner.worker_pid})

    async def plan(request: Request) -> Response:
        return Document(await run_in_threadpool(bench.plan, *await _asked(request)))

    async def look(request: Request) -> Response:
        job = await run_in_threadpool(bench.look, *await _asked(request))
        runner.wake()
        return Document(job)

    async def make(request: Request) -> Response:
        job = await run_in_threadpool(bench.make, *await _asked(request))
        runner.wake()
        return Document(job)

    async def export(request: Request) -> Response:
        return Document(await run_in_threadpool(bench.export, *await _asked(request)))

    async def paint(request: Request) -> Response:
        return Document(await run_in_threadpool(bench.paint, await _body(request)))

    async def cancel(request: Request) -> Response:
        await runner.cancel(request.path_params["number"])
        return Document({})

    async def forget(request: Request) -> Response:
        job = bench.jobs.get(request.path_params["number"])
        if job is not None and job.is_over:
            bench.jobs.forget(job.id)
        return Document({})

    async def _file(request: Request) -> Path:
        # a path comes as its bytes, which need not be text
        query = parse_qs(request.url.query, errors="surrogateescape")
        path = bench.folders.inside(query.get("path", [""])[0])
        await run_in_threadpool(_check_readable, path)
        return path

    return Starlette(
        routes=[
            Route("/", page),
            Route("/static/{name}", page),
            Route("/api/about", about),
            Route("/api/clips", clips),
            Route("/api/facts", facts),
            Route("/api/thumbnail", thumbnail),
            Route("/api/file", file),
            Route("/api/preview/{number:int}", preview),
            Route("/api/state", state),
            Route("/api/plan", plan, methods=["POST"]),
            Route("/api/looks", look, methods=["POST"]),
            Route("/api/jobs", make, methods=["POST"]),
            Route("/api/export", export, methods=["POST"]),
            Route("/api/maps", paint, methods=["POST"]),
            Route("/api/jobs/{number:int}/cancel", cancel, methods=["POST"]),
            Route("/api/jobs/{number:int}/forget", forget, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, token=token, port=port), Middleware(Border)],
        exception_handlers={CosmosError: _refused, OutsideError: _outside},
        lifespan=working,
    )


async def _body(request: Request) -> Any:
    """The document of a request. Raises InputError: it is none, or too large."""
    parts, num_bytes = [], 0
    async for part in request.stream():
        num_bytes += len(part)
        if num_bytes > _MAX_BODY_BYTES:
            raise InputError(f"is larger than {_MAX_BODY_BYTES >> 20} MiB.", where="request")
        parts.append(part)
    return parse_json(b"".join(parts), where="request", has_names=True)


async def _asked(request: Request) -> tuple[str, Any]:
    """Name of a kind, and specification."""
    document = await _body(request)
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise InputError("must name a kind.", where="request")
    return document["kind"], document.get("spec")


def _check_readable(path: Path) -> None:
    """Raises InputError: there is no such file, or none that can be read."""
    try:
        if not path.is_file():
            what = "is no file." if path.exists() else "is not there, or not any more."
            raise InputError(what, where=str(path), fix="Look again for clips.")
        path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}.", where=str(path), fix="Give a file that you can read."
        ) from error


def _answer(error: CosmosError, status: int) -> Response:
    return Document({"title": error.title, "problems": documents(error.problems)}, status_code=status)


def _described(error: Exception) -> CosmosError:
    if isinstance(error, OSError) and error.filename is not None:
        return CosmosError(f"cannot be used: {error.strerror}.", where=os.fsdecode(error.filename))
    return defect(error, fix="Start the workbench with COSMOS_DEBUG=1 to see where it comes from.")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, CosmosError)
    return _answer(error, 422)


async def _outside(_: Request, error: Exception) -> Response:
    return _answer(
        InputError(
            "lies outside of the folders of this workbench.",
            where=str(error),
            fix="Start it with --folder for that folder.",
        ),
        403,
    )
