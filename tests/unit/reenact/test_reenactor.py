from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.personal import Personal
from capture.smoothing import SmoothingSettings
from models import regressor
from reenact import reenactor as reenactor_module
from reenact.actor import Actor, ActorError
from reenact.face_change import FaceChange
from reenact.portrait import Portrait
from reenact.reenactor import Balance, Reenactor, ReenactSettings
from reenact.transfer import TransferSettings
from tests.unit.reenact.make import FakeTracker, make_actor, make_fake_tracker


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Actor:
    return make_actor(tmp_path_factory.mktemp("actors"))


@pytest.fixture
def reenactor(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> Reenactor:
    monkeypatch.setattr(reenactor_module, "make_tracker", make_fake_tracker)
    return Reenactor(actor, engine="torch")


def frame(yaw: float) -> NDArray[Any]:
    return np.full((48, 64, 3), round(yaw * 100), np.uint8)


def tracker_of(reenactor: Reenactor) -> FakeTracker:
    return cast(FakeTracker, reenactor._tracker)


def test_a_frame_goes_the_whole_way_and_every_stage_is_timed(reenactor: Reenactor) -> None:
    result = reenactor.process(frame(0.2), 1.0)
    assert result.image.shape == (128, 128, 3)
    assert result.image.dtype == np.uint8
    assert (result.state, result.confidence, result.num_faces, result.is_calibrating) == ("tracked", 0.9, 1, False)
    assert list(result.stages_ms) == ["track", "transfer", "render", "generate", "mark"]
    assert all(value > 0 for value in result.stages_ms.values())
    assert reenactor.engine_name == "torch"
    assert reenactor.engine_reason == "torch in fp32: asked for"
    reenactor.close()


def test_no_face_is_a_picture_of_the_target_at_rest(reenactor: Reenactor, actor: Actor) -> None:
    result = reenactor.process(frame(0.0), 1.0)
    assert (result.state, result.num_faces) == ("absent", 0)
    reenactor.reset()
    np.testing.assert_array_equal(result.image, reenactor.generate(actor.target.neutral, 1.0))


def test_the_target_follows_and_settings_change_how(reenactor: Reenactor) -> None:
    def shown(settings: TransferSettings) -> NDArray[Any]:
        reenactor.apply(ReenactSettings(transfer=settings))
        reenactor.reset()
        return reenactor.process(frame(0.3), 0.0).image.astype(int)

    rest = shown(TransferSettings(rotation_gain=0.0))
    turned = shown(TransferSettings())
    mirrored = shown(TransferSettings(is_mirrored=True))
    # An untrained generator paints faintly: a few levels are motion, and the same settings twice give none.
    assert np.array_equal(turned, shown(TransferSettings()))
    assert np.abs(turned - rest).max() > 5
    assert np.abs(turned - mirrored).max() > 5


def test_smoothing_reaches_the_tracker_before_and_after_warm_up(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reenactor_module, "make_tracker", make_fake_tracker)
    calm, quick = SmoothingSettings(min_cutoff_hz=0.5), SmoothingSettings(min_cutoff_hz=20.0)
    reenactor = Reenactor(actor, engine="torch")
    reenactor.apply(ReenactSettings(smoothing=calm))
    reenactor.warm_up()
    assert tracker_of(reenactor).settings == calm
    reenactor.apply(ReenactSettings(smoothing=quick))
    assert tracker_of(reenactor).settings == quick


def test_calibration_reset_and_close_reach_the_tracker(reenactor: Reenactor) -> None:
    reenactor.calibrate()
    tracker = tracker_of(reenactor)
    assert reenactor.process(frame(0.1), 0.0).is_calibrating
    resets = tracker.num_resets
    reenactor.reset()
    assert tracker.num_resets == resets + 1
    reenactor.close()
    assert tracker.is_closed
    assert reenactor.engine_name == ""


def test_pictures_are_the_callers_own(reenactor: Reenactor) -> None:
    first = reenactor.process(frame(0.1), 0.0).image
    before = first.copy()
    reenactor.process(frame(0.6), 0.033)
    np.testing.assert_array_equal(first, before)


def test_two_threads_make_the_pictures_that_one_makes(reenactor: Reenactor) -> None:
    """Whoever draws, and while the next frame is looked at."""
    yaws = [0.1 * index for index in range(8)]
    alone = [reenactor.process(frame(yaw), index / 30).image for index, yaw in enumerate(yaws)]
    for leaves_drawing in (False, True):
        reenactor.reset()
        reenactor._balance.note(1e6 * leaves_drawing, 1.0, 1e6 * (not leaves_drawing))
        shown: list[NDArray[np.uint8]] = []
        with ThreadPoolExecutor(1) as painter:
            looked = reenactor.look(frame(yaws[0]), 0.0)
            for index in range(len(yaws)):
                assert (looked.moment.conditioning is None) == leaves_drawing
                painting = painter.submit(reenactor.show, looked)
                if index + 1 < len(yaws):
                    looked = reenactor.look(frame(yaws[index + 1]), (index + 1) / 30)
                shown.append(painting.result().image)
        np.testing.assert_array_equal(shown, alone)


@pytest.mark.parametrize(
    ("look_ms", "draw_ms", "show_ms", "leaves_drawing"),
    [(14.0, 3.0, 9.0, True), (9.0, 3.0, 14.0, False), (10.0, 9.0, 25.0, False), (10.0, 4.0, 10.0, False)],
)
def test_the_thread_with_less_to_do_draws(look_ms: float, draw_ms: float, show_ms: float, leaves_drawing: bool) -> None:
    balance = Balance()
    assert not balance.leaves_drawing
    for _ in range(50):
        balance.note(look_ms, draw_ms, show_ms)
    assert balance.leaves_drawing == leaves_drawing


def test_a_gap_in_time_starts_the_window_anew(actor: Actor) -> None:
    portrait, neutral = Portrait(actor, engine="torch"), actor.target.neutral
    turned = neutral.replace(rotation=neutral.rotation + np.float32(0.3))
    expected = portrait.show(turned, 0.0)
    portrait.reset()
    for index in range(12):
        portrait.show(neutral, index / 30)
    followed = portrait.show(turned, 12 / 30)
    after_gap = portrait.show(turned, 60.0)
    assert np.abs(followed.astype(int) - expected).max() > 1
    np.testing.assert_array_equal(after_gap, expected)


def test_damage_after_listing_is_found_at_warm_up(tmp_path: Path) -> None:
    actor = make_actor(tmp_path)
    (actor.folder / "generator.safetensors").write_bytes(b"nothing")
    with pytest.raises(ActorError, match="was changed or damaged"):
        Reenactor(actor, engine="torch").warm_up()


def test_another_tracker_takes_over_and_the_former_is_closed(reenactor: Reenactor) -> None:
    reenactor.process(frame(0.2), 1.0)
    first = tracker_of(reenactor)
    assert (reenactor.tracker_name, reenactor.tracker_reason) == ("auto", "of a test")
    reenactor.apply(ReenactSettings(tracker="landmarks"))
    assert first.is_closed
    assert tracker_of(reenactor) is not first
    assert reenactor.tracker_name == "landmarks"
    reenactor.apply(ReenactSettings(tracker="landmarks", smoothing=SmoothingSettings(beta=9.0)))
    assert tracker_of(reenactor).settings == SmoothingSettings(beta=9.0)


def test_a_tracker_that_does_not_run_leaves_the_one_before(
    reenactor: Reenactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    reenactor.process(frame(0.2), 1.0)
    first = tracker_of(reenactor)

    def fail(*_: object, **__: object) -> None:
        raise ValueError("damaged weights")

    monkeypatch.setattr(reenactor_module, "make_tracker", fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            reenactor.apply(ReenactSettings(tracker="landmarks"))
    assert tracker_of(reenactor) is first
    assert not first.is_closed
    assert reenactor.process(frame(0.2), 2.0).state == "tracked"


def test_without_weights_the_regressor_is_refused_as_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regressor, "DEFAULT_PATH", tmp_path / "regressor.safetensors")
    with pytest.raises(ValueError, match="no weights"):
        ReenactSettings(tracker="regressor")
    with pytest.raises(ValueError, match="expected one of auto, landmarks, regressor"):
        ReenactSettings(tracker="abacus")


def test_the_mesh_is_given_in_shares_of_the_frame(reenactor: Reenactor) -> None:
    assert reenactor.mesh() is None
    reenactor.process(frame(0.2), 1.0)
    points = reenactor.mesh()
    assert points is not None
    assert points == pytest.approx(np.array([[0.5, 0.25]]))
    reenactor.process(frame(0.0), 2.0)
    assert reenactor.mesh() is None


def test_what_is_known_of_a_person_goes_to_the_tracker_and_back(reenactor: Reenactor) -> None:
    assert reenactor.personal() is None
    personal = Personal(
        "landmarks", np.zeros(80, np.float32), np.zeros(52, np.float32), np.zeros(3, np.float32),
        np.array([0, 0, -0.6], np.float32), np.zeros((2, 2), np.float32), np.ones(52, np.float32),
        np.zeros((478, 3), np.float32),
    )  # fmt: skip
    reenactor.restore(personal)
    assert reenactor.personal() is personal


def test_numbers_move_the_target_without_a_look_at_the_camera(reenactor: Reenactor, actor: Actor) -> None:
    reenactor.apply(ReenactSettings(source="numbers"))
    rest = reenactor.process(frame(0.3), 0.0)
    assert (rest.state, rest.num_faces, rest.is_calibrating) == ("numbers", 0, False)
    reenactor.reset()
    np.testing.assert_array_equal(rest.image, reenactor.generate(actor.target.neutral, 0.0))
    reenactor.puppet(FaceChange.of({"yaw": 15, "jawOpen": 0.6}))
    reenactor.reset()
    moved = reenactor.process(frame(0.3), 0.0).image.astype(int)
    assert np.abs(moved - rest.image).max() > 5


def test_an_edit_is_added_to_what_the_target_shows(reenactor: Reenactor, actor: Actor) -> None:
    change = FaceChange.of({"yaw": -15})
    reenactor.edit(change)
    edited = reenactor.process(frame(0.0), 0.0).image
    reenactor.reset()
    np.testing.assert_array_equal(edited, reenactor.generate(change.apply(actor.target.neutral), 0.0))
    reenactor.edit(FaceChange())
    reenactor.reset()
    assert np.abs(reenactor.process(frame(0.0), 0.0).image.astype(int) - edited).max() > 5
