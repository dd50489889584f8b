"""What a running server says of itself."""

from __future__ import annotations

from serving import Server


def test_a_warmed_server_is_ready_and_says_what_it_runs_on(server: Server) -> None:
    reply = server.get("/health")
    assert reply.status_code == 200
    assert {"ok": True, "status": "ready", "mode": "serve", "warmed": True}.items() <= reply.json().items()


def test_ping_answers(server: Server) -> None:
    assert server.get("/ping").json() == {"ok": True}
