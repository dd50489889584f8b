"""What is counted, in Prometheus' text format: read from the server's parts at each scrape, plus failures by code.

Knows the parts; knows no route.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

if TYPE_CHECKING:
    from darius.batching.stats import Histogram
    from serve.backend import Backend

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one server; a registry of its own, so that two servers in a process share nothing."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.registry = CollectorRegistry()
        self.errors = Counter("darius_errors", "Failures answered, by code.", ["code"], registry=self.registry)
        self.registry.register(self)

    def text(self) -> bytes:
        """All of it, as a scrape gets it."""
        return generate_latest(self.registry)

    def describe(self) -> list[Metric]:
        """Nothing in advance: the registry would otherwise collect once before the server stands."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What the parts say now."""
        here = self._backend
        stats, sessions = here.conductor.stats(), here.sessions
        yield GaugeMetricFamily("darius_sessions_active", "Live jams.", value=sessions.active)
        yield GaugeMetricFamily("darius_sessions_capacity", "Jams that may live at once.", value=here.capacity)
        yield CounterMetricFamily("darius_sessions_started", "Jams started.", value=sessions.started)
        yield CounterMetricFamily("darius_sessions_refused", "Jams refused at capacity.", value=sessions.refused)
        ended = CounterMetricFamily("darius_sessions_ended", "Jams ended, by reason.", labels=["reason"])
        for reason, count in sessions.ended.items():
            ended.add_metric([reason], count)
        yield ended
        yield CounterMetricFamily(
            "darius_underruns", "Chunks of jams ready after they should have gone.", value=sessions.late
        )
        yield GaugeMetricFamily("darius_generate_playing", "One-shots that play.", value=here.line.playing)
        yield GaugeMetricFamily("darius_generate_waiting", "One-shots that wait in line.", value=here.line.waiting)
        yield GaugeMetricFamily("darius_device_queue", "Requests that wait for the device.", value=stats.waiting)
        yield CounterMetricFamily("darius_device_calls", "Device calls that made chunks.", value=stats.calls)
        yield CounterMetricFamily("darius_chunks", "Chunks made by the model, all streams together.", value=stats.rows)
        yield CounterMetricFamily(
            "darius_chunks_failed", "Requests of the device that ended in an error.", value=stats.failed
        )
        yield CounterMetricFamily("darius_chunks_late", "Chunks made after their deadline.", value=stats.late)
        yield GaugeMetricFamily(
            "darius_batch_occupancy", "Part of all batch places that carried a stream.", value=stats.occupancy
        )
        yield _histogram("darius_chunk_seconds", "Duration of device calls for chunks.", stats.seconds)
        yield _histogram("darius_chunk_wait_seconds", "From asking for a chunk of a stream to it.", stats.answered)
        yield GaugeMetricFamily("darius_real_time_factor", "Music made per second of device time.", value=self._speed())
        yield GaugeMetricFamily("darius_model_loaded", "A model is in memory.", value=float(here.models.loaded))
        yield GaugeMetricFamily("darius_model_load_seconds", "That loading it took.", value=here.models.loading_seconds)
        yield from self._memory()
        yield GaugeMetricFamily("darius_uptime_seconds", "Since the start.", value=time.monotonic() - here.started)

    def _speed(self) -> float:
        stats, engine = self._backend.conductor.stats(), self._backend.conductor.engine
        if engine is None or not stats.seconds.total:
            return 0.0
        return stats.rows * engine.chunk_frames / engine.frame_rate / stats.seconds.total

    def _memory(self) -> Iterator[Metric]:
        engine = self._backend.conductor.engine
        known = (engine.device.memory_stats() or {}) if engine is not None else {}
        if "bytes_in_use" in known:
            family = GaugeMetricFamily("darius_device_memory_bytes", "Of the device.", labels=["kind"])
            for kind in ("bytes_in_use", "peak_bytes_in_use", "bytes_limit"):
                if kind in known:
                    family.add_metric([kind], known[kind])
            yield family


def _histogram(name: str, told: str, histogram: Histogram) -> HistogramMetricFamily:
    edges = [*map(str, histogram.edges), "+Inf"]
    buckets = list(zip(edges, itertools.accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(name, told, buckets=buckets, sum_value=histogram.total)
