"""Clients that connect, start and are torn away: places, sockets, threads and memory are back where they were."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from pathlib import Path

import pytest
from serving import Server, loop_bytes
from websockets.sync.client import connect

LOOP = loop_bytes(seconds=1.0)
BOUNDARY = "a-boundary-that-is-not-in-the-audio"


def start_request(port: int) -> bytes:
    """A whole POST /jam/start."""
    fields = {"bpm": "240", "bars_per_chunk": "1"}
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items()]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="loop_audio"; filename="l.wav"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + LOOP + f"\r\n--{BOUNDARY}--\r\n".encode()
    return (
        f"POST /jam/start HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode() + body


def tear(connection: socket.socket) -> None:
    """Closes with a reset, as a client does whose process dies."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def over_http(server: Server, k: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        request = start_request(server.port)
        if k % 4 == 1:
            connection.sendall(request[: len(request) // 2])  # in the middle of its upload
        else:
            connection.sendall(request)
            if k % 4 == 2:
                time.sleep(0.02)
        tear(connection)


def over_websocket(server: Server, k: int) -> None:
    with contextlib.suppress(Exception), connect(server.ws_url) as client:
        if k % 4:
            client.send(json.dumps({"type": "start", "mode": "rt", "params": {"pace": "asap"}}))
        if k % 4 == 2:
            client.recv(timeout=20)
        if k % 4 == 3:
            for _ in range(3):
                client.recv(timeout=20)
        tear(client.socket)


def held(server: Server) -> dict[str, int]:
    """What the process holds now."""
    process = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return {
        "files": len(list((process / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "kilobytes": int(status["VmRSS"].split()[0]),
    }


def cycles(server: Server, count: int, *, lease: float) -> tuple[dict[str, int], dict[str, int]]:
    """What the process held before and after so many torn connections, half of them over each wire.

    Args:
      lease: seconds that jams may live on whose start was answered to nobody; else they are stopped.
    """

    def settle() -> dict[str, int]:
        if not lease:
            server.post("/jam/stop_all")
        server.wait_for("/health", "active_jams", 0, lease + 20)
        time.sleep(2)
        return held(server)

    for k in range(24):
        over_websocket(server, k)
        over_http(server, k)
    before = settle()
    for k in range(count // 2):
        over_websocket(server, k)
        over_http(server, k)
    until = time.monotonic() + 40
    while (after := settle())["files"] > before["files"] + 2 and time.monotonic() < until:
        time.sleep(2)  # each connection's last ping is still to come
    return before, after


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads what a process holds from /proc")
def test_fifty_torn_connections_leave_nothing_behind(quick_server: Server) -> None:
    before, after = cycles(quick_server, 50, lease=0.0)
    assert after["files"] <= before["files"] + 2
    assert after["threads"] <= before["threads"] + 2
    assert after["kilobytes"] - before["kilobytes"] < 60_000


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_thousands_of_torn_connections_leave_nothing_behind(quick_server: Server) -> None:
    """The allocator's arenas grow over the first 2,000 (by 130 MB of 640, measured), and then no more."""
    rounds = [cycles(quick_server, 1000, lease=90.0) for _ in range(4)]
    print("after each thousand:", [after for _, after in rounds])  # noqa: T201 - the measured result
    first, settled, last = rounds[0][0], rounds[1][1], rounds[3][1]
    assert last["files"] <= first["files"] + 3
    assert last["threads"] <= first["threads"] + 2
    assert last["kilobytes"] - settled["kilobytes"] < 20_000
