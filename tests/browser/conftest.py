"""A real browser on a real server: Chromium without a screen, Playwright to drive it, `darius serve` with `tiny`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Server, running_server

from .tap import TAP_SCRIPT, Tap

FLAGS = [
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP darius.test 127.0.0.1",  # an address that is not this machine's, for the browser
]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A browser process for all tests of this folder; until it ends, Playwright keeps an event loop in the thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright drives the browser")
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium (make test does so where it can)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with `tiny`, warmed, with room for one jam; leave none behind.

    It may load what lies in its folder: three (damaged) checkpoints in mine/, a finetune's assets in assets/.
    """
    root: Path = tmp_path_factory.mktemp("models")
    for folder in ("mine", "assets"):
        (root / folder).mkdir()
    for step in (100, 300, 200):
        (root / "mine" / f"checkpoint_{step}.tgz").write_bytes(b"cut off")
    rng = np.random.default_rng(0)
    np.save(root / "assets" / "mean_style_embed.npy", rng.normal(size=768).astype(np.float32))
    np.save(root / "assets" / "cluster_centroids.npy", rng.normal(size=(3, 768)).astype(np.float32))
    env = {"DARIUS_MAX_SESSIONS": "1", "DARIUS_MODEL_ROOT": str(root)}
    with running_server(output=root / "log.txt", env=env) as running:
        yield running


@pytest.fixture
def visit(chromium: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """visit() -> the tester in a fresh profile, as `page`; visit(url, tapped=True, viewport=..., ...) otherwise.

    `page.socket_frames` are the WebSocket's frames as (sent, payload); `page.tap`, where asked for, is what reaches the
    loudspeaker (its script is none of the server's, so the server's content policy is set aside for it). By the end of
    the test no script may have failed, and the console may show no error.
    """
    contexts, failures = [], list[str]()

    def open_page(
        url: str = "", *, tapped: bool = False, viewport: dict[str, int] | None = None, **options: Any
    ) -> Any:
        context = chromium.new_context(viewport=viewport or DESKTOP, bypass_csp=tapped, **options)
        contexts.append(context)
        if tapped:
            context.add_init_script(TAP_SCRIPT)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.tap, page.socket_frames = Tap(page), []
        page.on("websocket", lambda socket: _record(socket, page.socket_frames))
        page.goto(url or f"{server.url}/tester")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not failures, failures
    server.wait_for("/health", "active_jams", 0, seconds=20)


def _record(socket: Any, frames: list[tuple[bool, Any]]) -> None:
    socket.on("framesent", lambda payload: frames.append((True, payload)))
    socket.on("framereceived", lambda payload: frames.append((False, payload)))
