"""What synthetic faces are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from capture.synthetic.assets import Split

WIDER = 2.2


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticConfig:
    """Which faces, how large, and how often each difficulty occurs. Shares are from 0 to 1."""

    split: Split = "train"
    """Whose heads, skins, hair, brows, irises and backgrounds: no test face shares any with a training face."""
    seed: int = 0
    """Two generators with equal seeds give the same faces."""
    size: int = 192
    """Width and height of a crop in pixels."""
    samples: int = 2
    """Samples per pixel and axis."""
    faces_per_person: int = 8
    """Faces drawn of one person before the next is made."""
    negatives: float = 0.06
    """Share of crops without a face, badly centred, or mostly covered: confidence 0."""
    hair: float = 0.85
    """Share of people with hair; the others show their scalp."""
    glasses: float = 0.25
    occluded: float = 0.18
    """Share of crops with a hand, cup, microphone or bar before the face."""
    max_yaw_deg: float = 60.0
    max_pitch_deg: float = 40.0
    center_jitter: float = 0.08
    """Largest offset of the head from the middle of the crop, in crop widths, where the crop was placed badly."""
    size_jitter: float = 0.12
    """Largest relative error of the crop's size."""
    roll_jitter_deg: float = 12.0
    """Largest error of the crop's angle."""
    wide: float = 0.12
    """Share of crops whose errors are `WIDER` times as large: a head that moved fast, a face just found."""
    detail: float = 1.0
    """Scale of the random shapes beyond the identity basis."""

    def __post_init__(self) -> None:
        if self.split not in ("train", "test"):
            raise ValueError(f"split: expected train or test, got {self.split!r}")
        if self.size < 32 or self.samples < 1 or self.faces_per_person < 1:
            raise ValueError(
                "size, samples, faces_per_person: expected at least 32, 1 and 1,"
                f" got {self.size}, {self.samples}, {self.faces_per_person}"
            )
        for name in ("negatives", "hair", "glasses", "occluded", "wide"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {getattr(self, name)}")
