from __future__ import annotations

import numpy as np

from capture.lids import lid_weights
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


def test_further_down_is_never_less_shut() -> None:
    fitted = np.zeros((101, EXPRESSION_SIZE), np.float32)
    fitted[:, EXPRESSION_INDEX["eyeBlinkLeft"]] = np.linspace(0, 1, 101)
    shown = np.array([lid_weights(w)[EXPRESSION_INDEX["eyeBlinkLeft"]] for w in fitted])
    assert (np.diff(shown) >= 0).all()
