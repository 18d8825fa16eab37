"""Choose the tracker: the one that was asked for, or the one that was measured to be the better."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.face_hint import FaceHint
from capture.face_tracker import FaceTracker
from capture.regression import RegressionTracker
from capture.regressor_engines import RegressorEngineError
from capture.smoothing import SmoothingSettings
from capture.tracker import Tracker
from models import regressor
from models.face import FaceModel

TRACKERS = ("auto", "landmarks", "regressor", "both")
CHOICE_PATH = Path(__file__).resolve().parents[1] / "models" / "weights" / "tracker_choice.json"
"""What `reenact evaluate-tracker --write-choice` measured, of the weights that ship beside it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrackerChoice:
    """A tracker's name, and why it is this one."""

    name: str
    """landmarks, regressor or both: landmarks with the regressor's rotation and gaze beside them."""
    reason: str
    """One sentence for people."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison of the trackers found."""

    choice: str
    """The better one: landmarks, regressor or both."""
    reason: str
    """One sentence for people."""
    figures: Mapping[str, Any]
    """What was measured, by name."""

    def save(self, path: Path | None = None) -> None:
        """Write what `load` reads, with the hash of the regressor's weights as they are now."""
        values = {
            "choice": self.choice, "reason": self.reason, "figures": dict(self.figures), "weights_sha256": _weights(),
        }  # fmt: skip
        (path or CHOICE_PATH).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | None = None) -> Comparison | None:
        """Read the comparison; None where there is none. Raises `ValueError` for a file that holds none."""
        path = path or CHOICE_PATH
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        if not isinstance(values, dict) or values.get("choice") not in TRACKERS[1:]:
            raise ValueError(f"{path}: expected a choice of {', '.join(TRACKERS[1:])}")
        reason, figures = values.get("reason"), values.get("figures", {})
        if not isinstance(reason, str) or not isinstance(figures, dict):
            raise ValueError(f"{path}: expected a reason in words and figures by name")
        if values.get("weights_sha256") != _weights():
            raise ValueError(f"{path} is about other weights")
        return cls(values["choice"], reason, figures)


def refusal(name: str) -> str | None:
    """Say why a tracker cannot run here; None if it can."""
    if name in ("regressor", "both") and not regressor.DEFAULT_PATH.is_file():
        return (
            f"The tracker {name!r} has no weights here ({regressor.DEFAULT_PATH.name} is missing):"
            " use landmarks, or train them with `reenact train-tracker`."
        )
    return None


def choose_tracker(name: str = "auto") -> TrackerChoice:
    """Resolve the name of a tracker. Raises `ValueError` for one that there is not, or that cannot run here."""
    if name not in TRACKERS:
        raise ValueError(f"tracker: expected one of {', '.join(TRACKERS)}, got {name!r}")
    if name != "auto":
        if reason := refusal(name):
            raise ValueError(reason)
        return TrackerChoice(name, "asked for")
    if reason := refusal("regressor"):
        return TrackerChoice("landmarks", "the regressor has no weights here")
    try:
        measured = Comparison.load()
    except ValueError as error:
        return TrackerChoice("landmarks", f"the comparison with the regressor does not hold: {error}")
    if measured is None:
        return TrackerChoice("landmarks", "the regressor was not measured against it")
    return TrackerChoice(measured.choice, f"measured: {measured.reason}")


def make_tracker(
    name: str = "auto", settings: SmoothingSettings | None = None, *, model: FaceModel | None = None
) -> tuple[FaceTracker, TrackerChoice]:
    """Make a tracker, ready to run; with `auto` one that works.

    Raises as `choose_tracker`, and where the regressor was asked for `ValueError` for damaged weights and
    `RegressorEngineError`.
    """
    choice = choose_tracker(name)
    if choice.name == "both":
        return Tracker(settings, model=model, hint=FaceHint()), choice
    if choice.name == "regressor":
        try:
            return RegressionTracker(settings, model=model), choice
        except (ValueError, RegressorEngineError) as error:
            if name != "auto":
                raise
            logger.warning("the regressor does not run: %s", error)
            choice = TrackerChoice("landmarks", f"the regressor does not run: {error}")
    return Tracker(settings, model=model), choice


def _weights() -> str:
    """Hash the regressor's weights; empty where there are none."""
    path = regressor.DEFAULT_PATH
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
