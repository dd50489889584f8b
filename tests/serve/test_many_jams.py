"""Many jams at once through one server process on two CPU cores: none has a gap, each is exactly on its clock.

What plays is `light` (see `light_package`): codec, rates and lengths are those of `tiny`, but its language model is the
smallest there can be, since two cores compute two or three streams of `tiny` in real time, not sixteen. All the rest is
what always plays: server, sessions, batching, delivery, resampling to 44.1 kHz, both wires.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import httpx
import pytest
from light_package import write_light
from serving import Server, loop_bytes, running_server
from websockets.asyncio.client import connect

JAMS = 16
SECONDS = 8
RATE = 44_100
HEADER = 58
NOISE = 1.0
"""Seconds that other processes may hold up everything, this player included."""
MOST_LOAD = 2.0
"""Processes that run or wait for each core; ours are about one."""
LOOP = loop_bytes(seconds=2.0)


@dataclasses.dataclass
class Played:
    """What one player got: when, and how much music each chunk is, exactly."""

    arrivals: list[float] = dataclasses.field(default_factory=list)
    lengths: list[Fraction] = dataclasses.field(default_factory=list)

    def late(self) -> float:
        """Seconds by which the latest chunk came after its place, the player having begun with the first one."""
        due, worst = self.arrivals[0], 0.0
        for at, length in zip(self.arrivals, self.lengths, strict=True):
            worst, due = max(worst, at - due), due + float(length)
        return worst


@pytest.fixture(scope="module")
def crowd(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("crowd")
    flags = ("--model", str(write_light(folder / "light")), "--max-sessions", str(JAMS))
    with running_server(*flags, output=folder / "log.txt") as server:
        yield server


async def over_http(server: Server, index: int) -> Played:
    """In bars, at a tempo of its own; says what it plays, when it plays it."""
    bpm = f"{100 + 7 * index}.{index}"
    exact = Fraction(4 * 60) / Fraction(bpm)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        fields = {"bpm": bpm, "bars_per_chunk": "1", "seed": str(index), "styles": f"style {index}"}
        started = await client.post("/jam/start", data=fields, files={"loop_audio": LOOP})
        assert started.status_code == 200, started.text
        session, played = {"session_id": started.json()["session_id"]}, Played()
        while sum(played.lengths) < SECONDS:
            reply = await client.get("/jam/next", params=session)
            assert reply.status_code == 200, reply.text
            chunk, k = reply.json()["chunk"], len(played.arrivals)
            played.arrivals.append(time.monotonic())
            played.lengths.append(exact)
            first, last = round(k * exact * RATE), round((k + 1) * exact * RATE)
            said = (chunk["index"], chunk["metadata"]["start_sample"], chunk["metadata"]["total_samples"])
            assert said == (k, first, last - first)
            assert len(base64.b64decode(chunk["audio_base64"])) == HEADER + 8 * (last - first)
            due = played.arrivals[0] + float(k * exact)
            await asyncio.sleep(max(due - time.monotonic(), 0))
            await client.post("/jam/consume", data=session | {"chunk_index": str(k)})
        assert (await client.post("/jam/stop", json=session)).status_code == 200
    return played


async def over_socket(server: Server, index: int) -> Played:
    """Without bars, in chunks of 2 s with their overlap."""
    played = Played()
    async with connect(server.ws_url, max_size=None, compression=None) as socket:
        await socket.send(json.dumps({"type": "start", "mode": "rt", "params": {"seed": index}}))
        while sum(played.lengths) < SECONDS:
            message = json.loads(await asyncio.wait_for(socket.recv(), 60))
            assert message["type"] in ("started", "chunk"), message
            if message["type"] == "chunk":
                k, facts = len(played.arrivals), message["metadata"]
                played.arrivals.append(time.monotonic())
                played.lengths.append(Fraction(2))
                assert (message["index"], facts["start_sample"], facts["total_samples"]) == (k, 96_000 * k, 97_920)
                assert len(base64.b64decode(message["audio_base64"])) == HEADER + 8 * 97_920
    return played


def test_sixteen_jams_at_once_are_gap_free_and_exactly_on_their_clocks(crowd: Server) -> None:
    async def all_of_them() -> list[Played]:
        async def soon(index: int) -> Played:
            await asyncio.sleep(0.1 * index)
            return await (over_socket if index % 2 else over_http)(crowd, index)

        return await asyncio.gather(*(soon(index) for index in range(JAMS)))

    heard = asyncio.run(all_of_them())
    crowd.wait_for("/health", "active_jams", 0, 10)
    assert " error [" not in crowd.log()
    if os.getloadavg()[0] > MOST_LOAD * (os.cpu_count() or 1):
        pytest.skip("all clocks were exact; whether there were gaps is not judged while others wait for the cores")
    assert max(played.late() for played in heard) < NOISE
