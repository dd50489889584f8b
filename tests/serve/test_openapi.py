"""The OpenAPI document tells the truth: random valid and invalid requests, and what real replies look like."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from serving import Server, loop_bytes, running_server

UNPROVABLE = "positive_data_acceptance"
"""A schema cannot say which text is an audio file, a repository that exists, or few enough bars for their tempo."""
ROUTES = {
    "/ping", "/health", "/metrics", "/", "/docs", "/tester", "/magenta_prompts.js",
    "/generate", "/generate_style", "/generate/reset", "/progress",
    "/jam/start", "/jam/next", "/jam/consume", "/jam/update", "/jam/reseed", "/jam/reseed_splice",
    "/jam/stop", "/jam/stop_all", "/jam/status",
    "/model/config", "/model/status", "/model/checkpoints", "/model/select", "/model/swap",
    "/model/assets/load", "/model/assets/status",
}  # fmt: skip


@pytest.fixture(scope="module")
def brief(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that plays at most a second at a time and asks no hub, for thousands of requests."""
    flags = ("--max-sessions", "2", "--max-music-seconds", "1", "--offline")
    with running_server(*flags, output=tmp_path_factory.mktemp("log") / "log.txt") as server:
        yield server


def fuzz(server: Server, examples: int, phases: str, folder: Path) -> None:
    """Runs schemathesis; its report is the failure."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--mode=all", "--seed=1"),
        *(f"--phases={phases}", f"--max-examples={examples}", f"--exclude-checks={UNPROVABLE}"),
        *("--request-timeout=60", "--no-color"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "Traceback" not in server.log() and " 500 " not in server.log()


def test_a_few_random_requests_to_every_operation_meet_neither_bug_nor_surprise(brief: Server, tmp_path: Path) -> None:
    fuzz(brief, 3, "fuzzing", tmp_path)


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_two_hundred_random_requests_to_every_operation_meet_neither_bug_nor_surprise(
    brief: Server, tmp_path: Path
) -> None:
    fuzz(brief, 200, "examples,coverage,fuzzing", tmp_path)


def test_every_route_is_described_with_its_replies_and_fields(server: Server) -> None:
    document = server.get("/openapi.json").json()
    assert set(document["paths"]) == ROUTES
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"] and {"200", "500", "503"} <= operation["responses"].keys(), path
    body = document["paths"]["/generate"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert body["properties"]["loop_audio"] == {"type": "string", "format": "binary"}
    assert body["required"] == ["loop_audio"]


def test_real_replies_are_as_described(server: Server) -> None:
    document = server.get("/openapi.json").json()
    audio = {"loop_audio": ("loop.wav", loop_bytes(), "audio/wav")}

    def check(method: str, path: str, status: int = 200, **request: Any) -> Any:
        reply = server.client.request(method, path, **request)
        assert reply.status_code == status, reply.text[:300]
        described = document["paths"][path][method.lower()]["responses"][str(status)]["content"]["application/json"]
        jsonschema.validate(reply.json(), {**described["schema"], "components": document["components"]})
        return reply.json()

    check("GET", "/health")
    check("GET", "/model/config")
    check("GET", "/model/status")
    check("GET", "/model/assets/status")
    check("POST", "/model/select", json={"size": "tiny", "step": "none", "dry_run": True})
    check("GET", "/model/checkpoints", status=409)
    check("POST", "/generate", data={"bpm": "240", "bars": "1", "request_id": "seen"}, files=audio)
    check("GET", "/progress", params={"request_id": "seen"})
    check("POST", "/generate_style", data={"bpm": "240", "bars": "1"})
    check("POST", "/generate", status=415, files={"loop_audio": b"words"})
    jam = check("POST", "/jam/start", data={"bpm": "240", "bars_per_chunk": "1"}, files=audio)
    of_jam = {"session_id": jam["session_id"]}
    check("GET", "/jam/next", params=of_jam)
    check("GET", "/jam/status", params=of_jam)
    check("POST", "/jam/consume", data=of_jam | {"chunk_index": "0"})
    check("POST", "/jam/update", data=of_jam | {"styles": "dub", "topk": "0"})
    check("POST", "/jam/reseed_splice", data=of_jam)
    check("POST", "/jam/stop", json=of_jam)
    check("GET", "/jam/next", status=408, params=of_jam)
    check("GET", "/jam/status", status=404, params=of_jam)
    check("POST", "/jam/stop_all")
