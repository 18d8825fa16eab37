"""Blender materials of a target: skin, eyes, hair, teeth, tongue and cloth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy

from models.build.milo.target import Color, Target

Socket = Any
"""An input or output of a Blender node."""


class Graph:
    """A material's node tree under construction."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self._tree = self.material.node_tree
        self._tree.nodes.clear()
        self._output = self.node("ShaderNodeOutputMaterial")

    def node(self, kind: str, inputs: Mapping[str, Any] | None = None, **attributes: Any) -> Any:  # noqa: ANN401
        """Add a node; `inputs` are values or sockets by the input's name."""
        node = self._tree.nodes.new(kind)
        for name, value in attributes.items():
            setattr(node, name, value)
        for name, value in (inputs or {}).items():
            self.connect(value, node.inputs[name])
        return node

    def connect(self, value: Any, socket: Socket) -> None:  # noqa: ANN401
        """Give an input a value, or link an output to it."""
        if isinstance(value, bpy.types.NodeSocket):
            self._tree.links.new(value, socket)
        else:
            socket.default_value = value

    def texture(self, path: Path, *, is_color: bool = True) -> Any:  # noqa: ANN401
        """Add an image texture."""
        if not path.is_file():
            raise ValueError(f"{path}: no such texture")
        image = bpy.data.images.load(str(path), check_existing=True)
        if not is_color:
            image.colorspace_settings.name = "Non-Color"
        return self.node("ShaderNodeTexImage", image=image, interpolation="Cubic")

    def graded(self, color: Socket, *, value: float = 1.0, saturation: float = 1.0) -> Socket:
        """Change a colour's brightness and saturation."""
        grade = self.node("ShaderNodeHueSaturation", {"Color": color, "Value": value, "Saturation": saturation})
        return grade.outputs["Color"]

    def principled(self, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Add Blender's general surface."""
        return self.node("ShaderNodeBsdfPrincipled", inputs)

    def finish(self, shader: Socket) -> Any:  # noqa: ANN401
        """Make `shader` the surface and give the material."""
        self.connect(shader, self._output.inputs["Surface"])
        return self.material


def skin_material(folder: Path) -> Any:  # noqa: ANN401
    """Make skin: colour, roughness and height from the prepared textures, with light scattering below the surface."""
    graph = Graph("skin")
    color = graph.texture(folder / "skin_color.png").outputs["Color"]
    height = graph.texture(folder / "skin_height.png", is_color=False).outputs["Color"]
    roughness = graph.texture(folder / "skin_roughness.png", is_color=False).outputs["Color"]
    coordinates = graph.node("ShaderNodeUVMap").outputs["UV"]
    pores = graph.node("ShaderNodeTexVoronoi", {"Vector": coordinates, "Scale": 900.0}).outputs["Distance"]
    coarse = graph.node("ShaderNodeBump", {"Height": height, "Strength": 0.6, "Distance": 0.0007})
    fine = graph.node(
        "ShaderNodeBump", {"Height": pores, "Strength": 0.12, "Distance": 0.0003, "Normal": coarse.outputs["Normal"]}
    )
    surface = graph.principled(
        {
            "Base Color": graph.graded(color, value=0.98, saturation=0.98),
            "Roughness": roughness,
            "Normal": fine.outputs["Normal"],
            "Subsurface Weight": 1.0,
            "Subsurface Radius": (1.0, 0.35, 0.18),
            "Subsurface Scale": 0.0028,
            "IOR": 1.4,
            "Specular IOR Level": 0.42,
        }
    )
    surface.subsurface_method = "BURLEY"  # twice as fast as a random walk, and alike to the eye
    return graph.finish(surface.outputs[0])


def eye_material(texture: Path, brightness: float) -> Any:  # noqa: ANN401
    """Make an eye: the texture where it is opaque, and a clear cornea with reflections where it is not."""
    graph = Graph("eye")
    image = graph.texture(texture)
    ball = graph.principled(
        {
            "Base Color": graph.graded(image.outputs["Color"], value=brightness, saturation=0.9),
            "Roughness": 0.25,
            "Subsurface Weight": 0.15,
            "Subsurface Scale": 0.002,
            "Specular IOR Level": 0.3,
        }
    )
    clear = graph.node("ShaderNodeBsdfTransparent")
    gloss = graph.node("ShaderNodeBsdfGlossy", {"Roughness": 0.03})
    fresnel = graph.node("ShaderNodeFresnel", {"IOR": 1.376})
    cornea = _mix(graph, fresnel.outputs[0], clear.outputs[0], gloss.outputs[0])
    return graph.finish(_mix(graph, image.outputs["Alpha"], cornea, ball.outputs[0]))


def card_material(
    name: str, texture: Path, color: Color | None, *, roughness: float = 0.6, opacity: float = 1.0
) -> Any:  # noqa: ANN401
    """Make hair painted on a surface: the texture's alpha, in `color` or in the texture's own."""
    graph = Graph(name)
    image = graph.texture(texture)
    alpha = graph.node("ShaderNodeMath", operation="MULTIPLY", use_clamp=True)
    graph.connect(image.outputs["Alpha"], alpha.inputs[0])
    graph.connect(opacity, alpha.inputs[1])
    surface = graph.principled(
        {
            "Base Color": graph.graded(image.outputs["Color"], value=0.8) if color is None else (*color, 1.0),
            "Alpha": alpha.outputs[0],
            "Roughness": roughness,
            "Specular IOR Level": 0.3,
        }
    )
    return graph.finish(surface.outputs[0])


def strand_material(root: Color, tip: Color) -> Any:  # noqa: ANN401
    """Make strands whose colour varies from one to the next."""
    graph = Graph("hair")
    random = graph.node("ShaderNodeHairInfo").outputs["Random"]
    ramp = _ramp(graph, random, (0.0, root), (1.0, tip))
    surface = graph.principled({"Base Color": ramp, "Roughness": 0.40, "Specular IOR Level": 0.45})
    return graph.finish(surface.outputs[0])


def teeth_material(texture: Path) -> Any:  # noqa: ANN401
    """Make teeth, a little brighter and warmer than the stock texture."""
    graph = Graph("teeth")
    color = graph.graded(graph.texture(texture).outputs["Color"], value=1.25, saturation=0.9)
    warm = graph.node("ShaderNodeMix", data_type="RGBA", blend_type="MULTIPLY")
    graph.connect(1.0, warm.inputs[0])
    graph.connect(color, warm.inputs[6])  # the node has inputs of every type, under the same names
    graph.connect((1.0, 0.93, 0.80, 1.0), warm.inputs[7])
    surface = graph.principled(
        {
            "Base Color": warm.outputs[2],
            "Roughness": 0.22,
            "Subsurface Weight": 0.3,
            "Subsurface Radius": (1.0, 0.8, 0.6),
            "Subsurface Scale": 0.0015,
        }
    )
    return graph.finish(surface.outputs[0])


def tongue_material(texture: Path) -> Any:  # noqa: ANN401
    """Make a tongue."""
    graph = Graph("tongue")
    color = graph.graded(graph.texture(texture).outputs["Color"], value=0.6)
    surface = graph.principled(
        {"Base Color": color, "Roughness": 0.35, "Subsurface Weight": 0.4, "Subsurface Scale": 0.003}
    )
    return graph.finish(surface.outputs[0])


def cloth_material(color: Color, normals: Path) -> Any:  # noqa: ANN401
    """Make plain cloth: weave, folds of the garment's own normal map, and slow large folds."""
    graph = Graph("cloth")
    coordinates = graph.node("ShaderNodeUVMap").outputs["UV"]
    speckle = graph.node("ShaderNodeTexNoise", {"Vector": coordinates, "Scale": 220.0, "Detail": 4.0}).outputs["Fac"]
    darker, brighter = ((color[0] * k, color[1] * k, color[2] * k) for k in (0.9, 1.1))
    weave = graph.node("ShaderNodeTexNoise", {"Vector": coordinates, "Scale": 900.0, "Detail": 2.0}).outputs["Fac"]
    own = graph.node(
        "ShaderNodeNormalMap", {"Color": graph.texture(normals, is_color=False).outputs["Color"], "Strength": 0.8}
    )
    woven = graph.node(
        "ShaderNodeBump", {"Height": weave, "Normal": own.outputs["Normal"], "Strength": 0.35, "Distance": 0.0008}
    )
    stretched = graph.node("ShaderNodeMapping", {"Vector": coordinates, "Scale": (7.0, 7.0, 3.0)}).outputs["Vector"]
    folds = graph.node(
        "ShaderNodeTexNoise", {"Vector": stretched, "Scale": 2.2, "Detail": 2.0, "Distortion": 0.8}
    ).outputs["Fac"]
    folded = graph.node(
        "ShaderNodeBump", {"Height": folds, "Normal": woven.outputs["Normal"], "Strength": 0.55, "Distance": 0.012}
    )
    surface = graph.principled(
        {
            "Base Color": _ramp(graph, speckle, (0.3, darker), (0.7, brighter)),
            "Normal": folded.outputs["Normal"],
            "Roughness": 0.85,
            "Sheen Weight": 0.06,
            "Sheen Roughness": 0.4,
        }
    )
    return graph.finish(surface.outputs[0])


def part_materials(target: Target, assets: Path, folder: Path) -> dict[str, Any]:
    """Make the material of every part of a description; `folder` holds the prepared skin."""
    materials = {
        "body": skin_material(folder),
        "eyes": eye_material(assets / target.eyes.texture, target.eyes.brightness),
        "brows": card_material("brows", assets / target.brows.texture, target.brows.color),
        "lashes": card_material("lashes", assets / target.lashes.texture, target.lashes.color),
        "teeth": teeth_material(assets / target.mouth.teeth_texture),
        "tongue": tongue_material(assets / target.mouth.tongue_texture),
        "shirt": cloth_material(target.cloth.color, assets / target.cloth.normal_texture),
    }
    if target.hair.style == "piece":
        materials["hair"] = card_material("hair", assets / target.hair.texture, None, roughness=0.45, opacity=1.3)
    return materials


def _mix(graph: Graph, share: Socket, first: Socket, second: Socket) -> Socket:
    mix = graph.node("ShaderNodeMixShader")
    for socket, value in zip(mix.inputs, (share, first, second), strict=True):
        graph.connect(value, socket)
    return mix.outputs[0]


def _ramp(graph: Graph, value: Socket, low: tuple[float, Color], high: tuple[float, Color]) -> Socket:
    ramp = graph.node("ShaderNodeValToRGB", {"Fac": value})
    for element, (position, color) in zip(ramp.color_ramp.elements, (low, high), strict=True):
        element.position = position
        element.color = (*color, 1.0)
    return ramp.outputs["Color"]
