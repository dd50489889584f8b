"""Processes that read, resample and embed audio beside the one that owns the device. Knows no device.

Python's resampling and style features hold the interpreter's lock, so threads would not share the work. Each process
loads the style model once. With one worker everything runs in the process itself.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from darius.audio.waveform import Samples, Waveform
from darius.devices import usable_cores
from darius.errors import BadAudio, OutOfMemory
from darius.parts import StyleSource
from finetune import clips, sources
from finetune.clips import Cutting, Span
from finetune.records import STYLE_CLIP_SECONDS
from finetune.sources import Inspected

MOST_WORKERS = 16
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """A clip, ready for the codec; or why it is left out.

    Attributes:
      codec: float32 [n, 2], None where it is refused or damaged.
      embeddings: style embeddings float32 [style clips, dim]; style_tokens: int32 [style clips, levels].
      refused: why the clip is left out; damaged: why the whole file is.
    """

    audio_sha256: str = ""
    seconds: float = 0.0
    codec: Samples | None = None
    embeddings: NDArray[np.float32] | None = None
    style_tokens: NDArray[np.int32] | None = None
    refused: str = ""
    damaged: str = ""


def hear(path: Path, span: Span, cutting: Cutting, source: StyleSource) -> Heard:
    """One clip of a file through everything that needs no device."""
    try:
        clip = clips.read_clip(path, span, cutting)
    except BadAudio as error:
        return Heard(damaged=error.message)
    if clip.refused or clip.style is None:
        return Heard(audio_sha256=clip.audio_sha256, seconds=clip.seconds, refused=clip.refused)
    style = _style(source)
    embeddings = np.stack([style.embed_audio(part) for part in _style_clips(clip.style)])
    return Heard(
        audio_sha256=clip.audio_sha256,
        seconds=clip.seconds,
        codec=clip.codec,
        embeddings=np.asarray(embeddings, np.float32),
        style_tokens=np.asarray(style.tokenize(embeddings), np.int32),
    )


def inspect(path: Path) -> Inspected | str:
    """`sources.inspect`, or what is wrong with the file."""
    try:
        return sources.inspect(path)
    except BadAudio as error:
        return error.message


def default_workers(tasks: int) -> int:
    """Half of the cores, for the device's own work wants some too; not more than there are tasks."""
    return max(1, min(usable_cores() // 2, MOST_WORKERS, tasks))


@contextmanager
def workers(count: int) -> Iterator[Pool]:
    """So many processes; 1 means this one. They end with the block, and with this process however it ends."""
    if count <= 1:
        yield Pool(None, 1)
        return
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_prepare_process)
    try:
        yield Pool(executor, count)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


class Pool:
    """Runs a function over tasks; `workers` makes one."""

    def __init__(self, executor: ProcessPoolExecutor | None, count: int) -> None:
        self._executor, self._count = executor, count

    def map(self, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """Results in the tasks' order, with only a few tasks ahead of who takes them: memory does not grow.

        Raises:
          OutOfMemory: a process was killed.
        """
        if self._executor is None:
            for task in tasks:
                yield function(*task)
            return
        waiting: deque[Future[Result]] = deque()
        left = iter(tasks)
        try:
            for task in itertools.islice(left, 2 * self._count):
                waiting.append(self._executor.submit(function, *task))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(self._executor.submit(function, *task) for task in itertools.islice(left, 1))
                yield result
        except BrokenProcessPool:
            raise OutOfMemory(
                "A worker process was killed, most likely for want of memory.",
                "Continue with --resume and fewer --workers.",
            ) from None


def _style_clips(waveform: Waveform) -> list[Waveform]:
    """Pieces of `STYLE_CLIP_SECONDS`, the last one as long as it is."""
    size = STYLE_CLIP_SECONDS * waveform.rate
    return [waveform.cut(start, start + size) for start in range(0, len(waveform), size)]


@functools.cache
def _style(source: StyleSource) -> Any:
    """The style model of this process."""
    return source.load()


def _prepare_process() -> None:
    """A worker does not outlive its parent, leaves Ctrl-C to it, and computes on one core.

    Sixteen workers, their matrix products on all of 32 cores, took 4 s of processor time for a clip's 0.2 s of work.
    """
    import signal

    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # loaded from now on
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
