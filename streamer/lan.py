"""How other machines of the local network reach this server, and that address as a QR code."""

from __future__ import annotations

import io
import ipaddress

import ifaddr
import segno

from streamer.access import is_loopback

EVERYWHERE = ("0.0.0.0", "::", "")
"""Hosts that mean every address of this machine."""


def lan_addresses() -> list[str]:
    """Return this machine's IPv4 addresses beyond loopback, those of a private network first."""
    found: list[ipaddress.IPv4Address] = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            if isinstance(entry.ip, str):
                address = ipaddress.IPv4Address(entry.ip)
                if not address.is_loopback and not address.is_link_local:
                    found.append(address)
    return [str(address) for address in sorted(found, key=lambda address: not address.is_private)]


def lan_url(host: str, port: int, *, is_https: bool) -> str:
    """Return the address of the page for other machines; empty if `host` answers to this one alone."""
    if is_loopback(host):
        return ""
    if host in EVERYWHERE:
        addresses = lan_addresses()
        if not addresses:
            return ""
        host = addresses[0]
    shown = f"[{host}]" if ":" in host else host
    return f"http{'s' if is_https else ''}://{shown}:{port}/"


def qr_svg(text: str) -> str:
    """Draw `text` as a QR code, black on white, as an SVG image."""
    out = io.BytesIO()
    segno.make(text, error="l", micro=False).save(out, kind="svg", scale=4, border=2, light="white", xmldecl=False)
    return out.getvalue().decode()


def qr_terminal(text: str) -> str:
    """Draw `text` as a QR code of half blocks, for a terminal."""
    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, compact=True)
    return out.getvalue()
