"""The folder that the two commands share: what is in it, and in which state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.build.milo.actor import PosedActor, weights_with_gaze
from models.build.milo.mesh import BASE_VERTICES, TargetMesh
from models.build.milo.performance import Performance
from models.params import EXPRESSION_NAMES


@dataclass(frozen=True, slots=True)
class Recording:
    """Paths below the folder named by `--out`."""

    folder: Path

    @property
    def prepared(self) -> Path:
        """What `prepare` makes for `render`: mesh, hair, skin textures and the description."""
        return self.folder / "prepared"

    @property
    def mesh(self) -> Path:
        """The target mesh."""
        return self.prepared / "mesh.npz"

    @property
    def description(self) -> Path:
        """A copy of the description that was prepared."""
        return self.prepared / "target.toml"

    @property
    def performance(self) -> Path:
        """Motion, exact poses and camera."""
        return self.folder / "performance.npz"

    @property
    def neutral(self) -> Path:
        """The target at rest on the base mesh."""
        return self.folder / "neutral.npz"

    @property
    def frames(self) -> Path:
        """The pictures."""
        return self.folder / "frames"

    def picture(self, frame: int) -> Path:
        """Name the picture of one frame."""
        return self.frames / f"{frame:05d}.jpg"

    def check_prepared(self) -> None:
        """Raise `ValueError` if `prepare` has not been here."""
        missing = [path.name for path in (self.mesh, self.description, self.performance) if not path.is_file()]
        if missing:
            raise ValueError(
                f"{self.folder}: {', '.join(missing)} missing; run `python -m models.build.milo.prepare` for it first"
            )

    def write_neutral(self, mesh: TargetMesh) -> None:
        """Write `neutral.npz`."""
        np.savez_compressed(self.neutral, vertices_hm08_m=mesh.rest[:BASE_VERTICES])

    def write_performance(
        self,
        performance: Performance,
        actor: PosedActor,
        *,
        size: int,
        focal_px: float,
        camera_position_m: tuple[float, float, float],
    ) -> None:
        """Write `performance.npz`, with the exact head matrix of every frame and the camera of `size` pixels."""
        weights = [weights_with_gaze(e, g) for e, g in zip(performance.expression, performance.gaze_deg, strict=True)]
        poses = zip(performance.pose_deg, performance.translation_m, strict=True)
        partial = self.performance.with_suffix(".part.npz")
        np.savez_compressed(
            partial,
            names=np.array(EXPRESSION_NAMES),
            fps=np.int32(performance.fps),
            expression=performance.expression,
            pose_deg=performance.pose_deg,
            gaze_deg=performance.gaze_deg,
            translation_m=performance.translation_m,
            segments=np.array(performance.segments),
            segment_start=np.array(performance.segment_start, np.int64),
            frame=np.arange(len(performance), dtype=np.int64),
            frame_weights=np.stack(weights),
            frame_head_matrix=np.stack([actor.head_matrix(*pose) for pose in poses]).astype(np.float32),
            order=performance.order(),
            test_frames=performance.test_frames,
            size=np.int32(size),
            focal_px=np.float32(focal_px),
            center_px=np.array([size / 2, size / 2], np.float32),
            camera_position_m=np.array(camera_position_m, np.float32),
        )
        partial.replace(self.performance)

    def read_performance(self) -> dict[str, NDArray[np.generic]]:
        """Read `performance.npz` by name."""
        with np.load(self.performance) as data:
            return {name: data[name] for name in data.files}
