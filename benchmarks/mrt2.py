"""Magenta RealTime 2 with random weights of the right shape: how fast it plays, and how soon a turned knob is heard.

python -m benchmarks.mrt2 speed mrt2-base --streams 1 16 64    frames a second, with the codec; the package's own loop
python -m benchmarks.mrt2 latency ws://127.0.0.1:7860/ws/jam --frames 1 2    of a server that runs: `darius serve`

`latency` turns a knob of a stream of short chunks at places of its own in the beat of chunks, and waits for the first
chunk that was made after it. What a client hears when depends on what it holds: the smallest store that never ran dry
in the run is counted, and the frame that the codec looks ahead.
"""

# ruff: noqa: T201 (a script that prints)

from __future__ import annotations

import argparse
import concurrent.futures
import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

STYLE = np.arange(12, dtype=np.int32) * 50
RATE = 48_000
LOOKAHEAD = 0.04
"""Seconds that the codec's sound lags its codes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_subparsers(dest="what", required=True)
    speed = which.add_parser("speed")
    speed.add_argument("size", help="mrt2-small or mrt2-base")
    speed.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64])
    speed.add_argument("--frames", type=int, default=25, help="frames of a device call")
    speed.add_argument("--calls", type=int, default=12)
    speed.add_argument("--singles", type=int, default=300, help="calls of one frame, for its 99th percentile")
    speed.add_argument("--without-package", action="store_true")
    latency = which.add_parser("latency")
    latency.add_argument("url")
    latency.add_argument("--frames", type=int, nargs="+", default=[1, 2], help="max_decode_frames, one run each")
    latency.add_argument("--turns", type=int, default=40)
    given = parser.parse_args()
    if given.what == "speed":
        Speed(given).run()
    else:
        for frames in given.frames:
            row(**knob_latency(given.url, frames, given.turns))


def row(**values: Any) -> None:
    """One line of results, at once: a run that is cut short has told what it knows."""
    print(json.dumps(values), flush=True)


class Speed:
    """One size on JAX's default device: everything is compiled side by side first, then measured in turn."""

    def __init__(self, given: argparse.Namespace) -> None:
        import jax

        from darius import session
        from darius.devices import find_device

        self.given, self.jax, self.session = given, jax, session
        self.device = find_device("auto")
        self.dtype = "float32" if self.device.platform == "cpu" else "bfloat16"
        self.knobs = session.Knobs(style=STYLE, guidance=3.0, temperature=1.3, top_k=40)

    def run(self) -> None:
        began = time.perf_counter()
        self.load()
        row(what="drawn", size=self.given.size, device=self.device.device_kind, dtype=self.dtype,
            jax=self.jax.__version__, seconds=since(began), **self.memory())  # fmt: skip
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            system = None if self.given.without_package else pool.submit(self.package_system)
            others = [pool.submit(self.one_stream), pool.submit(self.hear)]
            streams = dict(zip(self.given.streams, pool.map(self.streams, self.given.streams), strict=True))
            for future in others:
                future.result()
            row(what="ours compiled", seconds=since(began))
            package = None if system is None else system.result()
            row(what="package compiled", seconds=since(began))
        for count in self.given.streams:
            self.measure(count, streams.pop(count))
        if package is not None:
            self.measure_package(package)
        self.measure_single_frames()
        self.measure_hearing()

    def load(self) -> None:
        from darius.codec import weights as codec_weights
        from darius.codec.codec import Codec
        from darius.codec.config import CodecConfig
        from darius.mrt2 import package, weights
        from darius.mrt2.decoder import FrameDecoder
        from darius.mrt2.engine import MRT2Engine
        from darius.mrt2.network import Network

        self.architecture = package.architecture(self.given.size, dtype=self.dtype)
        self.flat = weights.initialise(Network(self.architecture), device=self.device)
        config = CodecConfig.spectrostream()
        self.codec = codec_weights.initialise(config, self.jax.random.key(1))
        self.engine = MRT2Engine(
            decoder=FrameDecoder(self.architecture, self.flat, device=self.device),
            codec=Codec(config, self.codec, device=self.device),
            chunk_frames=self.given.frames,
        )
        self.jax.block_until_ready(self.engine.decoder.packed)

    def package_system(self) -> Any:
        """The package's system over the same weights, as it keeps them: float32, cast in every step."""
        from magenta_rt import musiccoca
        from magenta_rt.jax import model, system

        from darius.codec import weights as codec_weights

        codec = {name: value for name, value in codec_weights.flatten(self.codec).items() if name[:8] != "encoder/"}
        tree = {"depthformer": codec_weights.nest(self.flat), "soundstream": codec_weights.nest(codec)}
        system._load_jax_weights = lambda path: {"params": self.jax.device_put(tree, self.device)}
        model.MODEL_REGISTRY["measured"] = lambda: self.architecture.model
        made = system.MagentaRT2System(size="measured", style_model=musiccoca.MusicCoCa(), checkpoint="none")
        made.generate({"mulan_tokens_25hz": STYLE}, frames=2)
        return made

    def streams(self, count: int) -> Any:
        """So many streams that have played two calls: its programs are compiled, for the state that it returns too."""
        streams = self.session.gather([self.one_stream(seed) for seed in range(count)])
        for _ in range(2):
            streams = self.advance(streams)
        return streams

    def one_stream(self, seed: int = 0) -> Any:
        stream = self.session.start(self.engine, self.engine.nothing(), seed)
        return self.advance(self.advance(stream, 1), 1) if seed == 0 else stream

    def hear(self) -> None:
        codes = np.random.default_rng(0).integers(0, 1024, (self.engine.memory_frames, self.engine.levels), np.int32)
        self.jax.block_until_ready(self.session.start(self.engine, codes, 0, self.knobs).memory.key)

    def advance(self, streams: Any, frames: int | None = None) -> Any:
        return self.session.advance(self.engine, streams, [self.knobs] * len(streams), frames=frames)[2]

    def measure(self, count: int, streams: Any) -> None:
        seconds, frames = [], self.given.frames
        for _ in range(self.given.calls):
            began = time.perf_counter()
            streams = self.advance(streams)
            seconds.append(time.perf_counter() - began)
        call = statistics.median(seconds)
        row(
            what="darius", size=self.given.size, streams=count, frames_a_call=frames, ms_a_frame=ms(call / frames),
            frames_a_second=round(count * frames / call, 1), times_real_time=round(frames / call / 25, 2),
            p95_ms=ms(float(np.percentile(seconds, 95)) / frames), **self.memory(),
        )  # fmt: skip

    def measure_single_frames(self) -> None:
        stream, seconds = self.one_stream(), []
        for _ in range(self.given.singles):
            began = time.perf_counter()
            stream = self.advance(stream, 1)
            seconds.append(time.perf_counter() - began)
        row(what="darius, one frame a call", size=self.given.size, **percentiles(seconds), **self.memory())

    def measure_hearing(self) -> None:
        seconds = [timed(self.hear) for _ in range(3)]
        row(what="hearing a loop", frames=self.engine.memory_frames, ms=ms(statistics.median(seconds)))

    def measure_package(self, system: Any) -> None:
        heard = {"mulan_tokens_25hz": STYLE}
        _, state = system.generate(heard, frames=3)
        seconds, frames = [], self.given.frames
        for _ in range(max(self.given.calls // 3, 2)):
            began = time.perf_counter()
            _, state = system.generate(heard, frames=frames, state=state)
            seconds.append(time.perf_counter() - began)
        singles = []
        for _ in range(self.given.singles // 3):
            began = time.perf_counter()
            _, state = system.generate(heard, frames=1, state=state)
            singles.append(time.perf_counter() - began)
        frame = statistics.median(seconds) / frames
        row(
            what="the package", size=self.given.size, streams=1, ms_a_frame=ms(frame),
            frames_a_second=round(1 / frame, 1), times_real_time=round(1 / frame / 25, 2),
            one_frame=percentiles(singles), **self.memory(),
        )  # fmt: skip

    def memory(self) -> dict[str, float]:
        stats = self.device.memory_stats() or {}
        return {
            f"{name}_GiB": round(stats.get(key, 0) / 2**30, 2)
            for name, key in (("used", "bytes_in_use"), ("peak", "peak_bytes_in_use"))
        }


def knob_latency(url: str, frames: int, turns: int) -> dict[str, Any]:
    """How soon a turned knob is heard in a stream of chunks of so many frames; the server's place is the caller's."""
    import soundfile
    from websockets.sync.client import connect

    chunk_seconds = frames / 25
    arrivals: list[tuple[float, float]] = []  # when a chunk came, and where in the music it begins
    turned: dict[float, float] = {}  # temperature -> when it was sent
    found: list[tuple[float, float, float]] = []  # sent, came, place in the music
    rng = np.random.default_rng(0)
    with connect(url, max_size=None) as socket:
        params = {"max_decode_frames": frames, "overlap": False, "seed": 1, "temperature": 1.0}
        socket.send(json.dumps({"type": "start", "mode": "rt", "binary_audio": True, "params": params}))
        due = float("inf")
        while len(found) < turns:
            try:
                message = socket.recv(timeout=max(min(due - time.perf_counter(), 30.0), 0))
            except TimeoutError:
                value = round(1.0 + 0.01 * (len(found) + 1), 2)
                socket.send(json.dumps({"type": "update", "temperature": value}))
                turned[value], due = time.perf_counter(), float("inf")
                continue
            now = time.perf_counter()
            if isinstance(message, bytes):  # what belongs to it follows
                place = arrivals[-1][1] + chunk_seconds if arrivals else 0.0
                arrivals.append((now, place))
                assert len(soundfile.read(io.BytesIO(message))[0]) == round(chunk_seconds * RATE)
                continue
            told = json.loads(message)
            if told["type"] == "error":
                raise SystemExit(told["error"])
            if told["type"] != "chunk_meta":
                continue
            came, place = arrivals[-1]
            sent = turned.pop(float(told["metadata"]["temperature"]), None)
            if sent is not None:
                found.append((sent, came, place))
            if not turned and due == float("inf") and place > 1.0:
                due = now + float(rng.uniform(0.3, 0.3 + chunk_seconds))
        socket.send(json.dumps({"type": "stop"}))
    # The earliest moment at which the first sample may be played so that no later chunk comes too late.
    play = max(came - place for came, place in arrivals)
    store = play - arrivals[0][0]
    to_client = [came - sent for sent, came, _ in found]
    to_ear = [max(play + place + LOOKAHEAD, came) - sent for sent, came, place in found]
    return {
        "what": "knob to ear", "chunk_frames": frames, "turns": turns,
        "to_client": percentiles(to_client), "to_ear": percentiles(to_ear),
        "client_holds_at_least_ms": ms(store), "chunks": len(arrivals),
    }  # fmt: skip


def percentiles(seconds: list[float]) -> dict[str, float]:
    found = np.percentile(seconds, [50, 99, 100])
    return {name: ms(float(value)) for name, value in zip(("p50_ms", "p99_ms", "most_ms"), found, strict=True)}


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def since(began: float) -> float:
    return round(time.perf_counter() - began, 1)


def ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)


if __name__ == "__main__":
    main()
