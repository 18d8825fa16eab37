from __future__ import annotations

import dataclasses

import pytest

from models.camera import Camera
from reenact.actor import Actor
from reenact.square import Square, SquareError, find_square
from tests.unit.reenact.make import make_actor


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Actor:
    return make_actor(tmp_path_factory.mktemp("actors"))


def cut_from(actor: Actor, square: Square, *, recorded: bool) -> Actor:
    """Make the actor one whose pictures were cut out of a webcam's frames."""
    frames, size = Camera.webcam(square.frame_width, square.frame_height), 256
    scale = size / square.side
    center = (scale * (frames.center_px[0] - square.left), scale * (frames.center_px[1] - square.top))
    camera = Camera(width=size, height=size, focal_px=frames.focal_px * scale, center_px=center)
    training = {"square": square.to_json()} if recorded else {}
    return dataclasses.replace(actor, target=dataclasses.replace(actor.target, camera=camera), training=training)


@pytest.mark.parametrize("recorded", [True, False])
def test_the_square_is_found_where_it_was_cut(recorded: bool, actor: Actor) -> None:
    square = Square(left=170, top=20, side=300, frame_width=640, frame_height=360)
    found = find_square(cut_from(actor, square, recorded=recorded), 640, 360)
    assert found == square
    whole = found.frame_camera(cut_from(actor, square, recorded=recorded).target.camera)
    assert (whole.focal_px, *whole.center_px) == pytest.approx((640.0, 320.0, 180.0))
    larger = find_square(cut_from(actor, square, recorded=recorded), 1280, 720)
    assert (larger.left, larger.top, larger.side) == (340, 40, 600)


def test_square_frames_are_the_whole(actor: Actor) -> None:
    assert find_square(actor, 512, 512).is_whole


def test_frames_that_cannot_hold_it_are_refused(actor: Actor) -> None:
    square = Square(left=170, top=20, side=300, frame_width=640, frame_height=360)
    with pytest.raises(SquareError, match="640 x 360 pixels, and these have 480 x 640"):
        find_square(cut_from(actor, square, recorded=True), 480, 640)
    far = cut_from(actor, square, recorded=False)
    camera = dataclasses.replace(far.target.camera, center_px=(900.0, 0.0))
    with pytest.raises(SquareError, match="hold no part"):
        find_square(dataclasses.replace(far, target=dataclasses.replace(far.target, camera=camera)), 640, 360)


@pytest.mark.parametrize("wrong", [{"side": 0}, {"left": 600}, {"top": -1}, {"side": 2.5}, {"more": 1}])
def test_a_package_that_says_nonsense_is_refused(wrong: dict[str, float], actor: Actor) -> None:
    values = {"left": 170, "top": 20, "side": 300, "frame_width": 640, "frame_height": 360} | wrong
    with pytest.raises(SquareError, match="does not make sense: square"):
        find_square(dataclasses.replace(actor, training={"square": values}), 640, 360)
