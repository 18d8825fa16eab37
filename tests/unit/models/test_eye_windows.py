from __future__ import annotations

import pytest
import torch

from models.eye_windows import CORNER_SHARE, CORNERS, EyeWindows

WIDTH = 48


def mesh() -> torch.Tensor:
    """Two faces: one upright, one turned so far that its right eye is half as wide, and rolled."""
    points = torch.full((2, 468, 2), 96.0)
    for eye, (outer, inner) in enumerate((((142.0, 80.0), (112.0, 80.0)), ((50.0, 80.0), (80.0, 80.0)))):
        points[:, CORNERS[eye][0]], points[:, CORNERS[eye][1]] = torch.tensor(outer), torch.tensor(inner)
    points[1, CORNERS[1][0]] = torch.tensor([65.0, 80.0])
    roll = torch.tensor([[0.8, 0.6], [-0.6, 0.8]])
    points[1] = (points[1] - 96.0) @ roll + 96.0
    return points


def test_windows_frame_the_corners_and_both_are_as_large() -> None:
    windows = EyeWindows.around(mesh(), WIDTH)
    corners = windows.from_crop(mesh()[:, torch.tensor(CORNERS)])
    half = CORNER_SHARE * WIDTH / 2
    # Outer corners at the left, inner ones at the right, in the mirrored window as well.
    torch.testing.assert_close(corners[0], torch.tensor([[[-half, 0.0], [half, 0.0]]]).expand(2, 2, 2))
    torch.testing.assert_close(corners[1, 1], 0.5 * corners[1, 0])
    torch.testing.assert_close(windows.across.norm(dim=2), windows.down.norm(dim=2))
    assert (windows.down[0, :, 1] > 0).all()


def test_points_go_there_and_back() -> None:
    windows = EyeWindows.around(mesh(), WIDTH)
    points = torch.rand(2, 2, 7, 2) * 40 - 20
    torch.testing.assert_close(windows.from_crop(windows.to_crop(points)), points, atol=1e-3, rtol=1e-4)


def test_a_mirrored_face_looks_the_same_with_its_eyes_swapped() -> None:
    crop = torch.rand(2, 3, 192, 192)
    swap = torch.tensor([CORNERS[1], CORNERS[0]])
    mirrored = mesh().clone()
    mirrored[:, torch.tensor(CORNERS)] = mesh()[:, swap] * torch.tensor([-1.0, 1.0]) + torch.tensor([192.0, 0.0])
    seen = EyeWindows.around(mesh(), WIDTH).look(crop, (32, WIDTH)).reshape(2, 2, 3, 32, WIDTH)
    other = EyeWindows.around(mirrored, WIDTH).look(crop.flip(3), (32, WIDTH)).reshape(2, 2, 3, 32, WIDTH)
    torch.testing.assert_close(seen, other.flip(1), atol=1e-4, rtol=0)


def test_what_a_window_shows_lies_where_it_says() -> None:
    crop = torch.arange(192.0).expand(1, 1, 192, 192) + 0.5  # each pixel says how far right its middle is
    windows = EyeWindows.around(mesh()[:1], WIDTH)
    shown = windows.look(crop, (32, WIDTH))[1, 0]
    place = windows.to_crop(torch.tensor([4.5, 0.5]).expand(1, 2, 1, 2))[0, 1, 0]
    assert float(shown[16, 24 + 4]) == pytest.approx(float(place[0]), abs=1e-2)
