"""The targets a session can drive, and the reenactor that animates one: the streamer's view of the room below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from capture.personal import Personal
from reenact.credentials import Origin
from reenact.face_change import FaceChange
from reenact.mark.message import Message
from streamer.errors import ServiceError


class Looked(Protocol):
    """What was seen of the source in one frame; see `reenact.reenactor.Looked`."""

    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def confidence(self) -> float: ...  # noqa: D102
    @property
    def num_faces(self) -> int: ...  # noqa: D102
    @property
    def is_calibrating(self) -> bool: ...  # noqa: D102


class Reenacted(Protocol):
    """One generated frame; see `reenact.reenactor.Reenacted`."""

    @property
    def image(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def stages_ms(self) -> Mapping[str, float]: ...  # noqa: D102


class Reenactor(Protocol):
    """The live path whole, in two halves for two threads; see `reenact.reenactor.Reenactor`."""

    @property
    def engine_name(self) -> str: ...  # noqa: D102
    @property
    def engine_reason(self) -> str: ...  # noqa: D102
    @property
    def resolution(self) -> int: ...  # noqa: D102
    @property
    def tracker_name(self) -> str: ...  # noqa: D102
    @property
    def tracker_reason(self) -> str: ...  # noqa: D102

    @property
    def coverage(self) -> Mapping[str, float] | None: ...  # noqa: D102
    @property
    def may_improve(self) -> bool: ...  # noqa: D102

    def warm_up(self) -> None: ...  # noqa: D102
    @property
    def origin(self) -> Origin: ...  # noqa: D102
    def begin(self, session: str) -> Message: ...  # noqa: D102
    def look(self, image: NDArray[np.uint8], time_s: float) -> Looked: ...  # noqa: D102
    def show(self, looked: Any) -> Reenacted: ...  # noqa: ANN401, D102
    def puppet(self, numbers: FaceChange) -> None: ...  # noqa: D102
    def edit(self, change: FaceChange) -> None: ...  # noqa: D102
    def learn(self) -> None: ...  # noqa: D102
    def apply(self, settings: Any) -> None: ...  # noqa: ANN401, D102
    def mesh(self) -> NDArray[np.float32] | None: ...  # noqa: D102
    def calibrate(self) -> None: ...  # noqa: D102
    def personal(self) -> Personal | None: ...  # noqa: D102
    def restore(self, personal: Personal) -> None: ...  # noqa: D102
    def fall_back(self) -> None: ...  # noqa: D102
    def reset(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorCard:
    """What a page shows of an actor."""

    name: str
    title: str
    resolution: int
    frame_rate: float
    license: str = ""
    consent: Any = field(default_factory=dict)
    preview_path: Path | None = None
    handles: Mapping[str, object] | None = None
    """Where its face lies in its picture: see `reenact.handles`."""

    def as_json(self) -> dict[str, object]:
        """Return the entry of `GET /api/actors`."""
        return {
            "name": self.name,
            "title": self.title,
            "resolution": self.resolution,
            "frame_rate": self.frame_rate,
            "license": self.license,
            "consent": self.consent,
            "handles": self.handles,
            "preview": f"/api/actors/{self.name}/preview.webp" if self.preview_path else None,
        }


class Targets(Protocol):
    """Where actors come from. All methods may block: call them off the event loop."""

    def cards(self) -> list[ActorCard]:
        """List the actors that can be loaded."""
        ...

    def card(self, name: str) -> ActorCard:
        """Verify one actor; raise `ServiceError` `unknown_actor` (404) or `actor_refused` (409)."""
        ...

    def open(self, name: str) -> Reenactor:
        """Make a reenactor for `name`; raise as `card`. Warming it up is left to the caller."""
        ...


ReenactorFactory = Callable[[str], Reenactor]


def unknown_actor(name: str, known: list[str]) -> ServiceError:
    """Make the error for an actor that is not there."""
    names = f" There {'is' if len(known) == 1 else 'are'}: {', '.join(known)}." if known else ""
    return ServiceError(404, "unknown_actor", f"There is no actor {name!r}.{names}")
