"""What a person may change while it runs: the streamer's own settings beside those of the room below."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.options import check_options, option
from reenact.reenactor import ReenactSettings
from streamer.governor import GovernorSettings

if TYPE_CHECKING:
    from streamer.config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaSettings:
    """What travels, how often and how large."""

    codec: str = option(
        "auto", "Codec of both directions; another one takes a new connection, which the page makes.",
        choices=("auto", "vp8", "h264"),
    )  # fmt: skip
    bitrate_kbps: int = option(
        0, "Highest bitrate of the output; 0 chooses by picture size.", minimum=0, maximum=12_000, unit="kbit/s"
    )
    output_px: int = option(
        1024, "Longest side of the picture sent: a smaller one is encoded and sent sooner, and is less sharp.",
        minimum=64, maximum=1024, unit="px",
    )  # fmt: skip
    source_px: int = option(
        1280, "Longest side of the camera's picture as sent: a smaller one is sooner there, and tracked less exactly.",
        minimum=160, maximum=1280, unit="px",
    )  # fmt: skip
    frame_rate: int = option(
        60, "Frames a second at most: fewer leave each of them more of the processor.", minimum=5, maximum=60,
        unit="fps",
    )  # fmt: skip
    jitter_ms: int = option(
        0, "How long the browser holds frames back to show them evenly: all of it is delay.", minimum=0, maximum=500,
        unit="ms",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSettings(ReenactSettings):
    """Everything that a session starts with and its page may change."""

    media: MediaSettings = field(default_factory=MediaSettings)
    """What travels."""
    governor: GovernorSettings = field(default_factory=GovernorSettings)
    """What holds the delay."""

    def seeded(self, config: Config) -> LiveSettings:
        """Take over what the server's configuration says of the same things."""
        engine, media = config.engine, config.media
        return dataclasses.replace(
            self,
            engine=dataclasses.replace(
                self.engine, name=engine.name, precision=engine.precision, threads=engine.threads
            ),
            media=dataclasses.replace(self.media, codec=media.codec, bitrate_kbps=media.bitrate_kbps),
        )


def media_of(settings: Any) -> MediaSettings | None:  # noqa: ANN401 - the targets' settings type
    """Return the streamer's part of a session's settings, if they have one."""
    part = getattr(settings, "media", None)
    return part if isinstance(part, MediaSettings) else None
