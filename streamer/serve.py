"""`reenact serve`: open the page and keep it open until a signal comes."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiortc
from aiohttp import web

from models.memory import share_memory
from reenact.credential_key import own_credential_key
from reenact.engines.select import ENGINES, refusal
from reenact.signing import SigningError, key_folder, own_key
from streamer.access import Right, Tokens
from streamer.aiortc_adapter import check_internals
from streamer.app import create_app
from streamer.certificate import ssl_context
from streamer.config import Config, load_config, parse_assignment
from streamer.doorkeeper import GuardedRunner
from streamer.errors import HopelessError, ServiceError, UsageError
from streamer.hardware_encoders import trials
from streamer.ice import check_turn
from streamer.keys import LOBBY, TOKENS, WATCHDOG
from streamer.lan import lan_url, qr_terminal
from streamer.packaged import PackagedTargets, default_settings
from streamer.targets import Targets
from streamer.threads import start_threads
from streamer.virtual_camera import NoCameraError, VirtualCamera, open_camera

logger = logging.getLogger(__name__)

HTTP_SHUTDOWN_S = 0.5
SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter from another one that waits for it; Python's own 5 ms is a third of the
frame budget."""

LINKS = {
    Right.SOURCE: ("", "who has this link can be the source"),
    Right.VIEWER: ("view/live", "can watch"),
    Right.ADMIN: ("", "can do everything, revoking links among it"),
}
"""Where each right's link leads, and what it is good for."""

FLAGS = {
    "host": "server.host",
    "port": "server.port",
    "max_sessions": "server.max_sessions",
    "actor": "engine.actor",
    "engine": "engine.name",
    "https": "server.https",
    "virtual_camera": "server.virtual_camera",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `reenact serve`."""
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="TCP port, 0 for a free one (8080)")
    parser.add_argument("--actor", help="name or path of the default target (milo)")
    parser.add_argument("--engine", help="what executes the network: auto, torch, openvino, ... (auto)")
    parser.add_argument("--https", action="store_const", const=True, help="serve over HTTPS: phones, other machines")
    parser.add_argument(
        "--virtual-camera", action="store_const", const=True, help="show the output as a camera of this machine too"
    )
    parser.add_argument("--max-sessions", type=int, metavar="N", help="sources at a time (1)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with these and all other settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="one setting, as transfer.mouth_gain=1.2"
    )
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error"), help="how much to tell (info)"
    )


def resolve_config(args: argparse.Namespace) -> Config:
    """Join defaults, file, `--set` and options, the later the stronger; raise `UsageError`."""
    assignments = [parse_assignment(text) for text in args.set]
    assignments += [(key, getattr(args, flag)) for flag, key in FLAGS.items() if getattr(args, flag) is not None]
    return load_config(default_settings(), args.config, assignments)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    share_memory()
    config = resolve_config(args)
    _log_to_stderr(args.log_level)
    for problem in check_internals():
        print(f"reenact serve: {problem}", file=sys.stderr)
        return 1
    try:
        # Made at the first start: what this machine signs consent and videos with.
        own_key()
        own_credential_key()
    except SigningError as error:
        print(f"reenact serve: {error}", file=sys.stderr)
        return 1
    targets = PackagedTargets(config.engine, config.settings)
    try:
        card = targets.card(config.engine.actor)
    except ServiceError as error:
        print(f"reenact serve: {error.message}", file=sys.stderr)
        return 1
    if (reason := _engine_refusal(config.engine.name)) is not None:
        print(f"reenact serve: {reason}", file=sys.stderr)
        return 1
    # From here on the actor has its name, even if the command line gave its path.
    config = dataclasses.replace(config, engine=dataclasses.replace(config.engine, actor=card.name))
    try:
        camera = VirtualCamera(open_camera(sys.platform)) if config.server.virtual_camera else None
    except NoCameraError as error:
        print(f"reenact serve: {error}", file=sys.stderr)
        return 1
    for trial in trials():  # now, and not while somebody waits for an answer
        logger.info("encoder %s %s", trial.name, trial.reason)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        has_ended = asyncio.run(serve(config, targets, camera=camera))
    except OSError as error:
        where = f"{config.server.host}:{config.server.port}"
        print(f"reenact serve: cannot listen on {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    except HopelessError as error:
        print(f"reenact serve: {error}", file=sys.stderr)
        logging.shutdown()
        os._exit(1)  # stuck threads would hold an orderly end up for ever
    if not has_ended:
        # A thread sits in native code, such as a compiler, that cannot be interrupted; waiting for it is no clean end.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
    return 0


def _engine_refusal(name: str) -> str | None:
    """Say why the engine that was asked for cannot run here; raise `UsageError` if there is no such engine."""
    if name == "auto":
        return None
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}: expected auto, {', '.join(ENGINES)}")
    return refusal(name)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # Below this they tell the addresses of those who connect.
    for package in ("aiohttp", "aioice", "aiortc"):
        logging.getLogger(package).setLevel(logging.WARNING)
    for room in ("streamer", "reenact", "capture", "models"):
        logging.getLogger(room).setLevel(level.upper())


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task's owner heard of, but for one thing that is none of our business.

    aiortc 1.16.0 connects in a task of its own, which fails when its peer is closed before it has connected.
    """
    if isinstance(context.get("exception"), aiortc.InvalidStateError):
        logger.debug("%s", context.get("message"), exc_info=context["exception"])
    else:
        loop.default_exception_handler(context)


def _print_links(tokens: Tokens, url: str, lan: str) -> None:
    """Print a link for each right, on stdout and nowhere else; at a terminal the source's also as a QR code."""
    if tokens.is_open:
        return
    for right, (path, text) in LINKS.items():
        _, secret = tokens.make(right)
        print(f"reenact: {text}: {lan or url}{path}?token={secret}", flush=True)
        if right == Right.SOURCE and lan and sys.stdout.isatty():
            print(qr_terminal(f"{lan}{path}?token={secret}"), flush=True)


def _ssl(config: Config) -> ssl.SSLContext | None:
    """Return what HTTPS needs, None if it is off; raise `UsageError`."""
    server = config.server
    return ssl_context(server.certificate, server.certificate_key, key_folder()) if server.https else None


async def _warn_of_turn(config: Config) -> None:
    """Say in the log which TURN servers give no relay: the page would only see a connection that fails."""
    for problem in await check_turn(config.media):
        logger.error("%s", problem)


def _say_where(url: str, actor: str) -> None:
    print(f"reenact: open {url} (actor {actor})", flush=True)


async def serve(
    config: Config,
    targets: Targets,
    *,
    stop: asyncio.Event | None = None,
    camera: VirtualCamera | None = None,
    on_listening: Callable[[str, str], None] = _say_where,
) -> bool:
    """Serve until a signal or `stop`; return False if a thread had to be left behind.

    SIGINT and `stop` end it at once; SIGTERM lets the sessions go on for `drain_s` while nobody is admitted, and a
    second one does not. Raises `OSError`, and `HopelessError` when only a new process helps.

    `on_listening` is told the page's address and the default actor once the page can be opened.
    """
    stop = stop or asyncio.Event()
    asyncio.get_running_loop().set_default_executor(start_threads())
    app = create_app(config, targets=targets)
    app[LOBBY].camera = camera
    if camera is not None:
        print(f"reenact: the output is the camera {camera.device}", flush=True)
    runner = GuardedRunner(app, shutdown_timeout=HTTP_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.server.host, config.server.port, ssl_context=_ssl(config))
        await site.start()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_on_loop_error)
        leave = asyncio.Event()
        loop.add_signal_handler(signal.SIGINT, stop.set)

        def on_sigterm() -> None:
            (stop if leave.is_set() else leave).set()

        loop.add_signal_handler(signal.SIGTERM, on_sigterm)
        url = _url(runner, config)
        on_listening(url, config.engine.actor)
        lan = lan_url(config.server.host, runner.addresses[0][1], is_https=config.server.https)
        _print_links(app[TOKENS], url, lan)
        turn_check = asyncio.create_task(_warn_of_turn(config), name="check-turn")
        await _first(stop, leave, app[WATCHDOG].hopeless)
        turn_check.cancel()
        logger.info("shutting down")
        if not stop.is_set():
            draining = asyncio.create_task(app[LOBBY].drain(config.server.drain_s), name="drain")
            await _first(stop, draining)
            draining.cancel()
    finally:
        await runner.cleanup()
        if camera is not None:
            await asyncio.to_thread(camera.close)
    if app[WATCHDOG].reason:
        raise HopelessError(app[WATCHDOG].reason)
    return app[LOBBY].is_clean


async def _first(*events: asyncio.Event | asyncio.Task[None]) -> None:
    """Wait for the first of some events and tasks."""
    waits = [asyncio.create_task(event.wait()) for event in events if isinstance(event, asyncio.Event)]
    tasks = [event for event in events if isinstance(event, asyncio.Task)]
    try:
        await asyncio.wait([*waits, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _url(runner: web.AppRunner, config: Config) -> str:
    port = runner.addresses[0][1]
    host = config.server.host
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http{'s' if config.server.https else ''}://{shown}:{port}/"
