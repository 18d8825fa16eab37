"""The outgoing track: it only awaits the slot, and knows when a frame's last packet has left."""

from __future__ import annotations

from collections.abc import Callable

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from streamer.packets import TargetFrame
from streamer.slots import LoopSlot


class TargetTrack(MediaStreamTrack):
    """Hand target frames to aiortc's sender, which encodes and sends one before it asks for the next."""

    kind = "video"

    def __init__(self, slot: LoopSlot[TargetFrame], on_sent: Callable[[TargetFrame], None]) -> None:
        """Take frames from `slot`; call `on_sent` with each one whose last packet has left."""
        super().__init__()
        self._slot = slot
        self._on_sent = on_sent
        self._handed_out: TargetFrame | None = None

    async def recv(self) -> av.VideoFrame:
        """Return the next frame, with the source's `pts` and `time_base`; raise `MediaStreamError` at the end."""
        # The sender comes back here only when every packet of the frame before is with the socket.
        if self._handed_out is not None:
            sent, self._handed_out = self._handed_out, None
            self._on_sent(sent)
        if self.readyState != "live":
            raise MediaStreamError
        frame = await self._slot.take()
        if frame is None:
            self.stop()
            raise MediaStreamError
        self._handed_out = frame
        return frame.picture
