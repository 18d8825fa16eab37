"""The real targets: actor packages on disk, animated by `reenact.reenactor`."""

from __future__ import annotations

import logging
from pathlib import Path

from capture.smoothing import SmoothingSettings
from reenact.actor import Actor, ActorError, actor_paths, list_actors
from reenact.engines.engine import EngineError
from reenact.handles import face_handles
from reenact.reenactor import Reenactor, ReenactSettings
from streamer.config import EngineConfig
from streamer.errors import ServiceError
from streamer.live_settings import LiveSettings
from streamer.observer import NAME as OBSERVER
from streamer.observer import SIDE, Observer
from streamer.targets import ActorCard, unknown_actor
from streamer.targets import Reenactor as AnyReenactor

logger = logging.getLogger(__name__)

LIVE_PREDICTION_MS = 25.0
"""Half of the way from camera to screen: more of it gains little, for heads do not keep their speed (see
`capture.smoothing.Drift`). What is not live has no way to make up for."""


def default_settings() -> LiveSettings:
    """Return the live settings that a session starts with when nothing else is said."""
    return LiveSettings(smoothing=SmoothingSettings(prediction_ms=LIVE_PREDICTION_MS))


def card_of(actor: Actor) -> ActorCard:
    """Return what a page shows of `actor`."""
    return ActorCard(
        name=actor.name,
        title=actor.title,
        resolution=actor.resolution,
        frame_rate=actor.frame_rate,
        license=actor.license,
        consent={**actor.consent.to_json(), "signer": actor.signer},
        preview_path=actor.preview_path,
        handles=face_handles(actor.target),
    )


class PackagedTargets:
    """Actors of `models/actors/`, and the one that the command line names by its path.

    Names come from the network: only names that are listed are ever looked up on disk.
    """

    def __init__(self, engine: EngineConfig, settings: ReenactSettings) -> None:
        """Animate with `engine`, starting with `settings`."""
        self._engine = engine
        self._settings = settings

    def cards(self) -> list[ActorCard]:
        """List the actors that can be loaded; the default one first, if it stands elsewhere."""
        cards = {actor.name: card_of(actor) for actor in list_actors()}
        if self._default_path is not None:
            try:
                given = card_of(Actor.load(self._default_path, verify=False))
            except ActorError as error:
                logger.warning("%s", error)
            else:
                cards = {given.name: given} | {name: card for name, card in cards.items() if name != given.name}
        return list(cards.values())

    def card(self, name: str) -> ActorCard:
        """Verify one actor; raise `ServiceError` `unknown_actor` (404) or `actor_refused` (409)."""
        if name == OBSERVER:
            return ActorCard(name=OBSERVER, title="Nobody", resolution=SIDE, frame_rate=30.0)
        return card_of(self._load(name))

    def open(self, name: str) -> AnyReenactor:
        """Make a reenactor for `name`, already warm; raise as `card`, or `engine_refused` (409)."""
        if name == OBSERVER:
            return Observer()
        engine = self._engine
        reenactor = Reenactor(
            self._load(name),
            engine=engine.name,
            precision=engine.precision,
            threads=engine.threads,
            settings=self._settings,
        )
        try:
            reenactor.warm_up()
        except BaseException as error:  # also where something ends the thread: what was loaded must not stay behind
            reenactor.close()
            if isinstance(error, EngineError | ActorError):
                raise ServiceError(409, "engine_refused", str(error)) from error
            raise
        return reenactor

    def _load(self, name: str) -> Actor:
        try:
            return Actor.load(self._locate(name), verify=True)
        except ActorError as error:
            raise ServiceError(409, "actor_refused", str(error)) from error

    @property
    def _default_path(self) -> Path | None:
        """The default actor's folder, if the command line named it by that."""
        name = self._engine.actor
        return Path(name) if "/" in name or name.endswith(".actor") else None

    def _locate(self, name: str) -> Path:
        """Return the folder of an actor that is listed, or of the default one."""
        default, paths = self._default_path, actor_paths()
        if default is not None and name in (self._engine.actor, default.resolve().name.removesuffix(".actor")):
            return default
        if name not in paths:
            raise unknown_actor(name, list(paths))
        return paths[name]
