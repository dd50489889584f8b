"""Lengths to the sample, as clients compute them: odd tempi, every number of bars, every common rate.

The small model plays: how long music is does not depend on who makes it. Clients multiply
bars * beats * 60 / bpm * rate and round once; the plugin's tempo has three decimals, the app's none.
"""

from __future__ import annotations

import base64
import itertools
from fractions import Fraction

import httpx
import numpy as np
import pytest
from serving import Server, wav_bytes

from clients.wire import exact_samples, read_wav

TEMPI = ("87.300", "133.700", "171", "97.531", "120.000")
RATES = (44_100, 48_000, 96_000, 22_050)
EVERY_BARS = [(bars, TEMPI[bars % len(TEMPI)], RATES[bars % len(RATES)]) for bars in range(1, 17)]
"""All numbers of bars, all tempi and all rates; every pair of them in the acceptance run."""


def noise(rate: int, seconds: float = 1.0) -> bytes:
    return wav_bytes(np.random.default_rng(1).normal(0, 0.1, (round(seconds * rate), 2)).astype(np.float32), rate)


def one_shot_is_exact(server: Server, bars: int, bpm: str, rate: int) -> None:
    """At the rate of the file, which nobody has to name."""
    fields = {"bpm": bpm, "bars": str(bars), "beats_per_bar": "4", "loudness_mode": "none"}
    reply = httpx.post(f"{server.url}/generate", data=fields, files={"loop_audio": noise(rate)}, timeout=120)
    assert reply.status_code == 200, reply.text[:300]
    told, wav = reply.json()["metadata"], read_wav(base64.b64decode(reply.json()["audio_base64"]))
    exact = exact_samples(bars, 4, bpm, rate)
    assert (wav.frames, wav.rate, told["total_samples"]) == (exact, rate, exact)
    assert abs(exact - bars * 4 * 60 / float(bpm) * rate) <= 0.5  # what a client computes in floating point
    assert told["loop_duration_seconds"] == pytest.approx(bars * 240 / float(bpm), rel=1e-12)


def jam_is_exact(server: Server, bpm: str, bars: int, beats: int, rate: int, chunks: int) -> None:
    """Chunk k lies between the rounded multiples of its exact length, so that nothing drifts."""
    fields = {"bpm": bpm, "bars_per_chunk": str(bars), "beats_per_bar": str(beats), "buffer_ahead": "16"}
    reply = httpx.post(f"{server.url}/jam/start", data=fields, files={"loop_audio": noise(rate)}, timeout=120)
    session = reply.json()["session_id"]
    exact, total = Fraction(bars * beats * 60 * rate) / Fraction(bpm), 0
    try:
        for k in range(chunks):
            reply = httpx.get(f"{server.url}/jam/next", params={"session_id": session}, timeout=60)
            chunk = reply.json()["chunk"]
            wav = read_wav(base64.b64decode(chunk["audio_base64"]))
            assert (chunk["metadata"]["start_sample"], wav.rate) == (total, rate)
            total += wav.frames
            assert total == round((k + 1) * exact)
            assert abs(wav.frames - float(exact)) < 1.0  # the app tolerates one sample
    finally:
        httpx.post(f"{server.url}/jam/stop", json={"session_id": session})


@pytest.mark.parametrize(("bars", "bpm", "rate"), EVERY_BARS)
def test_a_one_shot_is_so_many_bars_to_the_sample(quick_server: Server, bars: int, bpm: str, rate: int) -> None:
    one_shot_is_exact(quick_server, bars, bpm, rate)


@pytest.mark.parametrize(
    ("bpm", "bars", "beats", "rate"),
    [("187.3", 1, 4, 44_100), ("133.7", 1, 3, 48_000), ("171", 1, 4, 22_050), ("397.531", 4, 4, 96_000)],
)
def test_a_jam_never_drifts(quick_server: Server, bpm: str, bars: int, beats: int, rate: int) -> None:
    jam_is_exact(quick_server, bpm, bars, beats, rate, chunks=6)


def test_music_from_words_alone_is_exact_too(quick_server: Server) -> None:
    """At the rate that is asked for."""
    fields = {"bpm": "133.7", "bars": "3", "target_sample_rate": "22050"}
    told = quick_server.post("/generate_style", data=fields).json()
    assert read_wav(base64.b64decode(told["audio_base64"])).frames == exact_samples(3, 4, "133.7", 22_050)


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_every_number_of_bars_at_every_tempo_and_rate(quick_server: Server) -> None:
    vectors = list(itertools.product(range(1, 17), TEMPI, RATES))
    for bars, bpm, rate in vectors:
        one_shot_is_exact(quick_server, bars, bpm, rate)
    for bpm, bars, beats, rate in itertools.product(("87.3", "133.7", "171"), (1, 4), (3, 4, 7), RATES):
        jam_is_exact(quick_server, bpm, bars, beats, rate, chunks=16)
    print(f"{len(vectors)} one-shots and 72 jams of 16 chunks: each exact to the sample")  # noqa: T201 - the result
