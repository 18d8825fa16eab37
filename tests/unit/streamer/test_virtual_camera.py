from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.packets import VIDEO_TIME_BASE, TargetFrame
from streamer.pixels import to_picture
from streamer.virtual_camera import NoCameraError, VirtualCamera, open_camera


def target_frame(seq: int, value: int, size: tuple[int, int] = (256, 256)) -> TargetFrame:
    picture = to_picture(np.full((size[1], size[0], 3), value, np.uint8), seq, VIDEO_TIME_BASE)
    return TargetFrame(seq=seq, pts=seq, time_base=VIDEO_TIME_BASE, captured_ns=0, picture=picture)


class FakeDevice:
    device = "/dev/video9"

    def __init__(self) -> None:
        self.shown: list[NDArray[np.uint8]] = []
        self.has_shown = threading.Event()
        self.is_closed = False

    def send(self, frame: NDArray[np.uint8]) -> None:
        self.shown.append(frame.copy())
        self.has_shown.set()

    def close(self) -> None:
        self.is_closed = True


def test_frames_reach_the_device_in_the_middle_of_black() -> None:
    device = FakeDevice()
    camera = VirtualCamera(device)
    camera.put(target_frame(0, 200))
    assert device.has_shown.wait(5)
    camera.close()
    assert device.is_closed
    (shown,) = device.shown
    assert shown.shape == (720, 1280, 3)
    assert abs(int(shown[360, 640, 0]) - 200) <= 2
    assert (shown[:, :279] == 0).all()
    assert (shown[:, 1001:] == 0).all()
    assert (shown[:, 281:999] > 190).all()


def test_a_narrower_target_leaves_nothing_of_the_one_before() -> None:
    device = FakeDevice()
    camera = VirtualCamera(device)
    camera.fit(target_frame(0, 255, (1280, 720)))
    shown = camera.fit(target_frame(1, 9, (128, 256)))
    camera.close()
    assert (shown[:, :400] == 0).all()


def test_a_device_that_breaks_stops_the_camera_alone(caplog: pytest.LogCaptureFixture) -> None:
    device = FakeDevice()

    def broken(_: NDArray[np.uint8]) -> None:
        raise RuntimeError("unplugged")

    device.send = broken  # type: ignore[method-assign,assignment]
    camera = VirtualCamera(device)
    camera.put(target_frame(0, 1))
    camera._thread.join(5)
    assert device.is_closed
    assert "unplugged" in caplog.text
    camera.put(target_frame(1, 1))
    camera.close()


def test_without_the_package_its_licence_and_command_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(NoCameraError, match=r"GPL: pip install 'reenact\[virtual-camera\]'"):
        open_camera("linux")


def test_without_a_device_the_way_to_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> SimpleNamespace:
        raise RuntimeError("No v4l2loopback device found\nmore")

    module = ModuleType("pyvirtualcam")
    module.Camera = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    with pytest.raises(NoCameraError, match=r"No v4l2loopback device found\. To get one, load the module"):
        open_camera("linux")
    with pytest.raises(NoCameraError, match="install OBS Studio"):
        open_camera("win32")


def test_the_real_package_is_called_as_it_wants_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="needs the extra virtual-camera")
    opened: dict[str, object] = {}

    class Backend:
        def __init__(self, **options: object) -> None:
            opened.update(options)

        def device(self) -> str:
            return "fake"

        def native_fourcc(self) -> int | None:
            return None

        def close(self) -> None:
            opened["closed"] = True

        def send(self, frame: NDArray[np.uint8]) -> None:
            opened["sum"] = int(np.asarray(frame).sum())

    monkeypatch.setitem(pyvirtualcam.camera.BACKENDS, "fake", Backend)
    device = pyvirtualcam.Camera(width=1280, height=720, fps=30, backend="fake", print_fps=False)
    camera = VirtualCamera(device)
    device_done = threading.Event()
    send = device.send

    def note(frame: NDArray[np.uint8]) -> None:
        send(frame)
        device_done.set()

    device.send = note
    camera.put(target_frame(0, 100))
    assert device_done.wait(5)
    camera.close()
    assert opened["width"] == 1280
    assert opened["closed"] is True
    assert int(str(opened["sum"])) > 0
