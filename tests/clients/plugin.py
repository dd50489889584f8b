"""The DAW plugin: what gary4juce sends, and what it makes of an answer.

It ignores status codes, reads no error, takes a missing key as false, 0 or "", and leaves everything about the music
to `audio_base64`. Written from the description of its wire; no code of it is here.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import soundfile

from clients.wire import Wav, multipart, read_wav

QUICK_SECONDS, SLOW_SECONDS = 10.0, 180.0
"""Time-outs: of questions, and of /generate and /model/select."""
POLL_SECONDS = 0.25
MOST_ROUNDS = 41
"""Of looking whether a model is warm."""
MOST_SLIDERS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a press on Generate led to.

    Attributes:
      said: what the user reads; "" for success.
      file: the bytes of myOutput.wav.
      progress: all answers to the polls, in the order of their arrival.
    """

    said: str
    file: bytes = b""
    progress: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def wav(self) -> Wav:
        return read_wav(self.file)


@dataclasses.dataclass
class Plugin:
    """One instance in a DAW.

    Attributes:
      url: as the user typed it.
      tempo: the host's.
      label: what it shows of the connection.
      config: newest answer of /model/config.
      sliders: names of steering sliders that it shows.
      configs: every answer of /model/config, in order.
    """

    url: str
    tempo: float = 120.0
    connected: bool = False
    label: str = ""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    configs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sliders: tuple[str, ...] = ()
    mean_loaded: bool = False
    centroid_count: int = 0

    # The connection.

    def check_connection(self) -> bool:
        """The button; a good answer leads to the configuration."""
        body = self._get("health")
        self.connected = False
        if body is None:
            self.label = "connection failed"
        elif word(body, "status") == "template_mode":
            self.label = "not ready: template space"
        elif word(body, "status") == "gpu_unavailable":
            self.label = "gpu not available"
        elif flag(body, "ok") and word(body, "status") in ("ready", "initializing"):
            self.connected, self.label = True, "ready" if flag(body, "warmed") else "initializing"
            self.refresh_config()
        else:
            self.label = f"unknown status: {word(body, 'status')}"
        return self.connected

    def refresh_config(self) -> None:
        """Each good answer leads to the steering assets."""
        body = self._get("model/config")
        if body is not None:
            self.config = body
            self.configs.append(body)
            self.refresh_assets()

    def refresh_assets(self) -> None:
        """Failures are silent; the sliders go back to their places."""
        body = self._get("model/assets/status")
        if body is None:
            return
        self.mean_loaded, self.centroid_count = flag(body, "mean_loaded"), whole(body, "centroid_count")
        shown = min(self.centroid_count, MOST_SLIDERS)
        self.sliders = (*(("mean",) if self.mean_loaded else ()), *(f"C{k}" for k in range(1, shown + 1)))

    def checkpoint_menu(self, repo: str) -> list[str]:
        """Entries of the menu; it does not open without checkpoints."""
        body = self._get(f"model/checkpoints?repo_id={repo}&revision=main") or {}
        steps = body.get("steps") or []
        assert all(type(step) is int for step in steps) and type(body.get("latest")) in (int, type(None))
        return ["latest", "none", *map(str, steps)] if steps else []

    # Models.

    def apply(self, step: str, repo: str | None = None, *, during: Callable[[], None] | None = None) -> str:
        """Selects a model and waits until it is warm; what the user reads.

        Args:
          step: "none" (the base model, or none of a finetune's), "latest" or digits.
          repo: None for the base model.
          during: called when the request is on its way.
        """
        fields: dict[str, Any] = {"size": word(self.config, "size") or "large"}
        if repo is not None:
            fields |= {"repo_id": repo, "revision": "main", "assets_repo_id": repo}
        fields |= {
            "step": step,
            "sync_assets": repo is not None,
            "prewarm": True,
            "stop_active": True,
            "dry_run": False,
        }
        sent = json.dumps(fields, indent=2)
        beside = threading.Thread(target=during) if during else None
        if beside:
            beside.start()
        body = self._post("model/select", sent.encode(), "application/json")
        if beside:
            beside.join()
        self.refresh_config()
        if body is not None and not flag(body, "ok"):
            return "select failed"
        if body is not None and flag(body, "warmup_done"):
            return "Model ready (prewarmed)"
        return self._wait_until_warm()

    def _wait_until_warm(self) -> str:
        for _ in range(MOST_ROUNDS):
            self.refresh_config()
            time.sleep(0.3)
            if flag(self.config, "warmup_done"):
                return "Model ready"
            time.sleep(0.5)
        return "Still warming... try again or check backend logs"

    # Music.

    def generate(
        self,
        recording: np.ndarray,
        rate: int,
        *,
        bars: int = 4,
        rows: Sequence[tuple[str, float]] = (("", 1.0),),
        loop_weight: float = 0.5,
        guidance: float = 5.0,
        temperature: float = 1.2,
        topk: int = 40,
        file: bytes | None = None,
    ) -> Result:
        """The button.

        Args:
          recording: float32 [n, channels] at the host's rate; its first whole bars are sent.
          rows: styles and their weights; blank ones go too.
          file: sent as it is instead: the last result, say.
        """
        number = secrets.token_hex(16)
        fields = [
            ("bpm", f"{self.tempo:.3f}"),
            ("bars", f"{bars}"),
            ("beats_per_bar", "4"),
            ("styles", ",".join(text for text, _ in rows)),
            ("style_weights", ",".join(f"{weight:.2f}" for _, weight in rows)),
            ("loop_weight", f"{loop_weight:.3f}"),
            ("guidance_weight", f"{guidance:.3f}"),
            ("temperature", f"{temperature:.3f}"),
            ("topk", f"{topk}"),
            ("loudness_mode", "none"),
            ("loudness_headroom_db", "1.0"),
            ("intro_bars_to_drop", "0"),
            ("request_id", number),
        ]
        if self.mean_loaded:
            fields.append(("mean", f"{1.0:.4f}"))
        if self.centroid_count:
            fields.append(("centroid_weights", ",".join(["0.0000"] * min(self.centroid_count, MOST_SLIDERS))))
        name, audio = ("myOutput.wav", file) if file else ("myBuffer.bartrim.wav", trimmed(recording, rate, self.tempo))
        boundary = secrets.token_hex(8)
        body = multipart(
            fields,
            ("loop_audio", name, audio),
            boundary,
            file_headers="Content-Type: audio/wav\r\nContent-Transfer-Encoding: binary\r\n",
        )
        polls = _Polls(self._progress_url(number))
        with polls:
            answer = self._post("generate", body, f"multipart/form-data; boundary={boundary}")
            polls.wait()
        if answer is None:
            return Result(said="generate: no connection", progress=polls.answers)
        music = word(answer, "audio_base64")
        if not music:
            return Result(said="generate failed (no audio)", progress=polls.answers)
        return Result(said="", file=base64.b64decode(music, validate=True), progress=polls.answers)

    # Within.

    def _progress_url(self, number: str) -> str:
        parts = urlsplit(self.url)  # the whole path is replaced
        return f"{parts.scheme}://{parts.netloc}/progress?request_id={number}"

    def _get(self, path: str) -> dict[str, Any] | None:
        return _body(lambda client: client.get(self._at(path)), QUICK_SECONDS)

    def _post(self, path: str, content: bytes, kind: str) -> dict[str, Any] | None:
        headers = {"Content-Type": kind}
        return _body(lambda client: client.post(self._at(path), content=content, headers=headers), SLOW_SECONDS)

    def _at(self, path: str) -> str:
        return self.url.strip().rstrip("/") + "/" + path


class _Polls:
    """Asks for the progress every 250 ms, each time from a thread of its own, whether the last one was answered or
    not; until an answer says done."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._timer = threading.Thread(target=self._tick)
        self._asking: list[threading.Thread] = []
        self.answers: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._timer.join()
        for thread in self._asking:
            thread.join()

    def wait(self, seconds: float = 5.0) -> None:
        """Until it was told of the end."""
        self._over.wait(seconds)

    def _tick(self) -> None:
        while not self._over.is_set():
            self._asking.append(threading.Thread(target=self._ask))
            self._asking[-1].start()
            self._over.wait(POLL_SECONDS)

    def _ask(self) -> None:
        answer = _body(lambda client: client.get(self._url), QUICK_SECONDS)
        if answer is None:
            return
        self.answers.append(answer)
        if word(answer, "stage") in ("done", "error") or float(answer.get("percent", 0)) >= 100:
            self._over.set()


def trimmed(recording: np.ndarray, rate: int, tempo: float) -> bytes:
    """The recording's first whole bars, less than 9.9 s, as a 16-bit WAV."""
    bar = round(rate * 240 / tempo)
    bars = min(len(recording) // bar, max(1, math.floor(9.9 * rate) // bar))
    target = io.BytesIO()
    if bars < 1 or len(recording) == bars * bar:  # sent as it is
        soundfile.write(target, recording, rate, subtype="FLOAT", format="WAV")
    else:
        soundfile.write(target, recording[: bars * bar], rate, subtype="PCM_16", format="WAV")
    return target.getvalue()


def _body(call: Callable[[httpx.Client], httpx.Response], seconds: float) -> dict[str, Any] | None:
    """The reply's JSON object, whatever its status; None for none; {} for something else."""
    try:
        with httpx.Client(timeout=seconds, follow_redirects=True, max_redirects=5) as client:
            content = call(client).content
    except httpx.HTTPError:
        return None
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def flag(body: dict[str, Any], key: str) -> bool:
    """Missing and null are false."""
    value = body.get(key)
    return bool(value) if isinstance(value, bool | int | float) else False


def whole(body: dict[str, Any], key: str) -> int:
    """Missing and null are 0."""
    value = body.get(key)
    return int(value) if isinstance(value, int | float) else 0


def word(body: dict[str, Any], key: str) -> str:
    """Missing and null are ""."""
    value = body.get(key)
    return "" if value is None else str(value)
