"""Who gets a place: sessions are admitted, replaced and ended here."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from models.memory import trim_memory
from reenact.face_change import FaceChange
from streamer.clock import NS_PER_S, Clock
from streamer.config import Config
from streamer.errors import ServiceError
from streamer.metrics import Meter
from streamer.offer import Offer
from streamer.recordings import Recordings
from streamer.renditions import FrameSink
from streamer.session import Reason, Session
from streamer.worker import Workers

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 3
LIVE = "live"
"""Stands for the id of the only session, in addresses that somebody watches."""
SHUTDOWN_S = 1.8
"""Sessions and threads get this long together; then the process goes on without them."""


class Lobby:
    """The server's sessions. All methods run on the event loop."""

    def __init__(self, config: Config, workers: Workers, *, recordings: Recordings, clock: Clock, meter: Meter) -> None:
        """Admit `config.server.max_sessions` sessions at a time, each served by one of `workers`."""
        self._config = config
        self._workers = workers
        self._recordings = recordings
        self.camera: FrameSink | None = None
        """What shows the newest session as a camera of this machine, if anything does."""
        self._clock = clock
        self._meter = meter
        self._sessions: dict[str, Session] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_shut = False
        self._is_emptied = asyncio.Event()
        self.is_low_on_memory = False
        """While set, nobody is admitted."""
        self.is_clean = True
        """False if `shut` had to leave something behind."""

    @property
    def sessions(self) -> list[Session]:
        """The sessions that hold a place, oldest first."""
        return list(self._sessions.values())

    def find(self, session_id: str) -> Session:
        """Return a session; raise `ServiceError` `not_found` (404)."""
        session = self._sessions.get(session_id)
        if session is None:
            raise ServiceError(404, "not_found", "There is no such session; it may have ended.")
        return session

    def find_watchable(self, session_id: str) -> Session:
        """As `find`, and `live` is the one session that runs, so that a scene of OBS outlives the sessions it shows."""
        if session_id != LIVE:
            return self.find(session_id)
        if not self._sessions:
            raise ServiceError(404, "not_live", "No session runs now.", retry_after_s=1)
        if len(self._sessions) > 1:
            raise ServiceError(409, "several_live", "More than one session runs: name the one to watch.")
        return self.sessions[0]

    def puppet(self, numbers: FaceChange) -> None:
        """Let numbers from another program move every target that is moved by numbers."""
        for session in self._sessions.values():
            session.pipeline.orders.puppet(numbers)

    async def admit(self, offer: Offer, *, actor: str, client: str = "", owner: str = "") -> tuple[Session, str]:
        """Make a session for `offer`; return it with the SDP answer.

        Raises `ServiceError` `session_full` (503). A page that comes back under the same `client` name, with the same
        token (`owner`), replaces its own earlier session; a full server gives a silent source's place to a new one.
        """
        self._make_room(client, owner)
        session = Session(
            actor=actor,
            client=client,
            owner=owner,
            settings=self._config.settings,
            media=self._config.media,
            max_viewers=self._config.server.max_viewers,
            recordings=self._recordings,
            clock=self._clock,
            meter=Meter(self._clock, self._meter),
            on_over=self.end,
            idle_s=self._config.server.idle_s,
        )
        self._sessions[session.id] = session
        try:
            answer = await session.accept(offer)
        except BaseException:
            self.end(session, "failed")
            raise
        self._show_on_camera(session)
        self._workers.serve(session.pipeline)
        return session, answer

    def _show_on_camera(self, newest: Session) -> None:
        if self.camera is not None:
            for session in self.sessions:
                session.pipeline.outlets.remove(self.camera)
            newest.pipeline.outlets.add(self.camera)

    def _make_room(self, client: str, owner: str) -> None:
        if self._is_shut:
            raise ServiceError(503, "session_full", "The server is shutting down.", retry_after_s=RETRY_AFTER_S)
        if self.is_low_on_memory:
            raise ServiceError(503, "session_full", "The server is short of memory.", retry_after_s=RETRY_AFTER_S)
        for session in self.sessions:
            if client and (session.client, session.owner) == (client, owner):
                self.end(session, "replaced")
        if len(self._sessions) < self._config.server.max_sessions:
            return
        silent = [session for session in self.sessions if session.is_replaceable]
        if silent:
            self.end(max(silent, key=lambda session: session.silence_s), "replaced")
            return
        used = self._config.server.max_sessions
        sentence = "Another source is using this server" if used == 1 else f"All {used} places of this server are taken"
        raise ServiceError(503, "session_full", f"{sentence}; try again later.", retry_after_s=RETRY_AFTER_S)

    def end(self, session: Session, reason: Reason) -> None:
        """End `session`: its place is free at once, the rest follows in a task of its own."""
        if self._sessions.pop(session.id, None) is None:
            return
        session.leave()
        if not self._sessions:
            self._is_emptied.set()
        task = asyncio.create_task(self._close(session, reason), name=f"close-{session.id[:6]}")
        self._closing.add(task)
        task.add_done_callback(self._on_closed)

    async def _close(self, session: Session, reason: Reason) -> None:
        await session.close(reason)
        # Else what it has freed, codecs above all, stays with the threads that freed it, more with each session.
        await asyncio.to_thread(trim_memory)

    def _on_closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a session did not close cleanly", exc_info=error)

    async def drain(self, timeout_s: float) -> None:
        """Admit nobody more, tell every page, and wait until the last session has ended, or `timeout_s`."""
        self._is_shut = True
        if not self._sessions:
            return
        self._is_emptied.clear()
        for session in self.sessions:
            session.on_refused("draining", f"The server is about to end; this session has {timeout_s:g} s left.")
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_emptied.wait()
        except TimeoutError:
            logger.info("%s sessions are cut off", len(self._sessions))

    async def shut(self) -> None:
        """End every session and every inference thread, and note in `is_clean` whether they did."""
        self._is_shut = True
        start_ns = self._clock.monotonic_ns()
        for session in self.sessions:
            self.end(session, "shutdown")
        self._workers.stop()
        pending: set[Any] = set()
        if self._closing:
            _, pending = await asyncio.wait(self._closing, timeout=SHUTDOWN_S)
        left_s = max(0.1, SHUTDOWN_S - (self._clock.monotonic_ns() - start_ns) / NS_PER_S)
        has_ended = await asyncio.to_thread(self._workers.join, left_s)
        if not has_ended:
            logger.warning("an inference thread did not end in time")
        self.is_clean = has_ended and not pending
