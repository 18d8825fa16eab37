"""Synthetic faces: what is said of them must be what is seen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.crop import CROP_PX, Crop
from capture.synthetic import SyntheticConfig, SyntheticFaces, collate, stream
from capture.synthetic.assets import Assets
from capture.synthetic.light import Light, random_light
from capture.synthetic.shadow import ShadowMap
from capture.synthetic.webcam import Webcam
from models.camera import Camera
from models.face import FaceModel
from models.illumination import sh_basis
from models.params import SH_BAND0, FaceParams

CAMERA = Camera(width=128, height=128, focal_px=300.0, center_px=(64.0, 64.0))
WHITE = Light(
    illumination=FaceParams.neutral().illumination,
    ambient=FaceParams.neutral().illumination,
    directions=np.zeros((0, 3), np.float32),
    colors=np.zeros((0, 3), np.float32),
)


@pytest.fixture(scope="module")
def faces(model: FaceModel) -> SyntheticFaces:
    return SyntheticFaces(SyntheticConfig(glasses=0.0, hair=0.0, negatives=0.0, occluded=0.0), model)


@pytest.fixture(scope="module")
def held_out(model: FaceModel) -> Assets:
    return Assets.load(model, "test")


def frontal(yaw: float = 0.0, **changes: NDArray[np.float32]) -> FaceParams:
    fields = {"rotation": np.array([yaw, 0.0, 0.0], np.float32), "translation": np.array([0, 0.03, -0.6], np.float32)}
    return FaceParams.neutral().replace(**(fields | changes))


def test_equal_seeds_give_equal_faces(model: FaceModel) -> None:
    config = SyntheticConfig(seed=3, faces_per_person=2)
    one, other = (SyntheticFaces(config, model) for _ in range(2))
    rngs = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(3):
        a, b = one.sample(rngs[0]), other.sample(rngs[1])
        assert np.array_equal(a.crop, b.crop)
        assert np.array_equal(a.params.pack(), b.params.pack())
    assert not np.array_equal(a.crop, one.sample(rngs[0]).crop)


def test_the_splits_share_nothing_to_wear(model: FaceModel, held_out: Assets) -> None:
    train = Assets.load(model, "train")
    for kind in ("hair", "lashes"):
        names = [{mesh.name for mesh in getattr(assets, kind)} for assets in (train, held_out)]
        assert names[0]
        assert names[1]
        assert not names[0] & names[1]
    for kind in ("skins", "brows", "irises"):
        for one in getattr(held_out, kind):
            assert not any(np.array_equal(one, other) for other in getattr(train, kind))


def test_what_is_called_visible_is_drawn_where_it_is_said(faces: SyntheticFaces) -> None:
    rng = np.random.default_rng(0)
    scene = faces.person(rng)
    dark = np.zeros((128, 128, 3), np.float32)
    params = frontal(0.5, identity=scene.person.identity)
    bright = Light(WHITE.illumination * 2, WHITE.ambient * 2, WHITE.directions, WHITE.colors)
    face = faces.draw(scene, params, bright, CAMERA, rng, background=dark)
    view = faces.model.view_vertices(face.params, face.vertices)
    skin = face.visible & (faces.model.rigidity > 0.95) & (faces.model.mean[:, 2] > 0.07)
    column, row = np.clip(np.floor(CAMERA.project(view[skin])).astype(int).T, 0, 127)
    assert skin.sum() > 500
    assert (face.crop[row, column].max(-1) > 12).mean() > 0.97
    # His head turns to his left, the right of the picture: his left cheek is turned away.
    cheek = np.flatnonzero((faces.model.mean[:, 0] > 0.06) & (faces.model.mean[:, 2] > 0.02) & (skin | ~face.visible))
    other = np.flatnonzero((faces.model.mean[:, 0] < -0.06) & (faces.model.mean[:, 2] > 0.02))
    assert face.visible[cheek].mean() < face.visible[other].mean()


def test_landmarks_lie_on_the_face(faces: SyntheticFaces) -> None:
    face = faces.sample(np.random.default_rng(2))
    size = faces.config.size
    inside = ((face.landmarks > -0.1 * size) & (face.landmarks < 1.1 * size)).all(1)
    assert inside.mean() > 0.95
    camera = Camera(width=size, height=size, focal_px=face.focal_px, center_px=(size / 2, size / 2))
    view = faces.model.view_vertices(face.params, face.vertices)
    points = faces._binding.points(faces.model, view)
    assert np.abs(camera.project(points) - face.landmarks).max() < 0.01


def test_crops_without_errors_are_those_of_the_live_tracker(model: FaceModel) -> None:
    config = SyntheticConfig(center_jitter=0.0, size_jitter=0.0, roll_jitter_deg=0.0, negatives=0.0)
    faces = SyntheticFaces(config, model)
    rng = np.random.default_rng(4)
    for _ in range(4):
        face = faces.sample(rng)
        camera = Camera(width=CROP_PX, height=CROP_PX, focal_px=face.focal_px, center_px=(CROP_PX / 2, CROP_PX / 2))
        crop = Crop.around(face.params, camera)
        assert crop.center_px == pytest.approx((CROP_PX / 2, CROP_PX / 2), abs=1e-2)
        assert crop.size_px == pytest.approx(CROP_PX, rel=1e-3)
        assert crop.angle_rad == pytest.approx(0.0, abs=1e-3)


def test_without_detail_heads_lie_in_the_basis(model: FaceModel) -> None:
    faces = SyntheticFaces(SyntheticConfig(detail=0.0), model)
    person = faces.person(np.random.default_rng(1)).person
    face = (model.rigidity > 0.95) & (model.base_indices >= 0)
    off = np.linalg.norm(model.neutral(person.identity) - person.neutral, axis=1)[face]
    assert off.mean() < 1e-4
    detailed = SyntheticFaces(SyntheticConfig(), model).person(np.random.default_rng(1)).person
    assert np.linalg.norm(model.neutral(detailed.identity) - detailed.neutral, axis=1)[face].mean() > 2e-4


def test_every_negative_is_marked(model: FaceModel) -> None:
    faces = SyntheticFaces(SyntheticConfig(negatives=1.0), model)
    rng = np.random.default_rng(0)
    drawn = [faces.sample(rng) for _ in range(12)]
    assert {face.confidence for face in drawn} == {0.0}
    assert len({face.metadata["negative"] for face in drawn}) >= 3


def test_hands_hide_what_they_cover(faces: SyntheticFaces) -> None:
    scene = faces.person(np.random.default_rng(0))
    free = faces.draw(scene, frontal(), WHITE, CAMERA, np.random.default_rng(3))
    hidden = faces.draw(scene, frontal(), WHITE, CAMERA, np.random.default_rng(3), occluder="hand", negative="covered")
    assert hidden.visible[faces._face].sum() < 0.7 * free.visible[faces._face].sum()
    assert not (hidden.visible & ~free.visible).any()
    assert (free.confidence, hidden.confidence) == (1.0, 0.0)


def test_a_whole_frame_holds_the_head(faces: SyntheticFaces) -> None:
    face = faces.render_frame(np.random.default_rng(6), width=320, height=240, head_px=(90, 150))
    assert face.crop.shape == (240, 320, 3)
    assert ((face.landmarks > 0) & (face.landmarks < (320, 240))).all()
    assert face.focal_px == 320.0


def test_harmonics_hold_what_the_lamps_shed() -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(400, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    for _ in range(8):
        light = random_light(rng, is_test=False)
        true = sh_basis(normals) @ light.ambient.T
        true = true + np.maximum(normals @ light.directions.T, 0.0) @ light.colors
        held = sh_basis(normals) @ light.illumination.T
        # Bands 0 to 2 hold a lamp's irradiance to a few percent (Ramamoorthi and Hanrahan 2001).
        assert np.abs(held - true).mean() < 0.08 * np.abs(true).mean() + 0.02
    assert WHITE.illumination[0, 0] == pytest.approx(1 / SH_BAND0)


def test_a_lamp_behind_the_head_does_not_reach_the_face(model: FaceModel) -> None:
    triangles = model.triangles
    middle = model.mean.mean(0)
    nose = int(np.argmax(model.mean[:, 2]))
    shadows = ShadowMap()
    ahead = shadows.lit(model.mean, triangles, np.array([0.0, 0.0, 1.0], np.float32), middle)
    behind = shadows.lit(model.mean, triangles, np.array([0.0, 0.0, -1.0], np.float32), middle)
    assert ahead[nose] == 1.0
    assert behind[nose] == 0.0


def test_frames_of_a_video_differ_in_noise_alone() -> None:
    webcam = Webcam(np.random.default_rng(0))
    grey = np.full((64, 64, 3), 0.2, np.float32)
    for seed in range(20):
        first, second = (webcam.shoot(np.random.default_rng(seed), grey, number) for number in (0, 1))
        assert abs(float(first.mean()) - float(second.mean())) < 2.0
    assert first.dtype == np.uint8


def test_batches_come_from_a_process_and_it_ends(model: FaceModel) -> None:
    source = stream(SyntheticConfig(size=64, faces_per_person=4), workers=1, batch=4)
    batch = next(source)
    assert batch["crop"].shape == (4, 64, 64, 3)
    assert batch["vertices"].shape == (4, len(model.mean), 3)
    assert set(FaceParams.neutral().fields()) <= set(batch)
    source.close()
    with pytest.raises(StopIteration):
        next(source)


def test_a_stream_of_no_workers_is_this_process(faces: SyntheticFaces) -> None:
    with pytest.raises(ValueError, match="workers"):
        next(stream(faces.config, workers=-1, batch=4))
    batch = collate([faces.sample(np.random.default_rng(0)) for _ in range(2)])
    assert batch["confidence"].shape == (2,)


def test_configs_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="split"):
        SyntheticConfig(split="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negatives"):
        SyntheticConfig(negatives=1.5)
