"""A real `darius serve` process on a free port, and small helpers to talk to it. Knows no fixture and no test.

with running_server("--max-sessions", "2") as server:      # ready to play when the block begins
    server.get("/health").json()                            # httpx; server.url, server.port, server.ws_url
    server.post("/generate", data={"bpm": "120"}, files={"loop_audio": loop_bytes()})
    server.process.pid, server.log()                        # the process, and all that it has printed
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from known_loops import LOOPS

from darius.audio.waveform import Waveform

START_SECONDS = 240.0
"""Loading and compiling on a busy machine."""
ROOT = Path(__file__).parent.parent


@dataclasses.dataclass
class Server:
    """A server process that listens."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/jam"

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.client.post(path, **more)

    def log(self) -> str:
        """All that it has printed."""
        return self.output.read_text(errors="replace")

    def wait_for(self, path: str, key: str, value: Any, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Polls a JSON reply until `reply[key] == value`; returns the reply."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, f"the server ended:\n{self.log()}"
            with contextlib.suppress(httpx.TransportError):
                reply: dict[str, Any] = self.get(path).json()
                if reply.get(key) == value:
                    return reply
            time.sleep(0.2)
        raise AssertionError(f"{path} did not say {key}={value!r} in {seconds:.0f} s:\n{self.log()}")

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)


@contextlib.contextmanager
def running_server(
    *flags: str,
    output: Path,
    env: dict[str, str] | None = None,
    ready: tuple[str, Any] | None = ("warmed", True),
    program: tuple[str, ...] = ("-m", "darius_cli"),
) -> Iterator[Server]:
    """A server of its own, ended with the block.

    Args:
      flags: of `darius serve`; the port is chosen here.
      output: file for what it prints.
      env: on top of this process' environment (which names the tests' own cache).
      ready: what /health has to say before the block begins; None: only that it answers.
      program: what Python runs; it takes the flags of `darius`.
    """
    port = free_port()
    command = [sys.executable, *program, "serve", "--port", str(port), *flags]
    with output.open("wb") as target:
        process = subprocess.Popen(
            command, stdout=target, stderr=subprocess.STDOUT, cwd=ROOT, env=os.environ | (env or {})
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        server = Server(process=process, port=port, output=output, client=client)
        try:
            server.wait_for("/health" if ready else "/ping", *(ready or ("ok", True)))
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def loop_bytes(name: str = "loop_garzul", *, seconds: float | None = None) -> bytes:
    """A real loop as the bytes of a 16-bit WAV (120 bpm, 4 bars, 44.1 kHz stereo by default), cut to `seconds`."""
    samples, rate = soundfile.read(LOOPS[name], dtype="float32", always_2d=True)
    return wav_bytes(samples if seconds is None else samples[: round(seconds * rate)], rate)


def wav_bytes(samples: np.ndarray, rate: int, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    """Samples float32 [n, channels] as the bytes of a file."""
    target = io.BytesIO()
    soundfile.write(target, samples, rate, subtype=subtype, format=container)
    return target.getvalue()


def heard(audio_base64: str) -> Waveform:
    """The waveform of a reply's `audio_base64`, which has to be strict base64 of a float32 WAV."""
    raw = base64.b64decode(audio_base64, validate=True)
    with soundfile.SoundFile(io.BytesIO(raw)) as sound:
        assert (sound.format, sound.subtype) == ("WAV", "FLOAT")
        return Waveform(sound.read(dtype="float32", always_2d=True), sound.samplerate)
