"""Many streams in real time through the conductor, each with knobs and a seed of its own: how late their chunks come.

python -m benchmarks.many_streams MODEL STREAMS BUCKET SECONDS
"""

# ruff: noqa: T201 (a script that prints)

from __future__ import annotations

import json
import sys
import time

import darius
from darius.suite import crowd


def main() -> None:
    name, streams, bucket, seconds = sys.argv[1], *map(int, sys.argv[2:5])
    began = time.monotonic()
    engine = darius.load(name)
    print(json.dumps({"load_seconds": time.monotonic() - began}), flush=True)
    crowd.measure(
        engine, streams, bucket, seconds, lambda measured: print(json.dumps({"model": name, **measured}), flush=True)
    )


if __name__ == "__main__":
    main()
