"""A jam as a server runs it: the model `tiny`, a real loop, the conductor's thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from darius.audio import files
from darius.audio.loudness import limit, measure
from darius.audio.waveform import Waveform
from darius.batching import Conductor
from darius.jam import Jam, JamSettings
from darius.jam.resampling import StreamResampler
from darius.style.mix import StyleRequest, WeightedText

if TYPE_CHECKING:
    from darius.model import Model


def test_two_bars_of_a_real_loops_jam_are_exact_in_level_and_continuous(tiny: Model, loop: Path) -> None:
    heard = files.load(loop)
    settings = JamSettings(bpm="120", bars_per_chunk=1, rate=heard.rate)
    style = StyleRequest(texts=(WeightedText("dub techno"),))
    conductor = Conductor(tiny, buckets=(1,))
    jam = conductor.run(lambda: Jam.start(tiny, settings, loop=heard, style=style, seed=3)).result(600)
    history = tiny.codec.history_frames
    chunks, codes = [], [jam.call()[0].context[0, -history:]]
    while len(chunks) < 2:
        while jam.frames_needed():
            made = conductor.advance(*jam.call(), key="jam").result(600)
            jam.feed(made)
            codes.append(made.codes)
        chunks.append(jam.cut().samples)
    assert conductor.close(600)
    assert [len(chunk) for chunk in chunks] == [2 * heard.rate] * 2
    first = chunks[0]
    # At the level of the loop's first bar, or as near to it as the peaks let it come under the ceiling.
    wanted, found = (measure(Waveform(s, heard.rate)).lufs for s in (heard.samples[: len(first)], first))
    assert found < wanted + 1.0
    assert found > wanted - 1.5 or np.abs(first).max() == pytest.approx(settings.ceiling, rel=1e-3)
    # No seam, neither of the model's chunks nor of the cuts: all is one decode, resampled and levelled as one. (A step
    # at the border alone proves nothing: it is a downbeat, and drums are struck there.)
    sound = np.asarray(tiny.codec.step(tiny.codec.start(1), np.concatenate(codes)[None])[0])[0]
    origin = (history + tiny.codec.lookahead_frames) * tiny.codec.frame_samples
    whole = StreamResampler(48_000 * jam.stretch, heard.rate, origin=origin).push(sound) * np.float32(jam.gain)
    levelled = limit(whole, heard.rate, ceiling=settings.ceiling)
    played = np.concatenate(chunks)
    apart = np.abs(played - levelled[: len(played)]).max(1)
    edge = 128  # the resampler's reach: a jam begins with nothing before it, the one decode with what it went on from
    assert apart[edge:].max() < 1e-4
    assert apart[:edge].max() < 1e-3
    assert np.abs(played).max() <= np.float32(settings.ceiling)
