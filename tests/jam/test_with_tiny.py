"""A jam as a server runs it: the model `tiny`, a real loop, the conductor's thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from darius.audio import files
from darius.audio.loudness import measure
from darius.audio.waveform import Waveform
from darius.batching import Conductor
from darius.jam import Jam, JamSettings
from darius.style.mix import StyleRequest, WeightedText

if TYPE_CHECKING:
    from darius.model import Model


def test_two_bars_of_a_real_loops_jam_are_exact_in_level_and_continuous(tiny: Model, loop: Path) -> None:
    heard = files.load(loop)
    settings = JamSettings(bpm="120", bars_per_chunk=1, rate=heard.rate)
    style = StyleRequest(texts=(WeightedText("dub techno"),))
    conductor = Conductor(tiny, buckets=(1,))
    jam = conductor.run(lambda: Jam.start(tiny, settings, loop=heard, style=style, seed=3)).result(600)
    chunks = []
    while len(chunks) < 2:
        while jam.frames_needed():
            jam.feed(conductor.advance(*jam.call(), key="jam").result(600))
        chunks.append(jam.cut())
    assert conductor.close(600)
    assert [len(chunk.samples) for chunk in chunks] == [2 * heard.rate] * 2
    first, second = (chunk.samples for chunk in chunks)
    bar = measure(heard.cut(0, 2 * heard.rate))
    # The limiter may take a little off; the loop's own bar is the reference.
    assert measure(Waveform(first, heard.rate)).lufs == pytest.approx(bar.lufs, abs=2.0)
    assert max(chunk.samples.max() for chunk in chunks) <= np.float32(settings.ceiling)
    steps = np.abs(np.diff(np.concatenate([first, second]), axis=0)).max(axis=1)
    border = len(first) - 1
    around = np.concatenate([steps[border - 2000 : border], steps[border + 1 : border + 2000]])
    assert steps[border] < around.mean() + 3 * around.std()
