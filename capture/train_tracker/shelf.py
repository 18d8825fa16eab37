"""Synthetic faces on disk: made once, at hand for every later run, and after an interruption."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Batch = Mapping[str, NDArray[Any]]

FACES = 512
"""Faces in a file: about 90 MB at 192 pixels."""
ROUGH = ("identity", "expression", "reflectance")
"""Arrays that half precision serves as well."""


def shelved(folder: Path, batches: Iterator[Batch], names: tuple[str, ...]) -> Generator[Batch, None, None]:
    """Yield the faces that `folder` holds, then those of `batches`, which are put there too. Closed, it closes these.

    Files that cannot be read, half written ones among them, are passed over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for path in sorted(folder.glob("*.npz")):
            if not path.name.endswith(".part.npz"):
                yield from _read(path, names)
        held: list[Batch] = []
        for batch in batches:
            yield batch
            held.append({name: batch[name] for name in names})
            if sum(len(one["confidence"]) for one in held) >= FACES:
                _write(folder, {name: np.concatenate([one[name] for one in held]) for name in names})
                held = []
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


def _write(folder: Path, faces: dict[str, NDArray[Any]]) -> None:
    faces["visible"] = np.packbits(faces["visible"], axis=1)
    for name in ROUGH:
        faces[name] = faces[name].astype(np.float16)
    path = folder / f"{os.getpid()}-{len(list(folder.iterdir())):06d}.npz"
    scratch = path.with_suffix(".part.npz")
    np.savez(scratch, **faces)
    scratch.replace(path)


def _read(path: Path, names: tuple[str, ...]) -> Iterator[Batch]:
    try:
        with np.load(path) as file:
            faces = {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError):
        return
    faces["visible"] = np.unpackbits(faces["visible"], axis=1, count=faces["vertices"].shape[1]).astype(np.bool_)
    for name in ROUGH:
        faces[name] = faces[name].astype(np.float32)
    for start in range(0, len(faces["confidence"]), 32):
        yield {name: values[start : start + 32] for name, values in faces.items()}
