"""A regressor and what it is fed: a crop of a frame in, a reading out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.crop import Crop
from capture.reading import Reading, read_values
from capture.regressor_engines import RegressorEngine, make_regressor_engine
from models.camera import Camera
from models.params import FaceParams
from models.regressor import FaceRegressor, RegressorConfig

Image = NDArray[np.uint8]


class CropReader:
    """Cut, execute and interpret; its pixels are one buffer, so one frame at a time. Owns its engine: `close()` it."""

    def __init__(self, regressor: FaceRegressor | None = None, engine: RegressorEngine | None = None) -> None:
        """Load what is not given: the weights that ship, on the fastest engine that works; compile what must be.

        Raises `FileNotFoundError` where there are no weights, `ValueError` for damaged ones, and
        `RegressorEngineError`.
        """
        config = regressor.config if regressor is not None else RegressorConfig()
        if engine is None:
            regressor = regressor or FaceRegressor.load()
            config = regressor.config
            engine = make_regressor_engine(regressor).engine
        self._engine = engine
        self._fields = config.fields
        self._pixels = np.zeros((config.size, config.size, 3), np.uint8)
        camera = Camera.webcam(4 * config.size, 4 * config.size)
        blank = np.zeros((camera.height, camera.width, 3), np.uint8)
        self.read(blank, Crop.around(FaceParams.neutral(), camera, pixels=config.size))

    @property
    def size(self) -> int:
        """Width and height of the crops that it reads, pixels."""
        return len(self._pixels)

    def read(self, image: Image, crop: Crop) -> Reading:
        """Read what a frame `[H, W, 3]` shows in `crop`."""
        return read_values(self._engine.run(crop.cut(image, self._pixels)), self._fields, crop)

    def around(self, head: FaceParams, camera: Camera) -> Crop | None:
        """Frame a head; None where it cannot be one: a hand before a face may be taken for one in the lens."""
        if not head.translation[2] < 0.0 or not np.isfinite(head.pack()).all():
            return None
        try:
            return Crop.around(head, camera, pixels=self.size)
        except ValueError:
            return None

    def close(self) -> None:
        """Free the network."""
        self._engine.close()
