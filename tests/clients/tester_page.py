"""The original's web tester: its questions on load, its selects, its socket in mode rt, and how it schedules sound.

It is a page in a browser; here are its messages and its clock. Written from the description of its wire.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from clients.wire import Wav, read_wav

OVERLAP_SECONDS, AHEAD_SECONDS = 0.04, 0.12
"""Every chunk begins so long before the one before it ends; the first one, and one that is late, so long from now."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sliders:
    """Values as they come from the page; an emptied number field is None."""

    temperature: float | None = 1.1
    topk: int | None = 40
    guidance_weight: float = 1.1
    styles: tuple[str, ...] = ("warmup",)
    style_weights: tuple[float, ...] = (1.0,)
    mean: float = 1.0
    centroids: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def fields(self) -> dict[str, Any]:
        """As they go; the mean always does, trailing zeros of the five centroids never."""
        shown = list(self.centroids)
        while shown and shown[-1] == 0:
            shown.pop()
        return {
            "temperature": self.temperature,
            "topk": self.topk,
            "guidance_weight": self.guidance_weight,
            "styles": ", ".join(self.styles),
            "style_weights": ",".join(f"{weight:g}" for weight in self.style_weights),
            "use_current_mix_as_style": False,
            "mean": self.mean,
            "centroid_weights": ",".join(f"{weight:g}" for weight in shown),
        }


@dataclasses.dataclass
class Schedule:
    """When each chunk sounds, on the page's audio clock.

    Attributes:
      starts: in seconds of `time.monotonic`.
      late: chunks that could not join the one before: a gap is heard.
      frames: of each chunk.
    """

    starts: list[float] = dataclasses.field(default_factory=list)
    late: int = 0
    frames: list[int] = dataclasses.field(default_factory=list)
    _next: float = 0.0

    def add(self, wav: Wav) -> None:
        now, seconds = time.monotonic(), wav.frames / wav.rate
        start = self._next - OVERLAP_SECONDS if self.starts else now + AHEAD_SECONDS
        if start < now:
            self.late += 1
            start = now + AHEAD_SECONDS
        self.starts.append(start)
        self.frames.append(wav.frames)
        self._next = start + seconds

    @property
    def ahead(self) -> float:
        """Seconds of sound that are still to come."""
        return self._next - time.monotonic()


class Page:
    """The page in one browser.

    Attributes:
      said: what it shows of health, or of the last failure.
      enabled: Start and Select can be pressed.
      steering: the card with mean and centroids is shown.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(base_url=self._url, timeout=120)
        self._socket: ClientConnection | None = None
        self._binary = False
        self.said, self.enabled, self.steering = "", False, False
        self.schedule = Schedule()
        self.messages: list[dict[str, Any]] = []
        self.unknown: list[str] = []
        self.wavs: list[Wav] = []

    def close(self) -> None:
        """Leaves the page."""
        if self._socket is not None:
            self._socket.close()
        self._client.close()

    def load(self) -> None:
        """Opens the page: its module, health once, the configuration."""
        module = self._client.get("/magenta_prompts.js")
        assert module.headers["Content-Type"].split(";")[0] in ("text/javascript", "application/javascript")
        reply = self._client.get("/health")
        body = reply.json()
        if not reply.is_success or body.get("ok") is False:
            self.said = f"{body.get('message') or 'Service unavailable'} ({body.get('status') or reply.status_code})"
            return
        self.said, self.enabled = f"{body['mode']} warmed={body['warmed']}", True
        self._configure()

    def select(self, *, size: str = "large", base: bool = False, repo: str = "", step: int | None = None) -> bool:
        """The button; `said` is the failure's `error`, or its status line."""
        fields: dict[str, Any] = {"size": size, "prewarm": True, "stop_active": True, "sync_assets": True}
        if base:
            fields["step"] = "none"
        else:
            fields |= {key: value for key, value in (("repo_id", repo), ("step", step)) if value not in ("", None)}
        reply = self._client.post("/model/select", json=fields)
        body = reply.json()
        if not reply.is_success or body.get("ok") is False:
            self.said = body.get("error") or f"{reply.status_code} {reply.reason_phrase}"
            return False
        assert isinstance(body["warmup_done"], bool)
        self._configure()
        return True

    def _configure(self) -> None:
        config = self._client.get("/model/config").json()
        self.steering = config["mean_loaded"] or config["centroids_loaded"]

    # The socket.

    def start(self, sliders: Sliders | None = None, *, binary: bool = False, pace: str = "realtime") -> None:
        """Start."""
        self._socket = connect(self._url.replace("http", "ws", 1) + "/ws/jam", max_size=None)
        self._binary = binary
        params = {**(sliders or Sliders()).fields(), "pace": pace}
        self._send({"type": "start", "mode": "rt", "binary_audio": binary, "params": params})

    def turn(self, sliders: Sliders) -> None:
        """150 ms after the last slider moved."""
        self._send({"type": "update", **sliders.fields()})

    def ping(self) -> None:
        self._send({"type": "ping"})

    def stop(self) -> None:
        """Stop: says so, and closes at once."""
        assert self._socket is not None
        self._send({"type": "stop"})
        self._socket.close()

    def listen(self, kind: str, seconds: float = 60.0) -> dict[str, Any]:
        """Handles what comes, until a message of this kind; "binary" for a frame of sound."""
        until = time.monotonic() + seconds
        while True:
            assert self._socket is not None
            frame = self._socket.recv(timeout=until - time.monotonic())
            if isinstance(frame, bytes) and not frame.startswith(b"{"):
                self._hear(frame)
                message: dict[str, Any] = {"type": "binary"}
            else:
                message = json.loads(frame)
                self._handle(message)
            if message["type"] == kind:
                return message

    def _handle(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        match message["type"]:
            case "chunk" if message.get("audio_base64"):
                self._hear(base64.b64decode(message["audio_base64"], validate=True))
            case "error":
                self.said = message["error"]
            case "started" | "chunk" | "chunk_meta" | "status" | "pong" | "stopped":
                pass
            case other:
                self.unknown.append(other)

    def _hear(self, data: bytes) -> None:
        wav = read_wav(data)
        self.wavs.append(wav)
        self.schedule.add(wav)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps(message))
