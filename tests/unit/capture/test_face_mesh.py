from __future__ import annotations

import numpy as np
import pytest

from capture.face_mesh import COUNT, CROP_PX, FaceMesh, Region
from models.camera import Camera
from tests.unit.capture.conftest import Painter, head


@pytest.mark.parametrize("roll", [0.0, 0.35])
def test_it_reads_what_mediapipes_own_graph_reads(paint: Painter, roll: float) -> None:
    """The same network on the same crop, refined parts, irises and depth included."""
    from mediapipe.python.solutions.face_mesh import FaceMesh as Graph

    camera = Camera.webcam(640, 480)
    frames = [
        paint(head(rotation=(0.02 * index, 0.1, roll), translation=(0.004 * index, 0.02, -0.6)), camera)
        for index in range(6)
    ]
    mesh, last = FaceMesh(), None
    with Graph(static_image_mode=False, max_num_faces=1, refine_landmarks=True) as graph:
        for frame in frames:
            face = graph.process(frame).multi_face_landmarks[0]
            theirs = np.array([(640 * p.x, 480 * p.y, 640 * p.z) for p in face.landmark], np.float32)
            if last is not None:
                points, presence = mesh.look(frame, Region.of_landmarks(last[:, :2]))
                assert presence > 0.9
                assert points.shape == (COUNT, 3)
                difference = np.abs(points - theirs)
                assert difference.mean() < 0.1
                assert difference.max() < 1.0
            last = theirs
    mesh.close()


def test_no_face_is_improbable(paint: Painter) -> None:
    mesh = FaceMesh()
    somewhere = Region((200.0, 200.0), 150.0, 0.0)
    assert mesh.look(np.full((480, 480, 3), 90, np.uint8), somewhere)[1] < 0.1
    far_off = Region((-3000.0, 9000.0), 150.0, 1.0)
    assert mesh.look(paint(head()), far_off)[1] < 0.1
    mesh.close()


def test_a_region_leads_from_its_corners_to_the_image() -> None:
    region = Region((100.0, 50.0), 2.0 * CROP_PX, np.pi / 2)
    corners = np.array([[0, 0, 1], [CROP_PX, 0, 1], [CROP_PX / 2, CROP_PX / 2, 1]])
    np.testing.assert_allclose(
        corners @ region.matrix.T, [[100 + CROP_PX, 50 - CROP_PX], [100 + CROP_PX, 50 + CROP_PX], [100, 50]], atol=1e-9
    )


def test_a_region_frames_a_face_upright() -> None:
    points = np.random.default_rng(1).uniform(-50, 50, (COUNT, 2)).astype(np.float32)
    points[[33, 263]] = [[-20, -20], [20, 20]]
    region = Region.of_landmarks(points)
    assert region.angle_rad == pytest.approx(np.pi / 4)
    assert region.size_px == pytest.approx(1.5 * np.ptp(points, 0).max())
    eyes = points[[33, 263]]
    box = np.array([-50, -50, 100, 100], np.float32)
    of_box = Region.of_box(box, eyes)
    assert (of_box.center_px, of_box.size_px) == ((0.0, 0.0), 150.0)
    assert of_box.angle_rad == pytest.approx(np.pi / 4)
