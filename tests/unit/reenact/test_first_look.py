from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from models.camera import Camera
from models.eyeballs import eyeball_correspondence
from models.face import FaceModel
from models.generator import GeneratorConfig
from models.halo import CELLS, DIRECTIONS, Halo
from models.mouth import inner_mouth, tongue_correspondence
from models.params import FaceParams
from models.teeth import Teeth
from reenact.first_look import (
    SURELY_SEEN,
    TONGUE,
    USUAL_PIXELS,
    FirstLook,
    _add_eyes,
    _cells,
    _faded,
    _fill,
    _spread,
    look_again,
)
from reenact.head_outline import HeadOutline
from reenact.seen_pictures import LEAST_SEEN, Seen, _rims, texels_of
from reenact.training_set import TrainingSet

SIZE = (256, 384)
SKIN = (0.8, 0.6, 0.5, 0.9)


def places(codes: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    texel = texels_of(torch.from_numpy(codes.T.reshape(1, 3, 1, -1).copy()), SIZE)[0, 0].numpy()
    return texel // SIZE[1], texel % SIZE[1]


def test_who_never_opened_the_mouth_has_a_usual_one_and_the_skin_beside_it_is_skin() -> None:
    model = FaceModel.load()
    values = np.zeros((SIZE[0] * SIZE[1], 4))
    count = np.zeros((SIZE[0], SIZE[1]))
    count[40:200] = 10.0 * LEAST_SEEN  # the chin's underside was never seen
    values[count.ravel() > 0] = SKIN
    texture = _fill(values, count.ravel(), SIZE, model).numpy()
    walls = inner_mouth(model)
    parts = (tongue_correspondence(model)[1], Teeth(model).correspondence, walls.correspondence)
    of_mouth = np.zeros(SIZE, bool)
    for codes in parts:
        row, column = places(codes)
        of_mouth[row.min() - 1 : row.max() + 2, column.min() - 1 : column.max() + 2] = True
    np.testing.assert_allclose(
        texture[:, ~of_mouth], np.broadcast_to(np.array(SKIN)[:, None], (4, (~of_mouth).sum())), atol=1e-5
    )
    row, column = places(parts[0])
    np.testing.assert_allclose(texture[:3, row, column].T, np.broadcast_to(TONGUE, (len(row), 3)), atol=1e-6)
    assert (texture[3, of_mouth] == 1.0).all()
    # From lips to darkness.
    row, column = places(walls.correspondence)
    red = texture[0, row, column]
    assert red[walls.depth_m == 0].min() > 0.3
    assert red[walls.depth_m > 0.025].max() < 0.1


def test_what_was_often_seen_in_a_mouth_is_believed() -> None:
    model = FaceModel.load()
    values = np.full((SIZE[0] * SIZE[1], 4), 0.7)
    texture = _fill(values, np.full(len(values), 9.0 * USUAL_PIXELS), SIZE, model).numpy()
    row, column = places(tongue_correspondence(model)[1])
    np.testing.assert_allclose(texture[0, row, column], 0.9 * 0.7 + 0.1 * TONGUE[0], atol=1e-6)


def test_a_texel_that_few_pixels_showed_is_no_speck() -> None:
    size = (16, 24)
    values, count = np.full((16 * 24, 1), 0.6), np.full(16 * 24, 10.0 * SURELY_SEEN)
    few, many = 5 * 24 + 6, 11 * 24 + 16
    values[[few, many]] = 0.0
    count[few], count[many] = LEAST_SEEN, SURELY_SEEN
    texture = _spread(values, count, size).numpy().ravel()
    assert texture[few] > 0.5
    assert texture[many] == 0.0
    np.testing.assert_allclose(np.delete(texture, [few, many]), 0.6, atol=1e-6)


def test_hair_that_every_picture_cuts_off_fades_out() -> None:
    rows, cut = 256, 200
    coverage = np.ones((rows, 8), np.float32)
    is_guessed = np.zeros((rows, 8), bool)
    is_guessed[cut:] = True
    faded = _faded(coverage, np.zeros((rows, 8), bool), is_guessed)
    assert (faded[:cut] == 1.0).all()
    steps = -np.diff(faded, axis=0)
    assert steps.min() >= 0.0
    assert steps.max() < 0.25
    assert faded[-1].max() < 0.01
    # Where the outline says so, it goes on.
    assert (_faded(coverage, np.ones((rows, 8), bool), is_guessed) == 1.0).all()


def test_a_shoulder_goes_on_below_the_picture_and_a_head_does_not() -> None:
    size = (256, 384)
    cells = np.arange(CELLS[0] * CELLS[1], dtype=np.int16)
    # A picture of one pixel for each cell above the lowest two rows, whose texels are of the person in two places.
    cell = np.where(cells >= 2 * CELLS[1], cells, -1).reshape(CELLS)
    seen = [Seen(cell.astype(np.int32), cell, np.zeros((*CELLS, 3), np.uint8), np.ones(CELLS, bool))]
    is_head = np.zeros(size[0] * size[1], bool)
    shoulder, hair = 2 * CELLS[1] + 4, 20 * CELLS[1] + 24
    is_head[[shoulder, hair]] = True
    nowhere = HeadOutline(Halo().outline, np.zeros(DIRECTIONS))
    kept = _cells(seen, is_head, nowhere)
    assert kept[:3, 4].all()
    assert kept[20, 24]
    assert not kept[:2, 24].any()
    assert not kept[:, -1].any()


def test_what_moved_by_itself_is_not_looked_at_again() -> None:
    """Two thirds of the pictures show a body in the corner and on the chin that they do not tell of."""
    count, size = 24, 128
    config, model = GeneratorConfig.of_size(size), FaceModel.load()
    pictures = np.full((count, size, size, 3), 200, np.uint8)
    pictures[:, 20:110, 30:98] = 120  # a head, as far as it is drawn, before a wall
    moved = torch.zeros(count, size, size, dtype=torch.bool)
    moved[count // 3 :, 64:, :64] = True
    pictures[count // 3 :, 64:, :64] = 20
    recording = SimpleNamespace(
        training=np.arange(count), params=FaceParams.stack([FaceParams.neutral(distance_m=0.6)] * count),
        camera=Camera.webcam(size, size), shape=None, teeth_rise=None, picture=lambda frame, _: pictures[frame],
    )  # fmt: skip
    data = SimpleNamespace(recording=recording, index={frame: frame for frame in range(count)})
    texels = config.texture_size
    reach = HeadOutline(Halo().outline, np.full(DIRECTIONS, np.nan, np.float32))
    first = FirstLook(
        torch.zeros(3, *texels), torch.ones(1, *texels), torch.ones(1, *texels, dtype=torch.bool),
        torch.full((3, size, size), 20.0 / 255.0), Halo(np.zeros(Halo().cells.shape, bool)), reach,
    )  # fmt: skip

    def look(moved: torch.Tensor) -> FirstLook:
        data.moved_at = lambda row: moved[row]
        return look_again(first, cast("TrainingSet", data), model, config)

    again, believed = look(moved), look(torch.zeros_like(moved))
    corner = slice(None), slice(112, None), slice(0, 24)
    torch.testing.assert_close(again.plate[corner], torch.full((3, 16, 24), 200 / 255), atol=1e-3, rtol=0)
    torch.testing.assert_close(believed.plate[corner], torch.full((3, 16, 24), 20 / 255), atol=1e-3, rtol=0)
    # The same on the head, where it was drawn there.
    off = (again.colors - believed.colors).amax(0)
    assert off.max() > 0.2
    assert again.colors[:, again.is_seen[0]].min() > 110 / 255
    torch.testing.assert_close(again.plate[:, :10], believed.plate[:, :10])
    assert again.halo is first.halo


def test_what_lids_hide_of_an_eye_looks_as_on_the_rest_of_its_ring_and_not_as_a_lid() -> None:
    model = FaceModel.load()
    eyeballs = list(zip(model.eye_vertices, map(places, eyeball_correspondence(model)), strict=True))
    iris, white, lid = (0.3, 0.2, 0.1), (0.9, 0.9, 0.85), (0.8, 0.5, 0.4)
    values, count = np.full((*SIZE, 4), (*lid, 1.0)), np.zeros(SIZE)
    for eye, (y, x) in eyeballs:
        angle = model.eye_angle[eye]
        # Lids leave a third of it open.
        middle, reach = y[angle.argmin()], np.ptp(y) / 6
        rows, columns = np.mgrid[y.min() : y.max() + 1, x.min() : x.max() + 1]
        far = np.hypot((rows - middle) / np.ptp(y), (columns - x[angle.argmin()]) / np.ptp(x)) * 2.0
        is_open = np.abs(rows - middle) <= reach
        area = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
        values[area] = np.where((far < 0.4)[..., None], (*iris, 1.0), (*white, 1.0))
        count[area] = np.where(is_open, 500.0, 0.0)
        values[area][~is_open] = (*lid, 1.0)
    flat, seen = values.reshape(-1, 4), count.ravel()
    _add_eyes(flat, seen, SIZE, model)
    for eye, (y, x) in eyeballs:
        angle, texel = model.eye_angle[eye], y * SIZE[1] + x
        above = y > y[angle.argmin()] + np.ptp(y) / 4
        off_white = np.abs(flat[texel[above], :3] - white).max(1)
        assert above.sum() > 20
        assert np.median(off_white) < 0.05
        assert off_white.max() < 0.2
        assert (seen[texel] >= SURELY_SEEN).all()


def test_the_rim_of_an_eyeball_tells_nothing_of_it() -> None:
    eyes = np.zeros((12, 16), np.float32)
    eyes[4:9, 3:12] = 1.0
    rims = _rims(eyes)
    assert not rims[eyes == 0].any()
    assert not rims[5:8, 4:11].any()
    assert rims.sum() == 5 * 9 - 3 * 7
