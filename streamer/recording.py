"""A recording of the output: every frame that leaves, encoded once more in a thread of its own, into one file.

What a browser could record is what reached it: fewer frames, coded twice. So the file is written here, and the page
downloads it. MP4 is written in fragments, which a crash cannot spoil, and put in order at the end.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
from av.video.reformatter import VideoReformatter

from streamer.clock import Clock, elapsed_ms
from streamer.continuous_sound import ContinuousSound
from streamer.opus import SAMPLE_RATE
from streamer.packets import VIDEO_TIME_BASE, SoundPacket, TargetFrame
from streamer.recorded_sound import SoundTrack, add_sound_track

logger = logging.getLogger(__name__)

FORMATS = ("mp4", "webm")
MAX_WAITING = 120
"""Frames, four seconds at 30 fps, that the encoder may be behind before one is lost."""
MIN_FREE_BYTES = 200_000_000
"""Where less is free, a recording ends instead of filling the disk."""
LOOK_EVERY = 150
"""Frames between two looks at the disk."""
KEY_FRAME_INTERVAL = 60
"""Frames: where an editor or a player can jump to."""

State = Literal["recording", "finishing", "ready", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingStatus:
    """How it stands, for the page."""

    state: State
    seconds: float
    """From the first frame to the newest."""
    num_frames: int
    num_lost: int
    """Frames that came faster than they could be written."""
    num_bytes: int
    message: str = ""
    """Why it failed, or ended by itself."""


def _add_stream(container: Any, kind: str, width: int, height: int) -> Any:  # noqa: ANN401 - PyAV's own types
    stream = container.add_stream("libx264" if kind == "mp4" else "libvpx", rate=30)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = VIDEO_TIME_BASE
    stream.codec_context.time_base = VIDEO_TIME_BASE
    stream.codec_context.gop_size = KEY_FRAME_INTERVAL
    stream.codec_context.thread_count = 1
    if kind == "mp4":
        # At 256 x 256 and crf 18 superfast looks as good as medium; it takes a fifth of the time.
        stream.options = {"preset": "superfast", "crf": "18", "bf": "0"}
    else:
        stream.bit_rate = 8_000_000  # An upper limit: crf decides.
        stream.options = {"deadline": "realtime", "cpu-used": "-8", "crf": "8", "lag-in-frames": "0"}
    return stream


class Recording:
    """One file that grows while the session runs. `put` is called in the inference thread, the rest anywhere."""

    def __init__(
        self,
        folder: Path,
        name: str,
        kind: str,
        *,
        clock: Clock,
        on_written: Callable[[float], None] = lambda _: None,
        finish: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """Write `folder/name.kind` (`kind` one of `FORMATS`) from now on.

        `on_written` hears the time that each frame took, in ms; `finish` may change the complete file before anybody
        gets it: it is where a signature goes in.
        """
        if kind not in FORMATS:
            raise ValueError(f"expected one of {', '.join(FORMATS)}, got {kind!r}")
        self.kind = kind
        self.name = name
        self.path = folder / f"{name}.{kind}"
        self.is_downloaded = False
        self._partial = folder / f"{name}.partial.{kind}"
        self._clock = clock
        self._on_written = on_written
        self._finish = finish
        self._sound = ContinuousSound()
        self._until = 0
        self._frames: queue.Queue[TargetFrame | None] = queue.Queue(MAX_WAITING + 1)
        self._lock = threading.Lock()
        self._is_open = True
        self._num_lost = 0
        self._num_frames = 0
        self._num_bytes = 0
        self._seconds = 0.0
        self._message = ""
        self._state: State = "recording"
        self._thread = threading.Thread(target=self._run, name=f"record-{name}", daemon=True)
        self._thread.start()

    def put(self, item: TargetFrame) -> bool:
        """Take one frame without waiting; True if it was lost."""
        with self._lock:
            if not self._is_open:
                return False
            if self._frames.qsize() >= MAX_WAITING:
                self._num_lost += 1
                return True
            self._frames.put_nowait(item)
            return False

    def hear(self, packet: SoundPacket) -> None:
        """Take one packet of the sound, which is silent where none comes."""
        self._sound.hear(packet)

    def stop(self) -> None:
        """Take no more; what came is still written. `join` waits for that."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._frames.put_nowait(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the complete file; False if it is still being written. Blocks."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> RecordingStatus:
        """Say how it stands."""
        return RecordingStatus(
            state="finishing" if self._state == "recording" and not self._is_open else self._state,
            seconds=self._seconds,
            num_frames=self._num_frames,
            num_lost=self._num_lost,
            num_bytes=self._num_bytes,
            message=self._message,
        )

    def delete(self) -> None:
        """Remove what is on the disk."""
        self.path.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            self._write()
            if self._num_frames == 0:
                raise ValueError("no frame came while it was recording")
            self._complete()
            self._finish(self.path)
            self._num_bytes = self.path.stat().st_size
            self._state = "ready"
        except Exception as error:  # The edge of a recording: the session goes on.
            logger.exception("recording %s failed", self.name)
            self._message = f"The recording failed: {error}"
            self._state = "failed"
        finally:
            with self._lock:
                self._is_open = False
            # What is left of a failed one stays: a part of a recording is better than none.
            if self._state == "ready":
                self._partial.unlink(missing_ok=True)

    def _write(self) -> None:
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if self.kind == "mp4" else {}
        container: Any = None
        stream: Any = None
        track: SoundTrack | None = None
        reformatter = VideoReformatter()
        origin = 0
        try:
            while (frame := self._frames.get()) is not None:
                start_ns = self._clock.monotonic_ns()
                if container is None:
                    container = av.open(str(self._partial), "w", options=options)
                    stream = _add_stream(container, self.kind, frame.picture.width & ~1, frame.picture.height & ~1)
                    track = add_sound_track(container, self.kind, int(frame.pts * frame.time_base * SAMPLE_RATE))
                    origin = frame.pts
                # A target of another size, chosen while it records, is fitted to the first one's.
                picture = reformatter.reformat(
                    frame.picture, width=stream.width, height=stream.height, format="yuv420p", threads=1
                )
                picture.pts = frame.pts - origin
                picture.time_base = Fraction(frame.time_base)
                picture.pict_type = 0
                for packet in stream.encode(picture):
                    self._num_bytes += packet.size
                    container.mux(packet)
                self._write_sound(track, frame)
                self._num_frames += 1
                self._seconds = float(picture.pts * picture.time_base)
                self._on_written(elapsed_ms(start_ns, self._clock.monotonic_ns()))
                if self._num_frames % LOOK_EVERY == 0 and not self._has_room():
                    self._message = "The disk is nearly full: the recording ended by itself."
                    break
            if container is not None:
                for packet in stream.encode(None):
                    container.mux(packet)
                self._write_sound(track, None)
        finally:
            if container is not None:
                container.close()

    def _write_sound(self, track: SoundTrack | None, frame: TargetFrame | None) -> None:
        """Write the sound up to a picture, or what is left of it."""
        assert track is not None
        if frame is not None:
            self._until = int(frame.pts * frame.time_base * SAMPLE_RATE)
            sounds = self._sound.take(self._until)
        else:
            sounds = self._sound.take(self._until, late=0)
        for start, data in sounds:
            track.write(start, data)
        if frame is None:
            track.finish()

    def _has_room(self) -> bool:
        # MP4 is copied once more at the end.
        needed = MIN_FREE_BYTES + (self._num_bytes if self.kind == "mp4" else 0)
        return shutil.disk_usage(self._partial.parent).free > needed

    def _complete(self) -> None:
        """Put an MP4's index first and in one piece, so that every player can jump about in it."""
        if self.kind != "mp4":
            self._partial.rename(self.path)
            return
        with (
            av.open(str(self._partial)) as source,
            av.open(str(self.path), "w", options={"movflags": "faststart"}) as out,
        ):
            streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is None:
                    continue
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
