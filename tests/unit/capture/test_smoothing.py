from __future__ import annotations

import numpy as np
import pytest

from capture.smoothing import FaceSmoother, OneEuro, OneEuroRotation, SmoothingSettings
from models.camera import rotation_matrix
from models.options import options
from models.params import EXPRESSION_INDEX, FaceParams
from tests.unit.capture.conftest import head

CALM = SmoothingSettings(min_cutoff_hz=1.0, beta=0.0)


def test_settings_describe_themselves_and_refuse_nonsense() -> None:
    assert set(options(SmoothingSettings())) == {"min_cutoff_hz", "beta", "prediction_ms"}
    with pytest.raises(ValueError, match="min_cutoff_hz"):
        SmoothingSettings(min_cutoff_hz=0.0)
    with pytest.raises(ValueError, match="beta"):
        SmoothingSettings(beta=float("nan"))


def test_matches_the_paper_on_a_step() -> None:
    """Casiez et al., CHI 2012, equations 4 to 7, in the exact form of the exponential filter."""
    settings, rate, speed_cutoff = SmoothingSettings(min_cutoff_hz=1.3, beta=0.7), 25.0, 4.0
    signal = np.concatenate([np.zeros(5), np.ones(20)])

    def weight(cutoff: float) -> float:
        return float(1.0 - np.exp(-2.0 * np.pi * cutoff / rate))

    value = speed = before = 0.0
    expected = []
    for x in signal:
        speed += weight(speed_cutoff) * ((x - before) * rate - speed)
        value += weight(settings.min_cutoff_hz + settings.beta * abs(speed)) * (x - value)
        before = x
        expected.append(value)
    smooth = OneEuro()
    got = [float(smooth(np.array([x]), 1.0 / rate, settings)[0]) for x in signal]
    np.testing.assert_allclose(got, expected, atol=1e-9)


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
def test_takes_the_same_time_at_any_frame_rate(fps: float) -> None:
    smooth = OneEuro()
    smooth(np.zeros(1), 0.0, CALM)
    for _ in range(round(0.2 * fps)):
        value = smooth(np.ones(1), 1.0 / fps, CALM)
    assert value[0] == pytest.approx(1.0 - np.exp(-2.0 * np.pi * 0.2), abs=1e-9)


def test_stills_jitter_and_follows_movement() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 0.004, 120)
    smoother = FaceSmoother(SmoothingSettings())
    still = [smoother(head(rotation=(n, 0.0, 0.0)), i / 30).rotation[0] for i, n in enumerate(noise)]
    assert np.std(np.diff(still)) < 0.5 * np.std(np.diff(noise))
    smoother.reset()
    turn = np.interp(np.arange(60) / 30, [0.5, 0.9], [0.0, 0.6])  # 34 degrees in 0.4 s
    moved = np.array([smoother(head(rotation=(yaw, 0.0, 0.0)), i / 30).rotation[0] for i, yaw in enumerate(turn)])
    lag_s = ((turn - moved)[15:28]).mean() / (0.6 / 0.4)
    assert lag_s < 0.025


def test_blinks_are_not_smeared() -> None:
    smoother = FaceSmoother(SmoothingSettings())
    blink, brow = EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["browInnerUp"]
    weights = np.zeros((30, 52))
    weights[10:13, [blink, brow]] = [[0.6], [1.0], [0.6]]
    shown = np.array([smoother(head(expression=w), i / 30).expression for i, w in enumerate(weights)])
    assert shown[:, blink].max() > 0.95
    assert shown[14, blink] < 0.05
    assert shown[:, blink].max() > shown[:, brow].max()


def test_rotation_is_filtered_without_seams() -> None:
    smooth = OneEuroRotation()
    settings = SmoothingSettings()
    for angle in np.linspace(0.0, 4 * np.pi, 240):  # rolls over twice
        matrix = smooth(rotation_matrix(np.array([0.2, 0.1, angle])), 1 / 30, settings)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    exact = rotation_matrix(np.array([0.2, 0.1, 4 * np.pi]))
    assert np.arccos((np.trace(matrix.T @ exact) - 1) / 2) < 0.1


def test_a_long_gap_starts_anew_and_time_that_stands_still_changes_nothing() -> None:
    smoother = FaceSmoother(CALM)
    first = smoother(head(rotation=(0.0, 0.0, 0.0)), 0.0)
    again = smoother(head(rotation=(0.5, 0.0, 0.0)), 0.0)
    np.testing.assert_allclose(again.rotation, first.rotation, atol=1e-6)
    far = smoother(head(rotation=(0.5, 0.0, 0.0)), 5.0)
    np.testing.assert_allclose(far.rotation, [0.5, 0.0, 0.0], atol=1e-6)


def test_identity_and_light_pass_untouched() -> None:
    smoother = FaceSmoother(CALM)
    smoother(head(), 0.0)
    params: FaceParams = head(identity=np.full(80, 0.5), reflectance=np.full(80, -0.5))
    out = smoother(params, 0.033)
    np.testing.assert_array_equal(out.identity, params.identity)
    np.testing.assert_array_equal(out.reflectance, params.reflectance)


def test_prediction_shows_a_turning_head_where_it_will_be() -> None:
    times = np.arange(60) / 30
    yaw, x = 0.5 * np.sin(2 * np.pi * 0.4 * times), 0.05 * np.sin(2 * np.pi * 0.4 * times)

    def off(prediction_ms: float) -> tuple[float, float, float]:
        """Distance from the pose 50 ms later, for yaw, x and the weights, which are not predicted."""
        smoother = FaceSmoother(SmoothingSettings(prediction_ms=prediction_ms))
        shown = [
            smoother(head(rotation=(a, 0, 0)).replace(translation=np.array([b, 0, -0.6], np.float32)), t)
            for a, b, t in zip(yaw, x, times, strict=True)
        ]
        late = np.interp(times + 0.05, times, yaw), np.interp(times + 0.05, times, x)
        found = np.array([s.rotation[0] for s in shown]), np.array([s.translation[0] for s in shown])
        errors = [float(np.abs(a - b)[10:-3].mean()) for a, b in zip(found, late, strict=True)]
        return errors[0], errors[1], float(np.sum([s.expression.sum() for s in shown]))

    plain, ahead = off(0.0), off(50.0)
    assert ahead[0] < 0.6 * plain[0]
    assert ahead[1] < 0.6 * plain[1]
    assert ahead[2] == plain[2]


def test_prediction_does_not_outlive_a_gap() -> None:
    smoother = FaceSmoother(SmoothingSettings(prediction_ms=100.0))
    for frame in range(10):
        smoother(head(rotation=(0.05 * frame, 0, 0)), frame / 30)
    later = smoother(head(rotation=(0.2, 0.0, 0.0)), 5.0)
    assert later.rotation[0] == pytest.approx(0.2, abs=1e-6)
