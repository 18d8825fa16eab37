"""The server's configuration: defaults, one TOML file, `--set section.key=value`. Unknown keys fail.

Sections: `server` (where to listen, how many sessions), `engine` (which actor, and what executes its network),
`media` (codecs and sizes), `inputs` (numbers from other programs); `smoothing` and `transfer` are what every session's
live settings start with, and so are `source` and `tracker`, which stand outside of a section.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from models.options import check_options, option
from streamer.errors import MessageError, UsageError
from streamer.presets import PRESETS
from streamer.settings import SettingsTable, coerce

D = TypeVar("D")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """Where to listen, and for how many."""

    host: str = option("127.0.0.1", "Address to listen on; the camera needs localhost or HTTPS.")
    port: int = option(8080, "TCP port; 0 takes a free one.", minimum=0, maximum=65535)
    https: bool = option(False, "Serve over HTTPS, which a camera needs beyond localhost.")
    certificate: str = option("", "PEM file with the certificate chain; empty: this machine makes and keeps its own.")
    certificate_key: str = option("", "PEM file with the certificate's key, where that is a file of its own.")
    access: str = option(
        "auto", "Who is let in: auto asks for a token beyond loopback, token everywhere.", choices=("auto", "token")
    )
    idle_s: float = option(
        3.0, "A session ends when its source has sent nothing for this long.", minimum=1.0, maximum=600.0, unit="s"
    )
    drain_s: float = option(
        5.0, "How long sessions may go on after SIGTERM; a second one ends them.", minimum=0.0, maximum=600.0, unit="s"
    )
    max_memory_mib: int = option(
        0, "Memory in use above which nobody is admitted; 0 is three quarters of the machine's.", minimum=0, unit="MiB"
    )
    virtual_camera: bool = option(False, "Show the output as a camera of this machine too.")
    max_sessions: int = option(1, "Sources at a time; each takes about two cores.", minimum=1, maximum=64)
    max_viewers: int = option(50, "Viewers of each session at a time.", minimum=0, maximum=1000)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """Which actor, and what executes its network."""

    actor: str = option("milo", "Name of the default target, or a path to an actor package.")
    name: str = option("auto", "What executes the network; auto takes the fastest that works.")
    precision: str = option("auto", "Number format of the network: auto, int8, bf16, fp16, fp32.")
    threads: int = option(0, "CPU threads of the network; 0 lets the engine choose.", minimum=0, maximum=256)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaConfig:
    """Codecs, rates and sizes."""

    codec: str = option("auto", "Codec of both directions; auto follows the page.", choices=("auto", "vp8", "h264"))
    bitrate_kbps: int = option(
        0, "Highest bitrate of the output; 0 chooses by picture size.", minimum=0, maximum=12_000, unit="kbit/s"
    )
    longest_side_px: int = option(
        960, "Sources larger than this are scaled down before tracking.", minimum=64, maximum=4096, unit="px"
    )
    ice_servers: tuple[str, ...] = option((), "STUN and TURN addresses; none are needed in a local network.")
    turn_secret: str = option("", "Secret shared with coturn (static-auth-secret), for passwords that run out.")
    turn_ttl_s: int = option(
        86_400, "How long such a password holds; a session may last as long.", minimum=60, maximum=604_800, unit="s"
    )
    turn_username: str = option("", "User of the TURN servers, where there is no shared secret.")
    turn_password: str = option("", "Password of that user.")

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class InputsConfig:
    """Numbers from other programs, for sessions whose setting `source` is `numbers`."""

    host: str = option("127.0.0.1", "Address that OSC and Live Link Face are heard on: who reaches it is heard.")
    osc_port: int = option(0, "UDP port for OSC; 0 is off. Usual: 39539 (VMC), 9000.", minimum=0, maximum=65535)
    live_link_port: int = option(0, "UDP port for Live Link Face; 0 is off. Usual: 11111.", minimum=0, maximum=65535)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything the server is told at its start."""

    server: ServerConfig = field(default_factory=ServerConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    inputs: InputsConfig = field(default_factory=InputsConfig)
    settings: Any = None
    """What live settings start with: the `ReenactSettings` of the room below."""


def parse_assignment(text: str) -> tuple[str, object]:
    """Read `section.key=value`, the value as TOML or else as a word; raise `UsageError`."""
    key, separator, value = text.partition("=")
    if not separator or key.count(".") > 1 or not all(key.split(".")):
        raise UsageError(f"--set {text}: expected section.key=value")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def read_toml(path: Path) -> dict[str, object]:
    """Return the file's `section.key` pairs, and its keys outside of a section; raise `UsageError`."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    pairs: dict[str, object] = {}
    for section, table in tables.items():
        if isinstance(table, Mapping):
            pairs |= {f"{section}.{key}": value for key, value in table.items()}
        else:
            pairs[section] = table
    return pairs


def load_config(settings: Any, path: Path | None = None, assignments: Sequence[tuple[str, object]] = ()) -> Config:  # noqa: ANN401
    """Resolve defaults, file and assignments, in that order; raise `UsageError` naming the key at fault.

    `settings` are the defaults of the live settings.
    """
    pairs: list[tuple[str, object]] = list(read_toml(path).items()) if path is not None else []
    table = SettingsTable(settings)
    sections: dict[str, Any] = {
        "server": ServerConfig(), "engine": EngineConfig(), "media": MediaConfig(), "inputs": InputsConfig(),
    }  # fmt: skip
    for key, value in _spelled_out([*pairs, *assignments]):
        section, dot, name = key.partition(".")
        if dot and section in sections and (key not in table.values() or hasattr(sections[section], name)):
            sections[section] = _replace(sections[section], key, name, value)
        elif key in table.values():
            try:
                table.set(key, value)
            except MessageError as error:
                raise UsageError(error.message) from error
        else:
            raise UsageError(f"unknown setting {key!r}" if dot else f"{key!r} stands outside of a [section]")
    config = Config(**sections, settings=table.current)
    seeded = getattr(table.current, "seeded", None)
    try:
        return config if seeded is None else dataclasses.replace(config, settings=seeded(config))
    except ValueError as error:
        raise UsageError(f"engine.{error}") from error


def _spelled_out(pairs: Sequence[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    """Put in the place of a preset what it stands for; raise `UsageError` for one that there is not."""
    for key, value in pairs:
        if key != "preset":
            yield key, value
        elif isinstance(value, str) and value in PRESETS:
            yield from PRESETS[value][1].items()
        else:
            raise UsageError(f"preset: expected one of {', '.join(PRESETS)}, got {value!r}")


def _replace(part: D, key: str, name: str, value: object) -> D:
    target: Any = part
    if name not in {f.name for f in dataclasses.fields(target)}:
        raise UsageError(f"unknown setting {key!r}")
    current = getattr(target, name)
    try:
        if isinstance(current, tuple):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ValueError(f"{key}: expected a list of words, got {value!r}")
            fresh: object = tuple(value)
        else:
            fresh = coerce(key, value, current)
        return dataclasses.replace(target, **{name: fresh})
    except ValueError as error:
        text = str(error)
        raise UsageError(text if text.startswith(key) else f"{key.partition('.')[0]}.{text}") from error
