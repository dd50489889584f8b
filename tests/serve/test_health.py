"""What a running server says of itself."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families
from serving import Server


def test_a_warmed_server_is_ready_and_says_what_it_runs_on(server: Server) -> None:
    reply = server.get("/health")
    assert reply.status_code == 200
    assert {"ok": True, "status": "ready", "mode": "serve", "warmed": True}.items() <= reply.json().items()


def test_ping_answers(server: Server) -> None:
    assert server.get("/ping").json() == {"ok": True}


def test_http_2_is_spoken_too(server: Server) -> None:
    with httpx.Client(base_url=server.url, http1=False, http2=True) as client:
        reply = client.get("/health")
    assert (reply.http_version, reply.status_code) == ("HTTP/2", 200)


def test_metrics_are_prometheus_text_with_what_an_operator_watches(server: Server) -> None:
    server.get("/nowhere")
    reply = server.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {family.name: family for family in text_string_to_metric_families(reply.text)}
    wanted = (
        "sessions_active sessions_capacity device_queue batch_occupancy real_time_factor underruns model_load_seconds"
    )
    assert {f"darius_{name}" for name in wanted.split()} <= names.keys()
    edges = [float(s.labels["le"]) for s in names["darius_chunk_seconds"].samples if s.name.endswith("_bucket")]
    assert {1.7, 2.0, 2.5} <= set(edges) and edges == sorted(edges)
    assert any(s.labels == {"code": "not_found"} and s.value >= 1 for s in names["darius_errors"].samples)
