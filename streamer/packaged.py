"""The real targets: actor packages on disk, animated by `reenact.reenactor`."""

from __future__ import annotations

import logging
from pathlib import Path

from reenact.actor import Actor, ActorError, list_actors
from reenact.reenactor import Reenactor, ReenactSettings

from streamer.config import EngineConfig
from streamer.errors import ServiceError
from streamer.targets import ActorCard, unknown_actor

logger = logging.getLogger(__name__)


def default_settings() -> ReenactSettings:
    """Return the live settings that a session starts with when nothing else is said."""
    return ReenactSettings()


def card_of(actor: Actor) -> ActorCard:
    """Return what a page shows of `actor`."""
    preview = Path(actor.preview_path) if actor.preview_path else None
    return ActorCard(
        name=actor.name,
        title=actor.title,
        resolution=actor.resolution,
        frame_rate=float(actor.frame_rate),
        license=actor.license,
        consent=actor.consent,
        preview_path=preview if preview is not None and preview.is_file() else None,
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
        if self._is_path(self._engine.actor):
            try:
                given = card_of(Actor.load(self._engine.actor, verify=False))
            except ActorError as error:
                logger.warning("%s", error)
            else:
                cards = {given.name: given} | cards
        return list(cards.values())

    def card(self, name: str) -> ActorCard:
        """Verify one actor; raise `ServiceError` `unknown_actor` (404) or `actor_refused` (409)."""
        return card_of(self._load(name))

    def open(self, name: str) -> Reenactor:
        """Make a reenactor for `name`; raise as `card`, and what the engine raises."""
        engine = self._engine
        return Reenactor(
            self._load(name),
            engine=engine.name,
            precision=engine.precision,
            threads=engine.threads,
            settings=self._settings,
        )

    def _load(self, name: str) -> Actor:
        try:
            return Actor.load(self._locate(name), verify=True)
        except ActorError as error:
            raise ServiceError(409, "actor_refused", str(error)) from error

    def _locate(self, name: str) -> str:
        """Return what `Actor.load` wants for a name that is listed, or for the default."""
        default = self._engine.actor
        if name == default:
            if not self._is_path(default) and not self._is_listed(default):
                raise unknown_actor(name, self._names())
            return default
        if self._is_listed(name):
            return name
        if self._is_path(default) and any(card.name == name for card in self.cards()):
            return default
        raise unknown_actor(name, self._names())

    def _is_listed(self, name: str) -> bool:
        return name in self._names()

    def _names(self) -> list[str]:
        return [actor.name for actor in list_actors()]

    @staticmethod
    def _is_path(name: str) -> bool:
        return "/" in name or name.endswith(".actor")
