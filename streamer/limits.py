"""How often somebody may come: token buckets, one for each address, none of which is written down anywhere."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from streamer.clock import NS_PER_S, Clock

MAX_ADDRESSES = 4096
"""Addresses remembered; the one that was silent longest is forgotten first."""


class Bucket:
    """Allow `burst` things at once, and `rate` a second from then on."""

    def __init__(self, clock: Clock, *, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._looked_ns = clock.monotonic_ns()

    def take(self) -> bool:
        """Take one; False if there is none."""
        now_ns = self._clock.monotonic_ns()
        self._left = min(self._burst, self._left + self._rate * (now_ns - self._looked_ns) / NS_PER_S)
        self._looked_ns = now_ns
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Buckets:
    """A bucket for each address."""

    def __init__(self, clock: Clock, *, rate: float, burst: float) -> None:
        """See `Bucket`."""
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str | None) -> bool:
        """Take one for `address`; False if it has none left."""
        key = network_of(address)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._clock, rate=self._rate, burst=self._burst)
            if len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket.take()


def network_of(address: str | None) -> str:
    """Give what counts as one address: an IPv4 address, or the 64 bits of IPv6 that one customer is given."""
    try:
        known = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if known.version == 4:
        return str(known)
    mapped = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return str(mapped) if mapped else str(ipaddress.ip_network((known, 64), strict=False))
