"""The data channel `control`: JSON messages of the page, parsed into commands, and the messages of the server.

Page to server: `set`, `calibrate`, `reset`, `actor`, `ping`; `{"type": "mesh", "is_on": true}` asks for the tracked
mesh; `{"type": "restore", "calibration": {...}}` gives back what `calibration` brought in an earlier session.
Server to page: `hello`, `settings`, `stats`, `error`, `pong`, `bye`; `{"type": "calibration", "calibration": {...}}`
once a calibration that was asked for is done: the server keeps nothing of it beyond the session.
`{"type": "record", "is_on": true, "format": "mp4"}` starts a recording, `{"type": "record", "is_on": false}` ends it;
`recording` says how it stands and where it will be found.
`stats` says whether a target is being loaded (`is_preparing`), tells of every frame that has left (`frames`, rows as
`streamer.latency.Departures.take` gives them) and what the source's wall clock was at an RTP timestamp
(`sender_clock`); `{"type": "seen", "frames": [[glass to glass, camera, uplink, downlink, display], ...]}` gives back
what the page measured of them, in ms.
`{"type": "puppet", "values": {"jawOpen": 0.4, "yaw": 10}}` moves a target whose setting `source` is `numbers`, and
`edit`, in the same form, changes what it shows whoever moves it; names and units are those of `reenact.face_change`.

The mesh is the one binary message, little-endian: the letter `M`, the version 1, a 16-bit count of points, then u and v
of each as signed 16-bit numbers in 1/16384 of the frame's width and height. No points: no face. Edges between them come
from `GET /api/mesh`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from capture.personal import Personal
from reenact.face_change import FaceChange
from streamer.errors import MessageError
from streamer.latency import Glimpse, SenderClock
from streamer.metrics import STAGES, Snapshot
from streamer.packets import FaceState
from streamer.pipeline import EngineInfo
from streamer.settings import Scalar

LABEL = "control"
MAX_MESSAGE_CHARS = 16_384
"""A calibration takes about eight thousand."""
MESH_HEADER = struct.Struct("<cBH")
MESH_VERSION = 1
MESH_UNIT = 1.0 / 16384.0
MESH_INTERVAL_S = 1.0 / 15.0
"""Frames closer in time are not both shown as a mesh; a little less, so that every second frame of 30 is."""
MAX_SEEN = 128
"""Frames of which one message may tell."""
MAX_SEEN_MS = 60_000.0
MAX_BUFFERED_BYTES = 64 * 1024
"""Statistics for a page that no longer reads are thrown away beyond this."""


@dataclass(frozen=True, slots=True)
class SetValue:
    """Change one live setting."""

    key: str
    value: object


@dataclass(frozen=True, slots=True)
class Calibrate:
    """Take the source's face as neutral for the next second."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget everything about the source."""


@dataclass(frozen=True, slots=True)
class SwitchActor:
    """Animate another target."""

    name: str


@dataclass(frozen=True, slots=True)
class ShowMesh:
    """Send the tracked mesh from now on, or no longer."""

    is_on: bool


@dataclass(frozen=True, slots=True)
class Restore:
    """Take over a calibration of an earlier session."""

    personal: Personal


@dataclass(frozen=True, slots=True)
class Puppet:
    """Move the target by numbers, relative to rest; the setting `source` decides whether they count."""

    numbers: FaceChange


@dataclass(frozen=True, slots=True)
class Edit:
    """Change what the target shows from now on."""

    change: FaceChange


@dataclass(frozen=True, slots=True)
class Record:
    """Record the output from now on as `format`, or no longer (None)."""

    format: str | None


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer at once, with the page's own time `t`."""

    t: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Take over what the page measured of frames that it has shown."""

    glimpses: tuple[Glimpse, ...]


KINDS = ("set", "calibrate", "reset", "actor", "mesh", "restore", "record", "seen", "puppet", "edit")
Command = SetValue | Calibrate | Reset | SwitchActor | ShowMesh | Restore | Record | Seen | Puppet | Edit | Ping


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def parse_message(message: str | bytes) -> Command:
    """Read one message of the page; raise `MessageError` naming the field at fault."""
    if isinstance(message, bytes) or len(message) > MAX_MESSAGE_CHARS:
        raise MessageError("bad_message", f"A message must be text of at most {MAX_MESSAGE_CHARS} characters.")
    try:
        fields = json.loads(message, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MessageError("bad_message", "The message is not JSON.") from error
    if not isinstance(fields, dict):
        raise MessageError("bad_message", "The message is not a JSON object.")
    kind = fields.pop("type", None)
    command = _command(kind, fields)
    if fields:
        raise MessageError("bad_message", f"{kind}: unknown field {sorted(fields)[0]!r}")
    return command


def _command(kind: object, fields: dict[str, object]) -> Command:
    """Build the command of type `kind`, taking its fields out of `fields`."""
    if kind == "set":
        key = _take(fields, "key", str, "set")
        if "value" not in fields:
            raise MessageError("bad_message", "set: the field 'value' is missing")
        return SetValue(key, fields.pop("value"))
    if kind == "calibrate":
        return Calibrate()
    if kind == "reset":
        return Reset()
    if kind == "actor":
        return SwitchActor(_take(fields, "name", str, "actor"))
    if kind == "mesh":
        return ShowMesh(_take_switch(fields, kind))
    if kind == "record":
        return Record(_take(fields, "format", str, kind) if _take_switch(fields, kind) else None)
    if kind == "restore":
        try:
            return Restore(Personal.from_json(fields.pop("calibration", None)))
        except (ValueError, OverflowError) as error:
            raise MessageError("bad_calibration", str(error)) from error
    if kind == "seen":
        return Seen(_take_glimpses(fields.pop("frames", None)))
    if kind in ("puppet", "edit"):
        try:
            change = FaceChange.of(fields.pop("values", None))
        except (ValueError, OverflowError) as error:
            raise MessageError("bad_value", f"{kind}: {error}") from error
        return Puppet(change) if kind == "puppet" else Edit(change)
    if kind == "ping":
        return Ping(_take(fields, "t", (int, float), "ping"))
    raise MessageError("bad_message", f"type: expected {', '.join(KINDS)} or ping, got {kind!r}")


def _take_switch(fields: dict[str, object], message: str) -> bool:
    is_on = fields.pop("is_on", None)
    if not isinstance(is_on, bool):
        raise MessageError("bad_message", f"{message}: the field 'is_on' must be true or false, got {is_on!r}")
    return is_on


def _take_glimpses(rows: object) -> tuple[Glimpse, ...]:
    if not isinstance(rows, list) or len(rows) > MAX_SEEN:
        raise MessageError("bad_message", f"seen: the field 'frames' must be a list of at most {MAX_SEEN} frames")
    glimpses = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 5 or not all(map(_is_time, row[:1] + row[2:])):
            raise MessageError("bad_message", f"seen: a frame must be five times in ms, got {row!r}"[:200])
        if row[1] is not None and not _is_time(row[1]):
            raise MessageError("bad_message", f"seen: a frame must be five times in ms, got {row!r}"[:200])
        glimpses.append(Glimpse(*row))
    return tuple(glimpses)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= MAX_SEEN_MS


def _take(fields: dict[str, object], name: str, kind: Any, message: str) -> Any:  # noqa: ANN401 - the type is `kind`
    value = fields.pop(name, None)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "a word" if kind is str else "a number"
        raise MessageError("bad_message", f"{message}: the field {name!r} must be {wanted}, got {value!r}")
    return value


def hello(session: str, info: EngineInfo, settings: Mapping[str, Scalar]) -> dict[str, object]:
    """Say what runs; also sent after a switch of the actor."""
    return {
        "type": "hello",
        "session": session,
        "actor": info.actor,
        "engine": info.engine,
        "engine_reason": info.engine_reason,
        "tracker": info.tracker,
        "tracker_reason": info.tracker_reason,
        "resolution": info.resolution,
        "settings": dict(settings),
    }


def stats(
    snapshot: Snapshot, face: FaceState, rtp_offset: int | None, *, is_preparing: bool = False
) -> dict[str, object]:
    """Say how it goes.

    `rtp_offset` is what to add to a source's RTP timestamp for its answer's, modulo 2**32; `is_preparing` tells that
    a target is being loaded.
    """
    medians = {name: summary.p50 for name, summary in snapshot.stages.items()}
    return {
        "type": "stats",
        "fps_in": round(snapshot.fps_in, 2),
        "fps_out": round(snapshot.fps_out, 2),
        "stages_ms": {name: round(medians.get(name, 0.0), 3) for name in STAGES},
        "age_ms": {"p50": round(snapshot.age.p50, 3), "p95": round(snapshot.age.p95, 3)},
        "dropped": {"ingest": 0, "egress": 0} | snapshot.dropped,
        "face": face.face,
        "num_faces": face.num_faces,
        "confidence": round(face.confidence, 3),
        "is_calibrating": face.is_calibrating,
        "rtp_offset": rtp_offset,
        "is_preparing": is_preparing,
        **({"coverage": dict(face.coverage)} if face.coverage is not None else {}),
    }


def departures(rows: list[list[float | int | None]], clock: SenderClock | None) -> dict[str, object]:
    """Say which frames have left, as a part of `stats`, and what the source's clock is."""
    told = None if clock is None else {"unix_ms": clock.unix_ms, "rtp": clock.rtp_timestamp}
    return {"frames": rows, "sender_clock": told}


def mesh(points: NDArray[np.float32] | None) -> bytes:
    """Put points `[N, 2]`, shares of the frame's width and height, into a message; None is no face."""
    if points is None:
        return MESH_HEADER.pack(b"M", MESH_VERSION, 0)
    whole = np.clip(np.round(points / MESH_UNIT), -32768, 32767).astype("<i2")
    return MESH_HEADER.pack(b"M", MESH_VERSION, len(points)) + whole.tobytes()


class Channel(Protocol):
    """The part of `aiortc.RTCDataChannel` in use."""

    @property
    def readyState(self) -> str: ...  # noqa: D102, N802
    @property
    def bufferedAmount(self) -> int: ...  # noqa: D102, N802
    def send(self, data: bytes | str) -> None: ...  # noqa: D102


def send(channel: Channel | None, message: Mapping[str, object] | bytes) -> bool:
    """Send one message, as JSON unless it is bytes; False if nobody can be told."""
    if channel is None or channel.readyState != "open" or channel.bufferedAmount > MAX_BUFFERED_BYTES:
        return False
    channel.send(message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":")))
    return True
