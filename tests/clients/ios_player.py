"""How the iOS app plays a jam: one pending slot, up to three `next` calls at once, one consume a chunk, real time.

A chunk plays as a loop of its own length; where its bars end, the chunk that is pending takes over, or it repeats. A
chunk that comes while another is pending takes its place, and the other is never heard. Calls that wait live in
threads; the transport is a thread of its own.
"""

from __future__ import annotations

import base64
import dataclasses
import threading
import time
from typing import Any

import httpx
import numpy as np

from clients.ios_app import App, Knobs, Undecodable, decode_chunk
from clients.wire import Wav, read_wav, with_filler

IDLE, STARTING, RUNNING, ERROR = "idle", "starting", "running", "error"
OUTSTANDING_UNTIL = 1
"""After this index no further `next` follows an arrival at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrival:
    """A chunk that came."""

    index: int
    when: float
    metadata: dict[str, Any]
    wav: Wav


class Player:
    """One jam of the app.

    Args:
      app: its wire.
      bpm: of its transport.
      bars: of a chunk: 4 or 8.

    Attributes:
      state: idle, starting, running, or error, which nothing leaves but a relaunch.
      arrivals: every chunk that came, in order of arrival.
      played: indices in the order in which they began to play.
      skipped: indices that were replaced before they played.
      repeated: how often the last chunk had to repeat, after the first began.
      statuses: of all answers of /jam/next.
      unheard: chunks that came when stop was pressed already.
      most_waiting: `next` calls that were in flight at once, at most.
    """

    def __init__(self, app: App, *, bpm: int, bars: int = 4, knobs: Knobs | None = None) -> None:
        self._app, self.bpm, self.bars, self.knobs = app, bpm, bars, knobs or Knobs()
        self.chunk_seconds = bars * 240 / bpm
        self.state, self.session, self.said = IDLE, "", ""
        self.arrivals: list[Arrival] = []
        self.played: list[int] = []
        self.skipped: list[int] = []
        self.statuses: list[int] = []
        self.repeated = self.unheard = self.most_waiting = self._waiting = 0
        self._pending: Arrival | None = None
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.transport = True

    # What its user does.

    def start(self, loop: np.ndarray, rate: int) -> bool:
        """START JAMMING. Only from idle."""
        assert self.state == IDLE, "the app has to be relaunched"
        self.state = STARTING
        steering = []
        if self._app.assets.get("mean_loaded"):
            steering.append(("mean", f"{self.knobs.mean:.4f}"))
        if self._app.centroid_sliders:
            weights = [*self.knobs.centroids, *[0.0] * self._app.centroid_sliders][: self._app.centroid_sliders]
            steering.append(("centroid_weights", ",".join(f"{weight:.4f}" for weight in weights)))
        fields = [("bpm", f"{self.bpm}"), ("bars_per_chunk", f"{self.bars}"), ("beats_per_bar", "4")]
        fields += [*self.knobs.fields(blank_rows=False), *steering]
        reply = self._app.post("/jam/start", fields, ("loop_audio", "combined_loop.wav", with_filler(loop, rate)))
        if reply.status_code != 200 or not isinstance(reply.json().get("session_id"), str):
            self.state, self.said = ERROR, f"Server error: {reply.status_code}"
            return False
        self.session, self.state = reply.json()["session_id"], RUNNING
        self._begin(self._fetch)
        self._begin(self._run_transport)
        return True

    def turn(self, knobs: Knobs) -> bool:
        """Any slider: all knobs go every time."""
        self.knobs = knobs
        mixed = "true" if knobs.loop_weight > 0.001 else "false"
        fields = [("session_id", self.session), *knobs.fields(blank_rows=True), ("use_current_mix_as_style", mixed)]
        if self._app.assets.get("mean_loaded"):
            fields.append(("mean", f"{knobs.mean:.4f}"))
        return self._app.post("/jam/update", fields).is_success

    def splice(self, combined: np.ndarray, rate: int) -> bool:
        """Plays what sounds now into the model's ear."""
        fields = [("session_id", self.session), ("anchor_bars", "2.00")]
        file = ("combined_audio", "combined_now.wav", with_filler(combined, rate))
        return self._app.post("/jam/reseed_splice", fields, file).status_code == 200

    def stop(self) -> None:
        """Stop: whatever the answer, the app is idle. What still waits may make it an error."""
        assert self.state == RUNNING
        self._app.post_json("/jam/stop", {"session_id": self.session})
        with self._lock:
            self.state = IDLE
        self._stopped.set()

    def wait(self) -> None:
        """Until nothing is in flight any more."""
        for thread in self._threads:
            thread.join(90)

    # Fetching.

    def _begin(self, work: Any) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _fetch(self) -> None:
        """One `next`, until a chunk came of it."""
        with self._lock:
            self._waiting += 1
            self.most_waiting = max(self.most_waiting, self._waiting)
        try:
            while (pause := self._ask()) is not None:
                if self._stopped.wait(pause):
                    return
        finally:
            with self._lock:
                self._waiting -= 1

    def _ask(self) -> float | None:
        """Asks once; seconds until it has to be tried again, None for not."""
        try:
            reply = self._app.get("/jam/next", session_id=self.session)
        except httpx.HTTPError:
            return 2.0 if self.state == RUNNING else None
        with self._lock:
            self.statuses.append(reply.status_code)
            if reply.status_code == 404:
                self.state, self.said = ERROR, "Session not found"  # also after a stop
                return None
            if self.state != RUNNING:
                self.unheard += reply.status_code == 200
                return None
        if reply.status_code == 204:
            return 1.0
        if reply.status_code != 200:
            return 2.0
        try:
            self._take(decode_chunk(reply.json()))
        except (ValueError, Undecodable) as lost:
            self.said = str(lost)
            return 1.0
        return None

    def _take(self, chunk: dict[str, Any]) -> None:
        wav = read_wav(base64.b64decode(chunk["audio_base64"], validate=True))
        arrival = Arrival(index=chunk["index"], when=time.monotonic(), metadata=chunk["metadata"], wav=wav)
        with self._lock:
            self.arrivals.append(arrival)
            if self._pending is not None:
                self.skipped.append(self._pending.index)
            self._pending = arrival
        if arrival.index <= OUTSTANDING_UNTIL:
            self._begin(self._fetch)

    # Playing.

    def _run_transport(self) -> None:
        """Bar lines come every chunk's length, from the start on: the user's own loops play already."""
        line = time.monotonic()
        while not self._stopped.wait(max(line - time.monotonic(), 0.0)):
            if self.transport:
                self._switch()
            line += self.chunk_seconds

    def _switch(self) -> None:
        with self._lock:
            arrival, self._pending = self._pending, None
        if arrival is None:
            self.repeated += bool(self.played)
            return
        assert arrival.metadata["bars"] * 240 / self.bpm == self.chunk_seconds  # the switch grid
        self.played.append(arrival.index)
        self._begin(lambda: self._app.post("/jam/consume", self._consumed(arrival.index)))
        self._begin(self._fetch)

    def _consumed(self, index: int) -> list[tuple[str, str]]:
        return [("session_id", self.session), ("chunk_index", f"{index}")]
