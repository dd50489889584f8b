"""Sends a call about a jam to the server that plays it: an ASGI middleware for several servers behind one address.

Knows where a request names its session, and HTTP; not what a session is, nor what cluster this is. WebSockets stay
where they were opened: a jam on one needs no second server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qs

import httpx

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HOPPED = "x-darius-forwarded"
SECONDS = httpx.Timeout(60.0, connect=2.0)
"""A poll takes 30 s at most; a server that is there answers a connection at once."""

IN_BODY = (
    re.compile(rb'"session_id"\s*:\s*"([^"]+)"'),
    re.compile(rb'name="?session_id"?[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]+)'),
    re.compile(rb"(?:^|&)session_id=([^&]+)"),
)
LOST = "The server that played this jam is gone. Start the jam again."


class Directory(Protocol):
    """Who plays what."""

    async def owner(self, session: str) -> str | None:
        """Address of the server that plays a jam, None if nobody is known to."""
        ...

    async def claim(self, session: str, address: str) -> None:
        """This server plays the jam."""
        ...

    async def others(self, address: str) -> list[str]:
        """Addresses of the other servers."""
        ...


class Sticky:
    """The app, with calls about others' jams passed on, and new jams passed on while this server is full.

    Args:
      app: this server.
      directory: shared by all servers.
      address: where the others reach this server, `http://host:port`.
    """

    def __init__(self, app: App, directory: Directory, address: str) -> None:
        self.app, self.directory, self.address = app, directory, address
        self.client = httpx.AsyncClient(timeout=SECONDS)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith("/jam/") or HOPPED in _headers(scope):
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        if path == "/jam/start":
            await self._start(scope, body, send)
            return
        session = session_of(scope.get("query_string", b""), body)
        owner = await self.directory.owner(session) if session else None
        if owner in (None, self.address):
            await self.app(scope, _replay(body, receive), send)
        else:
            assert owner is not None
            await self._forward(owner, scope, body, send)

    async def _start(self, scope: MutableMapping[str, Any], body: bytes, send: Send) -> None:
        """Here if there is room, else wherever there is; whoever took it is written down."""
        wanted = session_of(b"", body)
        taken = await self.directory.owner(wanted) if wanted else None
        status, headers, answer = await self._here(scope, body)
        where = self.address
        if status == 429 and taken is None:
            for other in await self.directory.others(self.address):
                reply = await self._ask(other, scope, body)
                if reply is not None and reply.status_code != 429:
                    status, headers, answer, where = reply.status_code, _raw(reply), reply.content, other
                    break
        if status == 200:
            await self.directory.claim(json.loads(answer)["session_id"], where)
        await _answer(send, status, headers, answer)

    async def _here(self, scope: MutableMapping[str, Any], body: bytes) -> tuple[int, list[Any], bytes]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(scope, _replay(body), keep)
        begun = next(m for m in messages if m["type"] == "http.response.start")
        content = b"".join(m.get("body", b"") for m in messages if m["type"] == "http.response.body")
        return begun["status"], list(begun["headers"]), content

    async def _ask(self, other: str, scope: MutableMapping[str, Any], body: bytes) -> httpx.Response | None:
        """The other server's reply; None if it is not there any more."""
        headers = [(k, v) for k, v in scope["headers"] if k.lower() not in (b"host", b"content-length")]
        url = other + scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
        try:
            return await self.client.request(
                scope["method"], url, content=body, headers=[*headers, (HOPPED.encode(), b"1")]
            )
        except httpx.TransportError:
            return None

    async def _forward(self, owner: str, scope: MutableMapping[str, Any], body: bytes, send: Send) -> None:
        reply = await self._ask(owner, scope, body)
        if reply is not None:
            await _answer(send, reply.status_code, _raw(reply), reply.content)
            return
        lost = {"ok": False, "error": LOST, "detail": LOST, "code": "session_lost"}
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
        await _answer(send, 503, headers, json.dumps(lost).encode())


def session_of(query: bytes, body: bytes) -> str | None:
    """The session that a request names: in its query, its JSON, or its form of either kind."""
    asked = parse_qs(query.decode("latin-1")).get("session_id")
    if asked:
        return asked[0]
    for pattern in IN_BODY:
        found = pattern.search(body)
        if found:
            return found[1].decode("utf-8", "replace").strip()
    return None


def _headers(scope: MutableMapping[str, Any]) -> dict[str, str]:
    return {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive | None = None) -> Receive:
    """The body once more, then whatever comes (a disconnect, at the end)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive() if receive else {"type": "http.disconnect"}

    return again


def _raw(reply: httpx.Response) -> list[tuple[bytes, bytes]]:
    dropped = (b"content-length", b"content-encoding", b"transfer-encoding", b"connection")
    return [(key, value) for key, value in reply.headers.raw if key.lower() not in dropped]


async def _answer(send: Send, status: int, headers: list[Any], body: bytes) -> None:
    headers = [(key, value) for key, value in headers if key.lower() != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
