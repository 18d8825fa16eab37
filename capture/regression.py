"""The live path by regression: crop, network, person, smoothing; the crop comes from the last frame's own result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from capture.binding import LandmarkBinding
from capture.crop import Crop
from capture.crop_reader import CropReader
from capture.face_tracker import FaceTracker
from capture.landmarks import LandmarkDetector, Landmarks
from capture.mesh import Mesh
from capture.personal import Personal
from capture.reading import Reading
from capture.regressed_person import RegressedPerson
from capture.regressor_engines import RegressorEngine
from capture.smoothing import FaceSmoother, SmoothingSettings
from capture.track import Bridge, Track
from models.camera import Camera
from models.face import FaceModel
from models.framing import ANCHOR_M, HEAD_M
from models.params import FaceParams
from models.regressor import FaceRegressor

Image = NDArray[np.uint8]

LOST, FOUND = 0.35, 0.5
"""Confidence below which a face that was followed is lost, and above which one that was searched for is found."""
SEARCH_INTERVAL_S = 0.1
"""Frames closer in time than this are not both searched: a search takes as long as several readings. A face that comes
back is followed after this and one frame, well within 200 ms."""
REFINEMENTS = 2
"""Readings of a face that was just found, each in the crop that the one before gives."""
MIN_SIZE_PX = 16.0
"""A head smaller than this in the frame is none."""


class RegressionTracker(FaceTracker):
    """Follow a face by what one network reads in its crop."""

    name = "regressor"
    _person: RegressedPerson

    def __init__(
        self,
        settings: SmoothingSettings | None = None,
        *,
        model: FaceModel | None = None,
        regressor: FaceRegressor | None = None,
        engine: RegressorEngine | None = None,
        detector: LandmarkDetector | None = None,
    ) -> None:
        """Load what is not given: the weights that ship, on the fastest engine that works, and the detector.

        Raises `FileNotFoundError` where there are no weights, `ValueError` for damaged ones, and
        `RegressorEngineError`.
        """
        self._reader = CropReader(regressor, engine)
        self._mesh = Mesh(model or FaceModel.load(), LandmarkBinding.load())
        self._detector = detector or LandmarkDetector()
        self._person = RegressedPerson()
        self._smoother = FaceSmoother(settings or SmoothingSettings())
        self._bridge = Bridge()
        self.reading: Reading | None
        self._forget_past()

    @override
    def _forget_past(self) -> None:
        self._detector.reset()
        self._smoother.reset()
        self._bridge.reset()
        self._crop: Crop | None = None
        self._searched_s = -np.inf
        self._num_faces = 0
        self._unheard: tuple[FaceParams, float, float] | None = None
        self._tracked: tuple[FaceParams, Camera] | None = None
        self.reading = None
        """What the network said of the last frame, as it is; None where it saw no face."""

    @override
    def process(self, image: Image, time_s: float, camera: Camera | None = None) -> Track:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"image: expected [H, W, 3] uint8, got {image.shape} {image.dtype}")
        self.learn()
        camera = camera or Camera.webcam(image.shape[1], image.shape[0])
        elapsed_s = self._bridge.advance(time_s)
        reading = self._follow(image, camera) or self._search(image, time_s, camera)
        self.reading = reading
        if reading is None:
            self._tracked = None
            shown, state = self._bridge.without_face(time_s, self._person.neutral)
            return Track(shown, state, 0.0, 0, self._person.neutral, None)
        first = self._bridge.is_first
        if self._bridge.meet(time_s):
            self._smoother.reset()
        self._unheard = (reading.params, time_s, 0.0 if first else elapsed_s)
        if first:
            self.learn()
        params = self._smoother(self._of_person(reading.params), time_s)
        params = self._bridge.show(params, time_s, elapsed_s)
        self._tracked = (params, camera)
        return Track(params, "tracked", reading.confidence, max(self._num_faces, 1), self._person.neutral, None)

    @override
    def learn(self) -> None:
        if self._unheard is not None:
            heard, self._unheard = self._unheard, None
            self._person.hear(*heard)

    @override
    def mesh_px(self) -> NDArray[np.float32] | None:
        return None if self._tracked is None else self._mesh.project(*self._tracked)

    @property
    @override
    def is_calibrating(self) -> bool:
        """Whether a neutral pose, or a range of expressions, that was asked for is being watched."""
        return self._person.is_calibrating

    @override
    def calibrate(self) -> None:
        """Take the next second of the face, whatever it shows, for its neutral pose and expression.

        The three seconds after it, in which it should move as far as it does, give the gain of its expressions.
        """
        self._person.calibrate()

    @override
    def personal(self) -> Personal | None:
        """Give what is known of the person, for `restore`; None before a face was seen."""
        if self._bridge.is_first:
            return None
        rest = self._person.rest
        return Personal(
            tracker=self.name,
            identity=self._person.identity,
            expression=rest.expression,
            rotation=rest.rotation,
            translation=rest.translation,
            gaze=rest.gaze,
            gain=self._person.gain,
        )

    @override
    def restore(self, personal: Personal) -> None:
        self._check_own(personal)
        self.reset()
        rest = FaceParams.neutral().replace(
            identity=personal.identity, expression=personal.expression, rotation=personal.rotation,
            translation=personal.translation, gaze=personal.gaze,
        )  # fmt: skip
        self._person.restore(rest, personal.gain)

    @override
    def close(self) -> None:
        """Free the network and the detector."""
        self._reader.close()
        self._detector.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _of_person(self, params: FaceParams) -> FaceParams:
        return params.replace(
            identity=self._person.identity,
            reflectance=self._person.reflectance,
            expression=self._person.stretched(params.expression),
        )

    def _follow(self, image: Image, camera: Camera) -> Reading | None:
        """Read where the face was. A crop that shows none any more is kept: what hides the face may go away."""
        if self._crop is None or self._crop.frame != camera:
            return None
        reading = self._reader.read(image, self._crop)
        crop = self._next_crop(reading, camera) if reading.confidence >= LOST else None
        if crop is None:
            return None
        self._crop = crop
        return reading

    def _search(self, image: Image, time_s: float, camera: Camera) -> Reading | None:
        """Let the detector look, now and then, and read what it finds."""
        if 0.0 <= time_s - self._searched_s < SEARCH_INTERVAL_S:
            return None
        self._searched_s = time_s
        found = self._detector.detect(image)
        self._num_faces = found.num_faces if found is not None else 0
        if found is None:
            return None
        crop: Crop | None = self._crop_of(found, camera)
        reading = None
        for _ in range(REFINEMENTS):
            if crop is None:
                return None
            reading = self._reader.read(image, crop)
            crop = self._next_crop(reading, camera)
        if crop is None or reading is None or reading.confidence < FOUND:
            return None
        self._crop = crop
        return reading

    def _next_crop(self, reading: Reading, camera: Camera) -> Crop | None:
        """Frame the head that was read; None where it cannot be one."""
        crop = self._reader.around(reading.params, camera)
        if crop is None:
            return None
        u, v = crop.center_px
        is_inside = 0.0 <= u < camera.width and 0.0 <= v < camera.height
        return crop if is_inside and crop.size_px >= MIN_SIZE_PX else None

    def _crop_of(self, found: Landmarks, camera: Camera) -> Crop:
        """Frame a detected face: the similarity from the average face to the landmarks and their depth."""
        seen = np.column_stack([found.points_px[:468] * [1.0, -1.0], -found.depth_px[:468]]).astype(np.float64)
        known = self._mesh.mean[:468].astype(np.float64)
        middle, center = known.mean(0), seen.mean(0)
        u, sizes, vt = np.linalg.svd((seen - center).T @ (known - middle))
        flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        rotation = (u * flip) @ vt
        scale = float((sizes * flip).sum() / ((known - middle) ** 2).sum())
        anchor = center + scale * rotation @ (np.array(ANCHOR_M) - middle)
        angle = float(np.arctan2(rotation[0, 1], rotation[1, 1]))
        place = (float(anchor[0]), float(-anchor[1]))
        return Crop(camera, place, max(HEAD_M * scale, MIN_SIZE_PX), angle, pixels=self._reader.size)
