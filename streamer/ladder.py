"""Which quality a viewer's network carries: down at once when it does not, up again after a while, by trial."""

from __future__ import annotations

from streamer.clock import NS_PER_S, Clock

SHORT_SHARE = 0.9
"""A viewer whose network takes less than this share of what is sent is given less ..."""
SHORT_S = 1.0
"""... once that is so for this long."""
FIRST_HOLD_S = 5.0
LONGEST_HOLD_S = 80.0


class Ladder:
    """The step of one viewer; 0 is the best. What was never sent is not known to fit: only trying tells."""

    def __init__(self, num_steps: int, clock: Clock) -> None:
        """Start at the top of `num_steps`."""
        self.step = 0
        self._num_steps = num_steps
        self._clock = clock
        self._short_since_ns: int | None = None
        self._changed_ns = clock.monotonic_ns()
        self._hold_s = FIRST_HOLD_S
        self._is_trial = False

    def look(self, estimate_bps: int, sent_bps: float) -> int:
        """Return the step to use now, from what the viewer's network is taken to carry and what is sent to it.

        A trial that fails doubles the time to the next one.
        """
        now_ns = self._clock.monotonic_ns()
        is_short = estimate_bps < SHORT_SHARE * sent_bps
        if not is_short:
            self._short_since_ns = None
        elif self._short_since_ns is None:
            self._short_since_ns = now_ns
        since_change_s = (now_ns - self._changed_ns) / NS_PER_S
        if self._short_since_ns is not None and now_ns - self._short_since_ns >= SHORT_S * NS_PER_S:
            if self.step + 1 < self._num_steps:
                is_failed_trial = self._is_trial and since_change_s < FIRST_HOLD_S
                self._hold_s = min(LONGEST_HOLD_S, 2 * self._hold_s) if is_failed_trial else FIRST_HOLD_S
                self._enter(self.step + 1, now_ns, is_trial=False)
        elif self.step > 0 and since_change_s >= self._hold_s:
            self._enter(self.step - 1, now_ns, is_trial=True)
        return self.step

    def _enter(self, step: int, now_ns: int, *, is_trial: bool) -> None:
        self._is_trial = is_trial
        self.step = step
        self._changed_ns = now_ns
        self._short_since_ns = None
