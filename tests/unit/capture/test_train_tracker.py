"""Training of the regressor and the levels: truth in, errors down, resumed, exported."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from capture.binding import LandmarkBinding
from capture.crop import Crop
from capture.formation import FaceFormation
from capture.formation_losses import LossWeights
from capture.train_tracker import command
from capture.train_tracker.first_levels import first_levels
from capture.train_tracker.judge import align, correlation, judge
from capture.train_tracker.mesh_weights import NARROW, WIDTHS, load_mesh_weights, mesh_model_path
from capture.train_tracker.pictures import COLUMNS
from capture.train_tracker.pointing import PX_SAY, Misses, Pointing
from capture.train_tracker.recombination import Recombination
from capture.train_tracker.reservoir import Reservoir
from capture.train_tracker.shelf import FACES, shelved
from capture.train_tracker.supervision import NAMES, Supervision, Truth, rotation_angle, sight_angle
from capture.train_tracker.trainer import TrackerTrainingConfig
from capture.train_tracker.video_faces import in_crop
from models.camera import Camera, rotation_matrix
from models.eye_windows import EYE_POINTS, EyeWindows
from models.face import FaceModel
from models.levels import FaceLevels, LevelsConfig
from models.mesh_trunk import MeshTrunk
from models.regressor import FaceRegressor, Regressed, place
from tests.unit.capture.painted import SIZE, Painter

Arrays = dict[str, NDArray[Any]]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def painted(model: FaceModel) -> Arrays:
    return Painter(model).batch(48)


def exact(truth: Truth) -> Regressed:
    """Say the truth, as far as level 0 can."""
    count = len(truth.crop)
    return Regressed(
        identity=truth.identity, expression=truth.expression, reflectance=truth.reflectance,
        illumination=truth.illumination, rotation=truth.rotation, gaze=truth.gaze,
        place=place(truth.translation, truth.rotation, truth.focal_px, SIZE),
        geometry_levels=torch.zeros(count, 96), reflectance_levels=torch.zeros(count, 48),
        confidence=20 * truth.confidence - 10,
    )  # fmt: skip


def test_saying_the_truth_costs_what_the_bases_cannot_hold(model: FaceModel, painted: Arrays) -> None:
    truth = Truth.from_arrays(painted, CPU)
    assert bool((truth.confidence == 0).any())
    terms = Supervision(model, LossWeights())(FaceFormation(model), exact(truth), truth)
    assert all(torch.isfinite(term) for term in terms.values())
    for name in ("rotation", "place", "expression", "lids", "gaze", "identity", "light", "confidence", "motion"):
        assert float(terms[name]) < 0.02, name
    assert 0.05 < float(terms["vertices_0"]) < 1.0
    assert float(terms["albedo_0"]) > 0.01


def test_crops_without_a_face_count_for_the_confidence_alone(model: FaceModel, painted: Arrays) -> None:
    chosen = painted["confidence"] > 0.5
    faces = Truth.from_arrays({name: values[chosen] for name, values in painted.items()}, CPU)
    mixed = Truth.from_arrays(painted, CPU)
    supervision, formation = Supervision(model, LossWeights()), FaceFormation(model)
    torch.manual_seed(0)
    alone = supervision(formation, exact(faces), faces)
    torch.manual_seed(0)
    beside = supervision(formation, exact(mixed), mixed)
    for name in set(alone) - {"confidence"}:
        torch.testing.assert_close(alone[name], beside[name], rtol=1e-3, atol=1e-3)


def test_pointing_is_at_rest_where_landmarks_are_found(painted: Arrays) -> None:
    truth = Truth.from_arrays(painted, CPU)
    regressor = FaceRegressor()
    pointing = Pointing(regressor)
    regressor.settle(truth.landmarks[truth.confidence > 0.5].mean(0))
    seen = torch.ones(len(truth.crop), 2)

    def off(mesh_px: float, eyes_px: float) -> tuple[float, Misses]:
        regressor(truth.crop)
        pointing._mesh = truth.landmarks[:, :468] + mesh_px
        windows = EyeWindows.around(pointing._mesh, regressor.config.eye_window[1])
        points = windows.from_crop(truth.landmarks[:, torch.tensor(EYE_POINTS)]) + eyes_px
        pointing._eyes = regressor.eye_points.deviations(points.flatten(0, 1))
        cost, misses = pointing(truth.landmarks, seen, truth.confidence)
        return float(cost.detach()), misses

    at_rest, misses = off(0.0, 0.0)
    assert float(misses.mesh_px.abs().max()) == 0.0
    assert float(misses.eyes_px.abs().max()) < 1e-3
    # A pixel more, right and down, costs the square root of two; in the windows that times `PX_SAY`.
    assert off(0.0, 5.0)[0] - off(0.0, 4.0)[0] == pytest.approx(PX_SAY * 2**0.5, rel=1e-3)
    assert off(0.0, 1.0)[0] > at_rest
    missed = off(5.0, 0.0)
    torch.testing.assert_close(missed[1].mesh_px, torch.full_like(missed[1].mesh_px, 5.0), atol=1e-3, rtol=0)
    assert missed[0] > at_rest + 5.0


def test_the_solver_learns_from_faces_dealt_anew(model: FaceModel, painted: Arrays) -> None:
    torch.manual_seed(0)
    truth, regressor = Truth.from_arrays(painted, CPU), FaceRegressor()
    regressor.settle(truth.landmarks[truth.confidence > 0.5].mean(0))
    recombination = Recombination(model, LandmarkBinding.load(), LossWeights())
    points = len(EYE_POINTS[0])
    misses = Misses(torch.randn(len(truth.crop), 468, 2), torch.randn(len(truth.crop), 2, points, 2))
    solver = [*regressor.solve.parameters(), *regressor.solved.parameters()]
    optimizer = torch.optim.Adam(solver, lr=2e-3)
    costs = []
    for _ in range(40):
        cost = recombination(regressor, truth, misses)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(float(cost.detach()))
    assert sum(costs[-5:]) < 0.8 * sum(costs[:5])
    nobody = dataclasses.replace(truth, confidence=torch.zeros_like(truth.confidence))
    assert float(recombination(regressor, nobody, misses)) == 0.0


def test_the_median_of_a_rare_weight_is_told_from_the_weight() -> None:
    truth = torch.rand(300, 3) * (torch.rand(300, 3) < 0.2)
    said = torch.stack([0.1 + 0.3 * truth[:, 0], torch.zeros(300), -truth[:, 2]], 1)
    r = correlation(said, truth)
    assert float(r[0]) == pytest.approx(1.0, abs=1e-4)
    assert bool(r[1].isnan())
    assert float(r[2]) == pytest.approx(-1.0, abs=1e-4)


def test_faces_on_the_shelf_come_first_and_new_ones_are_put_there(painted: Arrays, tmp_path: Path) -> None:
    def made(count: int) -> Iterator[Arrays]:
        for _ in range(count):
            yield painted

    total = -(-FACES // len(painted["confidence"]))
    first = list(shelved(tmp_path, made(total), NAMES))
    assert len(first) == total
    assert len(list(tmp_path.glob("*.npz"))) == 1
    (tmp_path / "0-broken.npz").write_bytes(b"half a file")
    again = list(shelved(tmp_path, made(1), NAMES))
    kept = {name: np.concatenate([batch[name] for batch in again[:-1]]) for name in NAMES}
    expected = {name: np.concatenate([batch[name] for batch in first]) for name in NAMES}
    for name in ("crop", "visible", "landmarks"):
        np.testing.assert_array_equal(kept[name], expected[name])
    np.testing.assert_allclose(kept["expression"], expected["expression"], atol=1e-3)
    assert again[-1]["crop"] is painted["crop"]


def test_the_trunk_begins_as_the_mesh_of_mediapipe() -> None:
    openvino = pytest.importorskip("openvino")
    trunk = MeshTrunk(SIZE, WIDTHS, NARROW)
    load_mesh_weights(trunk)
    crop = torch.rand(1, 3, SIZE, SIZE)
    precise = {"INFERENCE_PRECISION_HINT": "f32"}  # CPUs with AMX would take bfloat16
    compiled = openvino.Core().compile_model(openvino.Core().read_model(mesh_model_path()), "CPU", precise)
    mesh, presence = compiled(crop.permute(0, 2, 3, 1).numpy()).values()
    with torch.no_grad():
        _, ours, logit = trunk(crop)
    np.testing.assert_allclose(ours[0], mesh.reshape(468, 3), atol=1e-2)
    np.testing.assert_allclose(logit.flatten(), presence.flatten(), atol=1e-3)
    with pytest.raises(ValueError, match="expected a layer of"):
        load_mesh_weights(MeshTrunk(SIZE, (8, 16, 32, 64), 16))


def test_angles_are_those_of_the_rotations() -> None:
    rotation = torch.from_numpy(rotation_matrix(np.array([[0.0, 0, 0], [0.3, 0, 0], [0, 0, -2.5]], np.float32)))
    angles = rotation_angle(rotation, torch.eye(3).expand(3, 3, 3))
    torch.testing.assert_close(angles, torch.tensor([0.0, 0.3, 2.5]), atol=2e-4, rtol=1e-4)
    gaze = torch.tensor([[[0.2, 0.0], [0.0, -0.1]]])
    torch.testing.assert_close(sight_angle(gaze, torch.zeros(1, 2, 2)), torch.tensor([[0.2, 0.1]]), atol=2e-4, rtol=0)


def test_the_first_levels_explain_heads_beyond_the_bases(model: FaceModel, painted: Arrays) -> None:
    chosen = painted["confidence"] > 0.5
    known = {name: painted[name][chosen] for name in ("identity", "vertices", "reflectance", "albedo")}
    levels = first_levels(model, LevelsConfig(geometry=(12, 24), reflectance=(6, 12)), **known)
    beyond: NDArray[np.float32] = known["vertices"] - np.stack([model.neutral(row) for row in known["identity"]])
    rest: NDArray[np.float32] = beyond.reshape(len(beyond), -1)
    before = np.linalg.norm(beyond)
    shares = []
    for basis in levels.geometry:
        flat = basis.reshape(len(basis), -1)
        rest = rest - np.linalg.lstsq(flat.T, rest.T, rcond=None)[0].T @ flat
        shares.append(float(np.linalg.norm(rest) / before))
    assert 0.02 < shares[0] < 0.8
    assert shares[1] < 0.5 * shares[0]
    # A coefficient of one is one standard deviation of it.
    flat = levels.geometry[0].reshape(12, -1)
    coefficients = np.linalg.lstsq(flat.T, beyond.reshape(len(beyond), -1).T, rcond=None)[0]
    assert 0.5 < coefficients.std(1)[:4].mean() < 2.0
    start, stop = model.eye_ranges[0]
    assert not levels.reflectance[0][:, start:stop].any()


def test_the_reservoir_keeps_the_newest_and_passes_errors_on() -> None:
    def batches() -> Iterator[Arrays]:
        for k in range(5):
            yield {"confidence": np.full(4, k, np.float32), "vertices": np.full((4, 2), k / 3), "more": np.zeros(4)}
        raise OSError("the disk is full")

    reservoir = Reservoir(batches(), 8, ("confidence", "vertices"))
    rng = np.random.default_rng(0)

    def draw_for_ever() -> None:
        while True:
            reservoir.draw(64, rng)

    with pytest.raises(RuntimeError, match="the disk is full"):
        draw_for_ever()
    assert reservoir.made == 20
    reservoir.close()


def test_the_reservoir_waits_for_enough_and_counts() -> None:
    closed = []

    def batches() -> Iterator[Arrays]:
        try:
            k = 0
            while True:
                yield {"confidence": np.full(4, k, np.float32), "vertices": np.full((4, 2), k / 3)}
                k += 1
        finally:
            closed.append(True)

    reservoir = Reservoir(batches(), 8, ("confidence", "vertices"))
    rng = np.random.default_rng(0)
    first = reservoir.draw(16, rng, at_least=8)
    assert set(first["confidence"]) == {0.0, 1.0}  # 8 samples, 4 in a batch; the maker waits until they are drawn
    assert first["vertices"].dtype == np.float16
    while reservoir.made < 24:
        later = reservoir.draw(2, rng)
    later = reservoir.draw(16, rng)
    assert later["confidence"].min() >= 4.0
    reservoir.close()
    assert closed == [True]
    assert reservoir.drawn >= 16


def test_alignment_undoes_a_rigid_motion() -> None:
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.normal(0, 0.1, (2, 40, 3)).astype(np.float32))
    turn = torch.from_numpy(rotation_matrix(rng.normal(0, 1, (2, 3)).astype(np.float32)))
    moved = points @ turn.transpose(1, 2) + 0.3
    torch.testing.assert_close(align(moved, points), points, atol=1e-5, rtol=0)


def test_landmarks_go_into_a_crop_as_pixels_do() -> None:
    camera = Camera.webcam(320, 240)
    crop = Crop(camera, (200.0, 90.0), 80.0, 0.2, 64)
    points = np.array([[200.0, 90.0], [230.0, 100.0]], np.float32)
    inside = in_crop(crop, points)
    np.testing.assert_allclose(inside[0], [32.0, 32.0], atol=1e-3)
    back = np.column_stack([inside, np.ones(2)]) @ crop.homography.T
    np.testing.assert_allclose(back[:, :2] / back[:, 2:], points, atol=1e-3)


def arguments(work: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["--work", str(work), "--batch", "16", "--json", "--device", "cpu", *words])


def test_a_run_learns_resumes_and_exports(
    model: FaceModel,
    painted: Arrays,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def painted_again(config: object, workers: int, batch: int) -> Iterator[Arrays]:
        while True:
            yield painted

    def small(**changes: Any) -> object:
        return TrackerTrainingConfig(**changes, reservoir=48, first_faces=24)

    monkeypatch.setattr(command, "stream", painted_again)
    monkeypatch.setattr(command, "TEST_FACES", 32)
    monkeypatch.setattr(command, "TrackerTrainingConfig", small)
    work = tmp_path / "work"
    assert command.run(arguments(work, "--steps", "4", "--learning-rate", "0.001")) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["steps"], first["processes"]) == (4, 1)
    command_line = ("--steps", "14", "-o", str(tmp_path / "weights"), "--picture-every", "10")
    assert command.run(arguments(work, *command_line, "--learning-rate", "0.001")) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["steps"] == 14
    log = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [4, 10, 14]  # it went on where it was
    assert log[-1]["losses"]["total"] < log[0]["losses"]["total"]
    with Image.open(work / "faces-000014.png") as picture:
        assert picture.size[0] == len(COLUMNS) * SIZE
    regressor = FaceRegressor.load(tmp_path / "weights" / "regressor.safetensors")
    levels = FaceLevels.load(tmp_path / "weights" / "face_levels.safetensors")
    errors = judge(regressor, FaceFormation(model, levels), {name: painted[name][:32] for name in NAMES})
    assert errors["rotation_deg"] == pytest.approx(second["test"]["rotation_deg"], abs=0.2)
    assert set(errors) == set(second["test"])
    onwards = tmp_path / "onwards"
    begin = ("--begin", str(tmp_path / "weights"), "--steps", "1", "--learning-rate", "0.000001")
    assert command.run(arguments(onwards, *begin)) == 0
    third = json.loads(capsys.readouterr().out)
    assert third["test"]["rotation_deg"] == pytest.approx(second["test"]["rotation_deg"], abs=0.5)
    assert command.run(arguments(tmp_path / "nothing", "--begin", str(tmp_path), "--steps", "1")) == 1
    assert "no weights" in capsys.readouterr().err


def test_an_interrupted_run_can_go_on(
    painted: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def painted_once(config: object, workers: int, batch: int) -> Iterator[Arrays]:
        yield painted
        raise OSError("no more faces")

    monkeypatch.setattr(command, "stream", painted_once)
    assert command.run(arguments(tmp_path, "--steps", "2")) == 1
    assert "no more faces" in capsys.readouterr().err


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(arguments(tmp_path, "--minutes", "0")) == 2
    assert command.run(arguments(tmp_path, "--workers", "0")) == 2
    assert "expected minutes > 0" in capsys.readouterr().err
