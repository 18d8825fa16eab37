"""Links that a page hands on: to viewers, to OBS, to a phone that is to be the camera."""

from __future__ import annotations

from aiohttp import web

from streamer.access import Right, check_right
from streamer.errors import ServiceError
from streamer.guard import TOKEN
from streamer.keys import CONFIG, TOKENS
from streamer.lan import lan_url, qr_svg

LOOPBACK_HINT = (
    "This server answers to this computer alone. Start it with “reenact serve --host 0.0.0.0 --https”, and a phone in "
    "the same network can be the camera."
)
INSECURE_HINT = "Phones give a page no camera over plain http. Start the server with “--https”."
PHONE_HINT = (
    "Scan it with the phone’s camera. The phone warns of a certificate it does not know: it is the one made here."
)


async def make_link(request: web.Request) -> web.Response:
    """`POST /api/links` with `{"right": "viewer"}` or `source`: a token to hand on, and the page's address with it.

    The token is empty where everybody may do everything; address and QR code are empty where no other machine can come.
    """
    try:
        right = {"viewer": Right.VIEWER, "source": Right.SOURCE}[(await request.json())["right"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ServiceError(400, "bad_request", "Expected a JSON object with 'right': viewer or source.") from error
    check_right(request[TOKEN], right)
    tokens = request.app[TOKENS]
    secret = "" if tokens.is_open else tokens.make(right)[1]
    server = request.app[CONFIG].server
    url = lan_url(server.host, request.url.port or server.port, is_https=server.https)
    if url and secret:
        url = f"{url}{'view/live' if right == Right.VIEWER else ''}?token={secret}"
    hint = LOOPBACK_HINT if not url else PHONE_HINT if server.https else INSECURE_HINT
    body = {"token": secret, "url": url, "qr": qr_svg(url) if url else "", "hint": hint}
    return web.json_response(body, status=201)


ROUTES = [web.post("/api/links", make_link)]
