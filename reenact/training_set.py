"""A recording in memory, ready to be drawn as batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.face import FaceModel
from models.face_numbers import face_numbers
from models.generator import GeneratorConfig
from models.halo import Halo
from models.params import FaceParams
from reenact.conditioning import CHANNELS, ConditioningRenderer
from reenact.dataset import Recording


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step of training sees."""

    current: Tensor
    """`[B, 9, H, W]` conditioning."""
    reduced: Tensor
    """`[B, L, 9, h, w]` the window's, reduced for the stem."""
    face: Tensor
    """`[B, F]`, see `models.face_numbers`."""
    truth: Tensor
    """`[B, 3, H, W]` the picture, 0 to 1."""
    moved: Tensor
    """`[B, 1, H, W]` where it teaches nothing, see `reenact.steady_body`."""

    def lesson(self, output: Tensor) -> Tensor:
        """Give what `output [B, 3, H, W]` is to become: itself, where the picture teaches nothing."""
        return torch.where(self.moved, output.detach(), self.truth)


class TrainingSet:
    """Conditioning and pictures of a recording in memory, ready to be drawn as batches."""

    def __init__(
        self,
        recording: Recording,
        model: FaceModel,
        look: FaceParams,
        config: GeneratorConfig,
        halo: Halo | None = None,
        on_frame: Callable[[], None] = lambda: None,
    ) -> None:
        """Render the conditioning of all frames; `look` gives reflectance and illumination.

        `halo` is that of the generator. `on_frame` is called after each frame.
        """
        size, count = config.resolution, len(recording.params.rotation)
        self.window = config.window
        self.recording = recording
        self.halo = halo
        self.index = {int(frame): index for index, frame in enumerate(recording.pictured)}
        # The stem sees averages over 4 x 4 pixels or more: past frames need no more, so a whole video fits in memory.
        reduction = 4 * config.magnification
        self.reduced = torch.zeros(count, CHANNELS, size // reduction, size // reduction, dtype=torch.float16)
        self.current = torch.zeros(len(self.index), CHANNELS, size, size, dtype=torch.float16)
        self.truth = torch.zeros(len(self.index), 3, size, size, dtype=torch.uint8)
        self.moved = torch.zeros(len(self.index), 1, 1, dtype=torch.bool)
        """`[N, h, w]` where pictures teach nothing, in cells of any size."""
        self.faces = torch.from_numpy(face_numbers(recording.params))
        renderer = ConditioningRenderer(
            model, recording.camera.scaled(size, size), halo, shape=recording.shape, teeth_rise=recording.teeth_rise,
            is_shaded=config.is_shaded, has_own_eyes=config.has_own_eyes,
        )  # fmt: skip
        buffer = np.zeros((CHANNELS, size, size), np.float32)
        for frame in range(count):
            params = recording.params[frame].replace(reflectance=look.reflectance, illumination=look.illumination)
            rendered = torch.from_numpy(renderer.render(params, buffer))
            self.reduced[frame] = nn.functional.avg_pool2d(rendered[None], reduction)[0].half()
            if frame in self.index:
                self.current[self.index[frame]] = rendered.half()
                picture = recording.picture(frame, size)
                self.truth[self.index[frame]] = torch.from_numpy(picture.transpose(2, 0, 1).copy())
            on_frame()

    def batch(self, frames: NDArray[np.int64], device: torch.device) -> Batch:
        """Take `frames` out, on `device`, in float32."""
        rows = torch.tensor([self.index[int(frame)] for frame in frames])
        windows = torch.tensor(np.stack([self.recording.window(int(frame), self.window) for frame in frames]))
        current = self.current[rows].to(device).float().contiguous(memory_format=torch.channels_last)
        truth = self.truth[rows].to(device).float() / 255.0
        face = self.faces[torch.from_numpy(frames)].to(device)
        moved = torch.stack([self.moved_at(row) for row in rows.tolist()])[:, None].to(device)
        return Batch(current, self.reduced[windows].to(device).float(), face, truth, moved)

    def moved_at(self, row: int) -> Tensor:
        """Say where the picture in `row` teaches nothing, `[H, W]`."""
        return nn.functional.interpolate(self.moved[row][None, None].float(), size=self.truth.shape[-2:])[0, 0] > 0.5

    def pictures(self, frames: NDArray[np.int64]) -> Tensor:
        """Give the true pictures of `frames`, `[B, 3, H, W]` uint8."""
        return self.truth[[self.index[int(frame)] for frame in frames]]

    def median_picture(self) -> Tensor:
        """Guess the background `[3, H, W]`: the median of up to 64 training pictures."""
        frames = self.recording.training[:: max(1, len(self.recording.training) // 64)]
        return self.pictures(frames).median(0).values.float() / 255.0
