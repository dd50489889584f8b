"""The process: keys, pages, what it refuses to start with, and how it ends."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import ROOT, Server, loop_bytes, running_server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

KEY = {"DARIUS_API_KEY": "s3cret"}


@pytest.fixture(scope="module")
def template(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that loads no model and wants a key."""
    flags = ("--template", "--cors-origins", "https://ours.example", "--log-format", "json", "--max-upload-mb", "1")
    output = tmp_path_factory.mktemp("log") / "log.txt"
    with running_server(*flags, output=output, env=KEY, ready=None) as server:
        yield server


def test_a_template_says_so_and_plays_nothing(template: Server) -> None:
    reply = template.get("/health")
    assert reply.status_code == 503
    assert (reply.json()["ok"], reply.json()["status"]) == (False, "template_mode") and reply.json()["message"]
    reply = template.post("/generate_style", data={"bpm": "120"}, headers={"X-API-Key": "s3cret"})
    assert (reply.status_code, reply.json()["code"]) == (503, "template_mode") and int(reply.headers["Retry-After"])


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}])
def test_without_the_key_nothing_but_pages_and_health_answers(template: Server, headers: dict[str, str]) -> None:
    for path in ("/model/config", "/progress", "/metrics", "/jam/status"):
        reply = template.get(path, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (401, "unauthorized")
    for path in ("/", "/ping", "/docs", "/openapi.json", "/tester", "/magenta_prompts.js"):
        assert template.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{"X-API-Key": "s3cret"}, {"Authorization": "Bearer s3cret"}])
def test_with_the_key_everything_does(template: Server, headers: dict[str, str]) -> None:
    assert template.get("/model/config", headers=headers).status_code == 200


def test_only_the_named_pages_may_call_from_a_browser(template: Server) -> None:
    ours = template.get("/ping", headers={"Origin": "https://ours.example"})
    assert ours.headers["Access-Control-Allow-Origin"] == "https://ours.example"
    theirs = template.get("/ping", headers={"Origin": "https://theirs.example"})
    assert "Access-Control-Allow-Origin" not in theirs.headers
    asked = {"Origin": "https://ours.example", "Access-Control-Request-Method": "POST"}
    preflight = template.client.options("/generate", headers=asked)
    assert preflight.status_code == 200 and "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 401),
        ("?api_key=wrong", {}, 401),
        ("?api_key=s3cret", {}, 101),
        ("", {"X-API-Key": "s3cret"}, 101),
        ("?api_key=s3cret", {"Origin": "https://theirs.example"}, 403),
        ("?api_key=s3cret", {"Origin": "https://ours.example"}, 101),
    ],
)
def test_sockets_need_the_key_and_a_page_that_may_call(
    template: Server, query: str, headers: dict[str, str], status: int
) -> None:
    try:
        with connect(template.ws_url + query, additional_headers=headers) as socket:
            assert socket.response is not None
            found = socket.response.status_code
    except InvalidStatus as refused:
        found = refused.response.status_code
    assert found == status


def test_pages_come_with_a_policy_and_need_no_other_host(template: Server) -> None:
    for path in ("/", "/docs"):
        page = template.get(path)
        assert page.headers["Content-Type"].startswith("text/html") and "Content-Security-Policy" in page.headers
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert 'src="http' not in page.text and "https://cdn" not in page.text
    assert "javascript" in template.get("/magenta_prompts.js").headers["Content-Type"]
    shown = template.get("/docs").text
    assert all(path in shown for path in template.get("/openapi.json").json()["paths"])


def test_what_is_too_large_is_413_and_what_is_not_there_404(template: Server) -> None:
    headers = {"X-API-Key": "s3cret"}
    reply = template.post("/generate", files={"loop_audio": b"x" * (3 << 20)}, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")
    reply = template.get("/nowhere", headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    reply = template.get("/generate", headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed") and "POST" in reply.headers["Allow"]


def test_the_log_is_json_with_request_ids_and_tells_settings_but_no_key(template: Server) -> None:
    template.get("/nowhere", headers={"X-Request-ID": "find-me", "X-API-Key": "s3cret"})
    log = template.log()
    assert any('"request_id": "find-me"' in line and "404" in line for line in log.splitlines())
    assert "(environment DARIUS_API_KEY)" in log and "s3cret" not in log


def test_a_demanded_gpu_that_is_missing_is_said(own_cache: Path, server_log: Path) -> None:
    with running_server("--device", "gpu", output=server_log, ready=None, env={"JAX_PLATFORMS": "cpu"}) as server:
        body = server.wait_for("/health", "status", "gpu_unavailable")
        assert body["ok"] is False and body["message"] and server.get("/health").status_code == 503
        reply = server.post("/generate_style", data={"bpm": "120"})
        assert (reply.status_code, reply.json()["code"]) == (503, "model_failed")


@pytest.mark.parametrize(
    ("flags", "named"), [(["--port", "{port}"], "cannot be listened on"), (["--max-sessions", "-1"], "max_sessions")]
)
def test_a_server_that_cannot_start_says_why_in_a_sentence(template: Server, flags: list[str], named: str) -> None:
    command = [sys.executable, "-m", "darius_cli", "serve", *(flag.format(port=template.port) for flag in flags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr


def test_sigterm_answers_everyone_and_ends_within_ten_seconds(own_cache: Path, server_log: Path) -> None:
    with running_server("--max-sessions", "1", output=server_log) as server:
        started = server.post("/jam/start", data={"bpm": "60"}, files={"loop_audio": loop_bytes()})
        session = started.json()["session_id"]

        def long(name: str) -> httpx.Response:
            fields = {"bpm": "60", "bars": "30", "request_id": name}
            return httpx.post(f"{server.url}/generate", data=fields, files={"loop_audio": loop_bytes()}, timeout=60)

        def poll() -> httpx.Response:
            for _ in range(2):
                reply = httpx.get(f"{server.url}/jam/next", params={"session_id": session}, timeout=60)
            return reply

        with concurrent.futures.ThreadPoolExecutor() as pool:
            generating, waiting = pool.submit(long, "first"), pool.submit(poll)
            server.wait_for("/progress?request_id=first", "stage", "generating")
            queued = pool.submit(long, "second")
            assert server.wait_for("/progress?request_id=second", "stage", "queued")["n"] == 0
            began = time.monotonic()
            server.process.terminate()
            for asked in (queued, generating):
                assert (asked.result().status_code, asked.result().json()["code"]) == (503, "shutting_down")
            assert (waiting.result().status_code, waiting.result().json()["code"]) == (503, "shutting_down")
            assert server.process.wait(30) == 0
            assert time.monotonic() - began < 10.5
        assert "Traceback" not in server.log()
