"""Half an hour of everything at once: the server holds no more in its last five minutes than in its second five.

pytest -m acceptance tests/serve/test_soak.py -s        (DARIUS_SOAK_MINUTES=10 for a shorter one)
One reading differs from the next by 20 MB, at work and at rest, so means of five minutes' readings are compared.
Jams over HTTP and sockets that are steered, stopped or torn away, one-shots, questions, damaged uploads; in the first
minutes another model again and again, whose compiling leaves the process larger or smaller by some 40 MB each time, and
which therefore has a test of its own. The model is `light` (see `light_package`), so that two cores keep up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from held import Held, held
from light_package import write_light
from serving import Server, loop_bytes, running_server
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from serve.memory import TRIM_SECONDS

MINUTES = float(os.environ.get("DARIUS_SOAK_MINUTES", "30"))
WARM_UP = min(5.0, MINUTES / 3)
SWAP_SECONDS = 60.0
SAMPLE_SECONDS = 15.0
REST_SECONDS = 60.0
LOOP = loop_bytes(seconds=2.0)
EXPECTED = {200, 400, 404, 408, 409, 413, 415, 422, 429, 503}
"""What may be answered; a model is changed under everyone's feet, so jams end and places are taken."""


class Soak:
    """What is done, and what came of it."""

    def __init__(self, server: Server, models: list[str]) -> None:
        self.server, self.models = server, models
        self.done = Counter[str]()
        self.odd: list[str] = []
        self.until = 0.0

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    async def ask(self, client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
        reply = await client.request(method, path, **more)
        self.done[f"{path} {reply.status_code}"] += 1
        if reply.status_code not in EXPECTED:
            self.odd.append(f"{path}: {reply.status_code} {reply.text[:300]}")
        return reply

    async def jam_over_http(self, rng: random.Random, client: httpx.AsyncClient) -> None:
        fields = {"bpm": f"{rng.uniform(90, 180):.3f}", "bars_per_chunk": "1", "styles": rng.choice(("dub", "techno"))}
        started = await self.ask(client, "POST", "/jam/start", data=fields, files={"loop_audio": LOOP})
        if started.status_code != 200:
            return await asyncio.sleep(1)
        session = {"session_id": started.json()["session_id"]}
        for _ in range(rng.randint(2, 8)):
            chunk = await self.ask(client, "GET", "/jam/next", params=session)
            if chunk.status_code != 200:
                return
            index = chunk.json()["chunk"]["index"]
            await self.ask(client, "POST", "/jam/consume", data=session | {"chunk_index": str(index)})
            change = rng.random()
            if change < 0.3:
                await self.ask(
                    client, "POST", "/jam/update", data=session | {"styles": rng.choice(("ambient", "funk"))}
                )
            elif change < 0.4:
                await self.ask(client, "POST", "/jam/reseed_splice", data=session, files={"combined_audio": LOOP})
            elif change < 0.5:
                await self.ask(client, "POST", "/jam/reseed", data=session)
            await asyncio.sleep(rng.uniform(0, 2))
        if rng.random() < 0.8:  # others go away without a word
            await self.ask(client, "POST", "/jam/stop", json=session)

    async def jam_over_socket(self, rng: random.Random, client: httpx.AsyncClient) -> None:
        with contextlib.suppress(WebSocketException, OSError):
            async with connect(self.server.ws_url, max_size=None) as socket:
                binary = rng.random() < 0.5
                await socket.send(json.dumps({"type": "start", "mode": "rt", "binary_audio": binary}))
                for _ in range(rng.randint(2, 14)):
                    frame = await asyncio.wait_for(socket.recv(), 60)
                    if isinstance(frame, str):
                        kind = json.loads(frame)["type"]
                        self.done[f"socket {kind}"] += 1
                        if kind in ("error", "stopped"):
                            return await asyncio.sleep(1)
                        if kind.startswith("chunk") and rng.random() < 0.3:
                            await socket.send(json.dumps({"type": "update", "styles": "jazz", "temperature": 1.0}))
                if rng.random() < 0.3:
                    socket.transport.abort()
                else:
                    await socket.send('{"type":"stop"}')

    async def one_shot(self, rng: random.Random, client: httpx.AsyncClient) -> None:
        fields = {"bpm": "120", "bars": str(rng.randint(1, 4))}
        if rng.random() < 0.5:
            await self.ask(client, "POST", "/generate_style", data=fields | {"styles": "house"})
        else:
            await self.ask(client, "POST", "/generate", data=fields, files={"loop_audio": LOOP})
        await asyncio.sleep(rng.uniform(2, 6))

    async def questions(self, rng: random.Random, client: httpx.AsyncClient) -> None:
        for path in ("/health", "/model/config", "/model/status", "/metrics", "/progress?request_id=x", "/docs", "/"):
            await self.ask(client, "GET", path)
        await asyncio.sleep(1)

    async def damaged_upload(self, rng: random.Random, client: httpx.AsyncClient) -> None:
        damaged = bytearray(LOOP[: rng.randint(0, len(LOOP))])
        for _ in range(min(len(damaged), 20)):
            damaged[rng.randrange(min(len(damaged), 200))] = rng.randrange(256)
        data = {"bpm": "120", "bars": "1"}
        await self.ask(client, "POST", "/generate", data=data, files={"loop_audio": bytes(damaged)})
        await asyncio.sleep(rng.uniform(0.5, 2))

    async def another_model(self, rng: random.Random, client: httpx.AsyncClient) -> None:
        await asyncio.sleep(SWAP_SECONDS)
        self.models.reverse()
        wanted = {"repo_id": self.models[0], "sync_assets": False}
        reply = await self.ask(client, "POST", "/model/select", json=wanted)
        assert reply.status_code == 200, reply.text

    async def again_and_again(self, what: Any, seed: int) -> None:
        rng = random.Random(seed)
        async with httpx.AsyncClient(base_url=self.server.url, timeout=180) as client:
            while not self.over:
                await what(rng, client)

    @contextlib.asynccontextmanager
    async def all_of_it(self, *, models: bool) -> AsyncIterator[None]:
        kinds = [self.jam_over_http] * 3 + [self.jam_over_socket] * 3
        kinds += [self.one_shot, self.questions, self.damaged_upload] + [self.another_model] * models
        tasks = [asyncio.create_task(self.again_and_again(kind, seed)) for seed, kind in enumerate(kinds)]
        try:
            yield
            assert all(not task.done() or task.exception() is None for task in tasks), tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.acceptance
@pytest.mark.timeout(MINUTES * 60 + 900)
def test_half_an_hour_of_everything_leaves_no_trace(tmp_path: Path) -> None:
    root = tmp_path / "models"
    models = ["one", "two"]
    for name in models:
        write_light(root / name)
    log = Path(os.environ.get("DARIUS_SOAK_LOG", tmp_path / "samples.txt"))

    def note(words: str, server: Server) -> Held:
        taken = held(server.process.pid)
        with log.open("a") as target:
            target.write(f"{time.strftime('%T')} {words} {taken}\n")
        return taken

    async def work(soak: Soak, minutes: float, *, models: bool) -> list[int]:
        """Kilobytes that were held, every 15 s."""
        soak.until, readings = time.monotonic() + minutes * 60, list[int]()
        async with soak.all_of_it(models=models):
            while not soak.over:
                await asyncio.sleep(SAMPLE_SECONDS)
                readings.append(note(f"{sum(soak.done.values())} answers", soak.server).kilobytes)
        return readings

    def at_rest(server: Server) -> Held:
        """What is held when nobody wants anything, and what was let go has been given back."""
        server.post("/jam/stop_all")
        server.wait_for("/health", "active_jams", 0, 30)
        time.sleep(REST_SECONDS)
        return note("at rest", server)

    flags = ("--model", str(root / "one"), "--max-sessions", "6", "--model-root", str(root))
    with running_server(*flags, output=tmp_path / "server.txt") as server:
        soak = Soak(server, models)
        asyncio.run(work(soak, WARM_UP, models=True))
        before = at_rest(server)
        readings = asyncio.run(work(soak, MINUTES - WARM_UP, models=False))
        after = at_rest(server)
        assert " error [" not in server.log() and not soak.odd, soak.odd[:5]
    count = int(WARM_UP * 60 / SAMPLE_SECONDS)
    means = [round(statistics.mean(readings[n : n + count])) for n in range(0, len(readings) - count + 1, count)]
    print(json.dumps(soak.done, indent=1), before, after, means)  # noqa: T201 - the measured result
    assert means[-1] - means[0] < 20_000
    assert after.files <= before.files + 2
    assert after.threads <= before.threads + 2


@pytest.mark.acceptance
@pytest.mark.timeout(1800)
def test_ten_models_one_after_the_other_leave_the_process_as_large_as_two(tmp_path: Path) -> None:
    root = tmp_path / "models"
    for name in ("one", "two"):
        write_light(root / name)
    flags, rest = ("--model", str(root / "one"), "--model-root", str(root), "--max-sessions", "6"), []
    with running_server(*flags, output=tmp_path / "server.txt") as server:
        for k in range(10):
            wanted = {"repo_id": ("two", "one")[k % 2], "sync_assets": False}
            assert server.post("/model/select", json=wanted).status_code == 200
            until = time.monotonic() + 120
            while server.log().count("ready for all") < k + 2 and time.monotonic() < until:
                time.sleep(0.5)
            time.sleep(TRIM_SECONDS + 3)
            rest.append(held(server.process.pid))
    print(rest)  # noqa: T201 - the measured result
    early, late = ([taken.kilobytes for taken in part] for part in (rest[:5], rest[5:]))
    assert statistics.mean(late) - statistics.mean(early) < 20_000
    assert rest[-1].files <= rest[0].files + 2 and rest[-1].threads <= rest[0].threads + 2
