"""`reenact doctor`: what this machine can do, how fast, and why not."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.config import EngineConfig, ServerConfig

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8")
"""Instruction sets that make a difference to the engines."""
PACKAGES = ("aiohttp", "aiortc", "av", "mediapipe", "numba", "numpy", "openvino", "torch")
MIN_MEMORY_GIB = 2.0
FRAMES = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One fact about this machine."""

    section: str
    name: str
    is_ok: bool
    text: str
    """A figure, or the reason why not."""
    is_required: bool = False
    """`reenact serve` does not work without it."""


Check = Callable[[], Iterator[Finding]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `reenact doctor`."""
    parser.add_argument("--actor", default=EngineConfig().actor, help="name or path of the target to try (milo)")
    parser.add_argument("--json", action="store_true", help="print one JSON line last")


def run(args: argparse.Namespace) -> int:
    """Print every finding; return 0 if `reenact serve` works here, else 1."""
    checks: list[tuple[str, Check]] = [
        ("machine", check_machine),
        ("packages", check_packages),
        ("codecs", check_codecs),
        ("hardware encoders", check_hardware_encoders),
        ("tracking", lambda: check_tracking(args.actor)),
        ("engines", lambda: check_engines(args.actor)),
        ("actors", check_actors),
        ("server", check_server),
    ]
    findings: list[Finding] = []
    for section, check in checks:
        print(f"{section}", flush=True)
        for finding in examine(section, check):
            findings.append(finding)
            mark = "ok" if finding.is_ok else "NO" if finding.is_required else "no"
            print(f"  {mark}  {finding.name:<22} {finding.text}", flush=True)
    missing = [finding.name for finding in findings if finding.is_required and not finding.is_ok]
    print("`reenact serve` works here." if not missing else f"`reenact serve` needs: {', '.join(missing)}.")
    if args.json:
        print(json.dumps({"is_ready": not missing, "findings": [asdict(finding) for finding in findings]}))
    return 1 if missing else 0


def examine(section: str, check: Check) -> Iterator[Finding]:
    """Run one check; what it raises is a finding too."""
    try:
        yield from check()
    except Exception as error:  # A doctor reports every illness.
        text = f"{type(error).__name__}: {error}"
        yield Finding(section=section, name=section, is_ok=False, text=text, is_required=True)


def median_ms(step: Callable[[], object], count: int = FRAMES) -> float:
    """Return the median time of `step` in ms, after one call that does not count."""
    step()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def _proc(path: str) -> dict[str, str]:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = [line.partition(":") for line in lines]
    return {name.strip(): value.strip() for name, _, value in pairs}


def check_machine() -> Iterator[Finding]:
    """Look at processor, memory and GPU."""

    def found(name: str, text: str, *, is_ok: bool = True) -> Finding:
        return Finding(section="machine", name=name, is_ok=is_ok, text=text)

    yield found("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}")
    cpu = _proc("/proc/cpuinfo")
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    yield found("processor", cpu.get("model name") or platform.processor() or platform.machine())
    yield found("cores", f"{cores} for this process", is_ok=cores >= 2)
    flags = set(cpu.get("flags", "").split())
    if flags:
        fast = [flag for flag in CPU_FLAGS if flag in flags]
        text = ", ".join(fast) if fast else "none of " + ", ".join(CPU_FLAGS) + ": engines will be slow"
        yield found("instruction sets", text, is_ok=bool(fast))
    memory = _proc("/proc/meminfo").get("MemAvailable", "").split()
    if memory:
        gib = int(memory[0]) / 2**20
        yield found("free memory", f"{gib:.1f} GiB", is_ok=gib >= MIN_MEMORY_GIB)
    import torch

    if torch.cuda.is_available():
        yield found("GPU", torch.cuda.get_device_name(0))
    else:
        yield found("GPU", "PyTorch finds no CUDA device; the CPU does the work", is_ok=False)


def check_packages() -> Iterator[Finding]:
    """Look at the packages that everything stands on."""
    for name in PACKAGES:
        try:
            text, is_ok = importlib.metadata.version(name), True
        except importlib.metadata.PackageNotFoundError:
            text, is_ok = "not installed", False
        yield Finding(section="packages", name=name, is_ok=is_ok, text=text, is_required=True)
    from streamer.aiortc_adapter import check_internals

    problems = check_internals()
    text = "; ".join(problems) or "fits the installed aiortc"
    yield Finding(section="packages", name="aiortc adapter", is_ok=not problems, text=text, is_required=True)


def check_codecs() -> Iterator[Finding]:
    """Encode and decode a moving picture with each codec."""
    from aiortc.codecs import depayload
    from aiortc.rtcrtpparameters import RTCRtpCodecParameters

    from streamer.codecs import CODEC_NAMES, VideoDecoder, make_encoder
    from streamer.packets import VIDEO_TIME_BASE
    from streamer.pixels import to_picture

    for codec in CODEC_NAMES:
        encoder, decoder = make_encoder(codec), VideoDecoder(codec)
        parameters = RTCRtpCodecParameters(mimeType=f"video/{codec}", clockRate=90_000, payloadType=97)
        encode_ms, decode_ms, num_decoded = [], [], 0
        for number in range(FRAMES):
            picture = to_picture(_moving_picture(256, number), number * 3000, VIDEO_TIME_BASE)
            start = time.perf_counter()
            payloads, pts = encoder.encode(picture)
            encoded = time.perf_counter()
            data = b"".join(depayload(parameters, payload) for payload in payloads)
            num_decoded += len(decoder.decode(data, pts, VIDEO_TIME_BASE)) if data else 0
            encode_ms.append((encoded - start) * 1e3)
            decode_ms.append((time.perf_counter() - encoded) * 1e3)
        text = f"256 x 256: encode {statistics.median(encode_ms):.2f} ms, decode {statistics.median(decode_ms):.2f} ms"
        is_ok = num_decoded == FRAMES
        if not is_ok:
            text = f"only {num_decoded} of {FRAMES} frames came back"
        yield Finding(section="codecs", name=codec, is_ok=is_ok, text=text, is_required=codec == "VP8")


def check_hardware_encoders() -> Iterator[Finding]:
    """Try the H.264 encoders in hardware."""
    from streamer.hardware_encoders import trials

    for trial in trials():
        yield Finding(section="hardware encoders", name=trial.name, is_ok=trial.works, text=trial.reason)


def _moving_picture(size: int, number: int) -> NDArray[np.uint8]:
    row = np.arange(size, dtype=np.float32)
    wave = 127 + 100 * np.sin((row[:, None] + row[None] + 4 * number) / 23)
    return np.repeat(wave[..., None], 3, 2).astype(np.uint8)


def check_tracking(actor: str) -> Iterator[Finding]:
    """Find the actor's own face in its preview, time the regressor on it, and say which tracker `auto` takes."""
    from PIL import Image

    from capture.landmarks import LandmarkDetector
    from capture.select_tracker import choose_tracker
    from reenact.actor import Actor

    with Image.open(Actor.load(actor, verify=False).preview_path) as preview:
        image = np.asarray(preview.convert("RGB").resize((480, 480)), np.uint8)
    with LandmarkDetector() as detector:
        step_ms = median_ms(lambda: detector.detect(image))
        landmarks = detector.detect(image)
    text = f"{step_ms:.1f} ms a frame" if landmarks is not None else "no face found in the actor's preview"
    is_ok = landmarks is not None
    yield Finding(section="tracking", name="face mesh (MediaPipe)", is_ok=is_ok, text=text, is_required=True)
    yield _check_regressor()
    choice = choose_tracker()
    yield Finding(section="tracking", name="tracker auto", is_ok=True, text=f"{choice.name}: {choice.reason}")


def _check_regressor() -> Finding:
    """Time the regressor on the engine that it would run on."""
    from capture.regressor_engines import RegressorEngineError, make_regressor_engine
    from capture.select_tracker import refusal
    from models.regressor import FaceRegressor

    is_ok, text = False, refusal("regressor")
    if text is None:
        try:
            selection = make_regressor_engine(FaceRegressor.load())
        except (ValueError, RegressorEngineError) as error:
            text = str(error)
        else:
            is_ok, text = True, f"{selection.engine.name} {selection.engine.precision}, {selection.reason}"
            selection.engine.close()
    return Finding(section="tracking", name="regressor", is_ok=is_ok, text=text)


def check_engines(actor: str) -> Iterator[Finding]:
    """Time the actor's network on every engine."""
    from models.face import FaceModel
    from reenact.actor import Actor
    from reenact.engines.engine import EngineError
    from reenact.engines.select import ENGINES, make_engine, refusal, time_engines
    from reenact.moving_frames import moving_frames

    loaded = Actor.load(actor)
    generator = loaded.load_generator()
    frames = moving_frames(loaded.target, generator, FaceModel.load())
    has_any = False
    for name in ENGINES:
        for precision in ("int8", "bf16", "fp32"):
            try:
                if (reason := refusal(name)) is not None:
                    raise EngineError(reason)
                engine = make_engine(generator, name, precision, frames=frames).engine
            except EngineError as error:
                yield Finding(section="engines", name=f"{name} {precision}", is_ok=False, text=str(error))
                continue
            (step_ms,) = time_engines([engine], generator.config)
            engine.close()
            if step_ms == float("inf"):
                text = "it fails at its first frames; the log says why"
                yield Finding(section="engines", name=f"{name} {precision}", is_ok=False, text=text)
                continue
            has_any = True
            text = f"{step_ms:.1f} ms a frame at {generator.config.resolution} x {generator.config.resolution}"
            yield Finding(section="engines", name=f"{name} {precision}", is_ok=True, text=text)
    text = "at least one works" if has_any else "none works"
    yield Finding(section="engines", name="any engine", is_ok=has_any, text=text, is_required=True)


def check_actors() -> Iterator[Finding]:
    """Verify every actor package."""
    from reenact.actor import Actor, ActorError, actor_paths

    paths = actor_paths()
    for name, path in paths.items():
        try:
            actor = Actor.load(path)
        except ActorError as error:
            yield Finding(section="actors", name=name, is_ok=False, text=str(error))
            continue
        text = f"{actor.title}, {actor.resolution} x {actor.resolution}, {actor.license}"
        yield Finding(section="actors", name=name, is_ok=True, text=text)
    if not paths:
        yield Finding(section="actors", name="actors", is_ok=False, text="there are none", is_required=True)


def check_server() -> Iterator[Finding]:
    """Look at the page, the network and the port."""
    from streamer.app import WEB_FOLDER

    has_page = (WEB_FOLDER / "index.html").is_file()
    yield Finding(section="server", name="page", is_ok=has_page, text=str(WEB_FOLDER), is_required=True)
    from aioice.ice import get_host_addresses

    addresses = get_host_addresses(use_ipv4=True, use_ipv6=True)
    text = ", ".join(addresses) or "no address but loopback: browsers on this machine may find no way to the server"
    yield Finding(section="server", name="network", is_ok=bool(addresses), text=text)
    server = ServerConfig()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
            text, is_ok = f"{server.port} is free", True
        except OSError as error:
            text, is_ok = f"{server.port}: {error.strerror}; serve on another one with --port", False
    yield Finding(section="server", name="port", is_ok=is_ok, text=text)
