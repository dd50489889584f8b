"""Loading refuses bad input in one sentence; saving is whole or not at all, and says the tempo."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darius.audio import files, riff
from darius.audio.waveform import Waveform
from darius.errors import BadAudio, InvalidOption, OutputExists, OutputFailed

from .sounds import EXAMPLES, LOOPS, noise, sine


def refused(path: Path, words: str) -> None:
    with pytest.raises(BadAudio, match=words) as caught:
        files.load(path)
    assert caught.value.message.endswith(".") and caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    "path", [*sorted(EXAMPLES.glob("*.flac")), *sorted(LOOPS.glob("*.flac"))], ids=lambda p: p.stem
)
def test_the_loops_load_as_they_are(path: Path) -> None:
    loop = files.load(path)
    assert (loop.rate, loop.channels, loop.samples.dtype) == (44_100, 2, np.float32)
    assert len(loop) == soundfile.info(path).frames


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "no.wav", "There is no file")


def test_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    refused(tmp_path / "pipe.wav", "not a regular file")


def test_a_name_that_no_system_can_hold(tmp_path: Path) -> None:
    refused(tmp_path / ("x" * 300), "cannot be read|no file")
    refused(Path("a\0b.wav"), "cannot be read|no file")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    refused(tmp_path / "empty.wav", "empty")


@pytest.mark.parametrize("name", ["notes.wav", "notes.txt", "notes.raw", "notes.mp3", "notes"])
def test_not_audio(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("not audio " * 500)
    refused(tmp_path / name, "not an audio file")


def test_a_header_without_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 2), np.float32), 44_100)
    refused(tmp_path / "none.wav", "no audio")


def test_three_milliseconds(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", sine(0.003).samples, 44_100)
    refused(tmp_path / "short.wav", "only 2.99 ms")


def test_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros((44_100, 2)), 44_100)
    refused(tmp_path / "silence.wav", "silent")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(tmp_path: Path, bad: float) -> None:
    samples = sine(1.0).samples.copy()
    samples[-1, 1] = bad
    soundfile.write(tmp_path / "bad.wav", samples, 44_100, subtype="FLOAT")
    refused(tmp_path / "bad.wav", "NaN or infinite")


def test_numbers_that_are_not_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", sine(1.0, gain=1e30).samples, 44_100, subtype="FLOAT")
    refused(tmp_path / "loud.wav", "full scale is 1")


def test_three_hours_are_refused_by_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    seconds = 3 * 3600
    size = seconds * 8_000 * 2
    head = (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 16_000, 2, 16)
    )
    with path.open("wb") as handle:
        handle.write(head + b"data" + struct.pack("<I", size))
        handle.truncate(44 + size)  # a sparse file: reading it all would take a while and much memory
    began = time.perf_counter()
    refused(path, "3 hours long; at most 10 minutes")
    assert time.perf_counter() - began < 1.0


def test_too_many_channels_and_odd_rates(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "many.wav", noise(0.5, channels=12).samples, 44_100)
    refused(tmp_path / "many.wav", "12 channels")
    soundfile.write(tmp_path / "slow.wav", noise(0.5).samples, 100)
    refused(tmp_path / "slow.wav", "sample rate of 100 Hz")


def _seeds(tmp_path: Path) -> list[bytes]:
    sound = noise(0.3, rate=8_000)
    made = []
    for name in ("a.wav", "a.flac"):
        files.save(tmp_path / name, sound, tempo=120.0, beats=4, overwrite=True)
        made.append((tmp_path / name).read_bytes())
    return made


def test_three_hundred_damaged_headers_give_audio_or_one_sentence(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    outcomes = {"audio": 0, "sentence": 0}
    for seed in _seeds(tmp_path):
        for case in range(150):
            data = bytearray(seed)
            for place in random.integers(0, 120, random.integers(1, 6)):
                data[place] = random.integers(0, 256)
            if case % 3 == 0:
                data = data[: random.integers(1, len(data))]
            path = tmp_path / "mutant"
            path.write_bytes(data)
            try:
                files.load(path)
                outcomes["audio"] += 1
            except BadAudio:
                outcomes["sentence"] += 1
            files.tempo_tag(path)
    assert min(outcomes.values()) > 20, outcomes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=400),
    magic=st.sampled_from([b"", b"RIFF\x20\0\0\0WAVE", b"fLaC", b"OggS", b"ID3", b"\xff\xfb"]),
)
def test_any_bytes_give_one_sentence(tmp_path: Path, data: bytes, magic: bytes) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(magic + data)
    with pytest.raises(BadAudio):
        files.load(path)
    assert files.tempo_tag(path) is None or magic.startswith(b"RIFF")


# Saving


@pytest.mark.parametrize(("name", "tolerance"), [("a.wav", 0.0), ("a.flac", 2**-23), ("a.ogg", 0.05), ("a.mp3", 0.05)])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, name: str, tolerance: float, channels: int) -> None:
    sound = sine(1.0, channels=channels)
    files.save(tmp_path / name, sound, tempo=93.5, beats=16)
    again = files.load(tmp_path / name)
    assert (again.rate, again.channels) == (sound.rate, channels)
    middle = slice(4000, 40_000)
    assert np.abs(again.samples[middle] - sound.samples[middle]).max() <= tolerance
    assert files.tempo_tag(tmp_path / name) == 93.5
    if not name.endswith("mp3"):
        assert len(again) == len(sound)


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
def test_integer_wavs_are_read_alike_by_another_program(tmp_path: Path, subtype: str, bits: int) -> None:
    sound = noise(0.31, gain=0.3, channels=1)
    files.save(tmp_path / "a.wav", sound, subtype=subtype)
    again, rate = soundfile.read(tmp_path / "a.wav", dtype="float64", always_2d=True)
    assert soundfile.info(tmp_path / "a.wav").subtype == subtype
    assert rate == sound.rate
    assert np.abs(again - np.clip(sound.samples, -1, 1 - 2.0 ** (1 - bits))).max() <= 2.0**-bits


def test_integer_samples_clip_at_full_scale(tmp_path: Path) -> None:
    files.save(tmp_path / "a.wav", Waveform(np.full((8000, 1), 1.5, np.float32), 8000), subtype="PCM_24")
    assert files.load(tmp_path / "a.wav").peak == pytest.approx(1.0, abs=1e-6)


def test_a_wav_is_a_well_formed_riff(tmp_path: Path) -> None:
    odd = noise(0.2, rate=8_001, channels=1)  # 1600 samples of 3 bytes, and then 1601: an odd number of bytes
    for sound in (odd, Waveform(odd.samples[:-1], 8_001)):
        files.save(tmp_path / "a.wav", sound, subtype="PCM_24", tempo=97.0, beats=4, overwrite=True)
        data = (tmp_path / "a.wav").read_bytes()
        assert int.from_bytes(data[4:8], "little") == len(data) - 8
        place, chunks = 12, {}
        while place < len(data):
            size = int.from_bytes(data[place + 4 : place + 8], "little")
            chunks[data[place : place + 4]] = data[place + 8 : place + 8 + size]
            place += 8 + size + size % 2
        assert place == len(data) and list(chunks) == [b"fmt ", b"data", b"acid"]
        assert len(chunks[b"data"]) == 3 * len(sound)
        flags, root, _, _, beats, lower, upper, tempo = struct.unpack("<IHHfIHHf", chunks[b"acid"])
        assert (flags, root, beats, lower, upper, tempo) == (4, 60, 4, 4, 4, 97.0)


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for suffix in ("wav", "flac", "mp3"):
        first, second = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
        for path in (first, second):
            files.save(path, noise(1.0), tempo=120.0, beats=2)
        assert first.read_bytes() == second.read_bytes()


def test_nothing_is_replaced_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"precious")
    with pytest.raises(OutputExists, match="exists already") as caught:
        files.save(path, sine(1.0))
    assert caught.value.exit_code == 2 and "--force" in caught.value.hint
    assert path.read_bytes() == b"precious"
    files.save(path, sine(1.0), overwrite=True)
    assert files.load(path).duration == 1.0


def test_unwritable_places(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="no folder"):
        files.save(tmp_path / "no" / "a.wav", sine(1.0))
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(OutputFailed, match="is a folder"):
        files.save(tmp_path / "folder.wav", sine(1.0))
    with pytest.raises(InvalidOption, match="suffix"):
        files.save(tmp_path / "a.xyz", sine(1.0))
    with pytest.raises(OutputFailed, match="could not be written"):
        files.save(tmp_path / f"{'x' * 260}.wav", sine(1.0))


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="No space left"), files.atomic(tmp_path / "a.wav") as temporary:
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_mp3_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="96000 Hz"):
        files.save(tmp_path / "a.mp3", noise(0.5, rate=96_000))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidOption, match="PCM_99"):
        files.save(tmp_path / "a.wav", noise(0.5), subtype="PCM_99")
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import signal, sys, time
        from darius.audio import files
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
        with files.atomic(sys.argv[1]) as temporary:
            temporary.write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "a.wav")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"writing\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


# Tempo tags


@given(
    tempo=st.floats(20, 400, width=32),
    beats=st.integers(0, 2**32 - 1),
    upper=st.integers(1, 2**16 - 1),
    length=st.integers(1, 9),
)
def test_the_acid_chunk_round_trips(tempo: float, beats: int, upper: int, length: int) -> None:
    loop = riff.LoopInfo(tempo=tempo, beats=beats, beats_per_bar=upper)
    data = riff.wav_bytes(noise(0.001, rate=1000 * length, channels=1), subtype="PCM_24", loop=loop)
    assert riff.read_loop_info(io.BytesIO(data)) == loop


@given(data=st.data())
def test_cut_or_garbled_chunks_never_raise(data: st.DataObject) -> None:
    whole = bytearray(riff.wav_bytes(noise(0.004, rate=4000, channels=1), loop=riff.LoopInfo(tempo=120.0, beats=4)))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = riff.read_loop_info(io.BytesIO(bytes(whole[: data.draw(st.integers(0, len(whole)))])))
    assert found is None or 20 <= found.tempo <= 400


def test_one_shots_and_absurd_tempi_are_no_tempo() -> None:
    data = riff.wav_bytes(noise(0.01), loop=riff.LoopInfo(tempo=120.0, beats=4))
    place = data.index(b"acid") + 8
    one_shot = data[:place] + struct.pack("<I", 1) + data[place + 4 :]
    assert riff.read_loop_info(io.BytesIO(one_shot)) is None
    for tempo in (0.0, -3.0, 1e9, float("nan"), float("inf")):
        assert riff.read_loop_info(io.BytesIO(data[: place + 20] + struct.pack("<f", tempo))) is None


def test_files_without_a_tempo_have_none(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3"):
        files.save(tmp_path / name, sine(1.0))
        assert files.tempo_tag(tmp_path / name) is None
    assert files.tempo_tag(tmp_path / "missing.wav") is None
    assert files.tempo_tag(tmp_path) is None
