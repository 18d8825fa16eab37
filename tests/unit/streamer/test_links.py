from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from streamer import lan
from streamer.access import Right
from streamer.app import create_app
from streamer.config import Config, ServerConfig
from streamer.keys import TOKENS
from streamer.lan import lan_addresses, lan_url, qr_svg, qr_terminal
from tests.unit.streamer.fakes import FakeSettings, FakeTargets


async def client_of(server: ServerConfig) -> TestClient[web.Request, web.Application]:
    app = create_app(Config(server=server, settings=FakeSettings()), targets=FakeTargets(), is_preparing=False)
    client = TestClient(TestServer(app))
    await client.start_server()
    return client


def test_only_what_listens_beyond_loopback_has_an_address_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lan, "lan_addresses", lambda: ["192.0.2.7"])
    assert lan_url("127.0.0.1", 8080, is_https=False) == ""
    assert lan_url("localhost", 8080, is_https=False) == ""
    assert lan_url("0.0.0.0", 8080, is_https=True) == "https://192.0.2.7:8080/"
    assert lan_url("fd00::1", 8080, is_https=False) == "http://[fd00::1]:8080/"
    monkeypatch.setattr(lan, "lan_addresses", list)
    assert lan_url("0.0.0.0", 8080, is_https=True) == ""


def test_the_addresses_of_this_machine_are_no_loopback() -> None:
    assert all(not address.startswith(("127.", "169.254.")) for address in lan_addresses())


def test_a_code_differs_with_its_text_and_is_a_picture() -> None:
    assert qr_svg("https://192.0.2.7:8080/").startswith("<svg")
    assert qr_svg("https://192.0.2.7:8080/") != qr_svg("https://192.0.2.8:8080/")
    assert len(qr_terminal("https://192.0.2.7:8080/").splitlines()) > 10


async def test_on_loopback_a_link_needs_no_token_and_says_how_to_get_out() -> None:
    client = await client_of(ServerConfig())
    try:
        response = await client.post("/api/links", json={"right": "source"}, headers={"Host": "localhost"})
        assert response.status == 201
        link = await response.json()
        assert (link["token"], link["url"], link["qr"]) == ("", "", "")
        assert "--https" in link["hint"]
        response = await client.post("/api/links", json={"right": "admin"}, headers={"Host": "localhost"})
        assert response.status == 400
    finally:
        await client.close()


async def test_beyond_it_a_source_hands_on_what_it_may_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lan, "lan_addresses", lambda: ["192.0.2.7"])
    client = await client_of(ServerConfig(host="0.0.0.0", https=True))
    try:
        tokens = client.app[TOKENS]
        (_, viewer), (_, source) = tokens.make(Right.VIEWER), tokens.make(Right.SOURCE)
        response = await client.post("/api/links", json={"right": "viewer"})
        assert response.status == 401
        response = await client.post(
            "/api/links", json={"right": "viewer"}, headers={"Authorization": f"Bearer {viewer}"}
        )
        assert response.status == 403
        for right, path in (("viewer", "view/live"), ("source", "")):
            response = await client.post(
                "/api/links", json={"right": right}, headers={"Authorization": f"Bearer {source}"}
            )
            link = await response.json()
            assert tokens.find(link["token"]).right == Right[right.upper()]
            assert link["url"].startswith("https://192.0.2.7:")
            assert link["url"].endswith(f"/{path}?token={link['token']}")
            assert link["qr"] == qr_svg(link["url"])
    finally:
        await client.close()
