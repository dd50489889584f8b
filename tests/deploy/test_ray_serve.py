"""Two replicas on a real Ray cluster on this machine; one is killed, and jams go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

ray = pytest.importorskip("ray", reason="the cluster example needs ray[serve], which has no wheel for this machine")

ROOT = Path(__file__).resolve().parents[2]
LOOP = ROOT / "examples" / "loops" / "loop_garzul.flac"
PORT = 18_731
Good = Callable[[httpx.Response], bool]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    from ray import serve

    from deploy.ray_serve import app

    environment = {"env_vars": {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}}
    ray.init(
        _node_ip_address="127.0.0.1",
        num_cpus=4,
        include_dashboard=False,
        configure_logging=False,
        runtime_env=environment,
    )
    serve.start(http_options={"port": PORT})
    serve.run(app({"replicas": "2", "model": "tiny", "max_sessions": "2"}))
    yield f"http://127.0.0.1:{PORT}"
    serve.shutdown()
    ray.shutdown()


def patient(call: Callable[[], httpx.Response], good: Good, seconds: float = 150) -> httpx.Response:
    """Calls until the reply is good, or the time is over."""
    until = time.monotonic() + seconds
    while True:
        try:
            reply = call()
            if good(reply) or time.monotonic() > until:
                return reply
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
        time.sleep(0.5)


def played(reply: httpx.Response) -> bool:
    return reply.status_code == 200


def start(door: str) -> httpx.Response:
    with LOOP.open("rb") as loop:
        return httpx.post(
            f"{door}/jam/start", data={"bpm": "120", "bars_per_chunk": "1"}, files={"loop_audio": loop}, timeout=90
        )


def chunk(door: str, session: str) -> httpx.Response:
    return httpx.get(f"{door}/jam/next", params={"session_id": session}, timeout=90)


def replicas() -> list[int]:
    """Their process ids: Ray names its processes after what they run."""
    titles = {int(path.parent.name): path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    return sorted(pid for pid, title in titles.items() if title.startswith(b"ray::ServeReplica:default:darius"))


@pytest.mark.acceptance
def test_jams_play_through_one_door_and_outlive_the_loss_of_a_replica(cluster: str) -> None:
    jams: list[str] = []
    for _ in range(4):  # two replicas with two places each
        reply = patient(lambda: start(cluster), played)
        assert reply.status_code == 200, reply.text
        jams.append(reply.json()["session_id"])
    assert start(cluster).status_code == 429
    for jam in jams:
        reply = patient(lambda jam=jam: chunk(cluster, jam), played)
        assert reply.json()["chunk"]["index"] == 0

    os.kill(replicas()[0], signal.SIGKILL)
    after = [
        patient(lambda jam=jam: chunk(cluster, jam), lambda r: r.status_code in (200, 503) and r.text[:1] == "{")
        for jam in jams
    ]
    assert sorted(reply.status_code for reply in after) == [200, 200, 503, 503]
    lost = next(reply for reply in after if reply.status_code == 503)
    assert (lost.json()["code"], lost.headers["retry-after"]) == ("session_lost", "1")
    assert patient(lambda: start(cluster), played).status_code == 200, "a new jam starts where there is room"
