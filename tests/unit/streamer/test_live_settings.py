from __future__ import annotations

import pytest

from streamer.config import load_config
from streamer.errors import UsageError
from streamer.live_settings import LiveSettings, media_of
from streamer.packaged import default_settings
from streamer.presets import PRESETS, describe_presets
from streamer.settings import SettingsTable
from tests.unit.streamer.fakes import FakeSettings


def test_every_setting_has_a_unit_or_needs_none_a_range_and_a_sentence() -> None:
    rows = {str(row["key"]): row for row in SettingsTable(default_settings()).describe()}
    wanted = {
        "engine.name", "engine.precision", "engine.threads", "window.stride", "media.codec", "media.bitrate_kbps",
        "media.output_px", "media.source_px", "media.frame_rate", "media.jitter_ms", "governor.is_on",
        "governor.target_ms", "smoothing.prediction_ms", "tracker",
    }  # fmt: skip
    assert wanted <= set(rows)
    for key, row in rows.items():
        assert str(row["text"]).endswith("."), key
        if isinstance(row["value"], int | float) and not isinstance(row["value"], bool):
            assert row["minimum"] is not None, key
            assert row["maximum"] is not None, key
            assert row["unit"] or key.endswith(("_gain", ".beta", ".threads", ".stride")), key
    assert rows["media.frame_rate"]["is_whole"]
    assert not rows["governor.target_ms"]["is_whole"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_holds_on_the_page_and_in_the_configuration(name: str) -> None:
    table = SettingsTable(default_settings())
    for key, value in PRESETS[name][1].items():
        table.set(key, value)
    config = load_config(default_settings(), None, [("preset", name)])
    values = SettingsTable(config.settings).values()
    assert {key: values[key] for key in PRESETS[name][1]} == dict(PRESETS[name][1])
    assert [preset["name"] for preset in describe_presets()] == list(PRESETS)


def test_balanced_is_what_a_session_starts_with() -> None:
    values = SettingsTable(default_settings()).values()
    assert {key: values[key] for key in PRESETS["balanced"][1]} == dict(PRESETS["balanced"][1])


def test_the_configuration_and_the_live_settings_agree() -> None:
    pairs = [("preset", "fastest"), ("engine.threads", 3), ("media.bitrate_kbps", 900), ("media.frame_rate", 20)]
    config = load_config(default_settings(), None, pairs)
    settings = config.settings
    assert isinstance(settings, LiveSettings)
    assert (config.engine.threads, settings.engine.threads) == (3, 3)
    # What comes later is the stronger, over a preset too.
    assert (settings.media.bitrate_kbps, settings.media.frame_rate, settings.governor.target_ms) == (900, 20, 80.0)
    with pytest.raises(UsageError, match="preset: expected one of fastest"):
        load_config(default_settings(), None, [("preset", "slow")])
    assert media_of(FakeSettings()) is None
