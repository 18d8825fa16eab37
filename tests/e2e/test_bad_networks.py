"""Loss, jitter, reordering and duplicates on both ways of a session; the whole table is `tests.benchmark.networks`."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import pytest
from aiohttp.test_utils import TestServer
from numpy.typing import NDArray

from streamer.app import create_app
from streamer.config import Config
from tests.e2e.peers import NumberedCamera, Page, connected, read_number
from tests.e2e.receiving import Pictures
from tests.impairment import NONE, Impairment, impairing_relay
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = pytest.mark.alone

CALM_S, TROUBLE_S = 1.5, 4.0
TROUBLE = Impairment(loss=0.05, jitter_s=0.02, reordering=0.03, duplication=0.03)


@dataclass
class Viewer:
    """Read the number off each picture that comes back."""

    camera: NumberedCamera
    seen: list[tuple[float, int]] = field(default_factory=list)
    """Time and number of each picture."""

    def attach(self, page: Page) -> None:
        Pictures(page.peer.getReceivers()[0], self._see)

    def _see(self, at_s: float, _: int, picture: av.VideoFrame) -> None:
        self.seen.append((at_s, read_number(picture.to_ndarray(format="rgb24"))))

    def delay_s(self, since_s: float, until_s: float) -> float:
        """Give the median delay of what was seen between two times."""
        return statistics.median(at - self.camera.sent_s[number] for at, number in self.seen if since_s <= at < until_s)


class BusyCamera(NumberedCamera):
    """Some packets a frame, as a real picture has."""

    def draw(self) -> NDArray[np.uint8]:
        image = super().draw()
        image[128:] = np.random.default_rng(self.number % 8).integers(60, 190, image[128:].shape, np.uint8)
        return image


@pytest.fixture
async def server() -> Any:
    server = TestServer(create_app(Config(settings=FakeSettings()), targets=FakeTargets()))
    await server.start_server()
    yield server
    await server.close()


async def test_no_freeze_no_damage_and_fresh_again_at_once(server: TestServer) -> None:
    camera = BusyCamera()
    viewer = Viewer(camera)
    async with impairing_relay() as relay, connected(server, camera, on_made=viewer.attach, relay=relay):
        async with asyncio.timeout(10):
            while len(viewer.seen) < 30:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        calm_s = time.monotonic()
        await asyncio.sleep(CALM_S)
        begin_s, lost_before = time.monotonic(), relay.num_lost
        relay.up = relay.down = TROUBLE
        await asyncio.sleep(TROUBLE_S)
        relay.up = relay.down = NONE
        end_s = time.monotonic()
        await asyncio.sleep(2.0 + CALM_S)
        last_s = time.monotonic()
        assert relay.num_lost - lost_before > 30
    numbers = [number for _, number in viewer.seen]
    assert set(numbers) <= set(camera.sent_s), "a picture that the camera never gave"
    assert numbers == sorted(set(numbers))
    times = [calm_s, *(at for at, _ in viewer.seen if at > calm_s), last_s]
    assert max(after - before for before, after in itertools.pairwise(times)) <= 1.0
    assert sum(begin_s <= at < end_s for at in times) > 0.4 * 30 * TROUBLE_S
    assert viewer.delay_s(end_s + 2.0, last_s) <= viewer.delay_s(calm_s, begin_s) + 0.05
