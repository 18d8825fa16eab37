from __future__ import annotations

import base64
import hashlib
import hmac

from streamer.config import MediaConfig
from streamer.ice import as_json, as_links, credentials, ice_servers

TURN = "turn:turn.example:3478?transport=udp"
STUN = "stun:stun.example:3478"


def test_a_secret_gives_credentials_that_run_out() -> None:
    media = MediaConfig(ice_servers=(STUN, TURN), turn_secret="north", turn_ttl_s=600)
    username, password = credentials(media, 1_000_000.9)
    assert username == "1000600:reenact"
    # As coturn computes it: base64(hmac-sha1(secret, username)).
    assert base64.b64decode(password) == hmac.digest(b"north", username.encode(), hashlib.sha1)
    stun, turn = ice_servers(media, 1_000_000.9)
    assert (stun.username, stun.credential) == (None, None)
    assert (turn.username, turn.credential) == (username, password)


def test_without_a_secret_the_fixed_ones_are_used_and_without_those_none() -> None:
    fixed = MediaConfig(ice_servers=(TURN,), turn_username="ann", turn_password="pw")
    assert credentials(fixed, 0) == ("ann", "pw")
    (server,) = ice_servers(MediaConfig(ice_servers=(TURN,)), 0)
    assert server.username is None


def test_pages_and_whip_clients_are_told() -> None:
    servers = ice_servers(MediaConfig(ice_servers=(STUN, TURN), turn_username="ann", turn_password="pw"), 0)
    assert as_json(servers) == [{"urls": STUN}, {"urls": TURN, "username": "ann", "credential": "pw"}]
    assert as_links(servers) == [
        f'<{STUN}>; rel="ice-server"',
        f'<{TURN}>; rel="ice-server"; username="ann"; credential="pw"; credential-type="password"',
    ]
