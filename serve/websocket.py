"""/ws/jam: one socket, one jam. Knows the wire; what may come when is in `ws_protocol`, what a jam is in `live`.

Three tasks a socket: one reads, one starts the jam, one sends its chunks. However the socket ends, so does a jam that
it started.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from typing import Any, cast

from hypercorn.protocol import ws_stream
from quart import Blueprint
from quart import websocket as socket
from quart.asgi import ASGIWebsocketConnection
from quart.blueprints import BlueprintSetupState
from quart.datastructures import FileStorage

from darius.audio.waveform import Waveform
from darius.errors import DariusError
from darius.jam import Dials, KeyStroke
from serve import request_id, uploads, ws_protocol
from serve.backend import Backend, backend
from serve.endings import DISCONNECTED, SHUTDOWN, STOPPED, Ending
from serve.errors import Refused, of_a_bug, retry_seconds, sentence
from serve.forms import check
from serve.jam_fields import STREAM_STYLE, SocketInBars, SocketStream, SocketUpdate, neutral, seed_of
from serve.live import Live
from serve.packets import Packet
from serve.sessions import Sessions
from serve.steering import steer
from serve.ws_protocol import Conversation, Event, Message, State

websocket = Blueprint("websocket", __name__)
log = logging.getLogger("darius.serve")

STREAM_AHEAD = 2
"""Chunks of a stream without bars that go at once; then one per hop."""
LARGE = 1 << 17
"""Characters from which on a message is read in a thread."""

WAITING = 16
"""Messages of one client that wait to be read; then its socket waits."""


class _Connection(ASGIWebsocketConnection):
    """A connection that reads no further ahead than its handler follows: a flood stays with who sends it."""

    def __init__(self, app: Any, scope: Any) -> None:
        super().__init__(app, scope)
        self.queue = asyncio.Queue(WAITING)
        self._gone = False  # the client

    async def __call__(self, receive: Any, send: Any) -> None:
        try:
            await super().__call__(receive, send)
        finally:
            if not self._gone:
                self._rest = asyncio.create_task(_drain(receive))

    async def handle_messages(self, receive: Any) -> None:
        await super().handle_messages(receive)
        self._gone = True


async def _drain(receive: Callable[[], Awaitable[Any]]) -> None:
    """Takes what a client still sends after the conversation's end, until it is gone.

    Hypercorn waits for ever to hand on a message that nobody takes; the connection stayed open, and its socket with it.
    """
    while (await receive())["type"] != "websocket.disconnect":
        pass


@websocket.record_once
def _prepare(state: BlueprintSetupState) -> None:
    cast(Any, state.app).asgi_websocket_class = _Connection
    # The server would compress every message for clients that offer it, on the event loop: about 40 ms for a chunk of
    # music, which hardly gets smaller. It has no setting for this; an answer without extensions is always allowed.
    cast(Any, ws_stream).server_extensions_handshake = lambda requested, supported: None


@websocket.websocket("/ws/jam")
async def jam_socket() -> None:
    """A jam over a socket; see docs/websocket.md."""
    await socket.accept()
    await Socket(backend(), socket.receive, socket.send).run()
    with contextlib.suppress(OSError):  # a client that takes nothing any more takes no goodbye either
        await socket.close(1000)


class Socket:
    """One socket's conversation.

    Args:
      receive: waits for the next frame.
      send: sends a frame: text as str, binary as bytes.
    """

    def __init__(
        self, here: Backend, receive: Callable[[], Awaitable[Any]], send: Callable[[str | bytes], Awaitable[None]]
    ) -> None:
        assert isinstance(here.sessions, Sessions)  # the app is built with it
        self._here, self._sessions = here, here.sessions
        self._receive, self._raw_send = receive, send
        self._conversation = Conversation()
        self._live: Live | None = None
        self._binary = False
        self._sending = asyncio.Lock()
        self._over = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until one of both sides ends it; cancelled when the client is gone."""
        try:
            self._task("read", self._read())
            self._task("leave", self._leave())
            await self._over.wait()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            if self._live is not None and self._live.of_socket:
                self._live.end(DISCONNECTED)
            await asyncio.gather(*tasks, return_exceptions=True)

    # Reading.

    async def _read(self) -> None:
        while self._conversation.state is not State.CLOSED:
            raw = await self._receive()
            async with self._telling_failures():
                await self._answer(self._conversation.accept(await self._fields(raw)))
        self._over.set()

    async def _fields(self, raw: str | bytes | None) -> dict[str, Any]:
        if isinstance(raw, str) and len(raw) > LARGE:
            return await self._here.in_thread(lambda: ws_protocol.read(raw))
        return ws_protocol.read(raw)

    async def _answer(self, message: Message) -> None:
        match message:
            case ws_protocol.Start():
                self._task("start", self._start(message))
            case ws_protocol.Ping():
                await self._tell("pong")
            case ws_protocol.Stop():
                await self._stop()
            case SocketUpdate():
                self._update(message)
                await self._tell("status", updated=True)
            case ws_protocol.Notes():
                self._playing.play_keys([KeyStroke(key.pitch, key.velocity > 0, key.after) for key in message.keys])
                await self._tell("status", notes=len(message.keys))
            case ws_protocol.Consume():
                self._playing.consume(message.chunk_index)
                await self._tell("status", consumed=message.chunk_index)
            case ws_protocol.Reseed():
                await self._playing.reseed(await self._audio(message.loop_audio_b64))
                await self._tell("status", reseeded=True)
            case ws_protocol.Splice():
                audio = await self._audio(message.combined_audio_b64)
                bars = await self._playing.splice(audio, message.anchor_bars)
                await self._tell("status", splice=bars, anchor_bars=bars)

    def _update(self, message: SocketUpdate) -> None:
        live = self._playing
        if message.max_decode_frames is not None and live.kind != "stream":
            raise Refused("max_decode_frames is for streams without bars.", status=400, code="invalid_option")
        steer(live, message, self._here.models)
        if message.pace is not None:
            live.pace(message.pace == "realtime")
        if message.max_decode_frames is not None:
            live.recut(message.max_decode_frames)

    async def _stop(self) -> None:
        if starting := self._tasks.get("start"):
            starting.cancel()
        if sender := self._tasks.get("send"):
            sender.cancel()
        if self._live is not None:
            self._live.end(STOPPED)
        self._conversation.move(Event.END)
        await self._tell("stopped")

    # Starting.

    async def _start(self, message: ws_protocol.Start) -> None:
        begun = False
        try:
            async with self._telling_failures():
                self._live = await self._begin(message)
                begun = True
        finally:
            if not begun and self._conversation.state is State.STARTING:
                self._conversation.move(Event.FAILED)
        if begun:
            await self._started(message)

    async def _begin(self, message: ws_protocol.Start) -> Live:
        if message.session_id is not None:
            return self._attached(message)
        return await (self._stream(message) if message.mode == "rt" else self._in_bars(message))

    def _attached(self, message: ws_protocol.Start) -> Live:
        live = self._sessions.get_to_hear(message.session_id or "")
        if message.mode != "bar" or live.of_socket:
            raise Refused(
                "Only jams in bars that were started over HTTP can be attached to, in mode bar.",
                status=409,
                code="session_of_socket",
            )
        return live

    async def _stream(self, message: ws_protocol.Start) -> Live:
        params = check(SocketStream, ws_protocol.said(message.params))
        loaded = self._here.models.current()
        style, settings = params.style(neutral(STREAM_STYLE)), params.settings()
        with self._sessions.slot() as name:
            return await self._sessions.begin(
                name,
                loaded.model,
                settings,
                loop=None,
                style=style,
                dials=params.dials(Dials()),
                seed=seed_of(params.seed),
                assets=loaded.assets,
                buffer_ahead=STREAM_AHEAD,
                paced=params.pace == "realtime",
                most_ready=1,
                of_socket=True,
            )

    async def _in_bars(self, message: ws_protocol.Start) -> Live:
        if message.loop_audio_b64 is None:
            raise Refused("Mode bar needs loop_audio_b64 or session_id.", status=422, code="invalid_field")
        params = check(SocketInBars, ws_protocol.said(message.params))
        loaded = self._here.models.current()
        style = params.style(neutral())
        with self._sessions.slot() as name:
            loop = await self._audio(message.loop_audio_b64)
            assert loop is not None
            return await self._sessions.begin(
                name,
                loaded.model,
                params.settings(
                    loop.rate, rate=params.target_sr, loudness=params.loudness_mode, headroom_db=params.headroom_db
                ),
                loop=loop,
                style=style,
                dials=params.dials(Dials()),
                seed=seed_of(params.seed),
                assets=loaded.assets,
                buffer_ahead=params.buffer_ahead,
                paced=params.pace == "realtime",
                of_socket=True,
            )

    async def _started(self, message: ws_protocol.Start) -> None:
        live, self._binary = self._playing, message.binary_audio
        assets = self._here.models.current().assets
        steered = assets.mean is not None or assets.centroids is not None
        await self._tell(
            "started",
            mode=message.mode,
            session_id=live.id,
            steering_assets="loaded" if steered else "none",
            sample_rate=live.jam.settings.rate,
            seed=live.jam.seed,
        )
        self._conversation.move(Event.STREAM_BEGAN if message.mode == "rt" else Event.BARS_BEGAN)
        self._task("send", self._send_chunks(live))

    # Sending.

    async def _send_chunks(self, live: Live) -> None:
        while live.ending is None:
            with contextlib.suppress(Refused):
                packet = await live.next(60.0)
                if packet is not None:
                    await self._send_chunk(packet)
        await self._ended(live.ending)

    async def _send_chunk(self, packet: Packet) -> None:
        if not self._binary:
            text = await self._here.in_thread(lambda: (b'{"type":"chunk",%s}' % packet.members).decode())
            return await self._send(text)
        await self._send(
            packet.wav,
            json.dumps({"type": "chunk_meta", "index": packet.index, "metadata": packet.metadata}),
        )

    async def _ended(self, ending: Ending) -> None:
        """The jam is over, and nobody asked for that here."""
        if ending.failed:
            await self._tell_failure(ending.error())
        await self._tell("stopped", reason=ending.reason)
        self._conversation.move(Event.END)
        self._over.set()

    async def _leave(self) -> None:
        """At the end of the server; a jam that plays tells it by itself."""
        await self._here.ending.wait()
        if starting := self._tasks.get("start"):
            await asyncio.wait([starting])
        if self._live is None:
            await self._ended(SHUTDOWN)

    async def _tell(self, kind: str, **facts: Any) -> None:
        await self._send(json.dumps({"type": kind, **facts}))

    async def _tell_failure(self, error: DariusError) -> None:
        self._count(error.code)
        wait = retry_seconds(error.http_status, getattr(error, "retry_after", None))
        await self._tell(
            "error", error=sentence(error), code=error.code, **({} if wait is None else {"retry_after": wait})
        )

    async def _send(self, *frames: str | bytes) -> None:
        """Sends frames one after the other, nothing between them."""
        try:
            async with asyncio.timeout(self._here.settings.send_timeout), self._sending:
                for frame in frames:
                    await self._raw_send(frame)
        except TimeoutError:
            self._count("send_timeout")
            log.warning("a socket's client takes nothing any more; it is left")
            self._over.set()

    @contextlib.asynccontextmanager
    async def _telling_failures(self) -> AsyncIterator[None]:
        """What goes wrong in the block is told, and the socket stays open."""
        try:
            yield
        except DariusError as error:
            await self._tell_failure(error)
        except Exception as error:
            # A bug must not cost the musician the jam; it is logged and told.
            number = request_id.current()
            self._count("internal")
            log.error("a bug: %s", error, exc_info=error)
            await self._tell("error", error=of_a_bug(number), code="internal")

    # Within.

    def _count(self, code: str) -> None:
        """Counts a failure for /metrics."""
        self._here.metrics.errors.labels(code).inc()

    @property
    def _playing(self) -> Live:
        assert self._live is not None  # the conversation says so
        return self._live

    async def _audio(self, encoded: str | None) -> Waveform | None:
        """Audio from base64; a data URL's beginning is skipped."""
        if encoded is None:
            return None
        try:
            raw = await self._here.in_thread(lambda: base64.b64decode(encoded.rpartition(",")[2], validate=True))
        except (binascii.Error, ValueError):
            raise Refused("The audio is not base64.", "Send a WAV as base64.", status=400, code="bad_audio") from None
        return await uploads.decode(self._here, FileStorage(BytesIO(raw), name="audio"))

    def _task(self, name: str, work: Any) -> None:
        self._tasks[name] = asyncio.create_task(work, name=f"socket {name}")
