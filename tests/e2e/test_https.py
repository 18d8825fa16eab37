"""The whole page over `--https`, with the certificate that the server makes for itself."""

from __future__ import annotations

import base64
import hashlib
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import sync_playwright

from tests.e2e.live import ARGUMENTS, ROOT, START_TIMEOUT_S, STOP_TIMEOUT_S, free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """`reenact serve --https` in a process of its own."""
    port = free_port()
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "streamer.cli", "serve", "--https", "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", timeout=2, context=context).close()
                break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)


def test_a_browser_that_trusts_the_certificate_goes_live(port: int, chromium_path: str) -> None:
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    trusted = base64.b64encode(hashlib.sha256(key).digest()).decode()
    with sync_playwright() as playwright:
        # This one certificate and no other: as a person does who accepts it, or installs it on a phone.
        arguments = [*ARGUMENTS, f"--ignore-certificate-errors-spki-list={trusted}"]
        browser = playwright.chromium.launch(executable_path=chromium_path, args=arguments)
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"https://127.0.0.1:{port}/?autostart=1")
        page.wait_for_selector("body[data-state=live]", timeout=120_000)
        assert page.evaluate("isSecureContext && location.protocol") == "https:"
        deadline = time.monotonic() + 60
        while page.evaluate("reenact.stats().frames_shown") <= 15:
            assert time.monotonic() < deadline
            page.wait_for_timeout(200)
        view = browser.new_page()
        view.goto(f"https://127.0.0.1:{port}/view/live")
        view.wait_for_selector("body[data-state=live]", timeout=60_000)
        assert problems == []
        browser.close()
        stranger = playwright.chromium.launch(executable_path=chromium_path, args=list(ARGUMENTS))
        with pytest.raises(Exception, match="ERR_CERT_AUTHORITY_INVALID"):
            stranger.new_page().goto(f"https://127.0.0.1:{port}/")
        stranger.close()
