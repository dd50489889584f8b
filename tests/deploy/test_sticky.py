"""A call about a jam finds the server that plays it: where requests name their session, and what is passed on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.sticky import HOPPED, Sticky, session_of

names = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)


@given(names)
def test_a_session_is_found_in_query_json_and_both_kinds_of_form(name: str) -> None:
    multipart = httpx.Request(
        "POST", "http://x/", data={"bpm": "120", "session_id": name}, files={"loop_audio": b"RIFF\0\0"}
    ).read()
    assert session_of(f"timeout_seconds=5&session_id={name}".encode(), b"") == name
    assert session_of(b"", json.dumps({"session_id": name}).encode()) == name
    assert session_of(b"", f"chunk_index=1&session_id={name}".encode()) == name
    assert session_of(b"", multipart) == name


def test_a_request_without_a_session_names_none() -> None:
    assert session_of(b"bpm=120", b'{"step": "none"}') is None


class Notebook:
    """A directory in one process."""

    def __init__(self, addresses: list[str]) -> None:
        self.owners: dict[str, str] = {}
        self.addresses = addresses

    async def owner(self, session: str) -> str | None:
        return self.owners.get(session)

    async def claim(self, session: str, address: str) -> None:
        self.owners[session] = address

    async def others(self, address: str) -> list[str]:
        return [other for other in self.addresses if other != address]


def server(name: str, *, room: int) -> Any:
    """An ASGI app with the two replies that matter here; a real Darius is in test_ray_serve.py."""
    jams: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        status, reply = 200, {"ok": True, "server": name, "hopped": HOPPED.encode() in dict(scope["headers"])}
        if scope["path"] == "/jam/start":
            if len(jams) >= room:
                status, reply = 429, {"ok": False}
            else:
                jams.append(f"{name}-{len(jams)}")
                reply["session_id"] = jams[-1]
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": json.dumps(reply).encode()})

    return app


def pair(*, rooms: tuple[int, int]) -> tuple[list[Sticky], Notebook]:
    addresses = ["http://one", "http://two"]
    directory = Notebook(addresses)
    apps = [server(n, room=r) for n, r in zip(("one", "two"), rooms, strict=True)]
    sticky = [Sticky(app, directory, address) for app, address in zip(apps, addresses, strict=True)]
    transports: dict[str, httpx.AsyncBaseTransport | None] = {
        address: httpx.ASGITransport(app=app) for address, app in zip(addresses, apps, strict=True)
    }
    for one in sticky:
        one.client = httpx.AsyncClient(mounts=transports)
    return sticky, directory


def ask(app: Sticky, method: str, path: str, **parts: Any) -> httpx.Response:
    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://door") as client:
            return await client.request(method, path, **parts)

    return asyncio.run(call())


def test_a_call_about_a_jam_reaches_its_server_through_any_door() -> None:
    (one, two), _ = pair(rooms=(1, 1))
    session = ask(one, "POST", "/jam/start", data={"bpm": "120"}).json()["session_id"]
    through = ask(two, "GET", "/jam/next", params={"session_id": session}).json()
    assert (through["server"], through["hopped"]) == ("one", True)
    assert ask(one, "POST", "/jam/stop", json={"session_id": session}).json()["hopped"] is False


def test_a_jam_starts_wherever_there_is_room_and_is_refused_only_when_all_are_full() -> None:
    (one, two), directory = pair(rooms=(1, 1))
    started = [ask(one, "POST", "/jam/start").json()["session_id"] for _ in range(2)]
    assert [directory.owners[session] for session in started] == ["http://one", "http://two"]
    assert ask(two, "POST", "/jam/start").status_code == 429


def test_a_jam_whose_server_is_gone_gets_a_clear_retry() -> None:
    (_, two), directory = pair(rooms=(1, 1))
    directory.owners["lost"] = "http://127.0.0.1:9"
    two.client = httpx.AsyncClient()
    reply = ask(two, "GET", "/jam/next", params={"session_id": "lost"})
    assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (503, "session_lost", "1")


@pytest.mark.parametrize("path", ["/health", "/generate"])
def test_other_calls_stay_where_they_came_in(path: str) -> None:
    (_, two), _ = pair(rooms=(1, 1))
    assert ask(two, "POST", path).json()["server"] == "two"
