from __future__ import annotations

import pytest
import torch

from models.pointing import UNIT_PX, PointHead

BASE = torch.tensor([[20.0, 30.0], [44.0, 12.0]])


@pytest.fixture
def head() -> PointHead:
    head = PointHead(4, 2, (16, 18), 4.0, (0.0, -8.0))
    head.settle(BASE)
    return head


def test_a_blank_picture_has_the_points_where_they_usually_are(head: PointHead) -> None:
    with torch.no_grad():
        head.maps.weight.zero_()
        said = head(torch.zeros(3, 4, 16, 18))
    assert said.shape == (3, 2, 2)
    assert float((head.pixels(said) - BASE).abs().max()) < 2.0  # the map ends somewhere


def test_a_spot_and_its_offset_are_read_to_a_fraction_of_a_place(head: PointHead) -> None:
    row, column = 9, 7
    with torch.no_grad():
        head.maps.weight.zero_()
        head.maps.weight[:2, 0] = 100.0  # the likelihood of both points
        head.maps.weight[2:4, 1] = 1.0  # to the right
        head.maps.weight[4:6, 2] = 1.0  # down
        features = torch.zeros(1, 4, 16, 18)
        features[0, 0, row, column] = 1.0
        features[0, 1, row, column], features[0, 2, row, column] = 3.0 / UNIT_PX, -2.0 / UNIT_PX
        found = head.pixels(head(features))
    expected = torch.tensor([(column + 0.5) * 4.0 + 3.0, -8.0 + (row + 0.5) * 4.0 - 2.0])
    torch.testing.assert_close(found[0], expected.expand(2, 2), atol=1e-2, rtol=0)


def test_deviations_and_pixels_are_inverse(head: PointHead) -> None:
    points = torch.rand(5, 2, 2) * 64
    torch.testing.assert_close(head.pixels(head.deviations(points)), points)
    assert float(head.deviations(BASE[None]).abs().max()) == 0.0
