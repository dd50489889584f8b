"""Many musicians at one real server: jams over HTTP and WebSocket, each with styles, knobs and a seed of its own.

python -m benchmarks.jams_over_server MODEL JAMS SECONDS [--limit S] [--out FOLDER]
Starts `darius serve`, measures first sound alone, then JAMS jams for SECONDS each, then newcomers while JAMS - 1 play.
A player begins with its first chunk's arrival and needs each later one at its exact place in the music; a chunk that
comes later is a gap. Clocks are checked to the sample. Half of the jams are streams of 2 s over sockets; the others go
on from a loop in bars, over HTTP, at tempos of their own, and say what they play.
"""

# ruff: noqa: T201 (a script that prints)

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import functools
import json
import os
import random
import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

LOOP = Path("examples/loops/loop_garzul.flac")
LOOP_RATE, BEATS = 44_100, 4
STYLES = (
    "acid house",
    "dub techno",
    "jazz trio",
    "lofi hip hop",
    "synthwave",
    "string quartet",
    "drum and bass",
    "funk",
)
WAV_HEADER = 58
RAMP_SECONDS = 8.0


@dataclasses.dataclass
class Heard:
    """What one player got: arrival (monotonic seconds) and place in the music (seconds) of each chunk."""

    kind: str
    asked: float
    arrivals: list[float] = dataclasses.field(default_factory=list)
    places: list[float] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)

    def take(self, at: float, place: Fraction, facts: dict[str, Any], start: int, length: int, frames: int) -> None:
        """One chunk; its clock is checked."""
        if (facts["start_sample"], facts["total_samples"], frames) != (start, length, length):
            self.wrong.append(f"{facts['start_sample']} {facts['total_samples']} {frames}, not {start} {length}")
        self.arrivals.append(at)
        self.places.append(float(place))

    @property
    def slack(self) -> list[float]:
        """Seconds from each chunk's arrival to when it has to play; negative for a gap."""
        first = self.arrivals[0] if self.arrivals else 0.0
        return [first + place - at for at, place in zip(self.arrivals[1:], self.places[1:], strict=True)]


class Server:
    """The server's process, and what it says."""

    def __init__(self, model: str, jams: int, folder: Path, port: int) -> None:
        self.log = folder / "server.txt"
        command = [sys.executable, "-m", "darius_cli", "serve", "--model", model, "--port", str(port)]
        with self.log.open("wb") as target:
            self.process = subprocess.Popen(
                [*command, "--max-sessions", str(jams)], stdout=target, stderr=subprocess.STDOUT
            )
        self.url, self.ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/ws/jam"

    async def wait(self, words: str, limit: float) -> None:
        while words not in self.log.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"the server did not say {words!r}:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.1)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def own_knobs(rng: random.Random) -> dict[str, Any]:
    return {
        "styles": ",".join(rng.sample(STYLES, 2)),
        "style_weights": f"1.0,{rng.uniform(0, 1):.2f}",
        "guidance_weight": round(rng.uniform(1, 6), 2),
        "temperature": round(rng.uniform(0.8, 1.3), 2),
        "topk": rng.randint(10, 60),
        "seed": rng.randrange(2**32),
    }


async def over_socket(
    server: Server, rng: random.Random, until: asyncio.Event | None, *, chunks: int = 1 << 30, frames: int = 50
) -> Heard:
    """A stream without bars until the event, or so many chunks. The socket is open before the time counts."""
    hop, overlap, binary = frames * 1920, 1920, rng.random() < 0.5
    async with connect(server.ws, max_size=None, compression=None) as socket:
        heard = Heard("stream", time.monotonic())
        params = own_knobs(rng) | {"max_decode_frames": frames}
        await socket.send(json.dumps({"type": "start", "mode": "rt", "binary_audio": binary, "params": params}))
        while len(heard.arrivals) < chunks and not (until and until.is_set()):
            at, size, message = await next_of(socket)
            if message["type"] == "error":
                heard.wrong.append(message["error"])
                break
            index = len(heard.arrivals)
            place, found = Fraction(index * hop, 48_000), (size - WAV_HEADER) // 8
            heard.take(at, place, message["metadata"], index * hop, hop + overlap, found)
        await socket.send('{"type":"stop"}')
    return heard


async def next_of(socket: ClientConnection) -> tuple[float, int, dict[str, Any]]:
    """When the next chunk was there, the bytes of its WAV, and what was told of it; or an error."""
    size, at = 0, 0.0
    while True:
        frame = await socket.recv()
        if isinstance(frame, bytes):
            size, at = len(frame), time.monotonic()
            continue
        at = at or time.monotonic()
        message = json.loads(frame)
        if message["type"] == "chunk":
            return at, len(base64.b64decode(message.pop("audio_base64"))), message
        if message["type"] == "chunk_meta":
            return at, size, message
        if message["type"] == "error":
            return at, 0, message
        at = 0.0


async def over_http(
    server: Server, rng: random.Random, until: asyncio.Event | None, *, chunks: int = 1 << 30, bars: int | None = None
) -> Heard:
    """A jam in bars until the event, or so many chunks; tells the server what it plays, as the app does."""
    bpm = f"{rng.uniform(85, 160):.3f}"
    bars = bars or rng.choice((1, 1, 2, 4))
    length = Fraction(60 * BEATS * bars * LOOP_RATE) / Fraction(bpm)
    fields = own_knobs(rng) | {"bpm": bpm, "bars_per_chunk": bars}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        await client.get("/ping")
        heard = Heard(f"{bars} bars", time.monotonic())
        started = await client.post("/jam/start", data=fields, files={"loop_audio": LOOP.read_bytes()})
        if started.status_code != 200:
            heard.wrong.append(started.text)
            return heard
        session, player = {"session_id": started.json()["session_id"]}, asyncio.create_task(asyncio.sleep(0))
        while len(heard.arrivals) < chunks and not (until and until.is_set()):
            reply = await client.get("/jam/next", params=session)
            at, index = time.monotonic(), len(heard.arrivals)
            if reply.status_code != 200:
                heard.wrong.append(reply.text)
                break
            chunk = reply.json()["chunk"]
            begin, end = round(index * length), round((index + 1) * length)
            size = len(base64.b64decode(chunk["audio_base64"]))
            heard.take(at, index * length / LOOP_RATE, chunk["metadata"], begin, end - begin, (size - WAV_HEADER) // 8)
            await player
            player = asyncio.create_task(says_it_plays(client, session, heard, index))
        player.cancel()
        await client.post("/jam/stop", json=session)
    return heard


async def says_it_plays(client: httpx.AsyncClient, session: dict[str, str], heard: Heard, index: int) -> None:
    await asyncio.sleep(heard.arrivals[0] + heard.places[index] - time.monotonic())
    await client.post("/jam/consume", data=session | {"chunk_index": str(index)})


async def watch(server: Server, over: asyncio.Event) -> list[float]:
    """How long /health takes, five times a second."""
    took = []
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        while not over.is_set():
            began = time.monotonic()
            await client.get("/health")
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.2)
    return took


async def first_sounds(server: Server, rng: random.Random, count: int, pause: float) -> dict[str, Any]:
    """Seconds from `start` to the first chunk, new jams one after the other."""
    found: dict[str, list[float]] = {}
    ways = {
        "stream, chunks of 2 s": functools.partial(over_socket, frames=50),
        "stream, chunks of 0.4 s": functools.partial(over_socket, frames=10),
        "one bar over HTTP": functools.partial(over_http, bars=1),
    }
    for _ in range(count):
        for name, way in ways.items():
            await asyncio.sleep(rng.uniform(0, pause))
            heard = await way(server, rng, None, chunks=1)
            assert not heard.wrong, heard.wrong
            found.setdefault(name, []).append(heard.arrivals[0] - heard.asked)
    return {name: {"p50": mid(took), "most": round(max(took), 3), "n": len(took)} for name, took in found.items()}


async def many(server: Server, jams: int, seconds: float, newcomers: int) -> dict[str, Any]:
    """The jams, and newcomers beside all but one of them."""
    rng, over, leave = random.Random(1), asyncio.Event(), asyncio.Event()
    cpu, own, began = server.cpu_seconds(), time.process_time(), time.monotonic()
    watching, tasks = asyncio.create_task(watch(server, over)), []
    for index in range(jams):
        way = over_http if index % 2 else over_socket
        tasks.append(asyncio.create_task(way(server, random.Random(index), leave if index == 0 else over)))
        await asyncio.sleep(RAMP_SECONDS / jams)
    await asyncio.sleep(seconds)
    leave.set()
    left = await tasks[0]
    took = time.monotonic() - began
    load = {
        "server_cores": round((server.cpu_seconds() - cpu) / took, 2),
        "client_cores": round((time.process_time() - own) / took, 2),
        "server_MB": round(server.resident_mb()),
    }
    with_others = await first_sounds(server, rng, newcomers, 1.0) if newcomers else {}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        counted = (await client.get("/metrics")).text
    over.set()
    heard = [left, *await asyncio.gather(*tasks[1:])]
    health = await watching
    return {
        **account(heard),
        **load,
        "health_ms": {"p50": round(1000 * mid(health), 1), "most": round(1000 * max(health), 1)},
        "first_sound_beside": with_others,
        "metrics": [line for line in counted.splitlines() if re.match("darius_(chunk|underruns|batch|device_m)", line)],
    }


def account(heard: list[Heard]) -> dict[str, Any]:
    slack = np.array([slack for one in heard for slack in one.slack])
    first = [one.arrivals[0] - one.asked for one in heard if one.arrivals]
    return {
        "jams": len(heard),
        "streams": sum(one.kind == "stream" for one in heard),
        "chunks": sum(len(one.arrivals) for one in heard),
        "music_s_least": round(min(one.places[-1] if one.places else 0.0 for one in heard), 1),
        "gaps": int((slack < 0).sum()),
        "slack_s": {"least": round(float(slack.min()), 3), "p1": round(float(np.percentile(slack, 1)), 3)},
        "wrong": [wrong for one in heard for wrong in one.wrong][:5],
        "first_s_in_ramp": {"p50": mid(first), "most": round(max(first), 2)},
    }


def mid(values: list[float]) -> float:
    return round(float(np.median(values)), 3)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("jams", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--limit", type=float, default=1e9, help="seconds in all; the jams are shorter if need be")
    parser.add_argument("--port", type=int, default=7869)
    parser.add_argument("--newcomers", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    began, results = time.monotonic(), dict[str, Any]()

    def note(**facts: Any) -> None:
        results.update(facts)
        print(json.dumps(facts), flush=True)
        (given.out / "results.json").write_text(json.dumps(results, indent=1))

    server = Server(given.model, given.jams, given.out, given.port)
    try:
        limit = began + min(given.limit, 1800) - 40
        await server.wait("warmed model", limit)
        note(warmed_s=round(time.monotonic() - began, 1))
        await server.wait("capacity measured", limit)
        note(measured_s=round(time.monotonic() - began, 1))
        with contextlib.suppress(TimeoutError):  # rarer settings; jams can begin without
            async with asyncio.timeout(limit - time.monotonic() - given.seconds):
                await server.wait("ready for all", limit)
        note(ready_s=round(time.monotonic() - began, 1))
        note(first_sound_alone=await first_sounds(server, random.Random(0), given.newcomers, 0.1))
        seconds = min(given.seconds, began + given.limit - time.monotonic() - RAMP_SECONDS - 25)
        note(seconds=round(seconds, 1))
        note(**await many(server, given.jams, seconds, given.newcomers))
    finally:
        server.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            note(exit_code=server.process.wait(15))


if __name__ == "__main__":
    asyncio.run(main())
