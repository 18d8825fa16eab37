"""What a training writes down, and that an interrupted one goes on without saying anything twice."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reenact.journal import CURVE, EVENTS, Journal, read_curve


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def events(folder: Path) -> Iterator[Any]:
    """Read event files as TensorBoard does: length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted((folder / EVENTS).iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length


def test_losses_come_now_and_then_and_scores_always(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, clock=clock) as journal:
        for step in range(1, 21):
            clock.now += 0.5
            journal.note(step, step / 60, {"photometric": 1 / step})
        journal.score(20, 1 / 3, {"psnr": 21.5})
    curve = read_curve(tmp_path)
    assert [point["step"] for point in curve] == [1, 9, 17, 20]
    assert curve[1] == {"step": 9, "minutes": 0.15, "loss": {"photometric": round(1 / 9, 6)}}
    assert curve[-1]["held_out"] == {"psnr": 21.5}
    scalars = [(value.tag, event.step) for event in events(tmp_path) for value in event.summary.value]
    assert scalars == [*(("loss/photometric", step) for step in (1, 9, 17)), ("held_out/psnr", 20)]


def test_pictures_go_to_tensorboard(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 9, 3), 200, np.uint8)).save(tmp_path / "grid.png")
    with Journal(tmp_path) as journal:
        journal.show(7, tmp_path / "grid.png")
    (found,) = [value for event in events(tmp_path) for value in event.summary.value]
    assert (found.image.height, found.image.width) == (6, 9)


def test_what_was_noted_after_the_last_checkpoint_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, clock=clock) as journal:
        for step in (10, 20, 30):
            clock.now += 10.0
            journal.note(step, 1.0, {"photometric": 0.1})
    with (tmp_path / CURVE).open("a") as file:
        file.write('{"step": 40, "minu')  # killed while it wrote
    with Journal(tmp_path, 20, clock=clock) as journal:
        clock.now += 10.0
        journal.note(25, 1.2, {"photometric": 0.2})
    assert [point["step"] for point in read_curve(tmp_path)] == [10, 20, 25]
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == [0, 20]
    with Journal(tmp_path):
        pass
    assert read_curve(tmp_path) == []


def test_a_long_curve_is_thinned_but_for_its_scores(tmp_path: Path) -> None:
    lines = [f'{{"step": {step}, "minutes": 1, "loss": {{}}}}\n' for step in range(1000)]
    lines.insert(501, '{"step": 501, "minutes": 1, "held_out": {"psnr": 30}}\n')
    (tmp_path / CURVE).write_text("".join(lines))
    curve = read_curve(tmp_path, most=100)
    assert 100 <= len(curve) <= 105
    assert curve[-1]["step"] == 999
    assert sum("held_out" in point for point in curve) == 1


def test_a_full_disk_is_an_error_and_no_deadlock(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        (tmp_path / CURVE).unlink()
        (tmp_path / CURVE).symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left"):
            journal.note(1, 0.1, {"photometric": 0.1})
