"""What a video file is known and opened by."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from capture.containers import container_of, open_video


def test_containers_are_known_by_their_first_bytes() -> None:
    assert container_of(b"\x00\x00\x00\x18ftypisom") == "mp4"
    assert container_of(b"\x1a\x45\xdf\xa3" + bytes(8)) == "webm"
    assert container_of(b"RIFF\x00\x00\x00\x00AVI ") == "avi"
    for head in (b"", b"ftyp", b"PK\x03\x04" + bytes(8), b"RIFX\x00\x00\x00\x00AVI ", b"#EXTM3U\n#EXT-X"):
        assert container_of(head) is None


def test_a_title_in_another_encoding_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "titled.mkv"
    with av.open(str(path), "w") as made:
        made.metadata["title"] = "Cafe at noon"
        stream = made.add_stream("mpeg4", 10)
        stream.width = stream.height = 64
        made.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        made.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"Cafe", "Café".encode("latin-1")))
    with open_video(path) as video:
        assert video.metadata["title"] == "Caf\N{REPLACEMENT CHARACTER} at noon"
        assert len(list(video.decode(video=0))) == 1
