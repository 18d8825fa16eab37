from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from capture.person_mask import PersonMask
from reenact.actor import BUNDLED


def test_a_person_is_told_from_what_is_behind(capfd: pytest.CaptureFixture[str]) -> None:
    picture = np.asarray(Image.open(io.BytesIO((BUNDLED / "milo.actor" / "preview.webp").read_bytes())).convert("RGB"))
    with PersonMask() as mask:
        seen = mask.look(picture)
    assert seen.shape == picture.shape[:2]
    side = len(seen)
    assert seen[side // 3 : side // 2, 2 * side // 5 : 3 * side // 5].mean() > 0.95
    assert seen[: side // 20].mean() < 0.1
    assert capfd.readouterr().err == ""
