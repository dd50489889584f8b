"""Darius on a Ray cluster: as many replicas as GPUs behind one address, each an ordinary Darius server.

    pip install 'darius[cuda]' 'ray[serve]' httpx
    serve run deploy.ray_serve:app replicas=4 gpus=1 model=large

Every replica serves Ray's proxy and, on a port of its own, its fellow replicas: a call about a jam is passed on to the
replica that plays it (`deploy.sticky`). A replica that dies takes its jams along; their clients get 503 with
Retry-After, and a new jam starts on another. Knows no model and no route.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import MutableMapping
from typing import Any

import ray
from ray import serve

from deploy.sticky import App, Receive, Send, Sticky

DIRECTORY = "darius-directory"


@ray.remote(num_cpus=0)
class Jams:
    """Which replica plays which jam, and which replicas there are. Lives as long as the cluster."""

    def __init__(self, most: int = 100_000) -> None:
        self._owners: dict[str, str] = {}
        self._replicas: dict[str, None] = {}
        self._most = most

    def join(self, address: str) -> None:
        self._replicas[address] = None

    def leave(self, address: str) -> None:
        self._replicas.pop(address, None)

    def owner(self, session: str) -> str | None:
        return self._owners.get(session)

    def claim(self, session: str, address: str) -> None:
        self._owners[session] = address
        while len(self._owners) > self._most:
            self._owners.pop(next(iter(self._owners)))

    def others(self, address: str) -> list[str]:
        return [other for other in self._replicas if other != address]


class RayDirectory:
    """`deploy.sticky.Directory` over the actor."""

    def __init__(self) -> None:
        self.actor = Jams.options(
            name=DIRECTORY, namespace="darius", lifetime="detached", get_if_exists=True, max_restarts=-1
        ).remote()

    async def owner(self, session: str) -> str | None:
        found: str | None = await self.actor.owner.remote(session)
        return found

    async def claim(self, session: str, address: str) -> None:
        await self.actor.claim.remote(session, address)

    async def others(self, address: str) -> list[str]:
        found: list[str] = await self.actor.others.remote(address)
        return found


class Replica:
    """One Darius server, as the ASGI app of a Ray Serve replica."""

    def __init__(self, settings: dict[str, str]) -> None:
        from serve.app import create_app
        from serve.settings import gather

        given = {f"DARIUS_{name.upper()}": value for name, value in settings.items()}
        self.inner: App = create_app(gather({}, given).settings)
        self.sticky: Sticky | None = None
        self.stop = asyncio.Event()
        self.door: asyncio.Task[None] | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._life(receive, send)
        else:
            assert self.sticky is not None
            await self.sticky(scope, receive, send)

    async def _life(self, receive: Receive, send: Send) -> None:
        """The server's own start and end happen in Hypercorn, which also opens the door for fellow replicas."""
        await receive()
        await self._open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.stop.set()
        if self.door:
            await self.door
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> None:
        from hypercorn.asyncio import serve as hypercorn_serve
        from hypercorn.config import Config

        host = ray.util.get_node_ip_address()
        listener = socket.create_server((host, 0))
        port = listener.getsockname()[1]
        listener.set_inheritable(True)
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.graceful_timeout = 3.0
        address = f"http://{host}:{port}"
        directory = RayDirectory()
        self.sticky = Sticky(self.inner, directory, address)
        self.door = asyncio.create_task(hypercorn_serve(self.inner, config, shutdown_trigger=self.stop.wait))  # type: ignore[arg-type]
        await directory.actor.join.remote(address)


def app(args: dict[str, str]) -> serve.Application:
    """The application, from `serve run`'s key=value arguments: replicas, gpus (each), and any server setting."""
    settings = dict(args)
    replicas, gpus = int(settings.pop("replicas", "1")), float(settings.pop("gpus", "0"))
    deployment = serve.deployment(
        serve.ingress(lambda: Replica(settings))(),  # built on the replica
        name="darius",
        num_replicas=replicas,
        ray_actor_options={"num_gpus": gpus, "num_cpus": 1},
        max_ongoing_requests=1000,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=10,
    )
    return deployment.bind()
