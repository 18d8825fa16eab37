from __future__ import annotations

import numpy as np
import pytest

from models.body import NECK_M, Body
from models.camera import rotation_matrix

REST = np.array([[0.1, -0.05, 0.02], [0.01, 0.02, -0.6]], np.float32)
SHOULDERS = np.array([[-0.2, -0.25, -0.02], [0.2, -0.25, -0.02]], np.float32)
AT_REST = SHOULDERS @ rotation_matrix(REST[0]).T + REST[1]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_body_goes_its_share_of_the_way_of_a_head_that_leans(share: float) -> None:
    way = np.array([0.1, -0.02, 0.05], np.float32)
    carried = Body(REST, share).carry(SHOULDERS, REST[0], REST[1] + way)
    np.testing.assert_allclose(carried, AT_REST + share * way, atol=1e-6)


def test_a_head_that_turns_on_its_neck_leaves_the_body_where_it_is() -> None:
    turned = np.array([0.5, -0.3, 0.2], np.float32)
    neck = np.array(NECK_M, np.float32)
    place = rotation_matrix(REST[0]) @ neck + REST[1] - rotation_matrix(turned) @ neck
    np.testing.assert_allclose(Body(REST, 1.0).carry(SHOULDERS, turned, place), AT_REST, atol=1e-6)
