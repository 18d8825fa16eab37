"""What is measured: each stage of the live path beside a reference, and how generation grows with resolution."""

from __future__ import annotations

import statistics
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from aiortc.codecs import depayload
from aiortc.codecs.vpx import Vp8Decoder, Vp8Encoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray

from models.face import FaceModel
from models.generator import GeneratorConfig, SpaceTimeGenerator, build_generator
from reenact.actor import Actor
from reenact.conditioning import ConditioningRenderer
from reenact.engines.engine import Engine
from reenact.engines.select import make_engine
from reenact.moving_frames import moving_frames
from reenact.window import Step
from tests.benchmark.paired import Row, Work, compare
from tests.clips import read_frames

Image = NDArray[np.uint8]

FPS = 30
VIDEO_TIME_BASE = Fraction(1, 90_000)
TICKS = 90_000 // FPS


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How long to measure, and what with."""

    rounds: int = 12
    """Rounds of each comparison."""
    calls: int = 8
    """Calls in each round."""
    engine: str = "auto"
    sizes: tuple[int, ...] = (128, 256, 384, 512)
    """Resolutions of generation."""


def read_clip(path: Path, limit: int = 240) -> list[Image]:
    """Decode the first frames of a clip."""
    return [image for _, image in read_frames(path, limit=limit)]


def bare_mediapipe(frames: list[Image]) -> Work:
    """Give the reference of tracking: MediaPipe's face mesh with irises, as it comes."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    mesh = FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=True)
    return lambda number: mesh.process(frames[number % len(frames)])


def measure_live(actor: Actor, frames: list[Image], effort: Effort) -> list[Row]:
    """Run the live path over a clip: all of it beside bare MediaPipe, then each stage's median."""
    from reenact.reenactor import Reenactor

    reenactor = Reenactor(actor, engine=effort.engine)
    reenactor.warm_up()
    stages: dict[str, list[float]] = {}

    def process(number: int) -> None:
        result = reenactor.process(frames[number % len(frames)], number / FPS)
        for name, value in result.stages_ms.items():
            stages.setdefault(name, []).append(value)

    height, width = frames[0].shape[:2]
    size = f"{width}x{height} to {actor.resolution}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # protobuf's, out of MediaPipe
        whole = compare(
            "track to generate",
            size,
            process,
            "bare MediaPipe",
            bare_mediapipe(frames),
            rounds=effort.rounds,
            calls=effort.calls,
            note=f"{reenactor.engine_name}: {reenactor.engine_reason}",
        )
    reenactor.close()
    return [whole, *(Row(stage=f"  {name}", size=size, ms=statistics.median(ms)) for name, ms in stages.items())]


def measure_tracking(frames: list[Image], effort: Effort) -> Row:
    """Compare the tracker (landmarks, fitting, smoothing) with bare MediaPipe on the same frames."""
    from capture.smoothing import SmoothingSettings
    from capture.tracker import Tracker

    tracker = Tracker(SmoothingSettings())
    height, width = frames[0].shape[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compare(
            "track",
            f"{width}x{height}",
            lambda number: tracker.process(frames[number % len(frames)], number / FPS),
            "bare MediaPipe",
            bare_mediapipe(frames),
            rounds=effort.rounds,
            calls=effort.calls,
        )


def make_generator(actor: Actor, size: int) -> SpaceTimeGenerator:
    """Give the actor's network; at another resolution than its own, the same with weights that mean nothing."""
    if size == actor.resolution:
        return actor.load_generator()
    torch.manual_seed(0)
    config = actor.generator_config
    config = GeneratorConfig.of_size(size, window=config.window, design=config.design)
    return build_generator(config).requires_grad_(False).eval()


def _generate(engine: Engine, conditioning: NDArray[np.float32]) -> Work:
    engine.generate(conditioning, Step.RESTART)
    return lambda _: engine.generate(conditioning, Step.APPEND)


def measure_generation(actor: Actor, size: int, effort: Effort) -> Row:
    """Compare the chosen engine with the same network in PyTorch, float32."""
    generator, model = make_generator(actor, size), FaceModel.load()
    conditioning = ConditioningRenderer.of(generator, actor.target.camera, model).render(actor.target.neutral)
    frames = moving_frames(actor.target, generator, model)
    selection = make_engine(generator, effort.engine, frames=frames)
    reference = make_engine(generator, "torch", "fp32")
    engine = selection.engine
    row = compare(
        f"generate, {engine.name} {engine.precision}",
        f"{size}",
        _generate(engine, conditioning),
        "PyTorch float32",
        _generate(reference.engine, conditioning),
        rounds=effort.rounds,
        calls=effort.calls,
        note=selection.reason,
    )
    engine.close()
    reference.engine.close()
    return row


def measure_growth(actor: Actor, size: int, effort: Effort) -> list[Row]:
    """Compare generation and rendering at `size` with the same at the actor's own resolution."""
    own, model = actor.resolution, FaceModel.load()
    generators = {side: make_generator(actor, side) for side in (size, own)}
    renderers = {side: ConditioningRenderer.of(generators[side], actor.target.camera, model) for side in generators}
    conditionings = {side: renderers[side].render(actor.target.neutral) for side in generators}
    engines = {
        side: make_engine(
            generators[side], effort.engine, frames=moving_frames(actor.target, generators[side], model)
        ).engine
        for side in generators
    }
    generated = compare(
        f"generate, {engines[size].name} {engines[size].precision}",
        f"{size}",
        _generate(engines[size], conditionings[size]),
        f"the same at {own}",
        _generate(engines[own], conditionings[own]),
        rounds=effort.rounds,
        calls=effort.calls,
        note=f"{(size / own) ** 2:.2f} times the pixels",
    )
    for engine in engines.values():
        engine.close()
    rendered = compare(
        "render",
        f"{size}",
        lambda _: renderers[size].render(actor.target.neutral, conditionings[size]),
        f"the same at {own}",
        lambda _: renderers[own].render(actor.target.neutral, conditionings[own]),
        rounds=effort.rounds,
        calls=effort.calls,
        note=generated.note,
    )
    return [generated, rendered]


def measure_codecs(frames: list[Image], size: int, effort: Effort) -> list[Row]:
    """Compare VP8 encoding and decoding (with the way from and to RGB) with stock aiortc."""
    from streamer.codecs import VideoDecoder, make_encoder
    from streamer.pixels import RgbConverter, to_picture

    pictures = [_square(image, size) for image in frames[:60]]
    ours, stock = make_encoder("VP8"), Vp8Encoder()

    def ours_encode(number: int) -> None:
        ours.encode(to_picture(pictures[number % len(pictures)], number * TICKS, VIDEO_TIME_BASE))

    def stock_encode(number: int) -> None:
        stock.encode(to_picture(pictures[number % len(pictures)], number * TICKS, VIDEO_TIME_BASE))

    encoded = compare(
        "encode, VP8",
        f"{size}",
        ours_encode,
        "stock aiortc",
        stock_encode,
        rounds=effort.rounds,
        calls=effort.calls,
        note="stock aiortc holds the bitrate to 1.5 Mb/s at most, ours to 2.5 Mb/s at 256",
    )
    codec = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000, payloadType=100)
    source = make_encoder("VP8")
    bitstreams = []
    for number in range((effort.rounds + 1) * effort.calls):
        payloads, _ = source.encode(to_picture(pictures[number % len(pictures)], number * TICKS, VIDEO_TIME_BASE))
        bitstreams.append(b"".join(depayload(codec, payload) for payload in payloads))
    decoder, converter, stock_decoder = VideoDecoder("VP8"), RgbConverter(size), Vp8Decoder()

    def ours_decode(number: int) -> None:
        for picture in decoder.decode(bitstreams[number], number * TICKS, VIDEO_TIME_BASE):
            converter.to_rgb(picture)

    def stock_decode(number: int) -> None:
        for frame in stock_decoder.decode(JitterFrame(data=bitstreams[number], timestamp=number * TICKS)):
            assert isinstance(frame, av.VideoFrame)
            frame.to_ndarray(format="rgb24")

    decoded = compare(
        "decode, VP8",
        f"{size}",
        ours_decode,
        "stock aiortc",
        stock_decode,
        rounds=effort.rounds,
        calls=effort.calls,
    )
    return [decoded, encoded]


def _square(image: Image, size: int) -> Image:
    """Cut the middle square out of a picture and scale it to `size`."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    frame = av.VideoFrame.from_ndarray(square, format="rgb24").reformat(width=size, height=size)
    return np.ascontiguousarray(frame.to_ndarray(), np.uint8)
