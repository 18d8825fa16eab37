"""Small things that several tests of this room need."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.camera import Camera
from models.generator import GeneratorConfig, SpaceTimeGenerator
from models.params import FaceParams
from reenact.actor import Actor, save_actor
from reenact.target import LIMITED, Target


def make_generator(*, window: int = 11, dropped: tuple[str, ...] = ()) -> SpaceTimeGenerator:
    """Make a small network whose every part does something, in evaluation mode."""
    config = GeneratorConfig(
        resolution=128, window=window, stem_channels=4, widths=(8, 8, 12, 12, 16), texture_channels=4,
        texture_size=(32, 48), detail_channels=4, dropped=dropped,
    )  # fmt: skip
    torch.manual_seed(1)
    generator = SpaceTimeGenerator(config)
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.ndim <= 1:
                parameter.normal_(0, 0.05)
        generator.texture.mul_(10)
        generator.canvas.normal_(0, 0.3)
        generator.plate.uniform_(0, 1)
        generator.summary_out.weight.normal_(0, 0.1)
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


def make_actor(folder: Path, *, window: int = 11) -> Actor:
    """Write a whole small package named `tiny` into `folder`."""
    return save_actor(
        folder / "tiny.actor",
        make_generator(window=window),
        make_preview(),
        title="Tiny",
        frame_rate=30.0,
        target=make_target(),
        training={"held_out": {"psnr": 12.5}},
        consent={"statement": "nobody's face"},
        license="CC0-1.0",
    )
