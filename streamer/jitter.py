"""A jitter buffer that gives a frame out on its RTP marker bit, instead of on the next frame's first packet.

Waiting for the next frame costs a whole frame time (33 ms at 30 fps). The marker bit (RFC 3550 section 5.1; RFC 7741
and RFC 6184 for VP8 and H.264) says the same at once. Packets are put in order by sequence number. What is missing is
asked for again and again, as often as repairs have taken; a gap that lasts too long ends the damaged pictures up to the
next key frame, which the caller must ask the sender for: on a narrow line that takes longer than a repair.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamer.clock import NS_PER_MS

MAX_JUMP = 3_000
"""A sequence number further away than this from the newest one is a restarted stream, not a late packet."""
MAX_START_REORDER = 64
"""How many packets before the first one seen may still belong to the stream's first frame."""


FIRST_REPAIR_MS = 50.0
"""How long a retransmission takes, before any was seen; at least this long one is waited for."""
REPAIR_WEIGHT = 0.2
"""Of the newest repair in their average."""
MAX_ASKED = 128
"""Packets that a sender keeps to send them again, aiortc for one."""


class Unwrapper:
    """Undo the wrap-around of an RTP counter of `bits` bits."""

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._newest: int | None = None

    def peek(self, value: int) -> int:
        """Return the unwrapped `value` nearest to the newest one seen."""
        if self._newest is None:
            return value
        half = self._modulus // 2
        return self._newest + (value - self._newest + half) % self._modulus - half

    def unwrap(self, value: int) -> int:
        """As `peek`, and remember the result if it is the newest."""
        unwrapped = self.peek(value)
        if self._newest is None or unwrapped > self._newest:
            self._newest = unwrapped
        return unwrapped


@dataclass(frozen=True, kw_only=True, slots=True)
class RtpPiece:
    """What the jitter buffer must know of one RTP packet."""

    sequence: int
    """16 bits."""
    timestamp: int
    """32 bits, 90 kHz."""
    is_marker: bool
    """Last packet of its frame."""
    is_frame_start: bool
    """The payload says that a frame starts here."""
    is_key: bool
    """The payload belongs to the start of a key frame."""
    data: bytes
    """Payload without the RTP payload descriptor; empty for padding."""
    arrival_ns: int
    sent_ns: int | None = None
    """When it left the source, on our clock, if the source says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssembledFrame:
    """The pieces of one frame, in order."""

    timestamp: int
    """Unwrapped RTP timestamp, 90 kHz."""
    arrival_ns: int
    """When the first of its packets arrived."""
    sent_ns: int | None = None
    """When the first of its packets left the source."""
    is_key: bool
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What one packet set free."""

    frames: tuple[AssembledFrame, ...] = ()
    is_key_frame_needed: bool = False
    """Ask the sender for a key frame now."""


@dataclass(kw_only=True, slots=True)
class JitterCounts:
    """What happened so far."""

    duplicate: int = 0
    late: int = 0
    """Arrived after their frame was released or given up."""
    abandoned_frames: int = 0
    """Released by nobody: damaged, or useless until the next key frame."""
    resets: int = 0


class MarkerJitterBuffer:
    """Order packets and release complete frames. Driven by `add` alone: no timer, no thread."""

    def __init__(self, *, max_wait_ms: float = 400.0, capacity: int = 2048, key_request_ms: float = 300.0) -> None:
        """Wait at most `max_wait_ms` for a missing packet, hold at most `capacity` packets, and while a key frame
        is needed ask again every `key_request_ms`.
        """
        self.counts = JitterCounts()
        self._max_wait_ns = int(max_wait_ms * NS_PER_MS)
        self._key_request_ns = int(key_request_ms * NS_PER_MS)
        self._capacity = capacity
        self._timestamps = Unwrapper(32)
        self._repair_ns = FIRST_REPAIR_MS * NS_PER_MS
        self._restart()

    def _restart(self) -> None:
        self._sequences = Unwrapper(16)
        self._pieces: dict[int, RtpPiece] = {}
        self._next: int | None = None  # Sequence number at which the next frame starts.
        self._newest = -1
        self._has_released = False
        self._gap_since_ns: int | None = None
        self._asked: dict[int, tuple[int, int]] = {}  # By missing sequence number: first and newest request.
        self._is_waiting_for_key = False
        self._key_requested_ns: int | None = None

    @property
    def is_waiting_for_key(self) -> bool:
        """True while every frame but a key frame is thrown away."""
        return self._is_waiting_for_key

    def require_key_frame(self) -> None:
        """Give up everything up to the next key frame: the decoder has lost its reference."""
        self._is_waiting_for_key = True
        self._key_requested_ns = None

    def ask_again(self, now_ns: int) -> list[int]:
        """Return the sequence numbers (16 bits) to ask for once more: neither they nor their retransmissions came.

        The first request of each is aiortc's, in the moment that it is missed.
        """
        if self._gap_since_ns is None or self._next is None:
            self._asked.clear()
            return []
        again: list[int] = []
        for sequence in range(max(self._next, self._newest - MAX_ASKED), self._newest):
            if sequence in self._pieces:
                continue
            first_ns, asked_ns = self._asked.setdefault(sequence, (now_ns, now_ns))
            if now_ns - asked_ns >= max(FIRST_REPAIR_MS * NS_PER_MS, 1.5 * self._repair_ns):
                self._asked[sequence] = first_ns, now_ns
                again.append(sequence % (1 << 16))
        return again

    def add(self, piece: RtpPiece) -> Release:
        """Take one packet in; return the frames that it completed, in order."""
        if not self._store(piece):
            return Release(is_key_frame_needed=self._must_request_key(piece.arrival_ns))
        frames = self._collect()
        if self._is_waiting_for_key and self._skip_to_key_frame():
            frames += self._collect()
        if self._is_gap_hopeless(piece.arrival_ns):
            self._abandon()
            frames += self._collect()
        return Release(frames=tuple(frames), is_key_frame_needed=self._must_request_key(piece.arrival_ns))

    def _store(self, piece: RtpPiece) -> bool:
        """Put `piece` in its place; False if it is of no use."""
        sequence = self._sequences.peek(piece.sequence)
        if self._next is not None and abs(sequence - self._newest) > MAX_JUMP:
            self._restart()
            self.counts.resets += 1
            self.require_key_frame()
            sequence = piece.sequence
        self._sequences.unwrap(piece.sequence)
        if self._next is None:
            self._next = sequence
        if sequence < self._next:
            if self._has_released or self._next - sequence > MAX_START_REORDER:
                self.counts.late += 1
                return False
            self._next = sequence
        if sequence in self._pieces:
            self.counts.duplicate += 1
            return False
        if (asked := self._asked.pop(sequence, None)) is not None:
            self._repair_ns += REPAIR_WEIGHT * (piece.arrival_ns - asked[0] - self._repair_ns)
        self._pieces[sequence] = piece
        self._newest = max(self._newest, sequence)
        return True

    def _collect(self) -> list[AssembledFrame]:
        """Release every complete frame from `_next` on."""
        frames: list[AssembledFrame] = []
        while self._next is not None and (end := self._frame_end(self._next)) is not None:
            pieces = [self._pieces.pop(sequence) for sequence in range(self._next, end)]
            self._next = end
            self._gap_since_ns = None
            self._has_released = True
            frame = self._assemble(pieces)
            if frame is not None:
                frames.append(frame)
        return frames

    def _frame_end(self, start: int) -> int | None:
        """Return the sequence number after the frame that starts at `start`, or None while it is incomplete."""
        first = self._pieces.get(start)
        sequence, piece = start, first
        while first is not None and piece is not None:
            if piece.timestamp != first.timestamp:
                return sequence  # A sender that sets no marker, or padding after it.
            if piece.is_marker or not first.data:
                return sequence + 1
            sequence += 1
            piece = self._pieces.get(sequence)
        return None

    def _assemble(self, pieces: list[RtpPiece]) -> AssembledFrame | None:
        """Join the pieces of one frame; None for padding and for what no decoder can use."""
        data = b"".join(piece.data for piece in pieces)
        if not data:
            return None
        is_key = any(piece.is_key for piece in pieces)
        if not pieces[0].is_frame_start:
            self.require_key_frame()
        if self._is_waiting_for_key and not (is_key and pieces[0].is_frame_start):
            self.counts.abandoned_frames += 1
            return None
        self._is_waiting_for_key = False
        return AssembledFrame(
            timestamp=self._timestamps.unwrap(pieces[0].timestamp),
            arrival_ns=min(piece.arrival_ns for piece in pieces),
            sent_ns=pieces[0].sent_ns,
            is_key=is_key,
            data=data,
        )

    def _skip_to_key_frame(self) -> bool:
        """Move `_next` to a complete key frame, if one is here: nothing before it is of use any more."""
        for sequence in sorted(self._pieces):
            piece = self._pieces[sequence]
            if piece.is_key and piece.is_frame_start and self._frame_end(sequence) is not None:
                self._forget_before(sequence)
                return True
        return False

    def _is_gap_hopeless(self, now_ns: int) -> bool:
        """Watch the first gap: True once a packet is missing for too long, or the buffer is full."""
        if self._next is None or not self._pieces:
            return False
        if len(self._pieces) >= self._capacity:
            return True
        missing = self._next
        while missing in self._pieces:
            missing += 1
        if missing > self._newest:
            self._gap_since_ns = None
            return False
        if self._gap_since_ns is None:
            self._gap_since_ns = now_ns
        return now_ns - self._gap_since_ns >= self._max_wait_ns

    def _abandon(self) -> None:
        """Give up the damaged frame, and with it every frame up to the next key frame."""
        assert self._next is not None
        missing = self._next
        while missing in self._pieces:
            missing += 1
        after = [sequence for sequence in sorted(self._pieces) if sequence > missing]
        start = next((sequence for sequence in after if self._is_boundary(sequence)), self._newest + 1)
        self.counts.abandoned_frames += 1
        self._forget_before(start)
        self._gap_since_ns = None
        self._has_released = True
        if not self._is_waiting_for_key:
            self.require_key_frame()

    def _is_boundary(self, sequence: int) -> bool:
        """Say whether a frame surely starts here."""
        piece, before = self._pieces[sequence], self._pieces.get(sequence - 1)
        if piece.is_frame_start:
            return True
        return before is not None and (before.is_marker or before.timestamp != piece.timestamp)

    def _forget_before(self, start: int) -> None:
        self._pieces = {sequence: piece for sequence, piece in self._pieces.items() if sequence >= start}
        self._next = start

    def _must_request_key(self, now_ns: int) -> bool:
        if not self._is_waiting_for_key:
            return False
        if self._key_requested_ns is not None and now_ns - self._key_requested_ns < self._key_request_ns:
            return False
        self._key_requested_ns = now_ns
        return True
