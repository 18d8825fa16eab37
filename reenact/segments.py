"""A video in the making, as files of a few seconds each: what is whole stays whole, whatever happens to the rest."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import av
import av.error

from reenact.sound import Sound
from reenact.video import VideoError, VideoInfo, VideoWriter, settle

SEGMENT_FRAMES = 120
"""Frames in a segment: what a crash can cost, and how far apart key frames are at most."""


class Segments:
    """The segments of one video in one folder; each appears whole or not at all."""

    def __init__(self, folder: Path, size: tuple[int, int], info: VideoInfo, num_frames: int) -> None:
        """Look at what an earlier run left of a video of `num_frames` frames of `size` (width, height)."""
        self._folder = folder
        self._size = size
        self._info = info
        self._num_frames = num_frames
        folder.mkdir(parents=True, exist_ok=True)
        for half_made in folder.glob(".*.part"):
            half_made.unlink()

    @property
    def num_segments(self) -> int:
        """How many there will be."""
        return -(-self._num_frames // SEGMENT_FRAMES)

    @property
    def num_done(self) -> int:
        """Segments that are whole, counted from the first."""
        return next((i for i in range(self.num_segments) if not self.path(i).exists()), self.num_segments)

    def path(self, index: int) -> Path:
        """Give the file of a segment."""
        return self._folder / f"segment-{index:05d}.nut"

    def frames(self, index: int) -> range:
        """Give the numbers of the frames in a segment."""
        return range(index * SEGMENT_FRAMES, min((index + 1) * SEGMENT_FRAMES, self._num_frames))

    def writer(self, index: int) -> VideoWriter:
        """Open a segment for writing: see `VideoWriter`."""
        return VideoWriter(self.path(index), self._size, self._info)

    def join(self, output: Path, end_s: float, sound: Path | None = None) -> None:
        """Join all segments, without encoding anew, and the sound of a file up to `end_s`, into an MP4.

        Raises `VideoError` where it cannot be written, or a segment is damaged.
        """
        partial = output.with_name(f".{output.name}.{os.getpid()}.part")
        is_whole = False
        try:
            container = av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"})
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{output} cannot be written ({error.strerror}).") from None
        try:
            with contextlib.ExitStack() as stack:
                self._copy(container, end_s, sound, stack)
            is_whole = True
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{output} cannot be written ({error.strerror}).") from None
        finally:
            settle(container, partial, output if is_whole else None)

    def _copy(
        self, container: av.container.OutputContainer, end_s: float, sound: Path | None, stack: contextlib.ExitStack
    ) -> None:
        video: av.VideoStream | None = None
        track: Sound | None = None
        count = 0
        for index in range(self.num_segments):
            with av.open(str(self.path(index))) as segment:
                stream = segment.streams.video[0]
                if video is None:
                    video = container.add_stream_from_template(stream)
                    track = Sound(container, sound) if sound is not None else None
                    if track is not None:
                        stack.callback(track.close)
                for packet in segment.demux(stream):
                    if packet.pts is None or packet.time_base is None:
                        continue
                    packet.dts = packet.pts  # no frame of a segment looks ahead
                    if track is not None:
                        track.write_until(min(float(packet.pts * packet.time_base), end_s))
                    packet.stream = video
                    container.mux(packet)
                    count += 1
        if track is not None:
            track.write_until(end_s)
            track.finish()
        if count != self._num_frames:
            raise VideoError(f"{self._folder} holds {count} frames of {self._num_frames}: remove it and start again.")
