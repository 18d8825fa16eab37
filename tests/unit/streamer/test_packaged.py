"""The real actor packages, as the streamer sees them."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from capture.smoothing import SmoothingSettings
from reenact.actor import BUNDLED, sign_actor
from reenact.engines.engine import EngineError
from reenact.reenactor import Reenactor
from streamer.config import EngineConfig
from streamer.errors import ServiceError
from streamer.packaged import LIVE_PREDICTION_MS, PackagedTargets, default_settings

MILO = BUNDLED / "milo.actor"
THREADS = Path("/proc/self/task")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched for actors, with nothing in it."""
    folder = tmp_path / "actors"
    folder.mkdir()
    monkeypatch.setenv("REENACT_ACTORS", str(folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return folder


def targets(actor: str = "milo") -> PackagedTargets:
    return PackagedTargets(EngineConfig(actor=actor), default_settings())


def refused(found: PackagedTargets, name: str) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        found.card(name)
    return caught.value


@pytest.mark.usefixtures("folder")
def test_the_actor_that_ships() -> None:
    found = targets()
    card = found.card("milo")
    assert card in found.cards()
    shown = card.as_json()
    assert (shown["name"], shown["preview"]) == ("milo", "/api/actors/milo/preview.webp")
    assert card.preview_path is not None
    assert card.preview_path.is_file()
    assert isinstance(shown["consent"], dict)
    assert (shown["consent"]["given"], shown["consent"]["signer"]) == ("synthetic", "")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["ghost", "", ".", "../milo", str(MILO), "milo.actor", "MILO"])
def test_names_from_the_network_are_never_paths(name: str) -> None:
    error = refused(targets(), name)
    assert (error.status, error.code) == (404, "unknown_actor")
    assert "milo" in error.message


def test_a_damaged_package_is_refused_with_its_reason(folder: Path) -> None:
    broken = folder / "nora.actor"
    shutil.copytree(MILO, broken)
    sign_actor(broken)
    weights = broken / "generator.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    error = refused(targets(), "nora")
    assert (error.status, error.code) == (409, "actor_refused")
    assert "SHA-256" in error.message
    assert "milo" in {card.name for card in targets().cards()}


def test_the_default_may_be_a_path(tmp_path: Path, folder: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "milo.actor"
    shutil.copytree(MILO, elsewhere)
    found = targets(str(elsewhere))
    assert found.card(str(elsewhere)).preview_path == elsewhere / "preview.webp"
    assert found.card("milo").preview_path == elsewhere / "preview.webp"
    assert found.cards()[0].preview_path == elsewhere / "preview.webp"
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("folder")
def test_a_default_path_that_is_not_there(tmp_path: Path) -> None:
    found = targets(str(tmp_path / "none.actor"))
    error = refused(found, str(tmp_path / "none.actor"))
    assert (error.status, error.code) == (409, "actor_refused")
    assert "There is no actor package at" in error.message
    assert "milo" in {card.name for card in found.cards()}


def test_live_heads_are_predicted_and_others_are_not() -> None:
    assert default_settings().smoothing.prediction_ms == LIVE_PREDICTION_MS > 0.0
    assert SmoothingSettings().prediction_ms == 0.0


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("problem", "raised"), [(EngineError("No engine is left."), ServiceError), (SystemExit(), SystemExit)]
)
def test_what_fails_while_it_warms_up_is_closed(
    problem: BaseException, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []

    def fail(_: object) -> None:
        raise problem

    def close(reenactor: object) -> None:
        closed.append(reenactor)

    monkeypatch.setattr(Reenactor, "warm_up", fail)
    monkeypatch.setattr(Reenactor, "close", close)
    with pytest.raises(raised):
        targets().open("milo")
    assert len(closed) == 1


@pytest.mark.skipif(not THREADS.exists(), reason="counts threads by Linux's /proc")
def test_a_card_brings_its_thread_no_helpers() -> None:
    """PyTorch's helper threads belong to the thread that asked: each of the server's would get some of its own."""
    found = targets()
    found.card("milo")
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()
        before = len(list(THREADS.iterdir()))
        executor.submit(found.card, "milo").result()
        assert len(list(THREADS.iterdir())) <= before
