"""`speedsheet serve`: what is being measured now and what was, on this machine's own address.

It reads files (the parent's account of a running sheet, runs, records) and never asks a worker, so that what it shows
is not disturbed. Requests for another host name are refused (DNS rebinding), pages allow no script but their own, and
on another address than the loopback every request needs the token. https://www.starlette.io
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedsheet import __version__
from speedsheet.bench.running import running
from speedsheet.core.errors import MissingExtra, SpeedsheetError, UsageError
from speedsheet.history.sources import RECORDS, SHEET_FILE, SHEETS, Run, load, runs
from speedsheet.history.store import History
from speedsheet.pages.page import asset, environment, render
from speedsheet.pages.words import LANGUAGES, phrase, phrases, stage

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_EVERY_S, _STILL_S = 1.0, 15.0
_LISTED = 200
_LEAST_TOKEN = 16
_COOKIE = "speedsheet-token"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where it listens and what it shows; `token` is null on the loopback address where none was asked for."""

    data: Path
    cache: Path
    host: str = "127.0.0.1"
    token: str | None = None
    lang: str = "en"


def checked(host: str, token: str | None) -> None:
    """Raise UsageError for an address that others reach, without a token that they cannot guess."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and token is None:
        raise UsageError(f"{host} is reached by others", where="--host", do="give --token, or leave 127.0.0.1")
    if token is not None and len(token) < _LEAST_TOKEN:
        raise UsageError(f"a token of {len(token)} letters can be guessed", where="--token", do=f"give {_LEAST_TOKEN}")


def application(place: Place) -> Starlette:
    """Return the application. Raises MissingExtra where Starlette is not installed."""
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.routing import Route
    except ModuleNotFoundError as error:
        do = 'pip install "speedsheet[serve]"'
        raise MissingExtra("serve needs Starlette, which is not installed", do=do) from error
    view = _View(place)
    names = [place.host, "127.0.0.1", "localhost", "[::1]"] if place.token is None else ["*"]
    return Starlette(
        routes=[
            Route("/", view.index), Route("/events", view.events), Route("/run/{name}", view.run),
            Route("/record/{name}", view.record), Route("/api/running", view.running),
            Route("/api/records", view.records),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=names)],
        exception_handlers={SpeedsheetError: _refused, 404: _missing},
    )  # fmt: skip


class _View:
    """The pages of one data folder."""

    def __init__(self, place: Place) -> None:
        self._place, self._explained = place, place.data / "explanations"
        self._page = lru_cache(maxsize=16)(self._rendered)

    async def index(self, request: Request) -> Response:
        """Answer with what runs now, the runs, and the newest records."""
        from starlette.responses import HTMLResponse, RedirectResponse

        if self._place.token is not None and request.query_params.get("token"):
            self._allow(request)
            answer: Response = RedirectResponse("/")  # so that the token does not stay in the address
            answer.set_cookie(_COOKIE, self._place.token, httponly=True, samesite="strict")
            return answer
        self._allow(request)
        text = await asyncio.to_thread(self._index, _language(request, self._place.lang))
        return HTMLResponse(text, headers=_HEADERS)

    async def run(self, request: Request) -> Response:
        """Answer with the page of a run."""
        return await self._sheet(request, SHEETS)

    async def record(self, request: Request) -> Response:
        """Answer with the page of one record."""
        return await self._sheet(request, RECORDS)

    async def events(self, request: Request) -> Response:
        """Send what runs now, whenever it changes, as server-sent events."""
        from starlette.responses import StreamingResponse

        self._allow(request)

        async def stream() -> AsyncIterator[str]:
            last, waited_s = "", 0.0
            while not await request.is_disconnected():
                now = await asyncio.to_thread(self._running)
                if now != last:
                    last, waited_s = now, 0.0
                    yield f"event: running\ndata: {now}\n\n"
                elif waited_s >= _STILL_S:  # so that a connection that is gone is noticed
                    waited_s = 0.0
                    yield ": still here\n\n"
                await asyncio.sleep(_EVERY_S)
                waited_s += _EVERY_S

        return StreamingResponse(stream(), media_type="text/event-stream", headers=_HEADERS)

    async def running(self, request: Request) -> Response:
        """Answer with what runs now, as JSON."""
        from starlette.responses import Response

        self._allow(request)
        return Response(await asyncio.to_thread(self._running), media_type="application/json", headers=_HEADERS)

    async def records(self, request: Request) -> Response:
        """Answer with the newest records, as JSON; ``?model=`` is part of a name."""
        from starlette.responses import JSONResponse

        self._allow(request)
        found = await asyncio.to_thread(self._records, request.query_params.get("model"))
        return JSONResponse(found, headers=_HEADERS)

    async def _sheet(self, request: Request, kind: str) -> Response:
        from starlette.responses import HTMLResponse

        self._allow(request)
        name = request.path_params["name"]
        folder = self._place.data / kind / name
        if Path(name).name != name or name.startswith(".") or not folder.is_dir():
            return _missing(request, None)
        seen = [folder, *sorted(folder.iterdir()), *([self._explained] if self._explained.is_dir() else [])]
        stamp = tuple(path.stat().st_mtime_ns for path in seen)
        text = await asyncio.to_thread(self._page, str(folder), stamp, _language(request, self._place.lang))
        return HTMLResponse(text, headers=_HEADERS)

    def _rendered(self, folder: str, _stamp: tuple[int, ...], lang: str) -> str:
        found = load(folder, self._place.cache, self._place.data)
        named = Run(
            Path(folder).name, found.kind, found.rows, found.host, found.document, found.folder, found.created_utc
        )
        return render([named], self._place.cache, lang=lang, explained=self._explained)

    def _running(self) -> str:
        return json.dumps([_staged(state) for state in running(self._place.data / "running")])

    def _history(self) -> History | None:
        store = self._place.data / RECORDS
        return History.of(store) if store.is_dir() else None

    def _records(self, model: str | None) -> list[dict[str, Any]]:
        history = self._history()
        return _newest(history, model) if history else []

    def _index(self, lang: str) -> str:
        every, history = runs(self._place.data), self._history()
        found = [_run(path) for path in every[:_LISTED]]
        return str(
            environment().get_template("index.html.j2").render(
                lang=lang, languages=LANGUAGES, phrase=phrase, version=__version__, folder=str(self._place.data),
                listed=_LISTED, runs=[run for run in found if run], runs_of=len(every),
                records=_newest(history, None) if history else [], records_of=history.count() if history else 0,
                words={one: phrases(one) for one in LANGUAGES}, style=asset("page.css"), script=asset("index.js"),
            )
        )  # fmt: skip

    def _allow(self, request: Request) -> None:
        """Raise where a token is needed and not given."""
        from starlette.exceptions import HTTPException

        token = self._place.token
        if token is None:
            return
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else ""
        given = given or request.query_params.get("token") or request.cookies.get(_COOKIE) or ""
        if not secrets.compare_digest(given.encode(), token.encode()):
            raise HTTPException(401, "give the token: /?token=...", headers={"WWW-Authenticate": "Bearer"})


def _newest(history: History, model: str | None) -> list[dict[str, Any]]:
    return [{**row, "model": Path(row["model"] or "").name} for row in history.rows(model, limit=_LISTED)]


def _staged(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what runs with its stage in each language; its worker says it in English."""
    now = state.get("progress")
    said = str(now.get("stage") or "") if isinstance(now, Mapping) else ""
    return {**state, "stages": {lang: stage(said, lang) for lang in LANGUAGES}}


def _run(folder: Path) -> Mapping[str, Any] | None:
    """Say what a run is, from its own file; null where that cannot be read."""
    try:
        content = json.loads((folder / SHEET_FILE).read_text(encoding="utf-8"))
        rows = content["rows"]
        return {
            "name": folder.name, "title": content["document"].get("title") or "", "rows": len(rows),
            "failed": sum(row["status"] != "ok" for row in rows),
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _language(request: Request, usual: str) -> str:
    asked = request.query_params.get("lang", usual)
    return asked if asked in LANGUAGES else usual


async def _refused(_request: Request, error: Exception) -> Response:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(f"{error}\n", status_code=404, headers=_HEADERS)


def _missing(_request: Request, _error: Exception | None) -> Response:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("no such page; the list is at /\n", status_code=404, headers=_HEADERS)
