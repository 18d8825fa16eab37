from __future__ import annotations

import numpy as np
import pytest

from capture.lids import LARGEST_BLINK, fitted_blinks, lid_scale, lid_weights
from models.params import EXPRESSION_INDEX, EXPRESSION_SIZE


def test_what_the_detector_sees_of_shut_eyes_is_shut_and_open_eyes_stay_open() -> None:
    weights = np.full(EXPRESSION_SIZE, 0.3, np.float32)
    left, right = EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]
    weights[left], weights[right] = 0.55, 0.03
    corrected = lid_weights(weights)
    assert corrected[left] == 1.0
    assert corrected[right] < 0.1
    others = np.delete(np.arange(EXPRESSION_SIZE), [left, right])
    np.testing.assert_array_equal(corrected[others], weights[others])
    assert weights[left] == np.float32(0.55)


def test_large_eyes_are_half_shut_half_way_down_and_shut_at_its_end() -> None:
    left = EXPRESSION_INDEX["eyeBlinkLeft"]
    scale = lid_scale(0.0132, 0.0082)
    assert scale == pytest.approx(0.5)
    weights = np.zeros(EXPRESSION_SIZE, np.float32)
    for fitted, lowest, highest in ((0.55, 0.3, 0.5), (1.1, 1.0, 1.0)):
        weights[left] = fitted
        assert lowest <= lid_weights(weights, scale)[left] <= highest
    assert lid_scale(0.0082, 0.0082) == pytest.approx(1.0)
    assert lid_scale(0.0065, 0.0082) > 1.2
    for gap_m in (0.0, 0.001, 0.05):  # nonsense stays bounded, and no eye is too large to be shut
        scale = lid_scale(gap_m, 0.0082)
        weights[left] = LARGEST_BLINK
        assert lid_weights(weights, scale)[left] == 1.0


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.4])
def test_what_blinks_are_fitted_for_is_what_they_mean(scale: float) -> None:
    blinks = [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]
    for shut in (0.0, 0.4, 1.0):
        weights = np.zeros(EXPRESSION_SIZE, np.float32)
        weights[blinks] = fitted_blinks(np.full(2, shut, np.float32), scale)
        np.testing.assert_allclose(lid_weights(weights, scale)[blinks], shut, atol=1e-6)


def test_further_down_is_never_less_shut() -> None:
    fitted = np.zeros((101, EXPRESSION_SIZE), np.float32)
    fitted[:, EXPRESSION_INDEX["eyeBlinkLeft"]] = np.linspace(0, 1, 101)
    shown = np.array([lid_weights(w)[EXPRESSION_INDEX["eyeBlinkLeft"]] for w in fitted])
    assert (np.diff(shown) >= 0).all()
