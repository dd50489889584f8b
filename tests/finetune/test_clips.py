"""Audio cut into clips: 30 s each, a tail that can hold a window, peaks at -1 dBFS, and the original's quiet filter."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from darius.audio.files import Header
from darius.audio.waveform import Waveform
from darius.errors import BadAudio, InvalidOption
from finetune import clips
from finetune.clips import Cutting, Span

CUTTING = Cutting()


def noise(seconds: float, *, gain: float = 0.3, rate: int = 16_000, channels: int = 2, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    return (gain * np.clip(samples, -3, 3) / 3).astype(np.float32)


def written(path: Path, samples: np.ndarray, rate: int) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("seconds", "lengths"),
    [(2, [2]), (29.9, [29.9]), (30, [30]), (41.9, [30]), (42, [30, 12]), (60, [30, 30]), (100, [30, 30, 30])],
)
def test_where_the_clips_of_a_file_lie(seconds: float, lengths: list[float]) -> None:
    found = clips.spans(Header(rate=1000, channels=2, frames=round(seconds * 1000)), "x.wav", CUTTING)
    assert [span.frames / 1000 for span in found] == lengths
    assert [span.start / 1000 for span in found] == [30.0 * i for i in range(len(lengths))]
    assert [span.index for span in found] == list(range(len(lengths)))


def test_a_file_shorter_than_asked_for_is_refused_with_its_length() -> None:
    with pytest.raises(BadAudio, match=r"'x\.wav' is only 1\.99 s long, and clips have at least 2 s"):
        clips.spans(Header(rate=1000, channels=2, frames=1990), "x.wav", CUTTING)
    longer = Cutting(min_clip_seconds=20.0)
    assert len(clips.spans(Header(rate=1000, channels=2, frames=45_000), "x.wav", longer)) == 1


@given(st.integers(8000, 96_000), st.floats(2, 500))
def test_clips_never_overlap_and_never_pass_the_end(rate: int, seconds: float) -> None:
    frames = int(seconds * rate) + 1
    found = clips.spans(Header(rate=rate, channels=1, frames=frames), "x", CUTTING)
    ends = [span.start + span.frames for span in found]
    assert [span.start for span in found] == [0, *ends[:-1]]
    assert frames - 30 * rate < ends[-1] <= frames


@pytest.mark.parametrize("seconds", [1.9, 31.0])
def test_impossible_lengths_are_refused(seconds: float) -> None:
    with pytest.raises(InvalidOption) as caught:
        Cutting(min_clip_seconds=seconds).check()
    assert "--min-clip-seconds from 2 to 30" in caught.value.hint


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (48_000, 1), (22_050, 2), (48_000, 4)])
def test_a_clip_is_48_khz_stereo_and_16_khz_with_peaks_at_minus_1_dbfs(
    tmp_path: Path, rate: int, channels: int
) -> None:
    path = written(tmp_path / "x.wav", noise(5, gain=0.2, rate=rate, channels=channels), rate)
    clip = clips.read_clip(path, Span(index=0, start=rate, frames=3 * rate), CUTTING)
    assert clip.codec is not None and clip.style is not None and not clip.refused
    assert (clip.codec.shape, clip.codec.dtype) == ((3 * 48_000, 2), np.float32)
    assert (clip.style.rate, len(clip.style)) == (16_000, 48_000)
    assert clip.seconds == 3
    for peak in (np.abs(clip.codec).max(), clip.style.peak):
        assert 20 * np.log10(peak) == pytest.approx(-1, abs=1e-4)


def test_the_same_samples_have_the_same_hash_in_any_format(tmp_path: Path) -> None:
    samples = np.round(noise(3, rate=44_100) * 32768) / 32768
    span = Span(index=0, start=0, frames=len(samples))
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="PCM_16")
    soundfile.write(tmp_path / "b.flac", samples, 44_100, subtype="PCM_16")
    soundfile.write(tmp_path / "c.wav", samples * 0.5, 44_100, subtype="PCM_16")
    a, b, c = (clips.read_clip(tmp_path / name, span, CUTTING).audio_sha256 for name in ("a.wav", "b.flac", "c.wav"))
    assert a == b != c


def test_silence_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wav", np.zeros((32_000, 2), np.float32), 16_000)
    clip = clips.read_clip(path, Span(index=0, start=0, frames=32_000), CUTTING)
    assert (clip.refused, clip.codec) == ("silent", None)


def test_the_quiet_filter_finds_a_hole_and_is_off_by_default(tmp_path: Path) -> None:
    samples = noise(20, gain=0.9)
    samples[8 * 16_000 : 14 * 16_000] *= 0.01
    path, span = written(tmp_path / "x.wav", samples, 16_000), Span(index=0, start=0, frames=len(samples))
    assert clips.read_clip(path, span, Cutting(filter_quiet=True)).refused == "quiet"
    assert clips.read_clip(path, span, CUTTING).refused == ""


def test_a_hole_of_less_than_five_seconds_is_music() -> None:
    samples = noise(20, gain=0.9)
    samples[8 * 16_000 : 12 * 16_000] = 0
    assert clips.loud_enough(Waveform(samples, 16_000))


@pytest.mark.parametrize("gain_db", [-30, -26, -25.2, -24.8, -24, -10])
def test_levels_are_those_of_frames_centred_every_hop(gain_db: float) -> None:
    rate = 16_000
    samples = noise(9.3, gain=1.0, rate=rate, channels=1, seed=3) * np.float32(3 * 10 ** (gain_db / 20))
    levels = []
    for start in range(0, len(samples), rate):
        part = np.pad(samples[start : start + 5 * rate, 0].astype(np.float64), 743)  # 2048 / 22050 s are 1486 samples
        frames = [part[at : at + 1486] for at in range(0, len(part) - 1485, 372)]  # 512 / 22050 s are 372
        levels.append(max(np.sqrt(np.mean(frame**2)) for frame in frames))
        assert clips._peak_rms(samples[start : start + 5 * rate], rate) == pytest.approx(levels[-1], rel=1e-6)
    assert clips.loud_enough(Waveform(samples, rate)) == (20 * np.log10(min(levels)) >= -25)
