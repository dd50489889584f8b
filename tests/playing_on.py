"""A jam over HTTP that plays in real time, in a thread, while something else goes wrong. Knows a server and no test."""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import Any

import numpy as np
from serving import Server, heard, loop_bytes

RATE = 44_100


class PlayingOn:
    """In its `with` block it plays; at the block's end it is checked that nothing happened to it.

    Args:
      bpm: in one beat a bar and one bar a chunk, so that a chunk lasts 60 / bpm seconds.
    """

    def __init__(self, server: Server, *, bpm: str = "187.531", seed: int = 7) -> None:
        self.server, self.chunk = server, Fraction(60 * RATE) / Fraction(bpm)
        self.music: list[np.ndarray] = []
        self.wrong: list[Any] = []
        fields = {"bpm": bpm, "beats_per_bar": "1", "bars_per_chunk": "1", "seed": str(seed), "loudness_mode": "none"}
        reply = server.post("/jam/start", data=fields, files={"loop_audio": loop_bytes(seconds=3.0)})
        assert reply.status_code == 200, reply.text
        self.session = {"session_id": reply.json()["session_id"]}
        self._over = threading.Event()
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> PlayingOn:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        if self.server.process.poll() is None:
            self.server.post("/jam/stop", json=self.session)
        if kind is None:
            assert not self.wrong, self.wrong

    def hear(self, more: int, seconds: float = 60.0) -> None:
        """Waits until so many chunks more have come."""
        wanted = len(self.music) + more
        with self._heard:
            done = self._heard.wait_for(lambda: len(self.music) >= wanted or self.wrong, seconds)
        assert done and not self.wrong, (len(self.music), wanted, self.wrong)

    def ended(self, seconds: float) -> None:
        """Waits until something ended it."""
        with self._heard:
            assert self._heard.wait_for(lambda: self.wrong, seconds)

    def _play(self) -> None:
        while not self._over.is_set() and not self.wrong:
            reply = self.server.get("/jam/next", params=self.session)
            if reply.status_code != 200:
                self.wrong.append(reply.text)
            else:
                self._take(reply.json()["chunk"])
            with self._heard:
                self._heard.notify_all()

    def _take(self, chunk: dict[str, Any]) -> None:
        """Each chunk at its exact place: the product of its index, rounded once."""
        index, sound = len(self.music), heard(chunk["audio_base64"])
        first, last = round(index * self.chunk), round((index + 1) * self.chunk)
        said = (chunk["index"], chunk["metadata"]["start_sample"], chunk["metadata"]["total_samples"], len(sound))
        if said != (index, first, last - first, last - first):
            self.wrong.append((said, index, first, last))
        self.music.append(sound.samples)


def alone(server: Server, count: int, *, bpm: str = "187.531", seed: int = 7) -> list[np.ndarray]:
    """The first chunks of the same jam with nobody beside it."""
    jam = PlayingOn(server, bpm=bpm, seed=seed)
    with jam:
        jam.hear(count)
    return jam.music[:count]
