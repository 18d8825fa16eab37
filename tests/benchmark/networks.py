"""Through bad networks: a browser's camera through an impairing relay to our server, and to a stock aiortc echo."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from playwright.async_api import Browser, Route, async_playwright

from streamer.app import create_app
from streamer.config import Config
from tests.conftest import find_chromium
from tests.e2e.chromium import CHROMIUM_ARGUMENTS
from tests.impairment import NONE, Impairment, impairing_relay
from tests.unit.streamer.fakes import FakeReenacted, FakeReenactor, FakeSettings, FakeTargets

WEB = Path(__file__).resolve().parents[2] / "web"
PAGE = """<!doctype html><body><video id="output" autoplay muted playsinline></video>
<script type="module" src="/network/page.js"></script>"""
CORRUPT_LEVELS = 45.0
"""An 8th of the picture's side that is off by so much, of 255 levels, is no blur."""
NORMAL_MS = 50.0
"""Delay is normal while the median of ten frames is within this of the median before the trouble."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One kind of trouble."""

    name: str
    up: Impairment
    down: Impairment


def both(name: str, **trouble: float) -> Case:
    """Give a trouble of both directions."""
    return Case(name=name, up=Impairment(**trouble), down=Impairment(**trouble))


CASES = (
    both("1 % loss", loss=0.01),
    both("5 % loss", loss=0.05),
    both("10 % loss", loss=0.10),
    both("50 ms jitter", jitter_s=0.05),
    both("3 % reordered", reordering=0.03),
    both("3 % doubled", duplication=0.03),
    Case(name="300 kb/s uplink", up=Impairment(rate_bps=300_000), down=NONE),
    Case(name="300 kb/s downlink", up=NONE, down=Impairment(rate_bps=300_000)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a person saw."""

    case: str
    server: str
    fps: float
    """Shown in the trouble."""
    freeze_ms: float
    """The longest time without a new picture, in the trouble and after it."""
    corrupt_ms: float
    """The longest time that corrupt pictures stayed."""
    normal_ms: float
    """Median delay before the trouble."""
    trouble_ms: float
    """95th percentile of the delay in it."""
    recovery_s: float
    """Time after its end until the delay was normal for good."""

    @property
    def is_good(self) -> bool:
        """True if it shows what it must."""
        return self.freeze_ms <= 1000 and self.corrupt_ms == 0 and self.recovery_s <= 2


class ScalingReenactor(FakeReenactor):
    """Give the whole source back, whatever its size."""

    def process(self, image: Any, time_s: float) -> FakeReenacted:
        del time_s
        return FakeReenacted(image=np.asarray(cv2.resize(image, (self.resolution,) * 2), np.uint8))


class ScalingTargets(FakeTargets):
    """Targets that echo the source."""

    def open(self, name: str) -> FakeReenactor:
        return ScalingReenactor(name, 256)


def our_app() -> web.Application:
    """Give our server over an echo in the place of the generator."""
    return create_app(Config(settings=FakeSettings()), targets=ScalingTargets())


def stock_app() -> web.Application:
    """Give the echo that aiortc's documentation starts with."""
    peers: set[RTCPeerConnection] = set()

    async def whip(request: web.Request) -> web.Response:
        peer = RTCPeerConnection()
        peers.add(peer)

        def on_track(track: MediaStreamTrack) -> None:
            peer.addTrack(track)

        peer.on("track", on_track)
        await peer.setRemoteDescription(RTCSessionDescription(sdp=await request.text(), type="offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        headers = {"Location": "/whip/stock"}
        return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp", headers=headers)

    async def close(_: web.Application) -> None:
        await asyncio.gather(*(peer.close() for peer in peers))

    app = web.Application()
    app.add_routes([web.post("/whip", whip), web.static("/web", WEB)])
    app.on_cleanup.append(close)
    return app


@contextlib.asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[TestServer]:
    """Serve `app` on a free port."""
    server = TestServer(app)
    await server.start_server()
    try:
        yield server
    finally:
        await server.close()


async def measure_case(
    browser: Browser, server: TestServer, name: str, case: Case, *, calm_s: float, trouble_s: float
) -> Outcome:
    """Send a browser's camera through `case`: calm, trouble, calm."""
    async with impairing_relay() as relay, ClientSession() as http:

        async def give(route: Route) -> None:
            is_page = route.request.url.endswith(".html")
            body = PAGE if is_page else (Path(__file__).parent / "network_page.js").read_text()
            await route.fulfill(body=body, content_type="text/html" if is_page else "text/javascript")

        async def whip(route: Route) -> None:
            if route.request.method != "POST":
                await route.fulfill(status=204)
                return
            offer = relay.rewrite_offer(route.request.post_data or "")
            headers = {"Content-Type": "application/sdp"}
            async with http.post(server.make_url("/whip"), data=offer, headers=headers) as response:
                assert response.status == 201, await response.text()
                answer = relay.rewrite_answer(await response.text())
                resource = response.headers["Location"]
            await route.fulfill(status=201, body=answer, content_type="application/sdp", headers={"Location": resource})

        page = await browser.new_page()
        page.on("pageerror", lambda error: print(error, file=sys.stderr))
        await page.route("**/network/*", give)
        await page.route(re.compile(r"/whip(/|\?|$)"), whip)
        try:
            await page.goto(str(server.make_url("/network/page.html")))
            await page.wait_for_selector("body[data-state=connected]", timeout=20_000)
            await page.wait_for_timeout(4000)  # The rates find their level.
            start = await page.evaluate("network.now()")
            await page.wait_for_timeout(1000 * calm_s)
            begin = await page.evaluate("network.now()")
            relay.up, relay.down = case.up, case.down
            await page.wait_for_timeout(1000 * trouble_s)
            end = await page.evaluate("network.now()")
            relay.up = relay.down = NONE
            await page.wait_for_timeout(1000 * calm_s)
            shown = await page.evaluate("network.shown()")
            await page.evaluate("network.stop()")
        finally:
            await page.close()
    return judge(shown, case.name, name, start, begin, end, end + 1000 * calm_s)


def judge(
    shown: Sequence[dict[str, Any]], case: str, server: str, start: float, begin: float, end: float, last: float
) -> Outcome:
    """Put what was shown into figures; times in ms of the page's clock."""
    fresh = [
        one for before, one in zip([{"number": -1}, *shown], shown, strict=False) if one["number"] != before["number"]
    ]
    good = [one for one in fresh if one["delay"] is not None and one["error"] < CORRUPT_LEVELS]
    during = [one for one in good if begin <= one["at"] < end]
    normal = statistics.median(one["delay"] for one in good if start <= one["at"] < begin)
    times = [begin, *(one["at"] for one in good if begin <= one["at"] < last), last]
    freeze = max(after - before for before, after in itertools.pairwise(times))
    after_end = [one for one in good if end <= one["at"] < last]
    late = [
        window[-1]["at"] - end
        for window in (after_end[index : index + 10] for index in range(max(0, len(after_end) - 9)))
        if statistics.median(one["delay"] for one in window) > normal + NORMAL_MS
    ]
    delays = sorted(one["delay"] for one in during)
    return Outcome(
        case=case,
        server=server,
        fps=1000 * len(during) / (end - begin),
        freeze_ms=freeze,
        corrupt_ms=longest_corrupt_ms(shown, begin),
        normal_ms=normal,
        trouble_ms=delays[int(0.95 * len(delays))] if delays else float("inf"),
        recovery_s=max(late, default=0.0) / 1000 if after_end else float("inf"),
    )


def longest_corrupt_ms(shown: Sequence[dict[str, Any]], begin: float) -> float:
    """Give the longest time that a person looked at something that the camera never saw."""
    longest, since = 0.0, None
    for one in shown:
        if one["at"] < begin:
            continue
        is_corrupt = one["error"] >= CORRUPT_LEVELS or one["delay"] is None
        if is_corrupt and since is None:
            since = one["at"]
        elif not is_corrupt and since is not None:
            longest, since = max(longest, one["at"] - since), None
    return max(longest, shown[-1]["at"] - since) if since is not None else longest


async def measure_networks(
    chromium: str, cases: Sequence[Case], *, calm_s: float, trouble_s: float, servers: Sequence[str] = ("ours", "stock")
) -> list[Outcome]:
    """Measure every case, our server and the stock echo in turns."""
    outcomes = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_ARGUMENTS])
        for case in cases:
            for name in servers:
                async with running(our_app() if name == "ours" else stock_app()) as server:
                    outcome = await measure_case(browser, server, name, case, calm_s=calm_s, trouble_s=trouble_s)
                print(row(outcome), file=sys.stderr, flush=True)
                outcomes.append(outcome)
        await browser.close()
    return outcomes


CALM_S, TROUBLE_S = 4.0, 8.0
"""How long the network is good before and after, and bad between."""
HEAD = (
    "| trouble | server | shown, 1/s | longest freeze, ms | corrupt, ms | delay before, ms | in it, p95 "
    "| back to normal, s |"
)


def row(outcome: Outcome) -> str:
    """Give one row of the table."""
    o = outcome
    return (
        f"| {o.case} | {o.server} | {o.fps:.1f} | {o.freeze_ms:.0f} | {o.corrupt_ms:.0f} | {o.normal_ms:.0f} "
        f"| {o.trouble_ms:.0f} | {o.recovery_s:.1f} |"
    )


def describe_networks(outcomes: Sequence[Outcome]) -> str:
    """Put results into a table for people."""
    return "\n".join([HEAD, "|" + " --- |" * 8, *map(row, outcomes)])


def measure_all_cases(chromium: str | None, skipped: list[str]) -> list[Outcome]:
    """Measure as `make bench` does and print it; nothing, with its reason among `skipped`, where that cannot be."""
    if chromium is None:
        skipped.append("bad networks: no Chromium")
        return []
    print("measuring through bad networks ...", file=sys.stderr)
    outcomes = asyncio.run(measure_networks(chromium, CASES, calm_s=CALM_S, trouble_s=TROUBLE_S))
    print(describe_networks(outcomes))
    return outcomes


def main() -> int:
    """Run the command; 1 if our server does not show what it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.networks", description=__doc__)
    parser.add_argument("--calm-seconds", type=float, default=CALM_S)
    parser.add_argument("--trouble-seconds", type=float, default=TROUBLE_S)
    parser.add_argument("--case", action="append", help="only cases whose name contains this")
    parser.add_argument("--server", choices=("ours", "stock"), help="only this one")
    args = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        print("no Chromium: install the package chromium", file=sys.stderr)
        return 1
    cases = [case for case in CASES if not args.case or any(part in case.name for part in args.case)]
    outcomes = asyncio.run(
        measure_networks(
            chromium,
            cases,
            calm_s=args.calm_seconds,
            trouble_s=args.trouble_seconds,
            servers=(args.server,) if args.server else ("ours", "stock"),
        )
    )
    print(describe_networks(outcomes))
    print(json.dumps([asdict(outcome) for outcome in outcomes]))
    return 0 if all(outcome.is_good for outcome in outcomes if outcome.server == "ours") else 1


if __name__ == "__main__":
    sys.exit(main())
