"""How fast the regressor reads a face: from its crop, and from a whole frame as the decoder gives it."""

from __future__ import annotations

import warnings

import av
import numpy as np
import torch
from numpy.typing import NDArray

from capture.crop import Crop
from capture.reading import read_values
from capture.regression import RegressionTracker
from capture.regressor_engines import make_regressor_engine
from capture.select_tracker import refusal
from models.camera import Camera
from models.params import FaceParams
from models.regressor import FaceRegressor
from streamer.pixels import RgbConverter
from tests.benchmark.paired import Row, Work, compare

Image = NDArray[np.uint8]

FRAME = (640, 480)
FPS = 30


def measure_regression(
    frames: list[Image], bare_mediapipe: Work, *, rounds: int, calls: int, threads: tuple[int, ...] = (1, 2)
) -> list[Row]:
    """Compare both ways to `FaceParams` with MediaPipe's refined mesh on the same frames, on one core and on two.

    A frame is decoded video, 640 x 480 in YUV: its conversion to RGB and the cut of the crop count.
    """
    regressor, note = _regressor()
    converter = RgbConverter(max(FRAME))
    pictures = [
        av.VideoFrame.from_ndarray(image, format="rgb24").reformat(*FRAME, format="yuv420p") for image in frames[:60]
    ]
    fields = regressor.config.fields
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # protobuf's, out of MediaPipe
        for number in threads:
            selection = make_regressor_engine(regressor, threads=number)
            engine = selection.engine
            cores = f"{number} core{'s' if number > 1 else ''}"
            name = f"{engine.name} {engine.precision}, {cores}"
            crop = Crop.around(FaceParams.neutral(), Camera.webcam(*FRAME), pixels=regressor.config.size)
            pixels = crop.cut(converter.to_rgb(pictures[0]), np.empty((crop.pixels, crop.pixels, 3), np.uint8))
            rows.append(
                compare(
                    f"regress crop, {name}",
                    f"{crop.pixels}",
                    lambda _, run=engine.run, crop=crop, pixels=pixels: read_values(run(pixels), fields, crop),  # type: ignore[misc]
                    "bare MediaPipe",
                    bare_mediapipe,
                    rounds=rounds,
                    calls=calls,
                    note="; ".join(filter(None, (note, selection.reason))),
                )
            )
            with RegressionTracker(regressor=regressor, engine=engine) as tracker:
                rows.append(
                    compare(
                        f"regress frame, {name}",
                        "x".join(map(str, FRAME)),
                        lambda index, tracker=tracker: tracker.process(  # type: ignore[misc]
                            converter.to_rgb(pictures[index % len(pictures)]), index / FPS
                        ),
                        "bare MediaPipe",
                        bare_mediapipe,
                        rounds=rounds,
                        calls=calls,
                        note=note,
                    )
                )
    return rows


def _regressor() -> tuple[FaceRegressor, str]:
    """Give the regressor that ships, or where none does one of the same size that says nothing, but surely."""
    if refusal("regressor") is None:
        return FaceRegressor.load(), ""
    torch.manual_seed(0)
    regressor = FaceRegressor().eval()
    with torch.no_grad():
        regressor.out.weight.mul_(0.01)
        regressor.out.bias[regressor.config.fields["confidence"]] = 3.0
    return regressor, "no weights of the regressor are here: timed with weights that mean nothing"
