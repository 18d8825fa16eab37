"""Through coturn with every direct path blocked: server, relay and browser in network namespaces of their own.

The relay's namespace owns an address in both networks and forwards nothing; only HTTP is carried over by hand.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from tests.e2e.chromium import CHROMIUM_ARGUMENTS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SERVER, RELAY, BROWSER = "reenact-s", "reenact-r", "reenact-b"
PORT = 8080
SECRET = "north-by-northwest"
CARRY = f"""
import asyncio
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def carry(reader, writer):
    there = await asyncio.open_connection("10.91.1.2", {PORT})
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer), return_exceptions=True)
async def main():
    server = await asyncio.start_server(carry, "10.91.2.1", {PORT})
    await server.serve_forever()
asyncio.run(main())
"""

SERVE = """
import asyncio, logging, sys
from pathlib import Path
from streamer.config import load_config
from streamer.serve import serve
from tests.unit.streamer.fakes import FakeSettings, FakeTargets
logging.basicConfig(stream=sys.stderr, format="%(message)s")
asyncio.run(serve(load_config(FakeSettings(), Path(sys.argv[1])), FakeTargets()))
"""
"""The whole server, with a target that echoes: the network is tried here, not the generator."""


def command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def namespaces() -> Iterator[None]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces take root and the package iproute2")
    if shutil.which("turnserver") is None:
        pytest.skip("no turnserver: install the package coturn")
    names = (SERVER, RELAY, BROWSER)
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False, timeout=20)
    try:
        command("ip", "netns", "add", SERVER)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        command("ip", "netns", "add", RELAY)
        command("ip", "netns", "add", BROWSER)
        for number, name in ((1, SERVER), (2, BROWSER)):
            near, far = f"rn{number}a", f"rn{number}b"
            command("ip", "link", "add", near, "netns", RELAY, "type", "veth", "peer", "name", far, "netns", name)
            command("ip", "-n", RELAY, "addr", "add", f"10.91.{number}.1/24", "dev", near)
            command("ip", "-n", name, "addr", "add", f"10.91.{number}.2/24", "dev", far)
            command("ip", "-n", RELAY, "link", "set", near, "up")
            command("ip", "-n", name, "link", "set", far, "up")
            command("ip", "-n", name, "route", "add", "default", "via", f"10.91.{number}.1")
        for name in names:
            command("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False, timeout=20)


def start(stack: ExitStack, namespace: str, log: Path, *words: str) -> subprocess.Popen[bytes]:
    """Run a program in a namespace until the stack unwinds."""
    file = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(["ip", "netns", "exec", namespace, *words], stdout=file, stderr=file, cwd=ROOT)

    def end() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)
    return process


def wait_for(log: Path, pattern: str, timeout_s: float = 90.0) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text(errors="replace")):
            return found[1] if found.groups() else found[0]
        time.sleep(0.1)
    raise AssertionError(f"{pattern} is not in:\n{log.read_text(errors='replace')}")


@pytest.fixture
def open_page(namespaces: None, chromium_path: str, tmp_path: Path) -> Iterator[Callable[[str], tuple[Any, Path]]]:
    """Give a function that serves with a TURN secret and opens the page in the browser's namespace."""
    with ExitStack() as stack:

        def run(secret: str) -> tuple[Any, Path]:
            turn = ("--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=reenact", "--no-cli", "--no-tls")
            addresses = ("--listening-ip=10.91.1.1", "--relay-ip=10.91.1.1", "--no-dtls", "--log-file=stdout")
            files = (f"--pidfile={tmp_path}/turn.pid", f"--userdb={tmp_path}/turn.db")
            start(stack, RELAY, tmp_path / "turn.log", "turnserver", "-n", *turn, *addresses, *files)
            start(stack, RELAY, tmp_path / "carry.log", sys.executable, "-c", CARRY)
            config = tmp_path / "reenact.toml"
            config.write_text(
                f'[server]\nhost = "0.0.0.0"\nport = {PORT}\n'
                f'[media]\nice_servers = ["turn:10.91.1.1:3478?transport=udp"]\nturn_secret = "{secret}"\n'
            )
            log = tmp_path / "server.log"
            start(stack, SERVER, log, sys.executable, "-c", SERVE, str(config))
            token = wait_for(log, r"can be the source: \S+\?token=(\S+)")
            wrapper = tmp_path / "chromium"
            wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {BROWSER} {chromium_path} "$@"\n')
            wrapper.chmod(0o755)
            origin = f"http://10.91.2.1:{PORT}"
            playwright = stack.enter_context(sync_playwright())
            arguments = [
                *CHROMIUM_ARGUMENTS,
                "--use-fake-device-for-media-stream",
                f"--unsafely-treat-insecure-origin-as-secure={origin}",
            ]
            browser = playwright.chromium.launch(executable_path=str(wrapper), args=arguments)
            stack.callback(browser.close)
            page = browser.new_page()
            page.set_default_timeout(90_000)  # Three processes start at once, and a model is compiled.
            page.goto(f"{origin}/?token={token}")
            page.goto(f"{origin}/?autostart=1")
            return page, log

        yield run


def test_the_session_works_through_the_relay(open_page: Callable[[str], tuple[Any, Path]]) -> None:
    page, _ = open_page(SECRET)
    page.wait_for_selector("body[data-state=live]", timeout=90_000)
    before = page.evaluate("window.reenact.stats().frames_shown")
    page.wait_for_timeout(2000)
    assert page.evaluate("window.reenact.stats().frames_shown") > before + 10


def test_a_wrong_password_has_a_message_of_its_own(open_page: Callable[[str], tuple[Any, Path]]) -> None:
    page, log = open_page("not the secret")
    page.wait_for_selector("body[data-state=failed]", timeout=90_000)
    assert page.inner_text("#notice h2") == "The relay refused the password"
    assert "turn:10.91.1.1:3478?transport=udp refuses our user name or password (401)" in log.read_text()
