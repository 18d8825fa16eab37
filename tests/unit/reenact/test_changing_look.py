from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from models.face_numbers import FACE_NUMBERS, face_numbers
from models.generator import CONDITIONING_CHANNELS, texture_places
from models.halo import DIRECTIONS, Halo
from models.params import EXPRESSION_INDEX, FaceParams
from reenact.changing_look import _logits_of, find_changes
from reenact.first_look import FirstLook
from reenact.head_outline import HeadOutline
from reenact.training_set import TrainingSet

SIZE, GRID, FRAMES = 48, (8, 12), 1200
JAW = EXPRESSION_INDEX["jawOpen"]
SWING = 0.2


def a_mouth_that_reddens(rng: np.random.Generator) -> tuple[TrainingSet, torch.Tensor]:
    """Make pictures of a grey head over a dark plate: as the jaw opens, its upper half grows redder.

    Everything else that a face does is noise, in its numbers and in its pictures. Gives the codes as well.
    """
    codes = torch.zeros(1, CONDITIONING_CHANNELS, SIZE, SIZE)
    across, up = torch.meshgrid(torch.linspace(0.55, 0.95, SIZE), torch.linspace(0.1, 0.9, SIZE), indexing="xy")
    codes[0, 3:6] = torch.stack([across, up, torch.full_like(up, 0.9)])
    codes[:, :, :, -8:] = 0.0  # beside the head
    faces = rng.uniform(0, 0.5, (FRAMES, FACE_NUMBERS)).astype(np.float32)
    jaw = torch.from_numpy(faces[:, JAW])
    truth = torch.full((FRAMES, 3, SIZE, SIZE), 0.5)
    truth[:, 0] += SWING * (jaw - jaw.mean())[:, None, None] * (codes[0, 4] > 0.5)
    truth[:, :, :, -8:] = 0.1
    truth += 0.03 * torch.from_numpy(rng.normal(size=truth.shape).astype(np.float32))
    moved = torch.zeros(FRAMES, SIZE, SIZE, dtype=torch.bool)
    data = SimpleNamespace(
        recording=SimpleNamespace(training=np.arange(FRAMES)),
        index={frame: frame for frame in range(FRAMES)},
        faces=torch.from_numpy(faces),
        current=codes.half().expand(FRAMES, -1, -1, -1),
        truth=(truth.clamp(0, 1) * 255).round().to(torch.uint8), moved=moved, moved_at=lambda row: moved[row],
    )  # fmt: skip
    return cast("TrainingSet", data), codes


def a_look(is_seen: torch.Tensor | None = None) -> FirstLook:
    return FirstLook(
        colors=torch.full((3, 64, 96), 0.45), coverage=torch.full((1, 64, 96), 0.98),
        is_seen=torch.ones(1, 64, 96, dtype=torch.bool) if is_seen is None else is_seen,
        plate=torch.full((3, SIZE, SIZE), 0.1), halo=Halo(),
        reach=HeadOutline(Halo().outline, np.zeros(DIRECTIONS, np.float32)),
    )  # fmt: skip


def test_colours_that_follow_an_expression_are_found() -> None:
    data, codes = a_mouth_that_reddens(np.random.default_rng(0))
    # The look itself is a little too dark.
    first = a_look()
    changes = find_changes(data, first, GRID)
    mean, unit, low, high = changes.face_range
    known = ((data.faces - mean) / unit).clamp(low, high)
    torch.testing.assert_close(known.mean(0), torch.zeros(FACE_NUMBERS), atol=1e-4, rtol=0)
    assert float(known.amin()) >= float(low.amin())

    def color(jaw_open: float) -> torch.Tensor:
        face = mean.clone()
        face[JAW] = jaw_open
        logits = torch.logit(torch.tensor(0.45)) + changes.offset
        return torch.sigmoid(logits + torch.einsum("f,fchw->chw", (face - mean) / unit, changes.maps))

    places = (texture_places(codes[:, 3:6])[0, :, :-8] + 1) / 2
    column, row = (places * torch.tensor([GRID[1], GRID[0]])).long().flatten(0, 1).unbind(1)
    seen = torch.zeros(GRID, dtype=torch.bool)
    seen[row, column] = True
    is_upper = (torch.arange(GRID[0]) >= GRID[0] // 2)[:, None] & seen
    swing = color(0.5) - color(0.0)
    assert float((swing[0, is_upper].mean() - 0.5 * SWING).abs()) < 0.02
    assert float(swing[1:, is_upper].abs().mean()) < 0.01
    assert float(swing[:, seen & ~is_upper].abs().mean()) < 0.01
    assert float((color(float(mean[JAW]))[:, seen] - 0.5).abs().mean()) < 0.01
    assert not changes.maps[:, :, ~seen].any()
    assert not changes.offset[:, ~seen].any()
    # In every picture the same places are seen: what changes there as far as it did, no more.
    added = torch.einsum("nf,fchw->nchw", known, changes.maps)
    torch.testing.assert_close(changes.bounds, torch.stack([added.amin(0), added.amax(0)]))


def test_what_moves_by_itself_changes_nothing() -> None:
    data, codes = a_mouth_that_reddens(np.random.default_rng(0))
    first = a_look()
    before = find_changes(data, first, GRID).maps
    data.moved[:, codes[0, 4] > 0.5] = True
    after = find_changes(data, first, GRID).maps
    is_red = before[JAW, 0] > 0.5 * before[JAW, 0].max()
    assert int(is_red.sum()) > 3
    assert float(after[:, :, is_red].abs().max()) < 0.2 * float(before[JAW, 0].max())


def test_what_is_known_at_its_edge_alone_does_not_change() -> None:
    data, _ = a_mouth_that_reddens(np.random.default_rng(0))
    is_seen = torch.zeros(1, 64, 96, dtype=torch.bool)
    is_seen[:, :, ::8] = True
    first = a_look(is_seen)
    changes = find_changes(data, first, GRID)
    assert not changes.maps.any()
    assert not changes.offset.any()
    assert not changes.bounds.any()


def test_a_faces_numbers_are_its_expression_pose_and_gaze() -> None:
    face = FaceParams.neutral()
    face = face.replace(
        expression=face.expression + 0.5, rotation=np.array([0.1, 0.2, 0.3], np.float32),
        gaze=np.array([[0.4, 0.5], [0.6, 0.7]], np.float32),
    )  # fmt: skip
    numbers = face_numbers(face)
    assert numbers.shape == (FACE_NUMBERS,)
    np.testing.assert_allclose(numbers[-7:], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert (numbers[:-7] == 0.5).all()
    np.testing.assert_array_equal(face_numbers(FaceParams.stack([face, face])), np.stack([numbers, numbers]))


@pytest.mark.parametrize(
    ("color", "least", "most"),
    [(0.98, -0.4, 0.02), (1.0, -0.5, 0.0), (0.02, 0.0, 0.3), (0.5, -0.2, 0.2), (0.5, 0.0, 0.0), (0.99, -1e-4, 0.0)],
    ids=["blue into hair", "white into hair", "black into skin", "in the middle", "nothing", "next to nothing"],
)
def test_a_change_goes_no_further_than_it_was_seen_to_go(color: float, least: float, most: float) -> None:
    """A bright blue that turned into hair turned on into yellow: blue has next to no slope left to change by."""
    known = torch.full((3, 1, 1), color)
    slope = _logits_of(known, torch.tensor([least, most]).reshape(2, 1, 1, 1).expand(2, 3, 1, 1))
    assert slope.isfinite().all()
    assert slope.min() > 0.0
    for change in (least, most):
        shown = torch.sigmoid(torch.logit(known.clamp(0.02, 0.98)) + change * slope)
        assert (shown - known).abs().max() < abs(change) + 0.03
    if color == 0.98:
        assert float(torch.sigmoid(torch.logit(known) + least * slope).mean()) == pytest.approx(0.58, abs=0.01)
