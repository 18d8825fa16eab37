from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.body import Body
from models.camera import Camera
from models.face import FaceModel
from models.halo import CELLS, Halo
from models.params import EXPRESSION_INDEX, FaceParams
from reenact.conditioning import CHANNELS, GROUPS, ConditioningRenderer
from tests.unit.models.places import places
from tests.unit.reenact.make import make_generator

SIZE = 128


@functools.cache
def renderer() -> ConditioningRenderer:
    camera = Camera(width=SIZE, height=SIZE, focal_px=2.3 * SIZE, center_px=(SIZE / 2, SIZE / 2))
    return ConditioningRenderer(FaceModel.load(), camera)


def face(**changes: NDArray[Any]) -> FaceParams:
    return FaceParams.neutral(distance_m=0.9).replace(**changes)


def test_it_gives_nine_channels_in_0_to_1_and_black_around_the_head() -> None:
    image = renderer().render(face())
    assert image.shape == (CHANNELS, SIZE, SIZE)
    assert image.dtype == np.float32
    assert 0.0 <= image.min() <= image.max() <= 1.0
    assert not image[:, :4, :4].any()
    assert 0.1 < (image[3:6].sum(0) > 0).mean() < 0.8


def test_correspondence_is_the_same_on_a_vertex_wherever_it_is_drawn() -> None:
    straight = renderer().render(face())[GROUPS["correspondence"]]
    moved = renderer().render(face(translation=np.array([0.02, 0.0, -0.9], np.float32)))[GROUPS["correspondence"]]
    shift = round(0.02 * 2.3 * SIZE / 0.9)
    row, column = SIZE // 2, SIZE // 2
    np.testing.assert_allclose(straight[:, row, column], moved[:, row, column + shift], atol=0.02)
    # Red runs from the actor's right to his left, green from below to above.
    assert straight[0, row, column - 15] < straight[0, row, column + 15]
    assert straight[1, row - 15, column] > straight[1, row + 15, column]


def test_the_iris_moves_to_image_right_when_the_actor_looks_to_his_left() -> None:
    def iris_column(yaw: float) -> float:
        gaze = np.tile(np.array([yaw, 0.0], np.float32), (2, 1))
        iris = renderer().render(face(gaze=gaze))[7] > 0.5
        assert iris.any()
        return float(np.nonzero(iris)[1].mean())

    assert iris_column(0.4) > iris_column(0.0) + 0.5 > iris_column(-0.4) + 1.0


def test_light_and_reflectance_change_the_diffuse_image_alone() -> None:
    light = face().illumination * 0.3
    plain, dark = renderer().render(face()), renderer().render(face(illumination=light))
    assert dark[GROUPS["diffuse"]].sum() < 0.8 * plain[GROUPS["diffuse"]].sum()
    np.testing.assert_array_equal(plain[3:], dark[3:])
    tanned = renderer().render(face(reflectance=np.full(80, 1.0, np.float32)))
    assert np.abs(tanned[:3] - plain[:3]).max() > 0.01
    np.testing.assert_array_equal(plain[3:], tanned[3:])


def test_a_generator_that_drops_the_diffuse_image_gets_none_and_the_same_of_the_others() -> None:
    camera = Camera(width=SIZE, height=SIZE, focal_px=2.3 * SIZE, center_px=(SIZE / 2, SIZE / 2)).scaled(512, 512)
    plain = make_generator(design="photo")
    dropping = make_generator(design="photo", dropped=("diffuse",))
    model, params = FaceModel.load(), face(expression=np.full(52, 0.1, np.float32))
    expected = ConditioningRenderer.of(plain, camera, model).render(params)
    drawn = ConditioningRenderer.of(dropping, camera, model).render(params)
    assert expected.shape == (CHANNELS, SIZE, SIZE)
    assert expected[GROUPS["diffuse"]].max() > 0.3
    assert not drawn[GROUPS["diffuse"]].any()
    np.testing.assert_array_equal(drawn[3:], expected[3:])


def test_a_photograph_has_no_skin_in_the_mouth() -> None:
    camera = Camera(width=SIZE, height=SIZE, focal_px=8.0 * SIZE, center_px=(SIZE / 2, -SIZE / 8))
    opened = np.zeros(52, np.float32)
    opened[EXPRESSION_INDEX["jawOpen"]] = 0.9
    codes = [
        ConditioningRenderer(FaceModel.load(), camera, halo).render(face(expression=opened))[GROUPS["correspondence"]]
        for halo in (None, Halo())
    ]
    is_within = [(code.sum(0) > 0) & (code[1] < 0.075) for code in codes]
    # Teeth alone; with them, in one piece, the tongue and the walls.
    assert is_within[1].sum() > 2 * is_within[0].sum() > 0
    assert (is_within[1] | ~is_within[0]).all()
    count, _ = cv2.connectedComponents(is_within[1].astype(np.uint8), connectivity=8)
    assert count == 2
    is_skin = (codes[0].sum(0) > 0) & ~is_within[1]
    np.testing.assert_array_equal(codes[0][:, is_skin], codes[1][:, is_skin])


def test_a_head_that_turns_leaves_the_lower_edge_of_its_card_in_place() -> None:
    camera = Camera(width=SIZE, height=SIZE, focal_px=1.2 * SIZE, center_px=(SIZE / 2, SIZE / 2))
    at_rest, turned = face(), face(rotation=np.array([0.0, 0.0, 0.25], np.float32))
    # With its neck in the middle of the head, a turn does not move it.
    body = Body(np.stack([at_rest.rotation, at_rest.translation]), 1.0, (0.0, 0.0, 0.0))
    loose, held = (ConditioningRenderer(FaceModel.load(), camera, Halo(body=one)) for one in (None, body))
    np.testing.assert_allclose(held.render(at_rest), loose.render(at_rest), atol=1e-4)

    def ends(renderer: ConditioningRenderer, params: FaceParams) -> tuple[NDArray[Any], NDArray[Any]]:
        points = renderer.pose(params).pixels[-len(Halo().points) :]
        across = CELLS[1] + 1
        return points[:across], points[-across:]

    bottom, top = ends(held, at_rest)
    turned_bottom, turned_top = ends(held, turned)
    np.testing.assert_allclose(turned_bottom, bottom, atol=1e-2)
    np.testing.assert_allclose(turned_top, ends(loose, turned)[1], atol=1e-4)
    assert np.abs(turned_top - top).max() > 10.0


def test_a_head_shows_no_texel_of_its_card() -> None:
    """It looks down and turns: the back of the skull is in sight, and has the codes of the card."""
    camera = Camera(width=SIZE, height=SIZE, focal_px=1.2 * SIZE, center_px=(SIZE / 2, SIZE / 2))
    turned = face(rotation=np.array([0.5, -0.4, 0.0], np.float32))
    renderer = ConditioningRenderer(FaceModel.load(), camera, Halo())
    codes = renderer.render(turned)[GROUPS["correspondence"]]
    is_head = (codes.sum(0) > 0) & (renderer.halo_triangles < 0)
    around = places(codes[:, is_head].T)[:, 0]
    assert np.abs(around).max() < np.abs(places(Halo().correspondence)[:, 0]).min()
    assert is_head.sum() > 1000


def test_nothing_of_the_frame_before_is_left_in_a_reused_buffer() -> None:
    expected = renderer().render(face()).copy()
    buffer = np.zeros((CHANNELS, SIZE, SIZE), np.float32)
    renderer().render(face(translation=np.array([0.05, 0.05, -0.6], np.float32)), buffer)
    assert renderer().render(face(), buffer) is buffer
    np.testing.assert_array_equal(buffer, expected)
    renderer().render(face(translation=np.array([9.0, 0.0, -0.9], np.float32)), buffer)
    assert not buffer.any()


def test_a_persons_own_shape_moves_face_and_teeth_and_leaves_the_codes() -> None:
    model = FaceModel.load()
    camera = Camera(width=SIZE, height=SIZE, focal_px=2.3 * SIZE, center_px=(SIZE / 2, SIZE / 2))
    shift_px = 4
    shape = np.zeros_like(model.mean)
    shape[:, 0] = shift_px * 0.9 / (2.3 * SIZE)
    own = ConditioningRenderer(model, camera, shape=shape)
    speaking = np.zeros(52, np.float32)
    for name, weight in (("jawOpen", 0.6), ("mouthUpperUpLeft", 0.9), ("mouthUpperUpRight", 0.9)):
        speaking[EXPRESSION_INDEX[name]] = weight
    plain, moved = (one.render(face(expression=speaking)).copy() for one in (renderer(), own))
    rows, columns = slice(40, 110), slice(40, 84)
    there = moved[GROUPS["correspondence"], rows, columns.start + shift_px : columns.stop + shift_px]
    differs = np.abs(plain[GROUPS["correspondence"], rows, columns] - there).max(0) > 0.03
    assert differs.mean() < 0.02  # edges, and what is nearer moves further
    teeth = [np.flatnonzero((image[4] > 0) & (image[4] < 0.075) & (image[5] > 0.9)) % SIZE for image in (plain, moved)]
    assert len(teeth[0]) > 10
    np.testing.assert_allclose(teeth[1].mean() - teeth[0].mean(), shift_px, atol=1.0)


def test_lids_that_open_wide_uncover_an_eyeball_that_is_not_theirs() -> None:
    camera = Camera(width=256, height=256, focal_px=2.3 * 256, center_px=(128.0, 128.0))
    wide = np.zeros(52, np.float32)
    wide[[EXPRESSION_INDEX["eyeWideLeft"], EXPRESSION_INDEX["eyeWideRight"]]] = 1.0
    shared = []
    for has_own_eyes in (False, True):
        drawn = ConditioningRenderer(FaceModel.load(), camera, Halo(), has_own_eyes=has_own_eyes)
        rest, opened = drawn.render(face()).copy(), drawn.render(face(expression=wide)).copy()
        is_new = (opened[6] > 0.5) & (rest[6] < 0.5) & (opened[3:6].sum(0) > 0)
        assert is_new.sum() > 20
        texels = [
            {tuple(texel) for texel in (places(image[GROUPS["correspondence"]][:, where].T) * 128).round().tolist()}
            for image, where in ((opened, is_new), (rest, (rest[6] == 0) & (rest[3:6].sum(0) > 0)))
        ]
        shared.append(len(texels[0] & texels[1]) / len(texels[0]))
    assert shared[0] > 0.5
    assert shared[1] == 0.0
