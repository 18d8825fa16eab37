"""Measure the pipeline: times per stage, age at egress, frames and drops by reason, for the page and for Prometheus."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamer.clock import NS_PER_S, Clock

STAGES = ("decode", "queue", "track", "transfer", "render", "generate", "mark", "encode")
"""Every timed stage, in the order in which a frame passes them."""
AGE = "age"
GLASS = "glass_to_glass"
"""From the source's camera to its screen, as its page measures it."""
KEPT_SAMPLES = 2048


def percentile(sorted_values: list[float], fraction: float) -> float:
    """Return the nearest-rank percentile of ascending values; 0 if there are none."""
    if not sorted_values:
        return 0.0
    return sorted_values[min(len(sorted_values) - 1, int(fraction * len(sorted_values)))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The distribution of one quantity over a window, in ms."""

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Everything measured, at one moment."""

    fps_in: float
    """Frames decoded per second."""
    fps_out: float
    """Frames sent per second."""
    stages: dict[str, Summary]
    age: Summary
    """Arrival of a frame's first packet to departure of the answer's last one."""
    glass: Summary
    """The source's camera to its screen; no samples where its page measures nothing."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Since the start, by reason."""
    frames: dict[str, int] = field(default_factory=dict)
    """Since the start: `decoded`, `generated`, `sent`."""


class Meter:
    """Collect what the stages report, from any thread. A session's meter passes everything on to the server's."""

    def __init__(self, clock: Clock, parent: Meter | None = None) -> None:
        self._clock = clock
        self._parent = parent
        self._lock = threading.Lock()
        self._samples: dict[str, deque[tuple[int, float]]] = {}
        self._totals: dict[str, tuple[int, float]] = {}
        self._ticks: dict[str, deque[int]] = {}
        self._frames: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._events: dict[str, int] = {}

    def time(self, stage: str, ms: float) -> None:
        """Report that `stage` took `ms` for one frame."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            self._samples.setdefault(stage, deque(maxlen=KEPT_SAMPLES)).append((now_ns, ms))
            count, total = self._totals.get(stage, (0, 0.0))
            self._totals[stage] = (count + 1, total + ms)
        if self._parent is not None:
            self._parent.time(stage, ms)

    def count(self, event: str) -> None:
        """Report one frame `decoded`, `generated` or `sent`."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            self._ticks.setdefault(event, deque(maxlen=KEPT_SAMPLES)).append(now_ns)
            self._frames[event] = self._frames.get(event, 0) + 1
        if self._parent is not None:
            self._parent.count(event)

    def drop(self, reason: str, count: int = 1) -> None:
        """Report `count` frames lost for `reason`."""
        if count <= 0:
            return
        with self._lock:
            self._dropped[reason] = self._dropped.get(reason, 0) + count
        if self._parent is not None:
            self._parent.drop(reason, count)

    def note(self, event: str) -> None:
        """Report that something happened that is no frame, such as `governor_down`."""
        with self._lock:
            self._events[event] = self._events.get(event, 0) + 1
        if self._parent is not None:
            self._parent.note(event)

    def events(self) -> dict[str, int]:
        """Return how often each thing that was noted happened."""
        with self._lock:
            return dict(self._events)

    def rate(self, event: str, window_s: float = 1.0) -> float:
        """Return how often `event` happened per second in the last `window_s`."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            ticks = [tick for tick in self._ticks.get(event, ()) if now_ns - tick <= window_s * NS_PER_S]
        if len(ticks) < 2:
            return len(ticks) / window_s
        # Intervals, not ticks: a window rarely begins on a frame. The pause since the last one counts once it is long.
        span_ns = max(ticks[-1] - ticks[0], 1)
        interval_ns = span_ns / (len(ticks) - 1)
        pause_ns = max(0.0, now_ns - ticks[-1] - interval_ns)
        return (len(ticks) - 1) * NS_PER_S / (span_ns + pause_ns)

    def summary(self, stage: str, window_s: float = 1.0) -> Summary:
        """Return the distribution of `stage` over the last `window_s`."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            samples = self._samples.get(stage, ())
            values = sorted(value for time_ns, value in samples if now_ns - time_ns <= window_s * NS_PER_S)
        return Summary(
            count=len(values),
            p50=percentile(values, 0.5),
            p95=percentile(values, 0.95),
            p99=percentile(values, 0.99),
        )

    def snapshot(self, window_s: float = 1.0) -> Snapshot:
        """Return everything at once, distributions over the last `window_s`."""
        with self._lock:
            dropped, frames = dict(self._dropped), dict(self._frames)
            known = set(self._samples)
        stages = [name for name in STAGES if name in known] + sorted(known - {*STAGES, AGE, GLASS})
        return Snapshot(
            fps_in=self.rate("decoded", window_s),
            fps_out=self.rate("sent", window_s),
            stages={stage: self.summary(stage, window_s) for stage in stages},
            age=self.summary(AGE, window_s),
            glass=self.summary(GLASS, window_s),
            dropped=dropped,
            frames=frames,
        )

    def totals(self) -> dict[str, tuple[int, float]]:
        """Return count and sum in ms of every stage since the start."""
        with self._lock:
            return dict(self._totals)


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return lines + [f"{name}{labels} {value:.10g}" for labels, value in samples]


def _quantiles(label: str, summary: Summary) -> list[tuple[str, float]]:
    head = f"{label}," if label else ""
    values = (("0.5", summary.p50), ("0.95", summary.p95), ("0.99", summary.p99))
    return [(f'{{{head}quantile="{quantile}"}}', ms / 1e3) for quantile, ms in values]


def prometheus_text(
    meter: Meter, *, sessions: int, max_sessions: int, uptime_s: float, version: str, governor_step: int = 0
) -> str:
    """Render the server's meter in Prometheus' text format (version 0.0.4), quantiles over the last 10 s."""
    now, totals = meter.snapshot(10.0), meter.totals()
    stages: list[tuple[str, float]] = []
    for stage, summary in now.stages.items():
        stages += _quantiles(f'stage="{stage}"', summary)
    lines = _family("reenact_info", "gauge", "Version of the server.", [(f'{{version="{version}"}}', 1)])
    lines += _family("reenact_uptime_seconds", "gauge", "Time since the server started.", [("", uptime_s)])
    lines += _family("reenact_sessions", "gauge", "Sessions now.", [("", sessions)])
    lines += _family("reenact_max_sessions", "gauge", "Sessions allowed at once.", [("", max_sessions)])
    frames = [(f'{{event="{event}"}}', float(count)) for event, count in sorted(now.frames.items())]
    lines += _family("reenact_frames_total", "counter", "Frames decoded, generated and sent.", frames)
    dropped = [(f'{{reason="{reason}"}}', float(count)) for reason, count in sorted(now.dropped.items())]
    lines += _family("reenact_dropped_frames_total", "counter", "Frames dropped, by reason.", dropped)
    lines += _family(
        "reenact_governor_step", "gauge", "Lowest quality step of all sessions; 0 is full.", [("", governor_step)]
    )
    events = meter.events()
    changes = [(f'{{direction="{way}"}}', float(events.get(f"governor_{way}", 0))) for way in ("down", "up")]
    lines += _family("reenact_governor_changes_total", "counter", "Steps that the governor took.", changes)
    lines += _family("reenact_stage_seconds", "summary", "Time of one frame in each stage.", stages)
    for part, index in (("sum", 1), ("count", 0)):
        for stage, total in sorted(totals.items()):
            if stage not in (AGE, GLASS):
                value = total[index] / 1e3 if part == "sum" else total[index]
                lines.append(f'reenact_stage_seconds_{part}{{stage="{stage}"}} {value:.10g}')
    wholes = (
        ("reenact_age_at_egress_seconds", "Packet in to packet out.", AGE, now.age),
        ("reenact_glass_to_glass_seconds", "The source's camera to its screen, by its page.", GLASS, now.glass),
    )
    for name, text, key, summary in wholes:
        lines += _family(name, "summary", text, _quantiles("", summary))
        count, total_ms = totals.get(key, (0, 0.0))
        lines += [f"{name}_sum {total_ms / 1e3:.10g}", f"{name}_count {count}"]
    return "\n".join(lines) + "\n"
