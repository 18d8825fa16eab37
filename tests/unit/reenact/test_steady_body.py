from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.halo import CELLS, Halo
from models.params import FaceParams
from reenact.conditioning import CHANNELS
from reenact.steady_body import PARTS, SMALL, find_moved_bodies
from reenact.training_set import Batch, TrainingSet

SIZE, COUNT = 64, 96
CELL = SIZE // SMALL


def recorded(shoulders: NDArray[np.int64], aside_m: NDArray[np.float64]) -> TrainingSet:
    """A head in the middle of the upper half; its body, dark on grey, begins at row `shoulders [N]`."""
    current = torch.zeros(COUNT, CHANNELS, SIZE, SIZE, dtype=torch.float16)
    current[:, 3:6, 8:40, 20:44] = 0.5
    truth = torch.full((COUNT, 3, SIZE, SIZE), 150, dtype=torch.uint8)
    truth[:, :, 8:40, 20:44] = torch.randint(0, 255, (COUNT, 1, 1, 1), dtype=torch.uint8)
    for row, top in enumerate(shoulders.tolist()):
        truth[row, :, top:] = 40
    params = FaceParams.stack([FaceParams.neutral(distance_m=0.6)] * COUNT)
    params.translation[:, 0] += aside_m
    made = SimpleNamespace(
        recording=SimpleNamespace(training=np.arange(0, COUNT - 1), params=params),
        index={frame: frame for frame in range(COUNT)}, current=current, truth=truth, halo=None,
    )  # fmt: skip
    return cast(TrainingSet, made)


def shown(moved: Tensor) -> list[int]:
    return torch.nonzero(moved.flatten(1).any(1)).flatten().tolist()


def test_a_body_that_sits_up_for_a_while_teaches_nothing_there() -> None:
    torch.manual_seed(0)
    shoulders = np.full(COUNT, 52)
    shoulders[30:50] = 44
    moved = find_moved_bodies(recorded(shoulders, np.zeros(COUNT)))
    assert shown(moved) == list(range(30, 50))
    cells = moved[40]
    assert bool(cells[44 // CELL : 52 // CELL].all())
    assert not bool(cells[: 42 // CELL].any())  # neither the head, which changes all the time, nor what is behind it
    assert not bool(cells[56 // CELL :].any())


def test_what_the_card_shows_of_a_body_is_looked_at_too() -> None:
    """Where it shows hair it is not: that follows the head."""
    shoulders = np.full(COUNT, 52)
    shoulders[30:50] = 44
    made = recorded(shoulders, np.zeros(COUNT))
    made.halo = Halo()
    body, hair = (made.halo.correspondence[row * (CELLS[1] + 1)] for row in (1, 20))
    for codes, expected in ((body, list(range(30, 50))), (hair, [])):
        made.current[:, 3:6, 40:] = torch.from_numpy(codes).half()[:, None, None]
        assert shown(find_moved_bodies(made)) == expected


def test_a_body_that_leans_with_the_head_is_learned() -> None:
    shoulders, aside_m = np.full(COUNT, 52), np.zeros(COUNT)
    leans = np.arange(COUNT) % 2 == 1
    shoulders[leans], aside_m[leans] = 44, 0.1
    assert shown(find_moved_bodies(recorded(shoulders, aside_m))) == []


def test_what_is_like_no_other_is_believed_and_so_is_what_is_held_out() -> None:
    shoulders, aside_m = np.full(COUNT, 52), np.zeros(COUNT)
    shoulders[[10, 20, COUNT - 1]] = 44
    aside_m[10] = 0.1
    assert shown(find_moved_bodies(recorded(shoulders, aside_m))) == [20]


def test_few_pictures_are_all_believed() -> None:
    made = recorded(np.full(COUNT, 52), np.zeros(COUNT))
    made.recording = cast("object", SimpleNamespace(training=np.arange(PARTS - 1), params=made.recording.params))  # type: ignore[assignment]
    made.truth[5, :, 40:] = 0
    assert shown(find_moved_bodies(made)) == []


def test_where_a_picture_teaches_nothing_its_lesson_is_what_was_made() -> None:
    truth, output = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4, requires_grad=True)
    moved = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    moved[..., 2:] = True
    batch = Batch(truth, truth, truth, truth, moved)
    (output - batch.lesson(output)).abs().sum().backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert bool((output.grad[..., :2] == 1.0).all())
    assert bool((output.grad[..., 2:] == 0.0).all())
