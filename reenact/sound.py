"""The sound of one file on its way into another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
from av.audio.resampler import AudioResampler

from capture.containers import open_video

COPIED_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
"""Sound that players of MP4 know: copied as it is. Other sound becomes AAC."""


class Sound:
    """The first sound track of a file, copied where players know it and encoded anew where they do not."""

    def __init__(self, output: av.container.OutputContainer, path: Path) -> None:
        """Take the first track of the file `path`, if it has one, into `output`."""
        self._output = output
        self._input = open_video(path)
        self._packets: Iterator[av.Packet[av.AudioStream]] = iter(())
        self._next: av.Packet[av.AudioStream] | None = None
        self._encoder: av.AudioStream | None = None
        self._resampler: AudioResampler | None = None
        if not self._input.streams.audio:
            return
        source = self._input.streams.audio[0]
        if source.codec_context.name in COPIED_AUDIO:
            self._copy: av.AudioStream | None = output.add_stream_from_template(source)
        else:
            self._copy = None
            self._encoder = output.add_stream("aac", source.rate)
            self._resampler = AudioResampler(format=self._encoder.format, layout=self._encoder.layout, rate=source.rate)
        self._packets = self._input.demux(source)
        self._next = next(self._packets, None)

    def write_until(self, time_s: float) -> None:
        """Write what sounds up to `time_s`; infinite for all that is left."""
        while self._next is not None:
            packet = self._next
            if packet.dts is not None:
                assert packet.time_base is not None
                if float(packet.dts * packet.time_base) > time_s:
                    return
                self._write(packet)
            self._next = next(self._packets, None)
        if time_s == float("inf"):
            self.finish()

    def finish(self) -> None:
        """Write what the encoder still holds; nothing may follow."""
        self._next = None
        if self._encoder is not None and self._resampler is not None:
            for frame in self._resampler.resample(None):
                self._output.mux(self._encoder.encode(frame))
            self._output.mux(self._encoder.encode())
            self._encoder = None

    def _write(self, packet: av.Packet[av.AudioStream]) -> None:
        if self._copy is not None:
            packet.stream = self._copy
            self._output.mux(packet)
            return
        assert self._encoder is not None
        assert self._resampler is not None
        for decoded in packet.decode():
            for frame in self._resampler.resample(decoded):
                self._output.mux(self._encoder.encode(frame))

    def close(self) -> None:
        """Close the file that it came from."""
        self._input.close()
