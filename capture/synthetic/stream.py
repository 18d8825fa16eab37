"""Synthetic faces from several processes at once, in batches."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.synthetic.config import SyntheticConfig
from capture.synthetic.faces import SyntheticFace, SyntheticFaces

Batch = dict[str, NDArray[Any]]

AHEAD = 2
"""Batches that each process makes before they are asked for."""
SEEDS = 1 << 20
"""Workers of one config have seeds that lie this far from another config's."""


def collate(faces: list[SyntheticFace]) -> Batch:
    """Join faces into arrays with a first dimension: the fields of `FaceParams`, and those of `SyntheticFace`;
    `occluded` says where something was put before the face.

    Vertices and albedo come as float16 (to 0.03 mm): they are most of the bytes.
    """
    params = [face.params.fields() for face in faces]
    return {
        "crop": np.stack([face.crop for face in faces]),
        **{name: np.stack([fields[name] for fields in params]) for name in params[0]},
        "focal_px": np.array([face.focal_px for face in faces], np.float32),
        "vertices": np.stack([face.vertices for face in faces]).astype(np.float16),
        "albedo": np.stack([face.albedo for face in faces]).astype(np.float16),
        "visible": np.stack([face.visible for face in faces]),
        "landmarks": np.stack([face.landmarks for face in faces]),
        "occluded": np.array([bool(face.metadata["occluder"]) for face in faces]),
        "confidence": np.array([face.confidence for face in faces], np.float32),
    }


def stream(config: SyntheticConfig, workers: int, batch: int) -> Generator[Batch, None, None]:
    """Yield batches of `batch` faces for ever, made by `workers` processes; with 0 workers, by this one.

    The same config and number of workers give the same batches in the same order. Closing the generator ends the
    processes. Raises `RuntimeError` when one of them fails.
    """
    if workers < 0 or batch < 1:
        raise ValueError(f"stream: expected workers of 0 or more and a batch of 1 or more, got {workers}, {batch}")
    if workers == 0:
        yield from _batches(config, 0, batch)
        return
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    queues = [context.Queue(AHEAD) for _ in range(workers)]
    processes = [
        context.Process(
            target=_work, args=(config, number, batch, queues[number], stop), name=f"faces-{number}", daemon=True
        )
        for number in range(workers)
    ]
    try:
        with _one_thread():
            for process in processes:
                process.start()
        while True:
            for number, filled in enumerate(queues):
                item = _take(filled, processes[number])
                if isinstance(item, str):
                    raise RuntimeError(f"drawing synthetic faces failed in process {number}:\n{item}")
                yield item
    finally:
        stop.set()
        for process, filled in zip(processes, queues, strict=True):
            _end(process, filled)


def _batches(config: SyntheticConfig, number: int, batch: int) -> Iterator[Batch]:
    faces = SyntheticFaces(dataclasses.replace(config, seed=config.seed % SEEDS + SEEDS * number))
    rng = np.random.default_rng([config.seed, number, config.split == "test"])
    while True:
        yield collate([faces.sample(rng) for _ in range(batch)])


def _work(config: SyntheticConfig, number: int, batch: int, filled: Queue[Batch | str], stop: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle: it ends this process
    parent = multiprocessing.parent_process()
    try:
        for item in _batches(config, number, batch):
            while not stop.is_set() and parent is not None and parent.is_alive():
                try:
                    filled.put(item, timeout=0.5)
                    break
                except queue.Full:
                    continue
            else:
                break
    except Exception:
        filled.put(traceback.format_exc())
        return
    filled.cancel_join_thread()  # nobody reads what is left


def _take(filled: Queue[Batch | str], process: multiprocessing.process.BaseProcess) -> Batch | str:
    while True:
        try:
            return filled.get(timeout=1.0)
        except queue.Empty:
            if not process.is_alive():
                return f"it ended with code {process.exitcode}"


def _end(process: multiprocessing.process.BaseProcess, filled: Queue[Batch | str]) -> None:
    if process.pid is not None:
        process.join(2.0)
        if process.is_alive():
            process.terminate()
            process.join(2.0)
    filled.close()
    filled.cancel_join_thread()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start now compute on one thread each: there is one for every core."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
