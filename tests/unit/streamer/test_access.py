"""Attacks over HTTP, each tried and refused: no token, a wrong one, another site, too much, too often, too slow."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientResponse, CookieJar
from aiohttp.test_utils import TestClient, TestServer
from aiortc import RTCConfiguration, RTCPeerConnection

from streamer import doorkeeper, whip
from streamer.access import RIGHTS, Right, is_loopback
from streamer.app import create_app
from streamer.config import Config, ServerConfig
from streamer.doorkeeper import Doorkeeper, GuardedRunner
from streamer.guard import MISTAKES, OFFERS, REQUESTS
from streamer.keys import LOBBY, TOKENS
from streamer.limits import MAX_ADDRESSES, Buckets, network_of
from tests.unit.streamer.fakes import FakeClock, FakeSettings, FakeTargets

Client = TestClient[Any, Any]
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def make_client(clock: FakeClock | None = None, *, host: str = "127.0.0.1", access: str = "token") -> Client:
    config = Config(server=ServerConfig(host=host, access=access, max_sessions=4), settings=FakeSettings())
    app = create_app(config, targets=FakeTargets(), clock=clock, is_preparing=False)
    # Cookies of addresses are kept, as a browser keeps them.
    return TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True))


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with make_client(FakeClock()) as client:
        yield client


@pytest.fixture
async def offer() -> str:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("video", direction="sendrecv")
    await peer.setLocalDescription(await peer.createOffer())
    text = str(peer.localDescription.sdp)
    await peer.close()
    return text


def secret_for(client: Client, right: Right) -> str:
    assert client.app is not None
    return client.app[TOKENS].make(right)[1]


async def get_raw(client: Client, target: str, headers: str = "") -> str:
    """Ask for `target` as it is written: every client tidies it up."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"GET {target} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


async def refusal(response: ClientResponse) -> tuple[int, str]:
    error = (await response.json())["error"]
    assert error["message"].endswith(".")
    return response.status, error["code"]


# Rights


async def test_every_route_says_what_right_it_takes(client: Client) -> None:
    assert client.app is not None
    routes = {route.resource.canonical for route in client.app.router.routes() if route.resource is not None}
    assert routes <= set(RIGHTS), f"access.RIGHTS does not name {routes - set(RIGHTS)}"


async def test_without_a_token_nothing_but_health_and_the_pages_own_files(client: Client) -> None:
    assert client.app is not None
    for route in client.app.router.routes():
        if route.resource is None or route.method == "HEAD":
            continue
        path = re.sub(r"\{\w+\}", "x", route.resource.canonical)
        response = await client.request(route.method, path)
        if RIGHTS[route.resource.canonical] == Right.NOBODY:
            assert response.status != 401, path
        else:
            assert await refusal(response) == (401, "token_needed"), path
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert await (await client.get("/healthz")).json() == {"status": "ok"}
    assert await refusal(await client.get("/nowhere")) == (401, "token_needed")


@pytest.mark.parametrize("secret", ["x", "x" * 43, "x" * 7000, "ü", "' OR 1=1 --"])
async def test_a_wrong_token(client: Client, offer: str, secret: str) -> None:
    headers = SDP | {"Authorization": f"Bearer {secret}".encode().decode("latin-1")}
    assert await refusal(await client.post("/whip", data=offer, headers=headers)) == (401, "token_wrong")
    assert await refusal(await client.get("/api/actors", params={"token": secret})) == (401, "token_wrong")
    assert await refusal(await client.get("/", cookies={f"reenact-{client.port}": "wrong"})) == (401, "token_wrong")


async def test_each_right_allows_what_it_says_and_no_more(client: Client, offer: str) -> None:
    asked = {
        Right.VIEWER: [("GET", "/api/sessions")],
        Right.SOURCE: [("GET", "/api/actors"), ("GET", "/api/settings"), ("GET", "/api/mesh"), ("POST", "/whip")],
        Right.ADMIN: [
            ("GET", "/api/tokens"),
            ("GET", "/metrics"),
            ("DELETE", "/api/tokens/0"),
            ("POST", "/api/tokens"),
        ],
    }
    for own in (Right.VIEWER, Right.SOURCE, Right.ADMIN):
        headers = SDP | bearer(secret_for(client, own))
        for needed, requests in asked.items():
            for method, path in requests:
                response = await client.request(method, path, headers=headers, data=offer if path == "/whip" else None)
                is_refused = response.status == 403 and (await refusal(response))[1] == "forbidden"
                assert is_refused is (own < needed), (own, method, path, response.status)


async def test_a_viewers_token_is_no_sources(client: Client, offer: str) -> None:
    viewer, source = secret_for(client, Right.VIEWER), secret_for(client, Right.SOURCE)
    response = await client.post("/whip", data=offer, headers=SDP | bearer(viewer))
    assert await refusal(response) == (403, "forbidden")
    assert client.app is not None
    assert client.app[LOBBY].sessions == []
    location = (await client.post("/whip", data=offer, headers=SDP | bearer(source))).headers["Location"]
    for method in ("PATCH", "DELETE"):
        response = await client.request(method, location, headers=FRAGMENT | bearer(viewer))
        assert await refusal(response) == (403, "forbidden")
    assert len(client.app[LOBBY].sessions) == 1


async def test_another_sources_session_is_out_of_reach(client: Client, offer: str) -> None:
    one, other, admin = (secret_for(client, right) for right in (Right.SOURCE, Right.SOURCE, Right.ADMIN))
    response = await client.post("/whip?client=tab", data=offer, headers=SDP | bearer(one))
    location = response.headers["Location"]
    assert (await client.post("/whip?client=tab", data=offer, headers=SDP | bearer(other))).status == 201
    assert await refusal(await client.delete(location, headers=bearer(other))) == (404, "not_found")
    assert await refusal(await client.patch(location, headers=FRAGMENT | bearer(other))) == (404, "not_found")
    assert (await client.delete(location, headers=bearer(admin))).status == 200


async def test_a_link_leaves_a_cookie_and_no_token_in_the_address(client: Client) -> None:
    secret = secret_for(client, Right.SOURCE)
    response = await client.get("/", params={"actor": "milo", "token": secret}, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "/?actor=milo")
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith(f"reenact-{client.port}={secret};")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    response = await client.get("/")
    assert response.content_type == "text/html"
    assert response.status == 200
    assert (await client.get("/api/actors")).status == 200
    answer = await get_raw(client, f"//evil.example/?token={secret}")
    assert answer.startswith("HTTP/1.0 403")  # no page, so nowhere to go on to
    assert "Location" not in answer


async def test_a_person_without_the_link_reads_what_to_do(client: Client) -> None:
    response = await client.get("/", headers={"Accept": "text/html,*/*"})
    assert (response.status, response.content_type) == (401, "text/html")
    assert "open the link that it printed" in await response.text()


async def test_tokens_are_made_listed_and_revoked(client: Client, offer: str) -> None:
    admin = bearer(secret_for(client, Right.ADMIN))
    response = await client.post("/api/tokens", json={"right": "source"}, headers=admin)
    made = await response.json()
    assert response.status == 201
    secret = parse_qs(urlsplit(made["link"]).query)["token"][0]
    assert secret == made["token"]
    listed = await (await client.get("/api/tokens", headers=admin)).text()
    assert made["id"] in listed
    assert secret not in listed
    assert (await client.post("/whip", data=offer, headers=SDP | bearer(secret))).status == 201
    assert (await client.delete(f"/api/tokens/{made['id']}", headers=admin)).status == 200
    assert client.app is not None
    assert client.app[LOBBY].sessions == []
    response = await client.post("/whip", data=offer, headers=SDP | bearer(secret))
    assert await refusal(response) == (401, "token_wrong")
    assert await refusal(await client.delete(f"/api/tokens/{made['id']}", headers=admin)) == (404, "not_found")
    wrongs: list[object] = [{"right": "root"}, {"right": "nobody"}, {}, [], {"right": []}]
    for wrong in wrongs:
        response = await client.post("/api/tokens", json=wrong, headers=admin)
        assert await refusal(response) == (400, "bad_request"), wrong
    for _ in range(80):
        assert client.app is not None
        if len(client.app[TOKENS].list()) == 64:
            break
        client.app[TOKENS].make(Right.VIEWER)
    response = await client.post("/api/tokens", json={"right": "viewer"}, headers=admin)
    assert await refusal(response) == (409, "too_many_tokens")


@pytest.mark.parametrize(
    ("host", "access", "is_open"),
    [("127.0.0.1", "auto", True), ("::1", "auto", True), ("localhost", "auto", True), ("127.0.0.1", "token", False),
     ("0.0.0.0", "auto", False), ("::", "auto", False), ("192.168.1.7", "auto", False),
     ("studio.example", "auto", False)],
)  # fmt: skip
async def test_only_this_machine_needs_no_token(host: str, access: str, is_open: bool) -> None:
    async with make_client(host=host, access=access) as client:
        assert (await client.get("/api/settings")).status == (200 if is_open else 401)
        assert is_loopback(host) is (host in ("127.0.0.1", "::1", "localhost"))


# Origins and headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
async def test_another_site_is_refused_even_with_the_token(client: Client, offer: str, headers: dict[str, str]) -> None:
    own = bearer(secret_for(client, Right.ADMIN))
    response = await client.post("/whip", data=offer, headers=SDP | own | headers)
    assert await refusal(response) == (403, "forbidden_origin")
    if "Origin" not in headers and headers.get("Sec-Fetch-Mode") != "navigate":
        assert await refusal(await client.get("/api/actors", headers=own | headers)) == (403, "forbidden_origin")


async def test_a_link_on_another_site_may_be_followed(client: Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    params = {"token": secret_for(client, Right.SOURCE)}
    assert (await client.get("/", params=params, headers=headers)).status == 200


async def test_every_answer_bears_the_headers(client: Client) -> None:
    own = bearer(secret_for(client, Right.ADMIN))
    for response in (
        await client.get("/", headers=own),
        await client.get("/web/main.js"),
        await client.get("/api/settings", headers=own),
        await client.get("/nowhere", headers=own),
        await client.get("/"),
    ):
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Server"] == "reenact"


# Too much, too often, too slow


async def test_floods_of_requests_offers_and_wrong_tokens_are_turned_away() -> None:
    clock = FakeClock()
    async with make_client(clock) as client:
        own = bearer(secret_for(client, Right.ADMIN))
        codes = [(await client.post("/whip", headers=own)).status for _ in range(int(OFFERS["burst"]) + 1)]
        assert codes == [415] * int(OFFERS["burst"]) + [429]
        clock.advance_ms(1000 / OFFERS["rate"] + 1)
        assert (await client.post("/whip", headers=own)).status == 415
        wrong = [(await client.get("/", headers=bearer("x"))).status for _ in range(int(MISTAKES["burst"]) + 1)]
        assert wrong == [401] * int(MISTAKES["burst"]) + [429]
        assert (await client.get("/api/settings", headers=own)).status == 200  # who knows the token is not kept out
        while (response := await client.get("/healthz")).status == 200:
            pass
        assert await refusal(response) == (429, "too_many_requests")
        assert response.headers["Retry-After"] == "1"
        clock.advance_ms(1000)
        assert [(await client.get("/healthz")).status for _ in range(int(REQUESTS["rate"]))] == [200] * 50


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    clock = FakeClock()
    buckets = Buckets(clock, rate=1, burst=1)
    for number in range(MAX_ADDRESSES + 10):
        assert buckets.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(buckets._buckets) == MAX_ADDRESSES
    assert not buckets.take(f"10.0.{(MAX_ADDRESSES + 9) >> 8}.{(MAX_ADDRESSES + 9) & 255}")


def test_one_customers_addresses_count_as_one() -> None:
    assert network_of("2001:db8:1:2::3") == network_of("2001:db8:1:2:ffff::4") != network_of("2001:db8:1:3::3")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of(None) == network_of("/run/socket") == ""


async def test_a_body_that_comes_too_slowly(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whip, "BODY_S", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        yield b"v=0\r\n"
        await asyncio.sleep(30)

    own = bearer(secret_for(client, Right.SOURCE))
    assert await refusal(await client.post("/whip", data=drip(), headers=SDP | own)) == (408, "too_slow")


async def test_a_body_that_is_not_what_its_head_says(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    own = f"Authorization: Bearer {secret_for(client, Right.ADMIN)}\r\n"
    for path, kind in (("/whip", "application/sdp"), ("/api/tokens", "application/json"), ("/api/jobs", "x/y")):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{own}Content-Type: {kind}\r\nContent-Length: 9\r\n"
        writer.write(f"{head}Content-Encoding: gzip\r\nConnection: close\r\n\r\nnot gzip!".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
    assert "failed" not in caplog.text


async def test_a_huge_head_is_refused(client: Client) -> None:
    assert (await client.get("/healthz", headers={"X-Junk": "x" * 20_000})).status == 400
    assert (await client.get("/healthz?" + "x" * 20_000)).status == 400


async def test_a_request_that_never_comes_is_cut_off_and_connections_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doorkeeper, "FIRST_REQUEST_S", 0.1)
    monkeypatch.setattr(doorkeeper, "MAX_OF_ONE_ADDRESS", 3)
    config = Config(server=ServerConfig(), settings=FakeSettings())
    runner = GuardedRunner(create_app(config, targets=FakeTargets(), is_preparing=False), shutdown_timeout=0.1)
    await runner.setup()
    keeper: Any = runner.server
    assert isinstance(keeper, Doorkeeper)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(keeper, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        slow[0][1].write(b"GET /healthz HTT")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        writer.close()
        async with asyncio.timeout(5):
            assert [await reader.read() for reader, _ in slow] == [b"", b"", b""]
            while keeper.counts.total():  # noqa: ASYNC110 - the loop itself tells it
                await asyncio.sleep(0)
        assert keeper.counts == {}
        for _, writer in slow:
            writer.close()
    finally:
        server.close()
        await runner.cleanup()


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/web/../streamer/app.py", "/web/%2e%2e/streamer/app.py", "/web/..%2fstreamer%2fapp.py", "/web//etc/passwd",
        "/web/%2fetc%2fpasswd", "/web/..%5c..%5cetc", "/web/main.js%00.png", "/web/.git/config", "/web/",
        "/api/actors/..%2f..%2fetc%2fpasswd/preview.webp", "/api/actors/%2e%2e/preview.webp",
        "/api/actors/milo%00/preview.webp", "/whip/..%2f..%2fetc", "/../../etc/passwd",
    ],
)  # fmt: skip
async def test_path_tricks_reach_nothing(client: Client, path: str) -> None:
    own = f"Authorization: Bearer {secret_for(client, Right.ADMIN)}\r\n"
    answer = await get_raw(client, path, own)
    assert re.match(r"HTTP/1\.[01] (400|403|404|405) ", answer), answer
    assert "root:" not in answer
    assert "import" not in answer
