"""The iOS app (jerry4loops): its strict decoders, its requests, and how it makes models ready and one-shots.

A missing or mistyped key fails the whole answer. How it plays a jam is in `ios_player`. Written from the description
of its wire; no code of it is here.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from clients.wire import multipart, with_filler

SECONDS, UPDATE_SECONDS = 60.0, 12.0
"""Time-outs without data: of all calls, and of /jam/update."""

WHOLE, NUMBER, WORD, FLAG, OBJECT = "whole", "number", "word", "flag", "object"
CONFIG = {"size": WORD, "revision": WORD, "loaded": FLAG, "active_jam": FLAG, "mean_loaded": FLAG,
          "centroids_loaded": FLAG, "warmup_done": FLAG, "repo?": WORD, "selected_step?": WORD, "assets_repo?": WORD,
          "local_checkpoint_dir?": WORD, "centroid_count?": WHOLE}  # fmt: skip
CHECKPOINTS = {"repo": WORD, "revision": WORD, "latest?": WHOLE}
SELECTED = {"ok": FLAG, "target_size": WORD, "active_jam": FLAG, "dry_run?": FLAG, "target_repo?": WORD,
            "target_revision?": WORD, "assets_repo?": WORD, "target_step?": WHOLE}  # fmt: skip
ASSETS = {"mean_loaded": FLAG, "centroids_loaded": FLAG, "repo_id?": WORD, "centroid_count?": WHOLE,
          "embedding_dim?": WHOLE}  # fmt: skip
CHUNK = {"index": WHOLE, "audio_base64": WORD, "metadata": OBJECT}
METADATA = {"bpm": WHOLE, "bars": WHOLE, "beats_per_bar": WHOLE, "sample_rate": WHOLE, "channels": WHOLE,
            "total_samples": WHOLE, "seconds_per_bar": NUMBER, "loop_duration_seconds": NUMBER,
            "guidance_weight": NUMBER, "temperature": NUMBER, "topk": WHOLE}  # fmt: skip
"""Keys and their types; "?" marks those that may be missing or null."""


class Undecodable(Exception):
    """The answer is not what the decoder wants; it is lost."""


def decode(body: Any, schema: Mapping[str, str]) -> dict[str, Any]:
    """The keys of a JSON object, strictly typed. A whole number may be written 120.0; 97.5 and "120" are none.

    Raises:
      Undecodable: a key is missing or mistyped.
    """
    if not isinstance(body, dict):
        raise Undecodable("it is no object")
    found = {}
    for name, kind in schema.items():
        key = name.rstrip("?")
        value = body.get(key)
        if value is None and name.endswith("?"):
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {
            WHOLE: number and value == int(value),
            NUMBER: number,
            WORD: isinstance(value, str),
            FLAG: isinstance(value, bool),
            OBJECT: isinstance(value, dict),
        }
        if not fits[kind]:
            raise Undecodable(f"{key} is {value!r}, which is no {kind}")
        found[key] = value
    return found


def decode_chunk(body: Any) -> dict[str, Any]:
    """The chunk of an answer of /jam/next, its metadata decoded too. Raises Undecodable."""
    chunk = decode(body.get("chunk") if isinstance(body, dict) else None, CHUNK)
    return chunk | {"metadata": decode(chunk["metadata"], METADATA)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knobs:
    """What its sliders say; the ranges are the app's own."""

    rows: Sequence[tuple[str, float]] = (("acid house", 1.0),)
    loop_weight: float = 1.0
    guidance: float = 5.0
    temperature: float = 1.2
    topk: int = 30
    mean: float = 1.0
    centroids: tuple[float, ...] = ()

    def fields(self, *, blank_rows: bool) -> list[tuple[str, str]]:
        """As forms have them. Weights of blank rows always go along, so there may be more of them than styles."""
        texts = [text for text, _ in self.rows if text or blank_rows]
        return [
            ("styles", ",".join(texts)),
            ("style_weights", ",".join(f"{weight:.4f}" for _, weight in self.rows)),
            ("loop_weight", f"{self.loop_weight:.3f}"),
            ("guidance_weight", f"{self.guidance:.4f}"),
            ("temperature", f"{self.temperature:.4f}"),
            ("topk", f"{self.topk}"),
        ]


class App:
    """One installation.

    Args:
      url: as typed; without a scheme it is https.

    Attributes:
      online: the last look at /health was good.
      config, assets: as last decoded.
      said: what the user reads of the last failure.
    """

    def __init__(self, url: str) -> None:
        self._base = (url if "://" in url else f"https://{url}").rstrip("/")
        self._client = httpx.Client(timeout=SECONDS)
        self.online = False
        self.config: dict[str, Any] = {}
        self.assets: dict[str, Any] = {}
        self.said = ""

    def close(self) -> None:
        self._client.close()

    # Models.

    def look(self) -> None:
        """Opens the instrument popup: health, configuration, steering."""
        reply = self.get("/health")
        self.online = reply.is_success and reply.json().get("ok") is True
        self.said = "" if self.online else f"HTTP {reply.status_code} from /health"
        self.config = decode(self._good(self.get("/model/config")), CONFIG)
        self.assets = decode(self._good(self.get("/model/assets/status")), ASSETS)

    @property
    def button_works(self) -> bool:
        """GENERATE or START JAMMING can be pressed; a badge may say that the first chunk will be rough."""
        return self.online and self.config.get("loaded") is True

    @property
    def centroid_sliders(self) -> int:
        """All of them, with no cap."""
        return int(self.assets.get("centroid_count") or 0)

    def checkpoints(self, repo: str) -> dict[str, Any]:
        """Raises Undecodable."""
        reply = self._good(self.get("/model/checkpoints", repo_id=repo, revision="main"))
        found = decode(reply, CHECKPOINTS)
        steps = reply["steps"]
        if not isinstance(steps, list) or any(type(step) is not int for step in steps):
            raise Undecodable("steps are no whole numbers")
        return found | {"steps": steps}

    def apply(
        self, step: str | None, *, repo: str = "thepatch/magenta-ft", size: str = "large", sync: bool = True
    ) -> bool:
        """The button: a dry run, then in earnest, then the configuration. False: the user reads `said`."""
        place = {} if step == "none" else {"repo_id": repo, "revision": "main", "assets_repo_id": repo}
        number = {} if step is None else {"step": step}
        for dry in (True, False):
            sent = {"size": size, **place, **number, "sync_assets": sync, "prewarm": True, "stop_active": True}
            reply = self._client.post(self.at("/model/select"), json={**sent, "dry_run": dry})
            if not reply.is_success:
                self.said = reply.text
                return False
            if decode(reply.json(), SELECTED)["ok"] is not True:
                return False
        self.config = decode(self._good(self.get("/model/config")), CONFIG)
        return True

    # One-shots.

    def generate(self, loop: np.ndarray, rate: int, *, bpm: int, bars: int, knobs: Knobs) -> dict[str, Any]:
        """The music's bytes and what it uses of the metadata; `said` is set and {} given where it fails."""
        fields = [("bpm", f"{bpm}"), ("bars", f"{bars}"), ("beats_per_bar", "4"), *knobs.fields(blank_rows=False)]
        reply = self.post("/generate", fields, ("loop_audio", "combined_loop.wav", with_filler(loop, rate)))
        if reply.status_code != 200:
            self.said = f"Server error: {reply.status_code}"
            return {}
        body = reply.json()
        if not isinstance(body.get("audio_base64"), str) or not isinstance(body.get("metadata"), dict):
            self.said = "Invalid JSON response format"
            return {}
        told = body["metadata"]
        return {
            "file": base64.b64decode(body["audio_base64"], validate=True),
            "bars": told["bars"] if type(told.get("bars")) is int else 1,
            "seconds_per_bar": told.get("seconds_per_bar", 240 / bpm),
            "loop_duration_seconds": told.get("loop_duration_seconds", bars * 240 / bpm),
            "bpm": told.get("detected_bpm") or bpm,
            "seed": told.get("seed"),
        }

    # The wire.

    def at(self, path: str) -> str:
        return self._base + path

    def get(self, path: str, **query: str) -> httpx.Response:
        return self._client.get(self.at(path), params=query)

    def post(
        self, path: str, fields: Sequence[tuple[str, str]], file: tuple[str, str, bytes] | None = None
    ) -> httpx.Response:
        """A multipart form, as all its posts are but /jam/stop and /model/select."""
        boundary = f"----LOOP-AUDIO-{str(uuid.uuid4()).upper()}"
        body = multipart(fields, file, boundary, file_headers="Content-Type: audio/wav\r\n")
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        seconds = SECONDS
        if path == "/jam/update":
            headers["X-Request-ID"], seconds = str(uuid.uuid4()), UPDATE_SECONDS
        return self._client.post(self.at(path), content=body, headers=headers, timeout=seconds)

    def post_json(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        return self._client.post(self.at(path), content=json.dumps(body), headers={"Content-Type": "application/json"})

    @staticmethod
    def _good(reply: httpx.Response) -> Any:
        if not reply.is_success:
            raise Undecodable(f"HTTP {reply.status_code}")
        return reply.json()
