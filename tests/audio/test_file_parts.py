"""Files read in parts, for libraries of any length: a part is what the whole file has there, or one clear refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from darius.audio import files
from darius.audio.waveform import Waveform
from darius.errors import BadAudio

from .sounds import noise, sine

FORMATS = {".wav": 0.0, ".flac": 0.0, ".aiff": 0.0, ".ogg": 1e-6, ".mp3": 1e-4}
"""Suffix -> how far a part may be from the whole: a lossy decoder may round differently after a jump."""


def written(path: Path, waveform: Waveform) -> Path:
    with soundfile.SoundFile(path, "w", waveform.rate, waveform.channels) as sound:
        for start in range(0, len(waveform), 4096):
            sound.write(waveform.samples[start : start + 4096])
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_part_is_what_the_whole_file_has_there(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"x{suffix}", noise(3.0))
    whole = files.load(path)
    header = files.header(path)
    assert (header.rate, header.channels, header.frames) == (44_100, 2, len(whole))
    assert header.duration == pytest.approx(whole.duration)
    for start, frames in ((0, 44_100), (50_001, 30_000), (70_000, len(whole) - 70_000)):
        part = files.load_part(path, start, frames)
        assert (part.rate, part.samples.shape) == (44_100, (frames, 2))
        np.testing.assert_allclose(part.samples, whole.samples[start : start + frames], atol=FORMATS[suffix])


def test_a_silent_part_is_no_error(tmp_path: Path) -> None:
    samples = np.concatenate([np.zeros((1000, 2), np.float32), noise(0.5).samples])
    files.save(tmp_path / "x.wav", Waveform(samples, 44_100))
    assert files.load_part(tmp_path / "x.wav", 0, 1000).peak == 0


def test_a_file_cut_short_says_where_it_ends(tmp_path: Path) -> None:
    path = written(tmp_path / "x.flac", noise(3.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadAudio, match=r"'x\.flac' is (damaged: it ends after 1\.|not an audio file)"):
        files.load_part(path, 44_100, 2 * 44_100)
    files.save(tmp_path / "y.wav", sine(1.0))
    with pytest.raises(BadAudio, match=r"it ends after 1 s"):
        files.load_part(tmp_path / "y.wav", 60_000, 10)


def test_a_part_that_is_not_numbers_is_refused(tmp_path: Path) -> None:
    samples = noise(1.0).samples
    samples[30_000] = np.nan
    soundfile.write(tmp_path / "x.wav", samples, 44_100, subtype="FLOAT")
    assert len(files.load_part(tmp_path / "x.wav", 0, 30_000)) == 30_000
    with pytest.raises(BadAudio, match="NaN"):
        files.load_part(tmp_path / "x.wav", 20_000, 20_000)


def test_headers_are_judged_as_whole_files_are(tmp_path: Path) -> None:
    for name, content in (("empty.wav", b""), ("text.wav", b"hello, this is not audio")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadAudio):
            files.header(tmp_path / name)
    files.save(tmp_path / "x.wav", sine(2.0))
    with pytest.raises(BadAudio, match="at most 1 s"):
        files.header(tmp_path / "x.wav", max_seconds=1.0)
