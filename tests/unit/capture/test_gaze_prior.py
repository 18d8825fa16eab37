from __future__ import annotations

import numpy as np
import pytest

from capture.gaze_prior import GAZE_REACH, GAZE_SAY, GazePrior, draw_all

OPEN, SHUT = np.ones(2), np.zeros(2)


def test_gaze_is_drawn_by_what_the_other_sees_beyond_its_lasting_difference() -> None:
    prior, lasting = GazePrior(), np.array([0.1, -0.05])
    gaze = np.array([[0.02, 0.01], [-0.02, 0.01]])
    np.testing.assert_array_equal(prior.draw(gaze, gaze + lasting, OPEN), gaze)  # nothing is known of it yet
    for _ in range(20):
        np.testing.assert_allclose(prior.draw(gaze, gaze + lasting, OPEN), gaze, atol=1e-9)
    glance = np.array([0.06, 0.08])
    drawn = prior.draw(gaze, gaze + lasting + glance, OPEN)
    # Both eyes alike: where they meet stays the landmarks'.
    np.testing.assert_allclose(drawn - gaze, np.tile(GAZE_SAY * GAZE_REACH * glance, (2, 1)), atol=1e-9)
    prior.reset()
    np.testing.assert_array_equal(prior.draw(gaze, gaze + glance, OPEN), gaze)


def test_eyes_that_are_shut_are_not_asked_and_an_open_one_speaks_for_both() -> None:
    prior, gaze = GazePrior(), np.zeros((2, 2))
    for _ in range(10):
        prior.draw(gaze, gaze, OPEN)
    seen = np.array([[0.1, 0.1], [0.9, 0.9]])
    np.testing.assert_array_equal(prior.draw(gaze, seen, SHUT), gaze)
    half = prior.draw(gaze, seen, np.array([1.0, 0.0]))
    np.testing.assert_allclose(half, np.tile(0.5 * GAZE_SAY * GAZE_REACH * 0.1, (2, 1)), atol=1e-9)


def test_one_that_sees_another_face_does_not_turn_the_eyes_away() -> None:
    prior, gaze = GazePrior(), np.zeros((2, 2))
    for _ in range(100):
        prior.draw(gaze, gaze, OPEN)
    far = prior.draw(gaze, np.full((2, 2), 1.2), OPEN)
    assert np.abs(far).max() < 0.15
    after = prior.draw(gaze, gaze, OPEN)
    assert np.abs(after).max() == pytest.approx(0.0, abs=0.005)


def test_all_of_a_video_knows_the_lasting_difference_from_the_first_frame_on() -> None:
    lasting, glance = np.array([0.1, -0.05]), np.array([0.06, 0.08])
    gaze = np.tile([[0.02, 0.01], [-0.02, 0.01]], (9, 1, 1))
    seen = gaze + lasting
    seen[0] += glance
    seen[4] = np.nan  # nobody read it
    openness = np.ones((9, 2))
    drawn = draw_all(gaze, seen, openness)
    np.testing.assert_allclose(drawn[0] - gaze[0], np.tile(GAZE_SAY * GAZE_REACH * glance, (2, 1)), atol=1e-9)
    np.testing.assert_allclose(drawn[1:], gaze[1:], atol=1e-9)
    openness[0] = 0.0  # behind shut lids eyes go with what is seen around
    np.testing.assert_allclose(draw_all(gaze, seen, openness), gaze, atol=1e-9)
    np.testing.assert_array_equal(draw_all(gaze, np.full_like(gaze, np.nan), openness), gaze)


def test_a_frame_that_nobody_read_is_drawn_as_those_around_it() -> None:
    gaze, seen = np.zeros((8, 2, 2)), np.zeros((8, 2, 2))
    seen[5:, :, 1] = 0.1
    seen[6] = np.nan
    drawn = draw_all(gaze, seen, np.ones((8, 2)))
    assert drawn[5, 0, 1] > 0.05
    np.testing.assert_allclose(drawn[6], drawn[5])
