from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from tests.benchmark.glass import Side, compare_glass
from tests.benchmark.jumps import Watched
from tests.unit.benchmark.test_jumps import watched


def seen(delay_ms: float, said_ms: float) -> dict[str, Any]:
    """What a page gives of a turn: an output `delay_ms` behind the camera, of which the page says `said_ms`."""
    camera, output = watched(0.0), watched(delay_ms, seed=1)

    def encoded(side: Watched) -> list[list[Any]]:
        pictures = np.clip(side.pictures, 0, 255).astype(np.uint8)
        texts = [base64.b64encode(picture.tobytes()).decode() for picture in pictures]
        return [[at, at, text] for at, text in zip(side.times_ms.tolist(), texts, strict=True)]

    frames = [{"atMs": at, "total": said_ms} for at in output.times_ms.tolist()]
    return {"camera": encoded(camera), "output": encoded(output), "said": [said_ms], "frames": frames, "stats": None}


@pytest.mark.parametrize(("said_ms", "off_ms", "share"), [(80.0, 0.0, 1.0), (65.0, -15.0, 0.0)])
def test_the_page_is_held_to_the_pixels_of_the_same_frames(said_ms: float, off_ms: float, share: float) -> None:
    ours, theirs = Side(), Side()
    ours.add(seen(80.0, said_ms))
    theirs.add(seen(100.0, 0.0))
    result = compare_glass(ours, theirs)
    assert (result["ratio_p50"], result["ratio_p95"]) == (0.8, 0.8)
    assert (result["page_is_off_ms"], result["page_within_10_ms"]) == (pytest.approx(off_ms, abs=0.2), share)
