"""What a target can be trained from and what not, each refused with its reason and its cure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from capture import suitability
from capture.coverage import AIMS, Coverage, by_group
from capture.cuts import find_cuts
from capture.suitability import UnsuitableVideoError, check_video
from capture.track import Track
from models.params import EXPRESSION_INDEX, FaceParams
from streamer.cli import main
from tests.enrolment import BAD, SECONDS, SHORT, good


def test_a_good_video_will_do(tmp_path: Path) -> None:
    seen: list[float] = []
    found = check_video(good(tmp_path / "good.mp4"), on_progress=lambda done, _: seen.append(done))
    assert found.seconds == pytest.approx(11.0, abs=0.1)
    assert found.fps == pytest.approx(15.0, abs=0.1)
    assert (found.width, found.height) == (320, 320)
    assert found.face_share > 0.95
    assert any("little" in sentence for sentence in found.advice)
    assert 50 < len(seen) < 80


@pytest.mark.parametrize("name", BAD)
def test_what_will_not_do_is_refused(name: str, tmp_path: Path) -> None:
    code, make = BAD[name]
    path = tmp_path / "video.mp4"
    make(path)
    with pytest.raises(UnsuitableVideoError) as refusal:
        check_video(path, SHORT)
    assert refusal.value.code == code
    assert refusal.value.reason.endswith(".")
    assert refusal.value.cure.endswith(".")


def test_the_first_half_of_a_file_is_told_from_the_whole(tmp_path: Path) -> None:
    whole = good(tmp_path / "good.mkv", 2 * SECONDS).read_bytes()
    path = tmp_path / "half.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnsuitableVideoError) as refusal:
        check_video(path, SHORT)
    assert refusal.value.code == "damaged"


def test_a_video_of_the_least_length_and_one_a_second_shorter(tmp_path: Path) -> None:
    path = good(tmp_path / "good.mp4", SECONDS)
    assert check_video(path, SHORT).seconds == pytest.approx(SECONDS, abs=0.1)
    with pytest.raises(UnsuitableVideoError, match="10 are the least"):
        check_video(path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suitability, "Bounds", lambda: SHORT)
    assert main(["check", str(good(tmp_path / "good.mp4", SECONDS)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["suitable"] is True
    (tmp_path / "bad.mp4").write_bytes(b"PK")
    assert main(["check", str(tmp_path / "bad.mp4"), "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["code"] == "unreadable"
    assert "Send an MP4" in captured.err
    assert main(["check", str(tmp_path / "none.mp4")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_cuts_are_told_from_motion_flashes_and_late_frames() -> None:
    rng = np.random.default_rng(1)
    times = np.arange(90) / 30.0
    scene, other = rng.integers(0, 200, (2, 27, 90)).astype(np.uint8)

    def shot(picture: NDArray[np.uint8], count: int) -> list[NDArray[np.uint8]]:
        return [picture[:, i % 40 : i % 40 + 48] for i in range(count)]

    moving = np.stack(shot(scene, 40))
    assert find_cuts(moving, times[:40]) == []
    cut = np.stack([*([scene[:, :48]] * 30), *([other[:, :48]] * 30)])
    cut = np.clip(cut + rng.integers(0, 2, cut.shape), 0, 255).astype(np.uint8)
    assert find_cuts(cut, times[:60]) == [pytest.approx(1.0)]
    flash = cut[:30].copy()
    flash[15] = 255
    assert find_cuts(flash, times[:30]) == []


def test_coverage_counts_what_is_seen_relative_to_rest() -> None:
    coverage = Coverage()
    rest = FaceParams.neutral().replace(rotation=np.array([0.3, 0.0, 0.0], np.float32))
    assert set(coverage.shares().values()) == {0.0}
    for index in range(31):
        expression = np.zeros(52, np.float32)
        expression[EXPRESSION_INDEX["mouthSmileLeft"]] = expression[EXPRESSION_INDEX["mouthSmileRight"]] = 0.6
        turned = rest.replace(rotation=rest.rotation + np.array([0.3, 0.0, 0.0], np.float32), expression=expression)
        coverage.add(Track(turned, "tracked", 1.0, 1, rest, None), index / 30)
    shares = coverage.shares()
    assert shares["left"] == pytest.approx(1.0, abs=0.02)
    assert shares["smile"] == pytest.approx(1.0, abs=0.02)
    assert shares["right"] == 0.0
    assert by_group(shares)["gaze"] == 0.0
    before = coverage.shares()
    coverage.add(Track(turned, "holding", 0.0, 0, rest, None), 1.1)
    coverage.add(Track(turned, "tracked", 1.0, 1, rest, None), 60.0)  # what happened meanwhile nobody saw
    assert coverage.shares() == before
    coverage.reset()
    assert set(coverage.shares()) == set(AIMS)
    assert not any(coverage.shares().values())
