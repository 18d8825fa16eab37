"""One source, one target, one pipeline, and what is said between the page and them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Literal

from aiortc import RTCDataChannel

from capture.personal import Personal
from reenact.credentials import SUFFIXES, sign_video
from streamer import control
from streamer.clock import NS_PER_S, Clock
from streamer.config import MediaConfig
from streamer.connection import Connection
from streamer.errors import MessageError
from streamer.governor import Governor
from streamer.live_settings import media_of
from streamer.metrics import Meter
from streamer.offer import Offer, Trickle
from streamer.pipeline import EngineInfo, Pipeline
from streamer.recording import FORMATS, Recording
from streamer.recordings import Recordings, describe
from streamer.renditions import Renditions
from streamer.settings import SettingsTable
from streamer.viewers import Viewers

Reason = Literal["shutdown", "replaced", "idle", "revoked", "closed", "failed"]
"""Why a session ended. The page hears of the first four in a `bye`; it closed itself at the fifth, and at the last
one an `error` with the sentence came before."""

WATCH_INTERVAL_S = 0.25
QUIET_S = 1.0
"""A source that sent nothing for this long may lose its place to a new one."""
CONNECT_S = 20.0
"""Time for the first packet."""
CONNECT_QUIET_S = 5.0
"""As `QUIET_S`, before the first packet."""
BYE_S = 0.25
NO_LIMIT_FPS = 60
"""Sources do not come quicker than this."""
JOIN_S = 1.0


class _SessionLog(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:  # noqa: ANN401
        return f"session {(self.extra or {})['session']}: {msg}", kwargs


class Session:
    """Everything between one page and its target. All methods run on the event loop."""

    def __init__(
        self,
        *,
        actor: str,
        client: str,
        settings: Any,  # noqa: ANN401 - the targets' settings type
        media: MediaConfig,
        max_viewers: int,
        recordings: Recordings,
        clock: Clock,
        meter: Meter,
        on_over: Callable[[Session, Reason], None],
        owner: str = "",
        idle_s: float = 3.0,
    ) -> None:
        """Make a session that holds its place; `on_over` is called when it should end.

        `owner` names its token; a source that sent nothing for `idle_s` is gone.
        """
        self.id = secrets.token_urlsafe(12)
        self.client = client
        self.owner = owner
        self._idle_s = idle_s
        self.state: Literal["connecting", "live", "ended"] = "connecting"
        self.created_ns = clock.monotonic_ns()
        self.meter = meter
        self.settings: SettingsTable[Any] = SettingsTable(settings)
        self._clock = clock
        self._on_over = on_over
        self._log = _SessionLog(logging.getLogger(__name__), {"session": self.id[:6]})
        self._engine: EngineInfo | None = None
        self._channel: RTCDataChannel | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self.pipeline = Pipeline(
            session=self.id,
            name=self.id[:6],
            actor=actor,
            settings=settings,
            loop=asyncio.get_running_loop(),
            clock=clock,
            meter=meter,
            listener=self,
        )
        self.governor = Governor(meter, clock, getattr(settings, "governor", None))
        self._recordings = recordings
        self._recording: tuple[str, Recording] | None = None
        self.renditions = Renditions(self.pipeline.outlets, clock=clock, meter=meter)
        self.viewers = Viewers(
            self.renditions, self.pipeline.sound, media, max_viewers=max_viewers, clock=clock, meter=meter
        )
        self._connection = Connection(self.pipeline, media, clock, on_channel=self._on_channel, on_closed=self._on_gone)
        self._connection.apply(media_of(settings))

    # Connecting

    @property
    def etag(self) -> str:
        """Entity tag of the ICE session (RFC 9725 section 4.3)."""
        return f'"{self.id}"'

    async def accept(self, offer: Offer) -> str:
        """Answer `offer`; return the SDP answer. Raises `ServiceError`."""
        answer = await self._connection.answer(offer)
        self._watch_task = asyncio.create_task(self._watch(), name=f"watch-{self.id[:6]}")
        self._log.info("accepted, actor %s, %s", self.pipeline.actor, "two-way" if offer.output_mid else "one-way")
        return answer

    async def add_candidates(self, trickle: Trickle) -> None:
        """Take late candidates in; raise `ServiceError` for an ICE restart."""
        await self._connection.add_candidates(trickle)

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is None:
            self._channel = channel
            channel.on("message", self._on_message)
            self._greet()

    def _on_gone(self) -> None:
        if self.state != "ended":
            self._on_over(self, "closed")

    # Talking

    def _greet(self) -> None:
        if self._engine is not None:
            control.send(self._channel, control.hello(self.id, self._engine, self.settings.values()))

    def _on_message(self, message: str | bytes) -> None:
        try:
            self._obey(control.parse_message(message))
        except MessageError as error:
            self._complain(error.code, error.message)

    def _obey(self, command: control.Command) -> None:
        orders = self.pipeline.orders
        match command:
            case control.SetValue(key, value):
                try:
                    settings = self.settings.set(key, value)
                    orders.apply(settings)
                    self.governor.settings = getattr(settings, "governor", None)
                    self._connection.apply(media_of(settings))
                finally:  # also where it is refused: the page shows what holds
                    control.send(self._channel, {"type": "settings", "settings": self.settings.values()})
            case control.Calibrate():
                orders.calibrate()
            case control.Reset():
                orders.reset()
            case control.ShowMesh(is_on):
                orders.is_mesh_wanted = is_on
            case control.Restore(personal):
                orders.restore(personal)
            case control.Puppet(numbers):
                orders.puppet(numbers)
            case control.Edit(change):
                orders.edit(change)
            case control.SwitchActor(name):
                orders.switch(name)
            case control.Record(kind):
                self._record(kind)
            case control.Seen(glimpses):
                for glimpse in glimpses:
                    glimpse.report(self.meter)
            case control.Ping(t):
                now_ms = self._clock.monotonic_ns() / 1e6
                control.send(self._channel, {"type": "pong", "t": t, "server_ms": round(now_ms, 3)})

    def _record(self, kind: str | None) -> None:
        if kind is None:
            if self._recording is not None:
                self._end_recording(self._recording[1])
        elif kind not in FORMATS:
            raise MessageError("bad_value", f"record: expected one of {', '.join(FORMATS)}, got {kind!r}")
        elif self._recording is not None:
            raise MessageError("already_recording", "A recording is under way: end it first.")
        else:
            try:
                address, recording = self._recordings.start(
                    kind, actor=self.pipeline.actor, meter=self.meter, finish=self._signature()
                )
            except OSError as error:
                raise MessageError("recording_failed", f"No recording could be started: {error}") from error
            self._recording = address, recording
            self.pipeline.outlets.add(recording)
            self.pipeline.sound.add_sink(recording)
        self._tell_recording()

    def _end_recording(self, recording: Recording) -> None:
        self.pipeline.outlets.remove(recording)
        self.pipeline.sound.remove_sink(recording)
        recording.stop()

    def _signature(self) -> Callable[[Path], None]:
        """Give what signs a recording that starts now, with the origins of all its pictures."""
        origins = self.pipeline.origins
        first = max(0, len(origins) - 1)

        def sign(path: Path) -> None:
            if path.suffix in SUFFIXES:
                sign_video(path, origins[first:])
            else:
                self._log.info("a %s file holds no content credentials; the pictures carry the mark", path.suffix[1:])

        return sign

    def _tell_recording(self) -> None:
        """Say how the recording stands; forget it once it is complete."""
        if self._recording is None:
            return
        address, recording = self._recording
        status = recording.status()
        if status.state in ("ready", "failed"):
            self.pipeline.outlets.remove(recording)
            self.pipeline.sound.remove_sink(recording)
            self._recording = None
        control.send(self._channel, describe(address, status))

    def _complain(self, code: str, message: str) -> None:
        control.send(self._channel, {"type": "error", "code": code, "message": message})

    def on_engine(self, info: EngineInfo) -> None:
        """Tell the page what runs now."""
        if self._engine is None or self._engine.mark != info.mark:
            self._log.info("every picture carries the mark %s", info.mark)
        self._engine = info
        self._greet()

    def on_mesh(self, message: bytes) -> None:
        """Let the page draw the tracked mesh."""
        control.send(self._channel, message)

    def on_calibrated(self, personal: Personal) -> None:
        """Leave what a calibration found to the page's browser."""
        control.send(self._channel, {"type": "calibration", "calibration": personal.to_json()})

    def on_refused(self, code: str, message: str) -> None:
        """Tell the page what could not be done; the session goes on."""
        self._complain(code, message)

    def on_failed(self, code: str, message: str) -> None:
        """Tell the page why this is the end."""
        self._log.error("%s", message)
        self._complain(code, message)
        self._on_over(self, "failed")

    # Watching

    @property
    def interval_s(self) -> float:
        """Usual time between two frames of the source; 0 while unknown."""
        rate = self.meter.rate("decoded", 10.0)
        return 1.0 / rate if rate > 0 else 0.0

    @property
    def silence_s(self) -> float:
        """Time since the newest packet of the source, or since the session was made."""
        return (self._clock.monotonic_ns() - (self._last_packet_ns or self.created_ns)) / NS_PER_S

    @property
    def _last_packet_ns(self) -> int | None:
        return self.pipeline.ingest.last_packet_ns if self.pipeline.ingest is not None else None

    @property
    def is_replaceable(self) -> bool:
        """True if the source has been silent long enough for another one to take its place."""
        if self._last_packet_ns is None:
            return self.silence_s > CONNECT_QUIET_S
        return self.silence_s > max(QUIET_S, 2.5 * min(self.interval_s, 2.0))

    @property
    def is_idle(self) -> bool:
        """True if the source is gone."""
        if self._last_packet_ns is None:
            return self.silence_s > CONNECT_S
        return self.silence_s > max(self._idle_s, 4.0 * min(self.interval_s, 2.0))

    async def _watch(self) -> None:
        while self.state != "ended":
            await asyncio.sleep(WATCH_INTERVAL_S)
            try:
                self.look()
            except Exception:  # The edge of a session: nobody else would notice when its source is gone.
                self._log.exception("could not be looked after")
                self._on_over(self, "failed")
                return

    def look(self) -> None:
        """Send statistics and end the session if its source is gone."""
        if self.state == "connecting" and self.pipeline.num_published:
            self.state = "live"
        if self.is_idle:
            self._on_over(self, "idle")
            return
        self.viewers.look()
        self._tell_recording()
        message = control.stats(
            self.meter.snapshot(),
            self.pipeline.face,
            self._connection.rtp_offset(),
            is_preparing=self.pipeline.is_preparing,
        )
        message |= self._govern()
        message |= control.departures(self.pipeline.departures.take(), self._connection.sender_clock)
        control.send(self._channel, message)

    def _govern(self) -> dict[str, object]:
        """Let the governor look; give what is allowed now, and why, as a part of `stats`."""
        allowed, media = self.governor.look(), media_of(self.settings.current)
        if media is None:
            return {}
        frame_rate = min(allowed.frame_rate, media.frame_rate)
        ingest = self.pipeline.ingest
        if ingest is not None:
            ingest.pace.limit(None if frame_rate >= NO_LIMIT_FPS else frame_rate)
        is_on = self.governor.settings is not None and self.governor.settings.is_on
        return {
            "limits": {
                "frame_rate": frame_rate,
                "source_px": min(allowed.source_px, media.source_px),
                "jitter_ms": media.jitter_ms,
            },
            "governor": {"is_on": is_on, "step": self.governor.step, "text": self.governor.text},
        }

    def describe(self) -> dict[str, object]:
        """Return the entry of `GET /api/sessions`."""
        snapshot = self.meter.snapshot()
        resolution = self._engine.resolution if self._engine is not None else 0
        return {
            "id": self.id,
            "actor": self.pipeline.actor,
            "mark": self._engine.mark if self._engine is not None else "",
            "state": self.state,
            "age_s": round((self._clock.monotonic_ns() - self.created_ns) / NS_PER_S, 3),
            "fps": round(snapshot.fps_out or self.meter.rate("generated"), 2),
            "size": [resolution, resolution],
            "viewers": len(self.viewers),
        }

    # Ending

    def leave(self) -> None:
        """Give up the place at once: nothing is processed any more. `close` does the rest."""
        self.state = "ended"
        self.pipeline.close()
        if self._recording is not None:
            self._end_recording(self._recording[1])

    async def close(self, reason: Reason) -> None:
        """Say goodbye, close the connection and wait for the threads; about a second at the worst."""
        self.leave()
        if self._watch_task is not None:
            self._watch_task.cancel()
        if reason in ("shutdown", "replaced", "idle", "revoked"):
            control.send(self._channel, {"type": "bye", "reason": reason})
        self.renditions.close()
        await self._flush()
        await asyncio.gather(self._connection.close(), self.viewers.close(), self.renditions.wait_closed())
        if not await asyncio.to_thread(self.pipeline.join, JOIN_S):
            self._log.warning("the decoder did not end in time")
        self._log.info("ended: %s", reason)

    async def _flush(self) -> None:
        """Let what was said last reach the page before the connection is cut."""
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        flushed = asyncio.Event()
        channel.on("bufferedamountlow", flushed.set)
        if channel.bufferedAmount == 0:
            return
        try:
            async with asyncio.timeout(BYE_S):
                await flushed.wait()
        except TimeoutError:
            self._log.debug("the page did not take the last message")
