from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture import regressor_engines
from models import network_cache, regressor
from models.regressor import FaceRegressor, RegressorConfig
from streamer import doctor
from streamer.doctor import Finding, check_codecs, check_machine, check_packages, check_server, examine, run


def test_the_light_checks_hold_here() -> None:
    findings = [*check_machine(), *check_packages(), *check_codecs(), *check_server()]
    by_name = {finding.name: finding for finding in findings}
    assert by_name["VP8"].is_ok
    assert "encode" in by_name["H264"].text
    assert by_name["aiortc adapter"].is_ok
    assert by_name["processor"].text


def test_the_regressor_is_timed_or_refused_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regressor, "DEFAULT_PATH", tmp_path / "regressor.safetensors")
    monkeypatch.setattr(network_cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(regressor_engines, "AUTO", (("torch", "fp32"),))

    def examined() -> dict[str, Finding]:
        return {finding.name: finding for finding in doctor.check_tracking("milo")}

    found = examined()
    assert not found["regressor"].is_ok
    assert "no weights" in found["regressor"].text
    assert not found["regressor"].is_required
    assert found["tracker auto"].text == "landmarks: the regressor has no weights here"
    config = RegressorConfig(size=64, widths=(4, 4, 8, 8), narrow=4, summary_channels=(4, 4), code=(16, 8))
    FaceRegressor(config).save(regressor.DEFAULT_PATH)
    found = examined()
    assert found["regressor"].is_ok
    assert "torch fp32" in found["regressor"].text
    regressor.DEFAULT_PATH.write_bytes(b"damaged")
    assert "holds no regressor" in examined()["regressor"].text


def test_what_a_check_raises_is_a_finding() -> None:
    def check() -> Iterator[Finding]:
        yield Finding(section="x", name="first", is_ok=True, text="fine")
        raise RuntimeError("no such instruction")

    first, second = examine("x", check)
    assert first.is_ok
    assert (second.is_ok, second.is_required, second.text) == (False, True, "RuntimeError: no such instruction")


@pytest.mark.parametrize(("is_ok", "code"), [(True, 0), (False, 1)])
def test_the_verdict_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_ok: bool, code: int
) -> None:
    def check(*_: object) -> Iterator[Finding]:
        yield Finding(section="x", name="the page", is_ok=is_ok, text="why", is_required=True)
        yield Finding(section="x", name="GPU", is_ok=False, text="none")

    for name in ("machine", "packages", "codecs", "hardware_encoders", "tracking", "engines", "actors", "server"):
        monkeypatch.setattr(doctor, f"check_{name}", check)
    assert run(argparse.Namespace(actor="milo", json=True)) == code
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    assert report["is_ready"] is is_ok
    assert len(report["findings"]) == 16
    assert ("works here" in lines[-2]) is is_ok
    if not is_ok:
        assert "the page" in lines[-2]
