"""One device, many streams: gathering, deadlines, buckets. Knows no HTTP and no bars."""

from darius.batching.conductor import Conductor
from darius.batching.requests import Advance
from darius.batching.stats import Capacity, Histogram, Stats

__all__ = ["Advance", "Capacity", "Conductor", "Histogram", "Stats"]
