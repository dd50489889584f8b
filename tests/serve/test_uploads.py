"""Uploads: every common kind of file is read, and nothing that is sent is more than a sentence of trouble."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from serving import loop_bytes, wav_bytes

from darius.errors import BadAudio, DariusError
from serve import uploads
from serve.errors import Refused

TONE = (np.sin(np.arange(22050) * 0.05)[:, None] * [0.5, 0.3]).astype(np.float32)


def decode(data: bytes, seconds: float = 600.0) -> np.ndarray:
    return uploads._decode(io.BytesIO(data), "loop_audio", seconds).samples


@pytest.mark.parametrize(
    ("subtype", "container"),
    [("PCM_U8", "WAV"), ("PCM_16", "WAV"), ("PCM_24", "WAV"), ("PCM_32", "WAV"), ("FLOAT", "WAV"), ("DOUBLE", "WAV"),
     ("ULAW", "WAV"), ("PCM_24", "WAVEX"), ("PCM_16", "RF64"), ("PCM_24", "FLAC"), ("VORBIS", "OGG"), ("OPUS", "OGG"),
     ("MPEG_LAYER_III", "MP3"), ("PCM_16", "AIFF"), ("PCM_16", "CAF")],
)  # fmt: skip
def test_every_common_kind_of_file_is_read(subtype: str, container: str) -> None:
    rate = 48000 if subtype == "OPUS" else 22050
    samples = decode(wav_bytes(TONE, rate, subtype, container))
    assert samples.shape[1] == 2 and abs(len(samples) - len(TONE)) < 3000
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.25)


def test_filler_chunks_before_the_samples_are_skipped() -> None:
    plain = wav_bytes(TONE, 22050)
    at = plain.index(b"data")
    filled = plain[:at] + b"FLLR" + struct.pack("<I", 4044) + bytes(4044) + plain[at:]
    filled = filled[:4] + struct.pack("<I", len(filled) - 8) + filled[8:]
    assert np.array_equal(decode(filled), decode(plain))


def test_silence_is_music_too() -> None:
    assert not decode(wav_bytes(np.zeros((8000, 1), np.float32), 8000)).any()


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 400), (b"RIFF", 400), (b"hello, world" * 50, 415), (b"\0" * 5000, 415), (b"PK\3\4" + bytes(999), 415)],
)
def test_what_is_no_audio_is_415_and_what_is_damaged_400(data: bytes, status: int) -> None:
    with pytest.raises(DariusError) as caught:
        decode(data)
    assert caught.value.http_status == status and "loop_audio" in caught.value.message


def test_too_long_is_judged_by_the_header_and_too_much_by_its_product(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadAudio, match=r"at most 0\.5 s"):
        decode(loop_bytes(), seconds=0.5)
    monkeypatch.setattr(uploads, "MOST_SAMPLES", 1000)
    with pytest.raises(Refused) as caught:
        decode(loop_bytes())
    assert caught.value.http_status == 413


def test_five_hundred_damaged_files_are_audio_or_a_sentence() -> None:
    rng = np.random.default_rng(3)
    kinds = [("PCM_16", "WAV"), ("FLOAT", "WAV"), ("PCM_16", "FLAC"), ("VORBIS", "OGG"), ("MPEG_LAYER_III", "MP3"),
             ("PCM_24", "AIFF")]  # fmt: skip
    whole = [wav_bytes(TONE[:6000], 22050, *kind) for kind in kinds]
    refused = 0
    for trial in range(500):
        data = bytearray(whole[trial % len(whole)])
        how = trial % 4
        if how == 0:
            data = data[: rng.integers(len(data))]
        for _ in range(rng.integers(1, 30)):
            reach = 64 if how == 1 else len(data)  # the header, or anywhere
            if len(data):
                data[rng.integers(min(reach, len(data)))] = rng.integers(256)
        if how == 3:
            at = rng.integers(len(data) + 1)
            data[at:at] = rng.bytes(rng.integers(1, 500))
        try:
            assert np.isfinite(decode(bytes(data))).all()
        except DariusError as error:
            refused += 1
            assert error.http_status in (400, 413, 415)
    assert 50 < refused < 500
