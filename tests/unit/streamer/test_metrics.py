from __future__ import annotations

import pytest

from streamer.metrics import AGE, GLASS, Meter, percentile, prometheus_text
from tests.unit.streamer.fakes import FakeClock


def test_percentiles_are_nearest_rank() -> None:
    values = [float(value) for value in range(100)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.95) == 95
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.5) == 0.0


def test_only_the_window_counts() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    meter.time("track", 100.0)
    clock.advance_ms(2000)
    for ms in (1.0, 2.0, 3.0):
        meter.time("track", ms)
    summary = meter.summary("track", 1.0)
    assert (summary.count, summary.p50, summary.p95) == (3, 2.0, 3.0)


@pytest.mark.parametrize("fps", [1.0, 24.0, 30.0, 60.0])
def test_the_rate_is_exact_for_a_steady_stream(fps: float) -> None:
    clock = FakeClock()
    meter = Meter(clock)
    for _ in range(int(fps * 4)):
        clock.advance_ms(1000 / fps)
        meter.count("sent")
    assert meter.rate("sent", 3.0) == pytest.approx(fps, rel=0.01)


def test_the_rate_falls_when_the_stream_stops() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    for _ in range(60):
        clock.advance_ms(1000 / 30)
        meter.count("sent")
    clock.advance_ms(700)
    assert meter.rate("sent") < 12
    clock.advance_ms(2000)
    assert meter.rate("sent") == 0.0


def test_a_session_reports_to_the_server() -> None:
    clock = FakeClock()
    server = Meter(clock)
    one, two = Meter(clock, server), Meter(clock, server)
    one.count("sent")
    two.count("sent")
    one.drop("ingest", 2)
    two.drop("egress")
    two.drop("egress", 0)
    one.time(AGE, 10.0)
    assert one.snapshot().frames == {"sent": 1}
    snapshot = server.snapshot()
    assert snapshot.frames == {"sent": 2}
    assert snapshot.dropped == {"ingest": 2, "egress": 1}
    assert snapshot.age.p50 == 10.0


def test_prometheus_text_has_every_family_and_parses() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    meter.count("decoded")
    meter.drop("ingest", 3)
    meter.time("track", 4.0)
    meter.time(AGE, 20.0)
    meter.time(GLASS, 60.0)
    text = prometheus_text(meter, sessions=1, max_sessions=2, uptime_s=5.5, version="0.1.0")
    lines = text.splitlines()
    samples = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    assert samples["reenact_sessions"] == 1
    assert samples['reenact_dropped_frames_total{reason="ingest"}'] == 3
    assert samples['reenact_stage_seconds{stage="track",quantile="0.5"}'] == pytest.approx(0.004)
    assert samples['reenact_stage_seconds_count{stage="track"}'] == 1
    assert samples['reenact_age_at_egress_seconds{quantile="0.95"}'] == pytest.approx(0.020)
    assert samples["reenact_age_at_egress_seconds_sum"] == pytest.approx(0.020)
    assert samples['reenact_glass_to_glass_seconds{quantile="0.5"}'] == pytest.approx(0.060)
    assert samples["reenact_glass_to_glass_seconds_count"] == 1
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    for name in samples:
        assert any(name.startswith(family) for family in families)
