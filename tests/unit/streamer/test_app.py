"""Everything but WHIP over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from streamer import app as app_module
from streamer.app import create_app
from streamer.config import Config, ServerConfig
from streamer.targets import ActorCard
from tests.unit.streamer.fakes import FakeClock, FakeSettings, FakeTargets

Client = TestClient[Any, Any]


class TargetsWithPreview(FakeTargets):
    def __init__(self, preview: Path) -> None:
        super().__init__()
        self.preview = preview

    def cards(self) -> list[ActorCard]:
        consent = {"person": "nobody", "granted": True}
        first = ActorCard(
            name="milo", title="Milo", resolution=256, frame_rate=30, consent=consent, preview_path=self.preview
        )
        return [first, *super().cards()[1:]]


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>reenact</title>")
    (folder / "main.js").write_text("export {};\n")
    monkeypatch.setattr(app_module, "WEB_FOLDER", folder)
    preview = tmp_path / "preview.webp"
    preview.write_bytes(b"RIFF....WEBP")
    config = Config(server=ServerConfig(max_sessions=3), settings=FakeSettings())
    clock = FakeClock()
    app = create_app(config, targets=TargetsWithPreview(preview), clock=clock, is_preparing=False)
    clock.advance_ms(1500)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_page_and_modules(client: Client) -> None:
    response = await client.get("/")
    assert response.status == 200
    assert response.content_type == "text/html"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    response = await client.get("/web/main.js")
    assert response.content_type in ("text/javascript", "application/javascript")
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/nowhere", "/web/../app.py", "/web/%2e%2e/%2e%2e/etc/passwd", "/web/", "/whip/none"])
async def test_what_is_not_there(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status in (403, 404, 405)


async def test_errors_are_json_for_every_route(client: Client) -> None:
    response = await client.get("/nowhere")
    assert (await response.json())["error"] == {"code": "not_found", "message": "There is nothing at /nowhere."}
    response = await client.get("/whip")
    assert response.status == 405
    assert response.headers["Allow"] == "POST"
    assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_health(client: Client) -> None:
    health = await (await client.get("/healthz")).json()
    assert health == {"status": "ok", "version": health["version"], "uptime_s": 1.5, "sessions": 0}


async def test_actors_and_previews(client: Client) -> None:
    actors = await (await client.get("/api/actors")).json()
    assert actors["default"] == "milo"
    assert [actor["name"] for actor in actors["actors"]] == ["milo", "nora"]
    milo = actors["actors"][0]
    assert milo["consent"] == {"person": "nobody", "granted": True}
    response = await client.get(milo["preview"])
    assert response.content_type == "image/webp"
    assert await response.read() == b"RIFF....WEBP"
    assert actors["actors"][1]["preview"] is None
    assert (await client.get("/api/actors/nora/preview.webp")).status == 404
    response = await client.get("/api/actors/ghost/preview.webp")
    assert (await response.json())["error"]["code"] == "unknown_actor"


async def test_the_mesh_has_edges_between_its_points(client: Client) -> None:
    edges = (await (await client.get("/api/mesh")).json())["edges"]
    assert len(edges) > 1000
    assert all(0 <= first < second < 478 for first, second in edges)


async def test_settings_and_sessions(client: Client) -> None:
    settings = (await (await client.get("/api/settings")).json())["settings"]
    assert {entry["key"] for entry in settings} >= {"smoothing.min_cutoff_hz", "transfer.is_mirrored"}
    assert await (await client.get("/api/sessions")).json() == {"max_sessions": 3, "sessions": []}


async def test_metrics(client: Client) -> None:
    response = await client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "reenact_max_sessions 3\n" in await response.text()


async def test_a_failing_handler_is_a_500_with_a_sentence(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> list[ActorCard]:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(TargetsWithPreview, "cards", broken)
    response = await client.get("/api/actors")
    assert response.status == 500
    assert "disk" not in await response.text()
    assert "disk on fire" in caplog.text
