from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from reenact.actor import Actor
from reenact.credential_key import own_credential_key
from reenact.credentials import GENERATION, CredentialsError, Origin, read_credentials, sign_video
from reenact.label import DisclosureSettings
from reenact.mark.message import Message
from reenact.video import VideoInfo, VideoWriter, read_video_frames
from tests.unit.reenact.make import make_actor

MESSAGE = Message(0xAABBCCDD, 0x112233)


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Actor:
    return make_actor(tmp_path_factory.mktemp("actors"))


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REENACT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "made.mp4"
    random = np.random.default_rng(0)
    with VideoWriter(path, 64, VideoInfo(Fraction(30), 0, Fraction(1, 30))) as writer:
        for index in range(10):
            writer.write(random.integers(0, 255, (64, 64, 3)).astype(np.uint8), index)
    return path


def test_a_signed_video_says_how_it_was_made(actor: Actor, video: Path) -> None:
    before = len(list(read_video_frames(video)))
    assert read_credentials(video) is None
    sign_video(video, [Origin.of(actor, MESSAGE, DisclosureSettings())])
    credentials = read_credentials(video)
    assert credentials is not None
    assert (credentials.state, credentials.problems, credentials.is_generated) == ("trusted", (), True)
    assert credentials.generator.startswith("Reenact ")
    (generation,) = credentials.origins
    assert generation["actor"] == "tiny"
    assert generation["actor_sha256"] == actor.fingerprint
    assert generation["mark"] == "aabbccdd-112233"
    assert generation["label"] == "AI-generated"
    assert generation["consent"]["statement_sha256"] == actor.consent.statement_sha256
    assert "statement" not in generation["consent"]
    assert len(list(read_video_frames(video))) == before
    assert [path.name for path in video.parent.iterdir() if path.name.startswith(".")] == []


def test_every_origin_is_signed_and_a_label_left_out_with_its_reason(actor: Actor, video: Path) -> None:
    unlabelled = DisclosureSettings(reason="a film with its own credits", is_shown=False)
    sign_video(video, [Origin.of(actor, MESSAGE, DisclosureSettings()), Origin.of(actor, MESSAGE, unlabelled)])
    credentials = read_credentials(video)
    assert credentials is not None
    assert [(origin["label"], origin["label_reason"]) for origin in credentials.origins] == [
        ("AI-generated", ""), (None, "a film with its own credits"),
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_changed_video_is_invalid(actor: Actor, video: Path, share: float) -> None:
    sign_video(video, [Origin.of(actor, MESSAGE, DisclosureSettings())])
    data = bytearray(video.read_bytes())
    data[int(share * len(data))] ^= 0x10
    video.write_bytes(data)
    credentials = read_credentials(video)
    assert credentials is not None
    assert credentials.state == "invalid"
    assert credentials.problems


def test_changed_words_are_invalid(actor: Actor, video: Path) -> None:
    sign_video(video, [Origin.of(actor, MESSAGE, DisclosureSettings())])
    data = video.read_bytes()
    assert data.count(b"aabbccdd-112233") == 1
    video.write_bytes(data.replace(b"aabbccdd-112233", b"99999999-112233"))
    credentials = read_credentials(video)
    assert credentials is not None
    assert credentials.state == "invalid"


def test_another_machine_sees_that_it_is_unchanged_but_not_whose(
    actor: Actor, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_video(video, [Origin.of(actor, MESSAGE, DisclosureSettings())])
    monkeypatch.setenv("REENACT_DATA", str(tmp_path / "elsewhere"))
    for _ in ("without a key", "with another key"):
        credentials = read_credentials(video)
        assert credentials is not None
        assert (credentials.state, credentials.problems, credentials.is_generated) == ("valid", (), True)
        own_credential_key()


def test_another_process_reads_it_with_the_library_alone(actor: Actor, video: Path) -> None:
    sign_video(video, [Origin.of(actor, MESSAGE, DisclosureSettings())])
    script = "import c2pa, sys\nwith c2pa.Reader(sys.argv[1]) as reader: print(reader.json())"
    result = subprocess.run([sys.executable, "-c", script, str(video)], capture_output=True, check=True)
    report = json.loads(result.stdout)
    manifest = report["manifests"][report["active_manifest"]]
    assert report["validation_state"] == "Valid"
    assert GENERATION in {item["label"] for item in manifest["assertions"]}


def test_what_cannot_be_signed_is_said_and_left_alone(actor: Actor, tmp_path: Path) -> None:
    webm = tmp_path / "x.webm"
    webm.write_bytes(b"anything")
    with pytest.raises(CredentialsError, match=r"fit into \.mp4, \.m4v, \.mov, \.avi files"):
        sign_video(webm, [Origin.of(actor, MESSAGE, DisclosureSettings())])
    broken = tmp_path / "x.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(CredentialsError, match="could not be signed"):
        sign_video(broken, [Origin.of(actor, MESSAGE, DisclosureSettings())])
    assert broken.read_bytes() == b"no video"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["x.mp4", "x.webm"]


def test_files_that_hold_no_credentials_have_none(tmp_path: Path) -> None:
    for name in ("x.webm", "x.txt", "x"):
        path = tmp_path / name
        path.write_bytes(b"anything at all")
        assert read_credentials(path) is None
