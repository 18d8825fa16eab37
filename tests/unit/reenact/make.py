"""Small things that several tests of this room need."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from capture.personal import Personal
from capture.select_tracker import TrackerChoice
from capture.smoothing import SmoothingSettings
from capture.track import Track
from models.camera import Camera
from models.generator import GeneratorConfig, SpaceTimeGenerator, build_generator
from models.params import FaceParams
from reenact.actor import Actor, save_actor
from reenact.consent import Consent
from reenact.target import LIMITED, Target


def make_generator(
    *, window: int = 11, dropped: tuple[str, ...] = (), design: str = "lean", magnification: int = 1
) -> SpaceTimeGenerator:
    """Make a small network, of 128 pixels times the magnification, whose every part does something."""
    config = GeneratorConfig(
        resolution=128 * magnification, window=window, design=design, magnification=magnification, stem_channels=4,
        widths=(8, 8, 12, 12, 16), texture_channels=4,
        texture_size=(32, 48), detail_channels=4, fine_channels=4, dropped=dropped,
        change_size=(8, 12) if design == "photo" else (),
    )  # fmt: skip
    torch.manual_seed(1)
    generator = build_generator(config)
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.ndim <= 1:
                parameter.normal_(0, 0.05)
        weights = generator.state_dict()
        weights["texture"].mul_(10)
        weights["canvas"].normal_(0, 0.3)
        weights["plate"].uniform_(0, 1)
        if design == "photo":
            weights["changes"].normal_(0, 0.5)
            weights["face_range"][2], weights["face_range"][3] = -2.0, 2.0
            weights["change_bounds"][0], weights["change_bounds"][1] = -1.0, 1.5
            weights["paint.weight"].normal_(0, 0.02)
            if magnification > 1:
                weights["fine_paint.weight"].normal_(0, 0.002)
        weights["summary_out.weight"].normal_(0, 0.1)
        weights["paint.weight"].mul_(5)
        if magnification > 1:
            weights["fine_paint.weight"].mul_(100)
    return generator.requires_grad_(False).eval()


def make_target() -> Target:
    """Make a target that may turn by 0.6 rad, move by a few centimetres and show every shape to 0.9."""
    neutral = FaceParams.neutral(distance_m=0.9).replace(rotation=np.array([0.05, -0.02, 0.0], np.float32))
    reach = {"expression": 0.9, "rotation": 0.6, "translation": 0.08, "gaze": 0.5}
    return Target(
        neutral=neutral,
        camera=Camera(width=512, height=512, focal_px=1200.0, center_px=(256.0, 256.0)),
        low={n: np.asarray(getattr(neutral, n) - (0 if n == "expression" else reach[n]), np.float32) for n in LIMITED},
        high={n: np.asarray(getattr(neutral, n) + reach[n], np.float32) for n in LIMITED},
    )


def make_preview() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 120, 40)).save(buffer, "WEBP")
    return buffer.getvalue()


def make_actor(folder: Path, *, window: int = 11, design: str = "lean") -> Actor:
    """Write a whole small package named `tiny` into `folder`."""
    return save_actor(
        folder / "tiny.actor",
        make_generator(window=window, design=design),
        make_preview(),
        title="Tiny",
        frame_rate=30.0,
        target=make_target(),
        training={"held_out": {"psnr": 12.5}},
        consent=Consent.of_nobody("nobody's face"),
        license="CC0-1.0",
    )


class FakeTracker:
    """Stand in for `capture.tracker.Tracker`: tells what to see by the first pixel of the image, 0 for no face.

    The red level, in hundredths of a radian, is the yaw.
    """

    def __init__(self, settings: SmoothingSettings | None = None, **_: object) -> None:
        self.settings = settings
        self.is_calibrating = self.is_closed = False
        self.num_resets = 0
        self.has_face = False
        self.known: Personal | None = None
        self.neutral = FaceParams.neutral()

    def process(self, image: NDArray[Any], time_s: float, camera: Camera | None = None) -> Track:
        yaw = float(image[0, 0, 0]) / 100.0
        self.has_face = yaw != 0
        if yaw == 0:
            return Track(self.neutral, "absent", 0.0, 0, self.neutral, None)
        params = self.neutral.replace(rotation=np.array([yaw, 0, 0], np.float32))
        return Track(params, "tracked", 0.9, 1, self.neutral, None)

    def calibrate(self) -> None:
        self.is_calibrating = True

    def mesh_px(self) -> NDArray[np.float32] | None:
        return np.array([[32.0, 12.0]], np.float32) if self.has_face else None

    def personal(self) -> Personal | None:
        return self.known

    def restore(self, personal: Personal) -> None:
        self.known = personal

    def apply(self, settings: SmoothingSettings) -> None:
        self.settings = settings

    def reset(self) -> None:
        self.num_resets += 1

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_fake_tracker(
    name: str, settings: SmoothingSettings | None = None, **_: object
) -> tuple[FakeTracker, TrackerChoice]:
    """Stand in for `capture.select_tracker.make_tracker`."""
    return FakeTracker(settings), TrackerChoice(name, "of a test")
