"""What every request passes on its way in: how often, from where, with which right; and the headers on its way out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from streamer.access import RIGHTS, STRANGER, Right, Token, check_right, is_loopback
from streamer.clock import Clock
from streamer.errors import ServiceError
from streamer.keys import TOKENS
from streamer.limits import Buckets

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUESTS = {"rate": 50.0, "burst": 300.0}
"""Requests of one address: a page takes about forty at once."""
OFFERS = {"rate": 2.0, "burst": 20.0}
"""Offers of one address: each makes a connection."""
MISTAKES = {"rate": 0.2, "burst": 10.0}
"""Wrong tokens of one address that are told from no token at all."""

PAGES = ("/", "/edit", "/study/{name}", "/view/{session}")
"""What a person opens by a link, and then goes on from."""

TOKEN: web.RequestKey[Token] = web.RequestKey("token", Token)
"""Whose request it is."""

SECURITY_HEADERS = {
    # Everything comes from here, nothing is inline, and no other site may frame it. WebRTC media needs no permission.
    # `ws:`: the page itself speaks to the OBS of the person who opened it, at an address that only that person knows.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob: mediastream:; connect-src 'self' ws: wss:; font-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": (
        "camera=(self), display-capture=(), fullscreen=(self), geolocation=(), microphone=(self), usb=()"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

NEED_A_LINK = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<title>Reenact</title>
<link rel="stylesheet" href="/web/style.css">
<main><h1>Reenact</h1><p role="alert">{}</p></main>
</html>
"""


def limit_rate(clock: Clock) -> Middleware:
    """Make the middleware that turns away who comes too often (429)."""
    requests, offers = Buckets(clock, **REQUESTS), Buckets(clock, **OFFERS)

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_offer = request.method == "POST"
        if not requests.take(request.remote) or (is_offer and not offers.take(request.remote)):
            raise ServiceError(429, "too_many_requests", "Too many requests; come back in a moment.", retry_after_s=1)
        return await handler(request)

    return limit


def _host_of(netloc: str) -> str:
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""


def _netloc_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


@web.middleware
async def guard_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse other sites: foreign origins, and names that were bent to point at a local server (DNS rebinding)."""
    host = request.headers.get("Host", "")
    if request.app[TOKENS].is_open and not is_loopback(_host_of(host)):
        raise ServiceError(403, "forbidden_host", "This server answers to localhost only.")
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and _netloc_of(origin) != host
    # Browsers say themselves where a request comes from; only a person who follows a link may come from elsewhere.
    site = request.headers.get("Sec-Fetch-Site", "none")
    is_visit = request.method in ("GET", "HEAD") and request.headers.get("Sec-Fetch-Mode") == "navigate"
    is_foreign_fetch = site not in ("none", "same-origin") and not is_visit
    if is_foreign_fetch or (is_foreign and request.method not in ("GET", "HEAD")):
        raise ServiceError(403, "forbidden_origin", "Another site may not use this server.")
    return await handler(request)


def cookie_name(request: web.Request) -> str:
    """Name the cookie: browsers keep cookies of all ports of a host together."""
    return f"reenact-{request.url.port or 0}"


def authorize(clock: Clock) -> Middleware:
    """Make the middleware that asks for a token and looks whether its right suffices."""
    mistakes = Buckets(clock, **MISTAKES)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.query.get("token") if request.method == "GET" else None
        needed = right_for(request)
        if needed == Right.NOBODY and given is None:
            request[TOKEN] = _known(request)
            return await handler(request)
        try:
            token = request.app[TOKENS].find(given or _secret_of(request))
            if given is not None and _is_page(request):
                return _keep(request, given)
            check_right(token, needed)
        except ServiceError as error:
            if error.code == "token_wrong" and not mistakes.take(request.remote):
                raise ServiceError(429, "too_many_requests", "Too many wrong tokens.", retry_after_s=5) from error
            if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
                page = NEED_A_LINK.format(error.message)
                return web.Response(status=error.status, text=page, content_type="text/html")
            raise
        request[TOKEN] = token
        return await handler(request)

    return check


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _is_page(request: web.Request) -> bool:
    return _route(request) in PAGES


def right_for(request: web.Request) -> Right:
    """Return the right that a request takes, by the route that it would reach."""
    return RIGHTS.get(_route(request), Right.ADMIN)


def _secret_of(request: web.Request) -> str | None:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else request.cookies.get(cookie_name(request))


def _known(request: web.Request) -> Token:
    """Return whose request it is where nobody has to say so."""
    try:
        return request.app[TOKENS].find(_secret_of(request))
    except ServiceError:
        return STRANGER


def _keep(request: web.Request, secret: str) -> web.Response:
    """Put the token into a cookie and take it out of the address, where it would be seen and remembered."""
    url = request.rel_url.without_query_params("token")
    # A path of two slashes would lead to another site.
    response = web.Response(status=303, headers={"Location": "/" + str(url).lstrip("/")})
    if not request.app[TOKENS].is_open:
        # Lax: a link in a mail or a chat must work. Other sites cannot post, by that and by their origin.
        response.set_cookie(cookie_name(request), secret, httponly=True, samesite="Lax", secure=request.secure)
    return response


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the security headers; let browsers ask for every file again, as there is no build that renames them."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if response.status == 401:
        response.headers.setdefault("WWW-Authenticate", 'Bearer realm="reenact"')
    response.headers["Server"] = "reenact"
    response.headers.setdefault("Cache-Control", "no-cache" if request.path.startswith("/web/") else "no-store")


def owns(request: web.Request, owner: str) -> bool:
    """Say whether a request may change what the token `owner` made."""
    token = request[TOKEN]
    return token.right == Right.ADMIN or token.id == owner
