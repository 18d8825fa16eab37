"""What the target does while it is recorded: everything a face does, alone and together, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_SIZE

Array = NDArray[np.float32]

POSE_LIMIT_DEG = (34.0, 18.0, 14.0)
"""Largest yaw, pitch and roll."""
GAZE_LIMIT_DEG = (24.0, 13.0)
"""Largest yaw and pitch of the gaze in the head's frame."""
TRANSLATION_LIMIT_M = (0.026, 0.022, 0.026)

Recipe = dict[str, float]
"""ARKit weights by name; a name without its side (`mouthSmile`) means both."""

VISEMES: tuple[Recipe, ...] = (
    {},
    {"jawOpen": 0.55, "mouthLowerDown": 0.25, "mouthUpperUp": 0.15},  # ah
    {"jawOpen": 0.30, "mouthStretch": 0.30, "mouthSmile": 0.15, "mouthLowerDown": 0.30},  # eh
    {"jawOpen": 0.15, "mouthSmile": 0.35, "mouthStretch": 0.30, "mouthUpperUp": 0.10},  # ee
    {"jawOpen": 0.42, "mouthFunnel": 0.60, "mouthPucker": 0.20},  # oh
    {"jawOpen": 0.15, "mouthPucker": 0.85, "mouthFunnel": 0.25},  # oo
    {"mouthPress": 0.35, "mouthRollLower": 0.25, "mouthRollUpper": 0.20},  # m, b, p
    {"jawOpen": 0.08, "mouthRollLower": 0.45, "mouthUpperUp": 0.22},  # f, v
    {"jawOpen": 0.22, "mouthLowerDown": 0.25, "mouthUpperUp": 0.12},  # l, t, d
    {"jawOpen": 0.06, "mouthStretch": 0.25, "mouthLowerDown": 0.30, "mouthUpperUp": 0.18},  # s, z
    {"jawOpen": 0.10, "mouthFunnel": 0.55, "mouthShrugLower": 0.20, "mouthPucker": 0.20},  # sh, ch
    {"jawOpen": 0.30, "mouthShrugUpper": 0.15, "mouthLowerDown": 0.10},  # k, g
    {"jawOpen": 0.24, "tongueOut": 0.12, "mouthLowerDown": 0.20},  # th
)

MOODS: tuple[Recipe, ...] = (
    {"mouthSmile": 0.55, "cheekSquint": 0.35, "eyeSquint": 0.15},
    {"mouthSmile": 0.95, "cheekSquint": 0.65, "eyeSquint": 0.30, "mouthUpperUp": 0.30, "jawOpen": 0.15},
    {"mouthSmileLeft": 0.60, "mouthDimpleLeft": 0.35, "mouthLeft": 0.15},
    {"mouthSmileRight": 0.60, "mouthDimpleRight": 0.35, "mouthRight": 0.15},
    {"mouthFrown": 0.70, "browInnerUp": 0.60, "mouthShrugLower": 0.30},
    {"browDown": 0.80, "eyeSquint": 0.40, "mouthPress": 0.30},
    {"browInnerUp": 0.70, "browOuterUp": 0.85, "eyeWide": 0.75, "jawOpen": 0.25},
    {"noseSneer": 0.70, "mouthUpperUp": 0.50, "browDown": 0.50, "eyeSquint": 0.30},
    {"browOuterUpLeft": 0.85, "browDownRight": 0.30},
    {"browOuterUpRight": 0.85, "browDownLeft": 0.30},
    {"eyeSquint": 0.60, "cheekSquint": 0.30},
    {"mouthPucker": 0.60, "mouthLeft": 0.30},
    {"cheekPuff": 0.70, "mouthPress": 0.40},
)

COMPANIONS: Recipe = {"mouthClose": 0.40, "tongueOut": 0.45}
"""How far the jaw opens with shapes that make no sense on a closed one."""

OPPOSITES = (
    ("eyeBlink", "eyeWide"), ("browDown", "browOuterUp"), ("mouthSmile", "mouthFrown"), ("mouthPucker", "mouthStretch"),
    ("mouthPucker", "mouthSmile"), ("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"), ("mouthClose", "mouthFunnel"),
    ("tongueOut", "mouthClose"), ("tongueOut", "mouthRoll"), ("tongueOut", "mouthPress"), ("mouthFunnel", "mouthRoll"),
)  # fmt: skip
"""Shapes (by the start of their names) that no face makes together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceSettings:
    """How long each kind of motion lasts."""

    seed: int = 11
    fps: int = 30
    rest_s: float = 4.0
    combined_shapes: int = 45
    """Random combinations of shapes, two thirds of a second each."""
    sweep_s: float = 40.0
    """Head sweeps."""
    gaze_s: float = 14.0
    """Looking around and blinking with a quiet head."""
    talk_s: float = 55.0
    """Talk with moods, nods and glances."""
    test_row: int = 48
    """Held-out frames in a row, for flicker."""
    test_spread: int = 40
    """Held-out frames spread over everything."""


@dataclass(frozen=True, slots=True)
class Performance:
    """The motion of `T` frames."""

    fps: int
    expression: Array
    """`[T, 52]` ARKit weights, the `eyeLook*` zero."""
    pose_deg: Array
    """`[T, 3]` yaw, pitch, roll."""
    gaze_deg: Array
    """`[T, 2]` yaw, pitch in the head's frame."""
    translation_m: Array
    """`[T, 3]` world."""
    segments: tuple[str, ...]
    segment_start: tuple[int, ...]
    """First frame of each segment, and `T`."""
    test_frames: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.expression)

    def order(self) -> NDArray[np.int64]:
        """Give every frame once: any beginning is spread evenly, one in four of it held out while there are such."""
        bits = max(1, (len(self) - 1).bit_length())
        reversed_bits = [int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits)]
        spread = [number for number in reversed_bits if number < len(self)]
        held_out = set(self.test_frames.tolist())
        tests = iter([number for number in spread if number in held_out])
        order: list[int] = []
        for number in spread:
            if number in held_out:
                continue
            order.append(number)
            if len(order) % 4 == 3 and (test := next(tests, None)) is not None:
                order.append(test)
        return np.array([*order, *tests], np.int64)


class Channels:
    """The motion of one segment while it is being composed."""

    def __init__(self, count: int, fps: int, rng: np.random.Generator) -> None:
        self.count, self.fps, self.rng = count, fps, rng
        self.expression = np.zeros((count, EXPRESSION_SIZE))
        self.pose_deg = np.zeros((count, 3))
        self.gaze_deg = np.zeros((count, 2))
        self.translation_m = np.zeros((count, 3))

    def noise(self, period_s: float, size: int) -> NDArray[np.float64]:
        """Make smooth noise `[count, size]` of unit variance that wanders within about `period_s`."""
        knots = max(4, round(self.count / self.fps / period_s) + 3)
        values = self.rng.normal(size=(knots, size))
        position = np.linspace(0.5, knots - 1.5, self.count)
        low = np.clip(position.astype(int), 0, knots - 2)
        share = (position - low)[:, None]
        blend = share * share * (3.0 - 2.0 * share)
        return (values[low] * (1.0 - blend) + values[low + 1] * blend) * 1.2

    def pulse(self, start: int, rise: int, hold: int, fall: int, recipe: Recipe, strength: float = 1.0) -> None:
        """Raise the shapes of a recipe from frame `start` on and let them go again; the strongest wins."""
        up = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, rise + 1) / (rise + 1))
        down = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / (fall + 1))
        curve = np.concatenate([up, np.ones(hold), down]) * strength
        frames = np.arange(start, min(start + len(curve), self.count))
        for index, weight in shape_weights(recipe).items():
            self.expression[frames, index] = np.maximum(self.expression[frames, index], weight * curve[: len(frames)])

    def ease_ends(self, frames: int = 12) -> None:
        """Begin and end at rest, so that segments join without a jump."""
        steps = np.minimum(np.arange(self.count), np.arange(self.count)[::-1]) + 0.5
        share = np.clip(steps / frames, 0.0, 1.0)
        share = (share * share * (3.0 - 2.0 * share))[:, None]
        for values in (self.expression, self.pose_deg, self.gaze_deg, self.translation_m):
            values *= share

    def blinks(self, mean_gap_s: float = 3.2) -> None:
        """Blink at random: shut in two frames, open in four."""
        frame = int(self.rng.exponential(mean_gap_s) * self.fps)
        while frame < self.count:
            self.pulse(frame, 2, 1 + int(self.rng.random() < 0.3), 4, {"eyeBlink": 1.0}, self.rng.uniform(0.9, 1.0))
            frame += int((0.5 + self.rng.exponential(mean_gap_s)) * self.fps)

    def glances(self, mean_hold_s: float, spread_deg: tuple[float, float], toward_camera: float) -> None:
        """Jump between fixations; the eyes undo a share, `toward_camera`, of the head's turn."""
        aim = np.zeros(2)
        hold = 0
        for frame in range(self.count):
            if hold == 0:
                away = self.rng.random() < 0.65
                aim = self.rng.normal(size=2) * np.array(spread_deg) * away
                hold = max(5, round(self.rng.gamma(2.0, mean_hold_s / 2.0) * self.fps))
            hold -= 1
            wanted = aim - toward_camera * self.pose_deg[frame, :2]
            previous = self.gaze_deg[frame - 1] if frame else wanted
            self.gaze_deg[frame] = previous + 0.75 * (wanted - previous)  # a saccade takes two or three frames

    def sway(self, pose_deg: tuple[float, float, float], period_s: float) -> None:
        """Add a wandering head; breath and trunk move it along."""
        wander = self.noise(period_s, 3) * np.array(pose_deg)
        self.pose_deg += wander
        self.translation_m += self.noise(1.6 * period_s, 3) * np.array([0.008, 0.007, 0.006])
        self.translation_m[:, 0] += 0.0004 * wander[:, 0]


def shape_weights(recipe: Recipe) -> dict[int, float]:
    """Resolve a recipe's names to indices of `FaceParams.expression`. Raises `ValueError` on an unknown name."""
    weights: dict[int, float] = {}
    for name, weight in recipe.items():
        names = [name] if name in EXPRESSION_INDEX else [f"{name}Left", f"{name}Right"]
        for full in names:
            if full not in EXPRESSION_INDEX:
                raise ValueError(f"expression: {name} is no ARKit blendshape")
            weights[EXPRESSION_INDEX[full]] = weight
    return weights


def perform(settings: PerformanceSettings | None = None) -> Performance:
    """Compose the whole performance. The same settings give the same motion, to the byte."""
    settings = settings or PerformanceSettings()
    shapes = [name for name in EXPRESSION_NAMES if not name.startswith("eyeLook")]
    frames = {
        "rest": round(settings.rest_s * settings.fps),
        "shapes": SHAPE_FRAMES * len(shapes),
        "combined": COMBINED_FRAMES * settings.combined_shapes,
        "sweep": round(settings.sweep_s * settings.fps),
        "gaze": round(settings.gaze_s * settings.fps),
        "talk": round(settings.talk_s * settings.fps),
    }
    parts = []
    for number, (name, compose) in enumerate(SEGMENTS.items()):
        channels = Channels(frames[name], settings.fps, np.random.default_rng([settings.seed, number]))
        compose(channels)
        channels.ease_ends()
        parts.append(channels)
    start = tuple(int(value) for value in np.cumsum([0, *(part.count for part in parts)]))

    def joined(name: str, limit: Sequence[float] | None = None) -> Array:
        values = np.concatenate([getattr(part, name) for part in parts])
        low, high = (0.0, 1.0) if limit is None else (-np.array(limit), np.array(limit))
        return np.clip(values, low, high).astype(np.float32)

    return Performance(
        fps=settings.fps,
        expression=joined("expression"),
        pose_deg=joined("pose_deg", POSE_LIMIT_DEG),
        gaze_deg=joined("gaze_deg", GAZE_LIMIT_DEG),
        translation_m=joined("translation_m", TRANSLATION_LIMIT_M),
        segments=tuple(frames),
        segment_start=start,
        test_frames=_test_frames(start, settings),
    )


def _test_frames(start: tuple[int, ...], settings: PerformanceSettings) -> NDArray[np.int64]:
    """Hold out a row in the middle of the talk and frames spread over everything."""
    rng = np.random.default_rng([settings.seed, 99])
    first, total = start[-2] + (start[-1] - start[-2] - settings.test_row) // 2, start[-1]
    row = np.arange(max(first, 0), max(first, 0) + settings.test_row)
    cells = np.linspace(0, total, settings.test_spread + 1)
    spread = rng.uniform(cells[:-1], cells[1:]).astype(np.int64)
    return np.unique(np.concatenate([row, spread])).astype(np.int64)


SHAPE_FRAMES = 18
COMBINED_FRAMES = 20


def _rest(channels: Channels) -> None:
    channels.sway((1.5, 1.0, 0.7), 1.5)
    channels.glances(1.2, (3.0, 2.0), 0.9)
    channels.blinks()


def _shapes(channels: Channels) -> None:
    channels.sway((5.0, 3.0, 2.0), 1.4)
    channels.glances(1.0, (5.0, 3.0), 0.7)
    names = [name for name in EXPRESSION_NAMES if not name.startswith("eyeLook")]
    for number, name in enumerate(names):
        jaw = {"jawOpen": COMPANIONS[name]} if name in COMPANIONS else {}
        channels.pulse(number * SHAPE_FRAMES, 6, 4, 6, {**jaw, name: 0.95})


def _combined(channels: Channels) -> None:
    channels.sway((9.0, 5.0, 4.0), 1.0)
    channels.glances(0.8, (9.0, 5.0), 0.6)
    rng = channels.rng
    names = [name for name in EXPRESSION_NAMES if not name.startswith("eyeLook")]
    for number in range(channels.count // COMBINED_FRAMES):
        chosen: Recipe = {}
        for name in rng.permutation(names)[: int(rng.integers(4, 12))]:
            if not any(_exclude(str(name), other) for other in chosen):
                chosen[str(name)] = float(rng.uniform(0.3, 0.9))
        for name, opening in COMPANIONS.items():
            if name in chosen:
                chosen["jawOpen"] = max(chosen.get("jawOpen", 0.0), opening)
        channels.pulse(number * COMBINED_FRAMES, 7, 5, 7, chosen)
    channels.blinks(4.0)


def _exclude(first: str, second: str) -> bool:
    return any(
        (first.startswith(a) and second.startswith(b)) or (first.startswith(b) and second.startswith(a))
        for a, b in OPPOSITES
    )


def _sweep(channels: Channels) -> None:
    """Cover the pose space by three sines that never meet again, gaze held or following."""
    time_s = np.arange(channels.count) / channels.fps
    for axis, (period_s, amplitude) in enumerate(((3.1, 28.0), (4.3, 14.0), (5.9, 11.0))):
        growth = 0.35 + 0.65 * np.abs(np.sin(np.pi * time_s / (7.0 * period_s)))
        channels.pose_deg[:, axis] = amplitude * growth * np.sin(2.0 * np.pi * time_s / period_s + axis)
    channels.translation_m += channels.noise(1.2, 3) * np.array([0.011, 0.009, 0.009])
    channels.glances(1.2, (8.0, 4.0), 0.5)
    _moods(channels, mean_gap_s=1.2)
    channels.blinks()


def _gaze(channels: Channels) -> None:
    channels.sway((4.0, 3.0, 2.0), 2.0)
    channels.glances(0.45, (13.0, 6.5), 0.5)
    channels.blinks(1.6)
    winks = channels.rng.integers(0, channels.count, 4)
    for number, frame in enumerate(winks):
        channels.pulse(int(frame), 3, 5, 4, {("eyeBlinkLeft", "eyeBlinkRight")[number % 2]: 1.0, "mouthSmile": 0.2})


def _talk(channels: Channels) -> None:
    rng = channels.rng
    channels.sway((8.0, 4.5, 4.0), 0.9)
    frame = 0
    while frame < channels.count:
        end = min(channels.count, frame + round(rng.uniform(1.5, 4.5) * channels.fps))
        _phrase(channels, frame, end)
        frame = end + round(rng.uniform(0.3, 1.0) * channels.fps)
    _moods(channels, mean_gap_s=1.8)
    channels.glances(0.9, (8.0, 4.5), 0.75)
    channels.blinks(2.8)


def _phrase(channels: Channels, start: int, end: int) -> None:
    """Speak from frame `start` to `end`: visemes that run into each other, nods and brows on the stressed ones."""
    rng = channels.rng
    loudness = rng.uniform(0.7, 1.3)
    targets = np.zeros((end - start, EXPRESSION_SIZE))
    frame = 0
    while frame < len(targets):
        length = int(rng.integers(2, 6))
        stress = rng.uniform(0.6, 1.2) * loudness
        for index, weight in shape_weights(VISEMES[int(rng.integers(len(VISEMES)))]).items():
            targets[frame : frame + length, index] = weight * stress
        if stress > 1.15:
            channels.pulse(start + frame, 4, 3, 8, {"browInnerUp": 0.5, "browOuterUp": 0.45}, rng.uniform(0.4, 1.0))
            nod = np.hanning(13)[: max(0, channels.count - start - frame)]
            channels.pose_deg[start + frame : start + frame + len(nod), 1] -= rng.uniform(1.5, 4.0) * nod
        frame += length
    reach = 4
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / 1.3) ** 2)
    # "same" would be as long as the kernel, where a phrase is cut shorter than that.
    spoken = np.apply_along_axis(np.convolve, 0, targets, kernel / kernel.sum())[reach : reach + len(targets)]
    channels.expression[start:end] = np.maximum(channels.expression[start:end], spoken)


def _moods(channels: Channels, mean_gap_s: float) -> None:
    frame = 0
    while frame < channels.count:
        mood = MOODS[int(channels.rng.integers(len(MOODS)))]
        hold = int(channels.rng.uniform(0.2, 1.4) * channels.fps)
        channels.pulse(frame, 9, hold, 12, mood, channels.rng.uniform(0.45, 1.05))
        frame += 21 + hold + int(channels.rng.exponential(mean_gap_s) * channels.fps)


SEGMENTS: dict[str, Callable[[Channels], None]] = {
    "rest": _rest,
    "shapes": _shapes,
    "combined": _combined,
    "sweep": _sweep,
    "gaze": _gaze,
    "talk": _talk,
}
"""Kinds of motion in the order in which they are performed."""
