"""The Blender scene of a target: built once; from frame to frame only vertices and the hair's matrix change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from models.build.milo.actor import PosedActor
from models.build.milo.hair import Strands
from models.build.milo.materials import part_materials, strand_material
from models.build.milo.mesh import Part, TargetMesh
from models.build.milo.target import Background, Color, Target

Array = NDArray[np.float32]

BODY_BELOW_EYES_M = 0.3775
"""Skin further down than this is out of the picture and left out."""
BODY_HALF_WIDTH_M = 0.33
SHIRT_BELOW_EYES_M = 0.5475
SMOOTH = ("body", "brows", "lashes", "tongue", "shirt")
"""Parts that are subdivided once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderSettings:
    """Size and quality of the pictures."""

    size: int = 512
    """Width and height in pixels."""
    samples: int = 16
    """Light paths per pixel, before denoising."""
    threads: int = 0
    """CPU threads; 0 takes all."""

    def __post_init__(self) -> None:
        if self.size < 16 or self.samples < 1 or self.threads < 0:
            raise ValueError(f"rendering: expected size >= 16, samples >= 1, threads >= 0, got {self}")


class Scene:
    """A target before the camera."""

    def __init__(self, target: Target, mesh: TargetMesh, assets: Path, folder: Path, settings: RenderSettings) -> None:
        """Build the scene; `folder` holds what `prepare` made."""
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.actor = PosedActor(mesh)
        self._scene = bpy.context.scene
        _set_up_renderer(self._scene, settings)
        self._parts = self._build_parts(target, mesh, part_materials(target, assets, folder))
        self._hair = _add_strands(Strands.load(folder / "hair.npz"), target) if target.hair.style == "strands" else None
        _add_camera(self._scene, target, self.actor)
        _add_lights(Vector(target.camera.target_point(self.actor.between_eyes)))
        _add_world(self._scene, target.background)

    def pose(self, weights: Array, pose_deg: Array, translation_m: Array) -> None:
        """Put the target into a pose: ARKit weights `[52]`, angles `[3]` in degrees, translation `[3]` in metres."""
        vertices, head = self.actor.pose(weights, pose_deg, translation_m)
        for mesh, index in self._parts:
            mesh.vertices.foreach_set("co", vertices[index].ravel())
            mesh.update()
        if self._hair is not None:
            self._hair.matrix_world = Matrix(head.tolist())

    def render(self, path: Path) -> None:
        """Render to a PNG file."""
        self._scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)

    def _build_parts(
        self, target: Target, mesh: TargetMesh, materials: dict[str, Any]
    ) -> list[tuple[Any, NDArray[np.int64]]]:
        covered = mesh.parts["shirt"].hidden
        eye_height = self.actor.between_eyes[2]
        parts = []
        for name, part in mesh.parts.items():
            corners = part.polygons.corners
            height = np.where(corners >= 0, mesh.rest[part.start + np.maximum(corners, 0), 2], np.inf).min(1)
            keep = np.ones(len(corners), bool)
            if name == "body":
                width = np.abs(mesh.rest[np.maximum(corners, 0), 0]).max(1)
                keep = (height > eye_height - BODY_BELOW_EYES_M) & (width < BODY_HALF_WIDTH_M)
                keep &= ~np.isin(corners, covered).any(1)
            elif name == "shirt":
                keep = height > eye_height - SHIRT_BELOW_EYES_M
            data, index = _add_mesh(name, mesh, part, keep, materials[name])
            parts.append((data, index))
        shirt = bpy.data.objects["shirt"].modifiers.new("thickness", "SOLIDIFY")
        shirt.thickness = target.cloth.thickness_m
        shirt.offset = 1.0
        return parts


def _set_up_renderer(scene: Any, settings: RenderSettings) -> None:  # noqa: ANN401
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = settings.size
    scene.render.resolution_percentage = 100
    scene.render.use_persistent_data = True
    scene.render.threads_mode = "FIXED" if settings.threads else "AUTO"
    if settings.threads:
        scene.render.threads = settings.threads
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.image_settings.compression = 15
    scene.view_settings.view_transform = "Filmic"
    scene.view_settings.look = "Medium High Contrast"
    scene.view_settings.exposure = 0.35
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = settings.samples
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = True
    cycles.denoiser = "OPENIMAGEDENOISE"
    cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    cycles.denoising_prefilter = "ACCURATE"
    cycles.use_light_tree = False
    cycles.max_bounces = 4
    cycles.diffuse_bounces = 2
    cycles.glossy_bounces = 1
    cycles.transmission_bounces = 2
    cycles.transparent_max_bounces = 24  # lashes and brows are many sheets deep
    cycles.sample_clamp_indirect = 4.0
    cycles.caustics_reflective = False
    cycles.caustics_refractive = False


def _add_mesh(
    name: str,
    mesh: TargetMesh,
    part: Part,
    keep: NDArray[np.bool_],
    material: Any,  # noqa: ANN401
) -> tuple[Any, NDArray[np.int64]]:
    """Add the kept polygons of a part; give Blender's mesh and the target's vertex behind each of its vertices."""
    corners, coordinates = part.polygons.corners[keep], part.polygons.coordinates[keep]
    used = np.unique(corners[corners >= 0])
    new_index = {int(old): new for new, old in enumerate(used)}
    faces, texture = [], []
    for polygon, points in zip(corners.tolist(), coordinates, strict=True):
        first = {corner: place for place, corner in reversed(list(enumerate(polygon))) if corner >= 0}
        if len(first) >= 3:  # some quads repeat a corner
            places = sorted(first.values())
            faces.append([new_index[polygon[place]] for place in places])
            texture.append(points[places])
    data = bpy.data.meshes.new(name)
    index = used + part.start
    data.from_pydata(mesh.rest[index].tolist(), [], faces)
    layer = data.uv_layers.new(name="UVMap")
    layer.data.foreach_set("uv", np.concatenate(texture).astype(np.float32).ravel())
    data.polygons.foreach_set("use_smooth", [True] * len(data.polygons))
    data.materials.append(material)
    data.validate()
    data.update()
    thing = _add_object(name, data)
    if name in SMOOTH:
        smooth = thing.modifiers.new("smooth", "SUBSURF")
        smooth.levels = smooth.render_levels = 1
        smooth.boundary_smooth = "PRESERVE_CORNERS"
    return data, index


def _add_object(name: str, data: Any) -> Any:  # noqa: ANN401
    thing = bpy.data.objects.new(name, data)
    bpy.context.collection.objects.link(thing)
    return thing


def _add_strands(strands: Strands, target: Target) -> Any:  # noqa: ANN401
    count, points, _ = strands.points.shape
    curves = bpy.data.hair_curves.new("strands")
    curves.add_curves([points] * count)
    curves.points.foreach_set("position", strands.points.ravel())
    curves.points.foreach_set("radius", strands.radii.ravel())
    curves.materials.append(strand_material(target.hair.root_color, target.hair.tip_color))
    return _add_object("strands", curves)


def _add_camera(scene: Any, target: Target, actor: PosedActor) -> None:  # noqa: ANN401
    camera = bpy.data.cameras.new("camera")
    camera.lens = target.camera.focal_mm
    camera.sensor_width = target.camera.sensor_mm
    thing = _add_object("camera", camera)
    thing.location = target.camera.position(actor.between_eyes)
    thing.rotation_euler = (math.pi / 2.0, 0.0, 0.0)
    scene.camera = thing


def _add_lights(look_at: Any) -> None:  # noqa: ANN401
    """Light a portrait: warm key from the target's right, cool fill, two rims from behind."""
    key, warm, cool = Vector((0.0, 0.0, 0.02)), (1.0, 0.96, 0.91), (0.92, 0.96, 1.0)
    _add_light("key", (-0.75, -1.15, 0.65), look_at, key, 0.7, 22.0, warm)
    fill = _add_light("fill", (1.1, -1.0, 0.05), look_at, Vector(), 1.2, 7.5, cool)
    fill.visible_glossy = False  # no second highlight in the eyes
    _add_light("rim", (0.75, 0.85, 0.55), look_at, Vector((0.0, 0.0, 0.05)), 0.5, 6.0, (1.0, 0.98, 0.95))
    _add_light("second rim", (-0.8, 0.9, 0.35), look_at, Vector(), 0.4, 2.5, (0.9, 0.95, 1.0))


def _add_light(
    name: str,
    place: tuple[float, float, float],
    look_at: Any,  # noqa: ANN401
    aim: Any,  # noqa: ANN401
    size_m: float,
    power_w: float,
    color: Color,
) -> Any:  # noqa: ANN401
    """Add a square lamp at (x, y) of the world and `z` above the point looked at, turned to that point plus `aim`."""
    lamp = bpy.data.lights.new(name, "AREA")
    lamp.energy, lamp.size, lamp.color = power_w, size_m, color
    thing = _add_object(name, lamp)
    thing.location = Vector((place[0], place[1], look_at.z + place[2]))
    thing.rotation_euler = (look_at + aim - thing.location).to_track_quat("-Z", "Y").to_euler()
    thing.visible_camera = False
    return thing


def _add_world(scene: Any, background: Background) -> None:  # noqa: ANN401
    """Show the gradient to the camera, and dim even light to everything else."""
    world = bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    tree.nodes.clear()
    place = tree.nodes.new("ShaderNodeTexCoord")
    distance = tree.nodes.new("ShaderNodeVectorMath")
    distance.operation = "DISTANCE"
    distance.inputs[1].default_value = (*background.center, 0.0)
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.interpolation = "EASE"
    ramp.color_ramp.elements[0].color = (*background.inner_color, 1.0)
    ramp.color_ramp.elements[1].color = (*background.outer_color, 1.0)
    light = tree.nodes.new("ShaderNodeBackground")
    light.inputs["Color"].default_value = (0.55, 0.6, 0.68, 1.0)
    light.inputs["Strength"].default_value = 0.22
    wall = tree.nodes.new("ShaderNodeBackground")
    path = tree.nodes.new("ShaderNodeLightPath")
    mix = tree.nodes.new("ShaderNodeMixShader")
    output = tree.nodes.new("ShaderNodeOutputWorld")
    for source, sink in (
        (place.outputs["Window"], distance.inputs[0]),
        (distance.outputs["Value"], ramp.inputs["Fac"]),
        (ramp.outputs["Color"], wall.inputs["Color"]),
        (path.outputs["Is Camera Ray"], mix.inputs[0]),
        (light.outputs[0], mix.inputs[1]),
        (wall.outputs[0], mix.inputs[2]),
        (mix.outputs[0], output.inputs["Surface"]),
    ):
        tree.links.new(source, sink)
