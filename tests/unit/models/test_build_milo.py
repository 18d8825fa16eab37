"""The parts of the rendering script that need neither Blender nor anny nor assets."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.build.milo import mhclo, texture
from models.build.milo.actor import (
    LID_CLEARANCE,
    NECK_SHARES,
    PosedActor,
    fit_sphere,
    gaze_of_weights,
    head_rotation,
    weights_with_gaze,
)
from models.build.milo.mesh import BASE_VERTICES, Part, TargetMesh
from models.build.milo.mhclo import Polygons, read_mhclo
from models.build.milo.performance import (
    GAZE_LIMIT_DEG,
    POSE_LIMIT_DEG,
    SHAPE_FRAMES,
    PerformanceSettings,
    perform,
    shape_weights,
)
from models.build.milo.recording import Recording
from models.build.milo.render import render
from models.build.milo.target import DEFAULT_TARGET, Target
from models.camera import rotation_matrix
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_SIZE

Array = NDArray[np.float64]

EYE_RADIUS = 0.012
EYE_CENTERS = np.array([[0.03, -0.09, 0.8], [-0.03, -0.09, 0.8]])
WORLD_TO_AXES = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def sphere(center: Array, radius: float, count: int = 60) -> Array:
    golden = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0))
    z = np.linspace(-0.99, 0.99, count)
    ring = np.sqrt(1.0 - z**2)
    return np.asarray(center + radius * np.stack([ring * np.cos(golden), ring * np.sin(golden), z], -1))


@pytest.fixture
def mesh() -> TargetMesh:
    """Two eyeballs, one lid vertex before each, a lash, and a point each on head, neck and trunk."""
    lids = EYE_CENTERS + [0.0, -1.01 * EYE_RADIUS, 0.0]
    body = np.array([[0.0, -0.1, 0.9], [0.0, 0.0, 0.68], [0.0, 0.0, 0.2], *lids])
    eyes = np.concatenate([sphere(center, EYE_RADIUS) for center in EYE_CENTERS])
    lashes = lids[:1] + [0.0, -0.001, 0.0]
    rest = np.concatenate([body, eyes, lashes])
    shapes = np.zeros((EXPRESSION_SIZE, len(rest), 3))
    shapes[EXPRESSION_INDEX["eyeBlinkLeft"], [3, len(rest) - 1], 2] = -0.006
    shapes[EXPRESSION_INDEX["eyeBlinkRight"], 4, 2] = -0.006
    shapes[EXPRESSION_INDEX["eyeBlinkLeft"], 3, 1] = 0.004  # a straight blend that would cut into the eyeball
    shapes[EXPRESSION_INDEX["jawOpen"], 0, 2] = -0.01
    weights = np.zeros((len(rest), 4))
    weights[:, 3] = 1.0
    weights[1] = [0.5, 0.5, 0.0, 0.0]
    weights[2] = 0.0
    nothing = Polygons(np.zeros((0, 4), np.int64), np.zeros((0, 4, 2)))
    empty = np.zeros(0, np.int64)
    return TargetMesh(
        rest=rest.astype(np.float32),
        shapes=shapes.astype(np.float32),
        bone_weights=weights.astype(np.float32),
        pivots=np.array([[0, 0.02, 0.65], [0, 0.01, 0.67], [0, 0.0, 0.71], [0, -0.02, 0.75]], np.float32),
        parts={
            "body": Part(0, 5, nothing, empty),
            "eyes": Part(5, 120, nothing, empty),
            "lashes": Part(125, 1, nothing, empty),
        },
    )


def test_a_mesh_survives_its_file(mesh: TargetMesh, tmp_path: Path) -> None:
    mesh.save(tmp_path / "mesh.npz")
    loaded = TargetMesh.load(tmp_path / "mesh.npz")
    assert list(loaded.parts) == ["body", "eyes", "lashes"]
    assert loaded.parts["eyes"].vertices == slice(5, 125)
    np.testing.assert_array_equal(loaded.shapes, mesh.shapes)


def test_a_mesh_of_wrong_shape_is_refused(mesh: TargetMesh) -> None:
    with pytest.raises(ValueError, match="pivots: expected shape"):
        TargetMesh(mesh.rest, mesh.shapes, mesh.bone_weights, mesh.pivots[:3], mesh.parts)


def test_a_sphere_is_found() -> None:
    center, radius = fit_sphere(sphere(np.array([0.1, -0.2, 0.3]), 0.05)[:30])
    np.testing.assert_allclose(center, [0.1, -0.2, 0.3], atol=1e-9)
    assert radius == pytest.approx(0.05)


def test_at_rest_nothing_moves_but_the_lids_keep_clear(mesh: TargetMesh) -> None:
    vertices, head = PosedActor(mesh).pose(np.zeros(EXPRESSION_SIZE, np.float32))
    np.testing.assert_allclose(head, np.eye(4), atol=1e-12)
    still = [0, 1, 2, *range(5, 125)]
    np.testing.assert_allclose(vertices[still], mesh.rest[still], atol=1e-6)
    for lid, center in zip((3, 4), EYE_CENTERS, strict=True):
        assert np.linalg.norm(vertices[lid] - center) == pytest.approx(LID_CLEARANCE * EYE_RADIUS, rel=1e-3)


def test_a_blink_slides_over_the_eyeball(mesh: TargetMesh) -> None:
    weights = np.zeros(EXPRESSION_SIZE, np.float32)
    weights[EXPRESSION_INDEX["eyeBlinkLeft"]] = 1.0
    cut = np.linalg.norm(mesh.rest[3] + mesh.shapes[EXPRESSION_INDEX["eyeBlinkLeft"], 3] - EYE_CENTERS[0])
    assert cut < EYE_RADIUS
    vertices, _ = PosedActor(mesh).pose(weights)
    assert np.linalg.norm(vertices[3] - EYE_CENTERS[0]) >= LID_CLEARANCE * EYE_RADIUS * 0.999
    assert vertices[3, 2] < mesh.rest[3, 2] - 0.003


def test_gaze_turns_the_eyeballs_to_the_side_and_up(mesh: TargetMesh) -> None:
    weights = weights_with_gaze(np.zeros(EXPRESSION_SIZE, np.float32), (20.0, 10.0))
    vertices, _ = PosedActor(mesh).pose(weights)
    for start, center in zip((5, 65), EYE_CENTERS, strict=True):
        front = start + int(np.argmin(mesh.rest[start : start + 60, 1]))
        before, after = mesh.rest[front] - center, vertices[front] - center
        assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before), rel=1e-4)
        assert after[0] - before[0] == pytest.approx(EYE_RADIUS * np.sin(np.deg2rad(20)), abs=0.3 * EYE_RADIUS)
        assert after[2] > before[2]


@pytest.mark.parametrize("gaze", [(0.0, 0.0), (17.0, -9.0), (-24.0, 12.0)])
def test_gaze_goes_into_the_weights_and_back(gaze: tuple[float, float]) -> None:
    weights = weights_with_gaze(np.zeros(EXPRESSION_SIZE, np.float32), gaze)
    np.testing.assert_allclose(gaze_of_weights(weights), [gaze, gaze], atol=1e-5)
    assert (weights >= 0).all()


def test_angles_have_the_signs_of_the_conventions() -> None:
    for pose in ([20.0, 0, 0], [0, 10.0, 0], [0, 0, 15.0], [12.0, -8.0, 5.0]):
        ours = rotation_matrix(np.deg2rad(np.array(pose, np.float32)))
        world = WORLD_TO_AXES.T @ ours @ WORLD_TO_AXES
        np.testing.assert_allclose(head_rotation(tuple(pose)), world, atol=1e-6)


def test_the_head_follows_a_chain_of_joints(mesh: TargetMesh) -> None:
    """Written out by hand: each joint turns everything above it about where the joints below have carried it."""
    pose, shift = (25.0, -8.0, 6.0), np.array([0.01, -0.02, 0.015])
    joints = mesh.pivots.astype(np.float64)
    point = mesh.rest[0].astype(np.float64)
    for bone in reversed(range(4)):
        turn = head_rotation(tuple(angle * NECK_SHARES[bone] for angle in pose))
        point = turn @ (point - joints[bone]) + joints[bone]
    vertices, head = PosedActor(mesh).pose(np.zeros(EXPRESSION_SIZE, np.float32), pose, tuple(shift))
    np.testing.assert_allclose(vertices[0], point + shift, atol=1e-6)
    np.testing.assert_allclose(head[:3, :3] @ mesh.rest[0] + head[:3, 3], point + shift, atol=1e-6)
    np.testing.assert_allclose(vertices[2], mesh.rest[2] + shift, atol=1e-6)  # the trunk does not turn


def test_weights_of_wrong_size_are_refused(mesh: TargetMesh) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(52,\)"):
        PosedActor(mesh).pose(np.zeros(51, np.float32))


# --- proxies -----------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy_file(tmp_path: Path) -> Path:
    """A triangle and a quad that hang on base vertices 0, 1, 2; one corner is glued to vertex 3."""
    (tmp_path / "hat.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nvt 1 1\ng hat\nf 1/1 2/2 3/3\nf 1/1 2/2 4/4 3/3\n"
    )
    path = tmp_path / "hat.mhclo"
    path.write_text(
        "# a hat\nbasemesh hm08\nobj_file hat.obj\nx_scale 0 1 2.0\nz_scale 0 2 4.0\n"
        "verts 0\n0 1 2 1.0 0.0 0.0 0.0 0.5 0.0\n0 1 2 0.0 1.0 0.0 0.5 0.0 0.0\n0 1 2 0.25 0.25 0.5 0.0 0.0 0.5\n3\n"
        "delete_verts\n5 - 7 9 11 -\n13 20\n"
    )
    return path


def body(points: list[list[float]]) -> Array:
    """Place base vertices given in MakeHuman's axes and decimetres; all others lie at the origin."""
    vertices = np.zeros((BASE_VERTICES, 3))
    vertices[: len(points)] = mhclo.from_makehuman(np.array(points))
    return vertices


def test_a_proxy_is_read_with_ranges_across_lines(proxy_file: Path) -> None:
    proxy = read_mhclo(proxy_file)
    assert proxy.hidden.tolist() == [5, 6, 7, 9, 11, 12, 13, 20]
    assert proxy.polygons.corners.tolist() == [[0, 1, 2, -1], [0, 1, 3, 2]]
    np.testing.assert_array_equal(proxy.polygons.coordinates[1], [[0, 0], [1, 0], [1, 1], [0, 1]])
    assert proxy.anchors[3].tolist() == [3, 3, 3]


def test_a_proxy_fits_a_body_of_another_size(proxy_file: Path) -> None:
    # twice as wide as the body the hat was made for, as tall, half as deep
    rest = body([[0, 0, 0], [4, 0, 0], [0, 0, 2], [1, 1, 1]])
    fitted = mhclo.to_makehuman(read_mhclo(proxy_file).fit(rest))
    expected: list[list[float]] = [[0, 0.5, 0], [4 + 0.5 * 2, 0, 0], [1, 0, 1 + 0.5 * 0.5], [1, 1, 1]]
    np.testing.assert_allclose(fitted, expected, atol=1e-9)


def test_a_proxy_turns_with_the_body(proxy_file: Path) -> None:
    rest = body([[0, 0, 0], [4, 0, 0], [0, 0, 2], [1, 1, 1]])
    turn = head_rotation((30.0, 20.0, 10.0))
    proxy = read_mhclo(proxy_file)
    np.testing.assert_allclose(proxy.fit(rest, rest @ turn.T), proxy.fit(rest) @ turn.T, atol=1e-9)


def test_a_proxy_carries_what_is_known_of_the_body(proxy_file: Path) -> None:
    field = np.zeros((2, BASE_VERTICES, 1))
    field[1, :3, 0] = [1.0, 2.0, 4.0]
    carried = read_mhclo(proxy_file).carry(field)
    np.testing.assert_allclose(carried[1, :, 0], [1.0, 2.0, 0.25 + 0.5 + 2.0, 0.0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("obj_file hat.obj\n", ""), "names no obj_file"),
        (lambda text: text.replace("\n3\n", "\n"), "binds 3 vertices, hat.obj has 4"),
    ],
)
def test_a_damaged_proxy_is_refused(proxy_file: Path, damage: Callable[[str], str], message: str) -> None:
    proxy_file.write_text(damage(proxy_file.read_text()))
    with pytest.raises(ValueError, match=message):
        read_mhclo(proxy_file)


def test_an_obj_with_larger_polygons_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "five.obj"
    path.write_text("v 0 0 0\n" * 5 + "f 1 2 3 4 5\n")
    with pytest.raises(ValueError, match="five.obj:6: expected 3 or 4 corners, got 5"):
        mhclo.read_obj(path)


# --- performance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("talk_s", [0.1, 1.0, 8.0])
def test_a_phrase_may_be_cut_short(talk_s: float) -> None:
    for seed in range(100, 116):
        performance = perform(PerformanceSettings(seed=seed, rest_s=0.5, sweep_s=0.5, gaze_s=0.5, talk_s=talk_s))
        assert np.isfinite(performance.expression).all()


def test_a_performance_is_repeatable_and_its_seed_counts() -> None:
    first, again, other = perform(), perform(), perform(PerformanceSettings(seed=12))
    for name in ("expression", "pose_deg", "gaze_deg", "translation_m", "test_frames"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.pose_deg, other.pose_deg)


def test_a_performance_stays_within_its_limits_and_has_no_jumps() -> None:
    performance = perform()
    assert performance.expression.min() >= 0.0
    assert performance.expression.max() <= 1.0
    assert (np.abs(performance.pose_deg) <= np.array(POSE_LIMIT_DEG, np.float32)).all()
    assert (np.abs(performance.gaze_deg) <= np.array(GAZE_LIMIT_DEG, np.float32)).all()
    assert np.abs(np.diff(performance.pose_deg, axis=0)).max() < 5.0  # degrees from frame to frame: 150 a second
    assert np.abs(np.diff(performance.translation_m, axis=0)).max() < 0.005


def test_every_shape_is_shown_alone() -> None:
    performance = perform()
    start = performance.segment_start[performance.segments.index("shapes")]
    shapes = [name for name in EXPRESSION_NAMES if not name.startswith("eyeLook")]
    for number, name in enumerate(shapes[1:-1], 1):  # the first and last ease in and out with the segment
        frame = start + number * SHAPE_FRAMES + 8
        shown = {EXPRESSION_NAMES[i] for i in np.flatnonzero(performance.expression[frame] > 0.01)}
        assert shown - {"jawOpen"} == {name} - {"jawOpen"}
        assert performance.expression[frame, EXPRESSION_INDEX[name]] > 0.9


def test_the_gaze_is_left_out_of_the_expression() -> None:
    look = [index for index, name in enumerate(EXPRESSION_NAMES) if name.startswith("eyeLook")]
    assert not perform().expression[:, look].any()


def test_poses_gaze_and_blinks_cover_what_a_face_does() -> None:
    performance = perform()
    assert performance.pose_deg.max(0)[0] > 25.0
    assert performance.pose_deg.min(0)[0] < -25.0
    assert (performance.pose_deg.max(0) > 10.0).all()
    assert (performance.gaze_deg.std(0) > [5.0, 3.0]).all()
    talk = slice(performance.segment_start[-2], None)
    shut = performance.expression[talk, EXPRESSION_INDEX["eyeBlinkLeft"]] > 0.8
    blinks = int((np.diff(shut.astype(int)) == 1).sum())
    seconds = len(shut) / performance.fps
    assert 0.15 < blinks / seconds < 0.6


def test_the_order_has_every_frame_once_and_spreads_any_beginning() -> None:
    performance = perform()
    order = performance.order()
    assert sorted(order.tolist()) == list(range(len(performance)))
    beginning = order[:200]
    share = np.isin(beginning, performance.test_frames).mean()
    assert 0.2 < share < 0.3
    trained = np.sort(beginning[~np.isin(beginning, performance.test_frames)])
    assert np.diff(trained).max() < 4 * len(performance) / len(trained)


def test_a_row_of_frames_is_held_out() -> None:
    held_out = perform(PerformanceSettings(test_row=30, test_spread=10)).test_frames
    gaps = np.diff(held_out)
    assert max(len(run) for run in "".join("1" if gap == 1 else " " for gap in gaps).split()) >= 29


def test_an_unknown_shape_is_refused() -> None:
    assert shape_weights({"mouthSmile": 0.5}) == {
        EXPRESSION_INDEX["mouthSmileLeft"]: 0.5,
        EXPRESSION_INDEX["mouthSmileRight"]: 0.5,
    }
    with pytest.raises(ValueError, match="mouthGrin is no ARKit blendshape"):
        shape_weights({"mouthGrin": 1.0})


def test_the_performance_file_is_what_the_trainer_reads(mesh: TargetMesh, tmp_path: Path) -> None:
    settings = PerformanceSettings(
        rest_s=1, combined_shapes=2, sweep_s=2, gaze_s=1, talk_s=3, test_row=8, test_spread=4
    )
    performance, actor = perform(settings), PosedActor(mesh)
    recording = Recording(tmp_path)
    recording.write_performance(performance, actor, size=64, focal_px=151.1, camera_position_m=(0.0, -0.97, 0.79))
    data = recording.read_performance()
    assert tuple(data["names"].tolist()) == EXPRESSION_NAMES
    assert data["frame_head_matrix"].shape == (len(performance), 4, 4)
    frame = len(performance) // 2
    _, head = actor.pose(data["frame_weights"][frame], data["pose_deg"][frame], data["translation_m"][frame])
    np.testing.assert_allclose(data["frame_head_matrix"][frame], head, atol=1e-6)
    assert data["center_px"].tolist() == [32.0, 32.0]


# --- description and commands ------------------------------------------------------------------------------------


def test_the_description_of_milo_is_complete() -> None:
    target = Target.load()
    assert target.name == "milo"
    assert target.camera.focal_px(512) == pytest.approx(1208.889, abs=1e-3)
    assert len(target.hair.hairline) > 20


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("brightness = 1.12", "brilliance = 1.12", "eyes.brilliance: unknown field"),
        ("brightness = 1.12", 'brightness = "high"', "eyes.brightness: expected float, got 'high'"),
        ("seed = 7", "", "seed: missing"),
        ('style = "strands"', 'style = "wig"', "hair.style: expected strands, piece or none, got 'wig'"),
        ('tongue = "tongue', 'tongues = "tongue', "parts: expected brows, eyes"),
        ("color = [0.035, 0.05, 0.075]", "color = [0.035, 0.05]", "cloth.color: expected tuple"),
    ],
)
def test_a_bad_description_is_refused_by_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = DEFAULT_TARGET.read_text()
    assert old in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        Target.load(path)


def test_rendering_needs_a_prepared_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mesh.npz, target.toml, performance.npz missing"):
        render(Recording(tmp_path), tmp_path, size=64, samples=1, threads=1, minutes=1.0, limit=1)


def test_face_pixels_stand_upright_and_are_mirrored() -> None:
    assert texture.face_pixels(np.array([1300 / 2048, 1 - 1799 / 2048])).tolist() == pytest.approx([0.0, 0.0])
    left, right = texture.mirrored([(700.0, 10.0)])
    assert (left[0] + right[0]) / 2 == texture.MIDDLE_X
    mask = texture.spot(1000.0, 200.0, 20.0, 20.0)
    row, column = np.unravel_index(int(mask.argmax()), mask.shape)
    assert texture.face_pixels(np.array([column / 2048, 1 - row / 2048])).tolist() == pytest.approx([1000.0, 200.0])


def test_a_face_mask_lies_down_where_face_pixels_say() -> None:
    full = texture.to_texture(texture.face_mask([(900, 300), (960, 300), (960, 360), (900, 360)]))
    row, column = np.argwhere(full > 0).mean(0)
    assert texture.face_pixels(np.array([column / 2048, 1 - row / 2048])).tolist() == pytest.approx([930, 330], abs=2)


def test_only_scene_and_materials_need_blender() -> None:
    folder = DEFAULT_TARGET.parent
    users = set()
    for path in folder.glob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        if names & {"bpy", "mathutils"}:
            users.add(path.stem)
    assert users == {"scene", "materials"}
