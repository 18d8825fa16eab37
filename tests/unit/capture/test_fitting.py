from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from capture.binding import LandmarkBinding
from capture.build_binding import recording
from capture.fitting import SIZE, Fitter, _sparse
from capture.identity import linearize
from capture.landmark_model import FREE, FREE_NAMES
from capture.landmarks import LandmarkDetector
from capture.lids import lid_weights
from models.camera import Camera, rotation_angles, rotation_matrix
from models.face import FaceModel
from models.params import BLINKS, EXPRESSION_INDEX, EXPRESSION_NAMES, FaceParams
from tests.unit.capture.conftest import Painter, Points, head

RECORDING = Path(__file__).resolve().parents[4] / "shared" / "data" / "milo"
JAW_OPEN = EXPRESSION_INDEX["jawOpen"]


def weights(**named: float) -> list[float]:
    return [named.get(name, 0.0) for name in EXPRESSION_NAMES]


def random_head(rng: np.random.Generator) -> FaceParams:
    gaze = np.tile(rng.uniform((-0.35, -0.2), (0.35, 0.2)), (2, 1))
    return head(
        rotation=rng.uniform((-0.52, -0.25, -0.2), (0.52, 0.25, 0.2)),
        translation=rng.uniform((-0.05, -0.05, -0.8), (0.05, 0.05, -0.5)),
        gaze=gaze,
        expression=weights(
            jawOpen=rng.uniform(0, 0.7), mouthSmileLeft=rng.uniform(0, 0.6), mouthPucker=rng.uniform(0, 0.4)
        ),
    )


def test_recovers_heads_from_noisy_landmarks(fitter: Fitter, project: Points, camera: Camera) -> None:
    rng = np.random.default_rng(1)
    errors: dict[str, list[float]] = {"rotation": [], "translation": [], "gaze": [], "jaw": []}
    for seed in range(30):
        params = random_head(rng)
        fitter.reset()
        fit = fitter.fit(project(params, noise_px=0.6, seed=seed).points_px, camera)
        errors["rotation"].append(float(np.abs(fit.angles - params.rotation).mean()))
        errors["translation"].append(float(np.linalg.norm(fit.translation - params.translation)))
        errors["gaze"].append(float(np.abs(fit.gaze - params.gaze).mean()))
        errors["jaw"].append(float(abs(fit.expression[JAW_OPEN] - params.expression[JAW_OPEN])))
    assert np.rad2deg(np.mean(errors["rotation"])) < 1.0
    assert np.mean(errors["translation"]) < 0.012
    assert np.rad2deg(np.mean(errors["gaze"])) < 2.5
    assert np.mean(errors["jaw"]) < 0.08


@pytest.mark.parametrize(
    ("names", "weight", "gain"),
    [
        (("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), 1.7, 0.2),
        (("browDownLeft", "browDownRight"), 0.7, 0.1),
        (("mouthPucker",), 1.4, 0.0),
    ],
)
def test_of_a_known_person_brows_and_lips_are_read_to_their_full_height(
    fitter: Fitter, project: Points, camera: Camera, names: tuple[str, ...], weight: float, gain: float
) -> None:
    shown = head(expression=weights(**dict.fromkeys(names, weight)))
    read = []
    for familiarity in (0.0, 1.0):
        fitter.forget_person()
        fitter.set_identity(fitter.identity, fitter.offsets, familiarity=familiarity)
        fits = [fitter.fit(project(shown, noise_px=0.6, seed=seed).points_px, camera) for seed in range(6)]
        index = [EXPRESSION_INDEX[name] for name in names]
        read.append(np.mean([fit.expression[index] for fit in fits]) / weight)
    assert 0.75 < read[1] < 1.15
    assert read[1] > read[0] + gain


def test_anothers_reading_steadies_the_fit_and_its_lasting_difference_does_not_turn_it(
    fitter: Fitter, project: Points, camera: Camera
) -> None:
    rng = np.random.default_rng(5)
    off = rotation_matrix(np.array([0.1, -0.08, 0.05]))
    turns: dict[bool, list[float]] = {False: [], True: []}
    glances: dict[bool, list[float]] = {False: [], True: []}
    for has_hint in (False, True):
        fitter.forget_person()
        for seed in range(60):
            t = 0.2 * seed
            turned = np.array([0.25 * np.sin(t), 0.1 * np.sin(0.7 * t), 0.1 * np.cos(t)])
            gaze = np.tile([0.2 * np.cos(0.9 * t), 0.1 * np.sin(1.3 * t)], (2, 1))
            hint = FaceParams.neutral().replace(
                rotation=rotation_angles((off @ rotation_matrix(turned + rng.normal(0, 0.004, 3))).astype(np.float32)),
                gaze=(gaze + [0.12, -0.08] + rng.normal(0, 0.01, 2)).astype(np.float32),
            )
            points = project(head(rotation=turned, gaze=gaze), noise_px=2.5, seed=seed).points_px
            fit = fitter.fit(points, camera, hint=hint if has_hint else None)
            if seed >= 20:
                turns[has_hint].append(float(np.abs(fit.angles - turned).mean()))
                glances[has_hint].append(float(np.abs(fit.gaze - gaze)[:, 1].mean()))
    fitter.forget_person()
    assert np.mean(turns[True]) < 0.8 * np.mean(turns[False])
    assert np.mean(glances[True]) < 0.75 * np.mean(glances[False])


@pytest.mark.parametrize(("shown", "seen"), [(0.3, 0.8), (0.5, 0.0)])
def test_a_smile_is_at_least_what_a_hint_sees_of_it(
    fitter: Fitter, project: Points, camera: Camera, shown: float, seen: float
) -> None:
    points = project(head(expression=weights(mouthSmileLeft=shown, mouthSmileRight=shown))).points_px
    read = []
    for weight in (None, seen):
        hint = None if weight is None else head(expression=weights(mouthSmileLeft=weight, mouthSmileRight=weight))
        fitter.forget_person()
        fit = fitter.fit(points, camera, hint=hint)
        read.append(float(fit.expression[EXPRESSION_INDEX["mouthSmileLeft"]]))
    fitter.forget_person()
    if seen > shown:
        assert read[0] + 0.05 < read[1] < seen
    else:
        assert read[1] == pytest.approx(read[0], abs=0.02)


def test_a_corner_that_is_seen_to_smile_does_not_frown_as_well(fitter: Fitter, project: Points, camera: Camera) -> None:
    """Smiles that go rather aside than up were read as both, which is no face that a target ever showed."""
    smile = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}
    frown = {"mouthFrownLeft": 0.6, "mouthFrownRight": 0.6}
    points = project(head(expression=weights(**smile, **frown))).points_px
    corners, fits = (61, 291), []
    for hint in (None, head(expression=weights(**smile))):
        fitter.forget_person()
        fitter.set_identity(fitter.identity, fitter.offsets)  # somebody known
        fits.append(fitter.fit(points, camera, hint=hint))
    off_m = np.linalg.norm(fitter.residual(points, camera, fits[1])[corners, :], axis=1)
    by_landmarks, seen = (fit.expression[EXPRESSION_INDEX["mouthFrownLeft"]] for fit in fits)
    assert by_landmarks > 0.2
    assert seen < 0.3 * by_landmarks
    assert off_m.max() < 0.002
    # A real frown of somebody who does not smile is none of the hint's business.
    alone = project(head(expression=weights(**frown))).points_px
    assert fitter.fit(alone, camera, hint=head()).expression[EXPRESSION_INDEX["mouthFrownLeft"]] > 0.3
    fitter.forget_person()


@pytest.mark.parametrize(
    ("landmarks", "seen", "left_and_right"),
    [
        ((0.0, 0.4), (0.3, 0.3), (0.2, 0.2)),  # half down, as of somebody who reads; landmarks took it for a wink
        ((0.05, 0.55), (0.05, 0.95), (0.05, 0.55)),
        ((0.5, 0.5), (0.9, 0.9), (0.5, 0.5)),
    ],
)
def test_one_eye_is_shut_further_than_the_other_where_a_hint_sees_it(
    fitter: Fitter,
    project: Points,
    camera: Camera,
    landmarks: tuple[float, float],
    seen: tuple[float, float],
    left_and_right: tuple[float, float],
) -> None:
    points = project(head(expression=weights(eyeBlinkLeft=landmarks[0], eyeBlinkRight=landmarks[1]))).points_px
    hint = head(expression=weights(eyeBlinkLeft=seen[0], eyeBlinkRight=seen[1]))
    fitter.forget_person()
    fit = fitter.fit(points, camera, hint=hint)
    fitter.forget_person()
    assert fit.expression[BLINKS] == pytest.approx(left_and_right, abs=0.1)


def test_compiled_equations_match_the_slow_reference(fitter: Fitter, project: Points, camera: Camera) -> None:
    found = project(random_head(np.random.default_rng(2)), noise_px=1.0)
    fit = fitter.fit(found.points_px, camera)
    weight, residual, by_frame, _ = linearize(fitter, found.points_px, camera, fit)
    fitter._pair_precisions[:] = 0.0  # the reference has no pairs, and leaves out no small movement
    fitter._shapes = _sparse(fitter.landmarks.expression_basis, 0.0)
    gaze = np.concatenate([fit.gaze.mean(0), fit.gaze[0] - fit.gaze[1]])
    fitter._linearize(fitter.rays(found.points_px, camera), fit.rotation, fit.translation, gaze, fit.weights)
    hessian = (by_frame * weight) @ by_frame.T
    scale = np.sqrt(np.outer(np.diag(hessian), np.diag(hessian))) + 1e-9
    np.testing.assert_allclose(fitter._hessian / scale, hessian / scale, atol=1e-3)
    gradient = (by_frame * weight) @ residual
    step = np.sqrt(np.diag(hessian)) * np.sqrt((weight * residual**2).sum())
    np.testing.assert_allclose(fitter._gradient / (step + 1e-9), gradient / (step + 1e-9), atol=1e-3)


def test_derivatives_of_the_reference_are_those_of_the_projection(
    fitter: Fitter, project: Points, camera: Camera
) -> None:
    found = project(head(rotation=(0.2, -0.1, 0.1), expression=weights(jawOpen=0.3)), noise_px=0.5)
    fit = fitter.fit(found.points_px, camera)
    _, _, by_frame, _ = linearize(fitter, found.points_px, camera, fit)
    points = fitter.landmarks.landmarks(fit, fitter.neutral, fitter.eye_centers)
    step = 1e-5
    moved = points + np.array([0.0, 0.0, step])  # translation along the line of sight
    expected = (moved[:, :2] / -moved[:, 2:] - points[:, :2] / -points[:, 2:]) / step * -points[:, 2:]
    np.testing.assert_allclose(by_frame[5].reshape(-1, 2), expected, atol=1e-3)
    assert len(by_frame) == SIZE


def test_weights_stay_within_bounds_and_a_neutral_head_is_neutral(
    fitter: Fitter, project: Points, camera: Camera
) -> None:
    fit = fitter.fit(project(head()).points_px, camera)
    assert fit.weights.max() < 0.02
    fit = fitter.fit(project(head(expression=weights(jawOpen=1.4, browInnerUp=1.5))).points_px, camera)
    assert 0.0 <= fit.weights.min() <= fit.weights.max() <= 1.0


def test_frozen_expression_is_held(fitter: Fitter, project: Points, camera: Camera) -> None:
    held = np.zeros(len(FREE))
    held[FREE_NAMES.index("jawOpen")] = 0.2
    params = head(rotation=(0.2, 0.0, 0.0), expression=weights(jawOpen=0.6))
    fit = fitter.fit(project(params).points_px, camera, frozen_expression=held)
    np.testing.assert_array_equal(fit.weights, held)
    assert abs(fit.angles[0] - 0.2) < np.deg2rad(3)


def test_a_pose_that_is_known_is_held(fitter: Fitter, project: Points, camera: Camera) -> None:
    params = random_head(np.random.default_rng(7))
    found = project(params, noise_px=0.3)
    seen = fitter.fit(found.points_px, camera)
    known = dataclasses.replace(
        seen,
        rotation=rotation_matrix(params.rotation).astype(np.float64),
        translation=params.translation.astype(np.float64),
        gaze=seen.gaze + 0.1,
        weights=np.zeros(len(FREE)),
    )
    fit = fitter.fit_expression(found.points_px, camera, known)
    assert (fit.rotation == known.rotation).all()
    assert (fit.translation == known.translation).all()
    assert abs(fit.expression[JAW_OPEN] - params.expression[JAW_OPEN]) < 0.08
    assert np.rad2deg(np.abs(fit.gaze - params.gaze).mean()) < 2.5
    assert fit.error_m < 0.002


def test_eyes_that_squint_inwards_are_believed_where_the_pose_is_known(
    fitter: Fitter, project: Points, camera: Camera
) -> None:
    crossed = head(translation=(0, 0, -0.6), gaze=[[-0.12, 0.0], [0.12, 0.0]], expression=weights())
    found = project(crossed)
    live = fitter.fit(found.points_px, camera)
    known = dataclasses.replace(
        live,
        rotation=rotation_matrix(crossed.rotation).astype(np.float64),
        translation=crossed.translation.astype(np.float64),
    )
    inwards = [fit.gaze[1, 0] - fit.gaze[0, 0] for fit in (live, fitter.fit_expression(found.points_px, camera, known))]
    assert 0.4 * 0.24 < inwards[1] < 0.24
    assert inwards[0] < 0.6 * inwards[1]


def test_a_hand_before_the_chin_does_not_turn_the_head(fitter: Fitter, project: Points, camera: Camera) -> None:
    found = project(head(rotation=(0.1, 0.05, 0.0)))
    points = found.points_px.copy()
    points[points[:, 1] > points[1, 1] + 20, 0] += 25.0
    fit = fitter.fit(points, camera)
    assert np.rad2deg(np.abs(fit.angles - [0.1, 0.05, 0.0])).max() < 5.0


def test_eyes_keep_their_gaze_behind_shut_lids(fitter: Fitter, project: Points, camera: Camera) -> None:
    gaze = [[0.3, 0.0], [0.3, 0.0]]
    for _ in range(4):
        fitter.fit(project(head(gaze=gaze)).points_px, camera)
    shut = project(head(gaze=[[0.0, 0.0], [0.0, 0.0]], expression=weights(eyeBlinkLeft=0.9, eyeBlinkRight=0.9)))
    fit = fitter.fit(shut.points_px, camera)
    assert fit.gaze[:, 0].mean() > 0.2


def test_irises_seen_in_the_wrong_place_do_not_turn_the_eyes_round(
    fitter: Fitter, project: Points, camera: Camera
) -> None:
    """A hand over the eyes has the detector invent irises; an eye fitted to them by its back would stay so."""
    ahead = project(head()).points_px
    for aside_px in range(20, 44, 4):
        for frames in (4, 6, 9, 12):
            fitter.reset()
            for share in np.linspace(0.0, 1.0, frames):
                hidden = ahead.copy()
                hidden[468:478, 0] += share * aside_px
                fitter.fit(hidden, camera)
            for _ in range(5):
                fit = fitter.fit(ahead, camera)
            assert np.rad2deg(np.abs(fit.gaze)).max() < 2.0, (aside_px, frames)


def test_depth_steadies_the_rotation_without_biasing_it(fitter: Fitter, project: Points, camera: Camera) -> None:
    turned = rotation_matrix(np.array([0.0, 0.15, 0.0], np.float32))
    for yaw in np.linspace(-0.3, 0.3, 40):
        params = head(rotation=(yaw, 0.05, 0.0))
        found = project(params, noise_px=0.3)
        seen = np.column_stack([found.points_px - found.points_px.mean(0), found.depth_px]) * [1, -1, -1] @ turned.T
        fit = fitter.fit(
            found.points_px, camera, (-seen[:, 2]).astype(np.float32)
        )  # a detector that is always 9 degrees off
    assert np.rad2deg(np.abs(fit.angles - params.rotation)).max() < 2.0


def test_recovers_heads_in_pictures(
    model: FaceModel, binding: LandmarkBinding, detector: LandmarkDetector, paint: Painter, camera: Camera
) -> None:
    rng = np.random.default_rng(7)
    fitter = Fitter(model, binding)
    rotation, gaze, jaw = [], [], []
    for _ in range(16):
        params = random_head(rng)
        picture = paint(params)
        detector.reset()
        detector.detect(picture)
        found = detector.detect(picture)
        assert found is not None
        fitter.reset()
        fit = fitter.fit(found.points_px, camera)
        rotation.append(np.abs(fit.angles - params.rotation))
        gaze.append(np.abs(fit.gaze - params.gaze).mean())
        jaw.append(abs(fit.expression[JAW_OPEN] - params.expression[JAW_OPEN]))
    assert np.rad2deg(np.mean(rotation)) < 2.0
    assert np.rad2deg(np.mean(gaze)) < 5.0
    assert np.mean(jaw) < 0.12


@pytest.mark.skipif(not RECORDING.is_dir(), reason=f"no recording of a known head at {RECORDING}")
def test_recovers_the_held_out_frames_of_a_recording(
    model: FaceModel, binding: LandmarkBinding, detector: LandmarkDetector
) -> None:
    fitter = Fitter(model, binding)
    rotation, gaze, jaw, blink = [], [], [], []
    for number, (image, camera, params, _) in enumerate(recording(model, RECORDING, held_out=True)):
        if number % 2 or abs(params.rotation[0]) > np.deg2rad(30):
            continue
        detector.reset()
        detector.detect(image)
        found = detector.detect(image)
        assert found is not None
        fitter.reset()
        fit = fitter.fit(found.points_px, camera, found.depth_px)
        rotation.append(np.abs(fit.angles - params.rotation))
        gaze.append(np.abs(fit.gaze - params.gaze).mean())
        shown = lid_weights(fit.expression)
        jaw.append(abs(shown[JAW_OPEN] - params.expression[JAW_OPEN]))
        blink.append(np.abs(shown[BLINKS] - params.expression[BLINKS]).mean())
    assert len(rotation) > 30
    assert np.rad2deg(np.mean(rotation)) < 2.0
    assert np.rad2deg(np.mean(gaze)) < 5.0
    assert np.mean(jaw) < 0.12
    assert np.mean(blink) < 0.12


def test_a_fit_costs_less_than_the_detection_before_it(
    fitter: Fitter, detector: LandmarkDetector, paint: Painter, camera: Camera
) -> None:
    picture = paint(head())
    detector.reset()
    found = detector.detect(picture)
    assert found is not None
    fitter.fit(found.points_px, camera, found.depth_px)

    # In turns, and the quickest of each: whatever else runs meanwhile takes its time from either.
    fitting, detecting = [], []
    for _ in range(25):
        start = time.perf_counter()
        fitter.fit(found.points_px, camera, found.depth_px)
        between = time.perf_counter()
        detector.detect(picture)
        fitting.append(between - start)
        detecting.append(time.perf_counter() - between)
    assert min(fitting) < min(detecting)
