"""The output as a camera of this machine, for any call program, without OBS: `--virtual-camera`.

It needs pyvirtualcam, an extra of its own because its licence is the GPL, and a device: v4l2loopback on Linux, the one
that OBS installs on macOS and Windows.
"""

from __future__ import annotations

import importlib
import logging
import threading
from typing import Any, Protocol

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from streamer.packets import TargetFrame
from streamer.slots import LatestSlot

logger = logging.getLogger(__name__)

SIZE = (1280, 720)
"""Width and height that every call program takes; the picture lies in the middle, on black."""
FRAME_RATE = 30
INSTALL = "pip install 'reenact[virtual-camera]'"
DEVICES = {
    "linux": "load the module: sudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label=Reenact "
    "(package v4l2loopback-dkms)",
    "darwin": "install OBS Studio, and start and stop its virtual camera once",
    "win32": "install OBS Studio: its virtual camera comes with it",
}


class NoCameraError(Exception):
    """The virtual camera cannot be opened; the text is a sentence for a person."""


class Camera(Protocol):
    """The part of `pyvirtualcam.Camera` in use."""

    device: str

    def send(self, frame: NDArray[np.uint8]) -> None:
        """Show `[H, W, 3]` RGB."""
        ...

    def close(self) -> None:
        """Give the device back."""
        ...


def open_camera(platform: str) -> Camera:
    """Open the device; raise `NoCameraError` with what is missing and how to get it."""
    try:
        module: Any = importlib.import_module("pyvirtualcam")
    except ImportError:
        raise NoCameraError(f"--virtual-camera needs pyvirtualcam, whose licence is the GPL: {INSTALL}") from None
    try:
        camera: Camera = module.Camera(width=SIZE[0], height=SIZE[1], fps=FRAME_RATE, print_fps=False)
    except (RuntimeError, OSError) as error:
        remedy = DEVICES.get(platform, "this system is not supported")
        reason = (str(error).strip() or "unknown reason").splitlines()[0].rstrip(".")
        raise NoCameraError(f"no virtual camera: {reason}. To get one, {remedy}.") from error
    return camera


class VirtualCamera:
    """Show the newest frame of whatever session runs. `put` never waits; a thread of its own feeds the device."""

    def __init__(self, camera: Camera) -> None:
        """Feed `camera` until `close`."""
        self._camera = camera
        self._slot: LatestSlot[TargetFrame] = LatestSlot()
        self._reformatter = VideoReformatter()
        self._canvas = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        self._thread = threading.Thread(target=self._run, name="virtual-camera", daemon=True)
        self._thread.start()

    @property
    def device(self) -> str:
        """Name of the device."""
        return self._camera.device

    def put(self, item: TargetFrame) -> bool:
        """Take one frame; True if it displaced one that had not been shown."""
        return self._slot.put(item)

    def close(self) -> None:
        """Give the device back."""
        self._slot.close()
        self._thread.join(1.0)

    def fit(self, frame: TargetFrame) -> NDArray[np.uint8]:
        """Return the frame as large as it fits into the middle of `SIZE`, `[720, 1280, 3]` RGB on black."""
        picture = frame.picture
        scale = min(SIZE[0] / picture.width, SIZE[1] / picture.height)
        width, height = round(picture.width * scale), round(picture.height * scale)
        image = self._reformatter.reformat(picture, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        left, top = (SIZE[0] - width) // 2, (SIZE[1] - height) // 2
        if not (left == 0 and top == 0):
            self._canvas[:] = 0
        self._canvas[top : top + height, left : left + width] = image
        return self._canvas

    def _run(self) -> None:
        try:
            while not self._slot.is_closed:
                frame = self._slot.take()
                if frame is not None:
                    self._camera.send(self.fit(frame))
        except Exception:  # The edge of the device: the sessions go on.
            logger.exception("the virtual camera stopped")
        finally:
            self._camera.close()
