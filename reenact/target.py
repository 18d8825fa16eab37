"""What transfer knows of a target: who it is, where it rests, and how far it was seen to move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.camera import Camera
from models.params import EXPRESSION_REACH, FaceParams

Array = NDArray[np.float32]

LIMITED: tuple[str, ...] = ("expression", "rotation", "translation", "gaze")
"""Fields of `FaceParams` that move, and so have limits."""
REACH = {
    "rotation": np.full(3, np.deg2rad(5.0), np.float32), "translation": np.array([0.01, 0.01, 0.03], np.float32),
    "expression": 0.4 * EXPRESSION_REACH,
}  # fmt: skip
"""How much further than it was seen to a target may move that began as a photograph, radians, metres and weights: head,
hair and skin move as what they are then, and one of somebody who sat still would hardly move otherwise."""
PAINTED_REACH = {"expression": 0.8 * (EXPRESSION_REACH - 1.0)}
"""The same for other targets: brows and lips that go on as they were seen to go, for weights end early there."""
CONVERGENCE_RAD = np.deg2rad([-3.0, 6.0])
"""By how much eyes converge at rest, least and most: in truth by up to 6 degrees, 60 cm from a camera, but they are
found to a few degrees."""
PERCENTILES = (0.2, 99.8)
"""Share of the recording, in percent, at which each parameter's limits are read: outliers are not training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A target in parameter space."""

    neutral: FaceParams
    """Identity, reflectance and light of the target, and its expression, pose and gaze at rest; one frame."""
    camera: Camera
    """Camera of its pictures, at any size of their aspect ratio."""
    low: Mapping[str, Array]
    """Lowest value of each parameter that it was trained on, for each field of `LIMITED`, in that field's shape."""
    high: Mapping[str, Array]
    """Highest value, likewise."""

    def __post_init__(self) -> None:
        for limits in (self.low, self.high):
            for name in LIMITED:
                expected = getattr(self.neutral, name).shape
                if name not in limits or limits[name].shape != expected:
                    got = limits[name].shape if name in limits else "nothing"
                    raise ValueError(f"limits of {name}: expected shape {expected}, got {got}")
        for name in LIMITED:
            if not (self.low[name] <= self.high[name]).all():
                raise ValueError(f"limits of {name}: expected low <= high")

    @classmethod
    def from_recording(cls, params: FaceParams, camera: Camera, reach: Mapping[str, Array] | None = None) -> Self:
        """Measure a target from the frames `[T]` it is trained on; identity, reflectance and light are the medians.

        At rest it shows no expression, and has the median pose and gaze, but does not squint. Its limits lie beyond
        what the frames show by `reach`, for the fields named there; no shape goes further than people do, or below 0.
        """
        if params.rotation.ndim != 2 or len(params.rotation) == 0:
            raise ValueError(f"params: expected a batch of frames, got rotation {params.rotation.shape}")
        median = {name: np.median(values, 0).astype(np.float32) for name, values in params.fields().items()}
        neutral = FaceParams(**median).replace(expression=np.zeros_like(median["expression"]))
        neutral = neutral.replace(gaze=_together(neutral.gaze))
        limits = {
            name: np.percentile(getattr(params, name), PERCENTILES, axis=0).astype(np.float32) for name in LIMITED
        }
        further = {name: (reach or {}).get(name, np.float32(0.0)) for name in LIMITED}
        low = {name: np.minimum(limits[name][0], getattr(neutral, name)) - further[name] for name in LIMITED}
        high = {name: np.maximum(limits[name][1], getattr(neutral, name)) + further[name] for name in LIMITED}
        low["expression"] = np.maximum(low["expression"], 0.0)
        high["expression"] = np.minimum(high["expression"], EXPRESSION_REACH)
        return cls(neutral=neutral, camera=camera, low=low, high=high)

    def to_json(self) -> dict[str, Any]:
        """Turn into plain JSON values."""
        camera = self.camera
        return {
            "camera": {
                "width": camera.width, "height": camera.height, "focal_px": camera.focal_px,
                "center_px": list(camera.center_px),
            },
            "neutral": {name: _rounded(values) for name, values in self.neutral.fields().items()},
            "limits": {name: {"low": _rounded(self.low[name]), "high": _rounded(self.high[name])} for name in LIMITED},
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Any) -> Self:  # noqa: ANN401 - anything may stand in a file
        """Rebuild from `to_json()`. Raises `ValueError` naming the field at fault."""
        _expect_keys("target", values, ("camera", "neutral", "limits"))
        camera, limits = values["camera"], values["limits"]
        _expect_keys("target.camera", camera, ("width", "height", "focal_px", "center_px"))
        _expect_keys("target.limits", limits, LIMITED)
        blank = FaceParams.neutral().fields()
        _expect_keys("target.neutral", values["neutral"], tuple(blank))
        for name in LIMITED:
            _expect_keys(f"target.limits.{name}", limits[name], ("low", "high"))
        center = _array("target.camera.center_px", camera["center_px"], (2,))
        return cls(
            neutral=FaceParams(
                **{name: _array(f"target.neutral.{name}", values["neutral"][name], blank[name].shape) for name in blank}
            ),
            camera=Camera(
                width=_whole("target.camera.width", camera["width"]),
                height=_whole("target.camera.height", camera["height"]),
                focal_px=float(_array("target.camera.focal_px", camera["focal_px"], ())),
                center_px=(float(center[0]), float(center[1])),
            ),
            low={n: _array(f"target.limits.{n}.low", limits[n]["low"], blank[n].shape) for n in LIMITED},
            high={n: _array(f"target.limits.{n}.high", limits[n]["high"], blank[n].shape) for n in LIMITED},
        )


def _together(gaze: Array) -> Array:
    """Let the eyes of `gaze [2, 2]` converge no more or less than on what is looked at: somebody clowned a lot."""
    left, right = gaze[:, 0].astype(np.float64)
    middle, turned = (left + right) / 2.0, np.clip(right - left, *CONVERGENCE_RAD) / 2.0
    return np.stack([np.array([middle - turned, middle + turned], np.float32), gaze[:, 1]], 1)


def _rounded(values: Array) -> Any:  # noqa: ANN401 - nested lists
    """Turn into nested lists of six decimals: a micrometre, and less than any of it can be told apart."""
    return np.round(values.astype(np.float64), 6).tolist()


def _expect_keys(name: str, values: Any, keys: tuple[str, ...]) -> None:  # noqa: ANN401
    if not isinstance(values, dict) or set(values) != set(keys):
        got = ", ".join(sorted(map(str, values))) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{name}: expected {', '.join(keys)}, got {got or 'nothing'}")


def _array(name: str, values: Any, shape: tuple[int, ...]) -> Array:  # noqa: ANN401
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected numbers of shape {shape}") from None
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if not (np.abs(array) < 1e6).all():  # false for NaN too
        raise ValueError(f"{name}: expected finite numbers")
    return array.astype(np.float32)


def _whole(name: str, value: Any) -> int:  # noqa: ANN401
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 16384:
        raise ValueError(f"{name}: expected a whole number from 1 to 16384, got {value!r}")
    return value
