"""What the handlers find in the application: no module of the streamer has globals."""

from __future__ import annotations

from aiohttp import web

from streamer.access import Tokens
from streamer.clock import Clock
from streamer.config import Config
from streamer.jobs import Jobs
from streamer.lobby import Lobby
from streamer.metrics import Meter
from streamer.recordings import Recordings
from streamer.targets import Targets
from streamer.watchdog import Watchdog

CONFIG: web.AppKey[Config] = web.AppKey("config", Config)
CLOCK: web.AppKey[Clock] = web.AppKey("clock", Clock)
TARGETS: web.AppKey[Targets] = web.AppKey("targets", Targets)
LOBBY: web.AppKey[Lobby] = web.AppKey("lobby", Lobby)
JOBS: web.AppKey[Jobs] = web.AppKey("jobs", Jobs)
RECORDINGS: web.AppKey[Recordings] = web.AppKey("recordings", Recordings)
TOKENS: web.AppKey[Tokens] = web.AppKey("tokens", Tokens)
WATCHDOG: web.AppKey[Watchdog] = web.AppKey("watchdog", Watchdog)
METER: web.AppKey[Meter] = web.AppKey("meter", Meter)
STARTED_NS: web.AppKey[int] = web.AppKey("started_ns", int)
