"""The HTTP application: routes, the page, the lifetime of everything behind them, and what is refused at the door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from streamer import api, downloads, enrolment, links, stream, studies, whep, whip
from streamer.access import Tokens, is_loopback
from streamer.clock import Clock, SystemClock
from streamer.config import Config
from streamer.errors import ServiceError
from streamer.guard import Handler, add_headers, authorize, guard_origin, limit_rate
from streamer.jobs import Jobs
from streamer.keys import CLOCK, CONFIG, JOBS, LOBBY, METER, RECORDINGS, STARTED_NS, TARGETS, TOKENS, WATCHDOG
from streamer.lobby import Lobby
from streamer.metrics import Meter
from streamer.number_inputs import open_inputs
from streamer.offer import MAX_SDP_BYTES
from streamer.recordings import Recordings
from streamer.targets import ReenactorFactory, Targets
from streamer.watchdog import Watchdog
from streamer.worker import Workers

logger = logging.getLogger(__name__)

WEB_FOLDER = Path(__file__).resolve().parents[1] / "web"


def error_response(error: ServiceError) -> web.Response:
    """Return `{"error": {"code", "message"}}`."""
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else None
    body = {"error": {"code": error.code, "message": error.message}}
    return web.json_response(body, status=error.status, headers=headers)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every refusal as JSON, whoever raised it."""
    try:
        return await handler(request)
    except ServiceError as error:
        return error_response(error)
    except web.HTTPNotFound:
        return error_response(ServiceError(404, "not_found", f"There is nothing at {request.path}."))
    except web.HTTPMethodNotAllowed as error:
        response = error_response(ServiceError(405, "method_not_allowed", f"{request.path} knows no {error.method}."))
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except web.HTTPException:
        raise
    except web.RequestPayloadError:  # a body that is not what its head says: chunks, compression
        return error_response(ServiceError(400, "bad_body", "The body cannot be read as its head announces it."))
    except Exception:  # The edge of a request.
        logger.exception("%s %s failed", request.method, request.path)
        return error_response(ServiceError(500, "server_error", "The server failed at this request; see its log."))


def _html(name: str) -> web.FileResponse:
    path = WEB_FOLDER / name
    if not path.is_file():
        raise ServiceError(404, "not_found", f"The page is not installed: web/{name} is missing.")
    return web.FileResponse(path, headers={"Cache-Control": "no-cache"})


async def page(_: web.Request) -> web.FileResponse:
    """`GET /`: the page."""
    return _html("index.html")


async def edit(_: web.Request) -> web.FileResponse:
    """`GET /edit`: the editor."""
    return _html("edit.html")


async def study(_: web.Request) -> web.FileResponse:
    """`GET /study/{name}`: a study of believability."""
    return _html("study.html")


async def view(_: web.Request) -> web.FileResponse:
    """`GET /view/{session}`: the output alone, for OBS and for viewers; `live` is the one session that runs."""
    return _html("view.html")


def create_app(
    config: Config,
    *,
    targets: Targets,
    reenactor_factory: ReenactorFactory | None = None,
    clock: Clock | None = None,
    is_preparing: bool = True,
) -> web.Application:
    """Make the application; nothing runs until it is started.

    `reenactor_factory` (else `targets.open`) makes the reenactors, in the inference threads; `is_preparing` warms one
    up for the default actor at start, so that the first session finds it ready.
    """
    clock = clock or SystemClock()
    middlewares = [answer_errors, limit_rate(clock), guard_origin, authorize(clock)]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_SDP_BYTES)
    app[CONFIG] = config
    app[TOKENS] = Tokens(is_open=config.server.access == "auto" and is_loopback(config.server.host))
    app[TARGETS] = targets
    app[CLOCK] = clock
    app[METER] = Meter(app[CLOCK])
    app[STARTED_NS] = app[CLOCK].monotonic_ns()
    workers = Workers(reenactor_factory or targets.open, clock=app[CLOCK], longest_side=config.media.longest_side_px)
    app[RECORDINGS] = Recordings(app[CLOCK])
    app[LOBBY] = Lobby(config, workers, recordings=app[RECORDINGS], clock=app[CLOCK], meter=app[METER])
    app[JOBS] = Jobs(lambda: bool(app[LOBBY].sessions))
    app[WATCHDOG] = Watchdog(workers, app[LOBBY], max_memory_mib=config.server.max_memory_mib)

    async def run_lobby(app: web.Application) -> AsyncIterator[None]:
        if is_preparing:
            workers.prepare(config.engine.actor)
        watching = asyncio.create_task(app[WATCHDOG].run(), name="watchdog")
        training = asyncio.create_task(app[JOBS].run(), name="jobs") if app[JOBS].open() else None
        async with open_inputs(config.inputs, app[LOBBY].puppet, app[CLOCK]):
            yield
        watching.cancel()
        if training is not None:
            training.cancel()
        await app[JOBS].shut()
        await app[LOBBY].shut()
        await app[RECORDINGS].shut()

    app.cleanup_ctx.append(run_lobby)
    app.on_response_prepare.append(add_headers)
    app.add_routes(
        [web.get("/", page), web.get("/edit", edit), web.get("/study/{name}", study), web.get("/view/{session}", view)]
    )
    for module in (api, whip, whep, stream, downloads, links, enrolment, studies):
        app.add_routes(module.ROUTES)
    if WEB_FOLDER.is_dir():
        app.router.add_static("/web/", WEB_FOLDER)
    return app
