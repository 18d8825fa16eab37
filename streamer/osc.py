"""Face numbers out of OSC packets: our own addresses, and those of the VMC protocol."""

from __future__ import annotations

from pythonosc.osc_message import OscMessage
from pythonosc.osc_packet import OscPacket, ParseError

from models.params import EXPRESSION_NAMES
from reenact.face_change import LIMITS

PREFIX = "/reenact/"
VMC = "/VMC/Ext/Blend/Val"
MAX_MESSAGES = 256
"""Messages of one packet that are read."""
_NAMES = {name.lower(): name for name in LIMITS}
_SHAPES = {name.lower(): name for name in EXPRESSION_NAMES}


def read_osc(datagram: bytes) -> dict[str, float]:
    """Read the numbers of one packet, by name; what is not known is passed over. Raises `ValueError` for no OSC.

    `/reenact/jawOpen 0.4`, `/reenact/yaw 10`: the names of `reenact.face_change`, in letters of either case; and
    `/VMC/Ext/Blend/Val "JawOpen" 0.4`, as VMC programs send.
    """
    try:
        messages = OscPacket(datagram).messages[:MAX_MESSAGES]
    except (ParseError, ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no OSC packet: {error}") from None
    except Exception as error:  # The edge of a stranger's packet: the library names no complete list.
        raise ValueError(f"no OSC packet: {error}") from None
    values: dict[str, float] = {}
    for timed in messages:
        name, value = _number(timed.message)
        if name and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
            values[name] = float(value)
    return values


def _number(message: OscMessage) -> tuple[str, object]:
    params = list(message.params)
    if message.address.startswith(PREFIX) and len(params) == 1:
        return _NAMES.get(message.address.removeprefix(PREFIX).rpartition("/")[2].lower(), ""), params[0]
    if message.address == VMC and len(params) == 2:
        return _SHAPES.get(str(params[0])[:64].lower(), ""), params[1]
    return "", None
