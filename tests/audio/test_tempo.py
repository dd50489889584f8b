"""Tempo and bars: what is given wins, then what the file says, then length and onsets."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius.audio import files, hints
from darius.audio.bars import bar_samples
from darius.audio.candidates import snapped_tempo
from darius.audio.tempo import find_tempo
from darius.audio.waveform import Waveform
from darius.errors import BadAudio, InvalidOption

from .sounds import EXAMPLES, LOOPS, clicks, drums, noise, sine


@pytest.mark.parametrize(
    ("path", "bpm", "exact", "bars"),
    [
        (EXAMPLES / "arovane_beat_c.flac", 130, 129.97, 4),
        (EXAMPLES / "loop_garzul.flac", 120, 120.0, 4),
        (EXAMPLES / "loop_tabla.flac", 90, 89.94, 4),
        (LOOPS / "loop_compus.flac", 148, 148.0, 4),
        (LOOPS / "loop_electric.flac", 97, 97.0, 1),
        (LOOPS / "loop_mika.flac", 120, 120.0, 4),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_the_six_loops(path: Path, bpm: int, exact: float, bars: int) -> None:
    found = find_tempo(files.load(path), path=path)
    assert (found.bpm, found.used_bars, found.whole) == (bpm, bars, True)
    assert float(found.exact_bpm) == pytest.approx(exact, abs=0.006)
    assert found.source == "length and onsets" and found.confidence > 0.5
    assert found.candidates[0].bpm == bpm


@pytest.mark.parametrize("path", [EXAMPLES / "arovane_beat_c.flac", LOOPS / "loop_mika.flac"], ids=lambda p: p.stem)
@pytest.mark.parametrize("part", [0.93, 0.85])
def test_a_loop_cut_in_mid_bar_says_so_and_uses_the_whole_bars(path: Path, part: float) -> None:
    loop = files.load(path)
    whole = find_tempo(loop)
    found = find_tempo(loop.cut(0, int(part * len(loop))))
    assert found.bpm == whole.bpm and not found.whole and found.used_bars == 3
    assert found.bars == pytest.approx(4 * part, abs=0.01)
    assert found.source == "onsets" and found.exact_bpm == found.bpm


@pytest.mark.parametrize("swing", [0.0, 0.33])
@pytest.mark.parametrize(("bpm", "bars"), [("84", 2), ("97.5", 4), ("113.4", 2), ("128", 1), ("145", 4)])
def test_drum_loops_are_found_exactly(bpm: str, bars: int, swing: float) -> None:
    found = find_tempo(drums(bpm, bars, swing=swing, seed=bars, rate=22_050))
    assert (found.bpm, found.used_bars, found.whole) == (Fraction(bpm), bars, True)


@pytest.mark.parametrize(("bpm", "beats"), [(100, 3), (140, 7), (120, 5)])
def test_other_meters_are_counted_when_told(bpm: int, beats: int) -> None:
    found = find_tempo(clicks(bpm, 4, beats=beats), beats_per_bar=beats)
    assert found.whole and found.beats_per_bar == beats
    assert float(np.log2(float(found.bpm / bpm))) == pytest.approx(round(np.log2(float(found.bpm / bpm))), abs=1e-3)


@pytest.mark.parametrize("sound", [noise(4.0), sine(4.0), sine(4.123, hertz=443.3)], ids=["noise", "tone", "odd tone"])
def test_without_a_rhythm_the_length_is_used_and_little_is_claimed(sound: Waveform) -> None:
    found = find_tempo(sound)
    assert found.confidence < 0.1
    assert found.whole and 100 <= found.bpm <= 130


def test_a_few_samples_too_many_do_not_matter() -> None:
    loop = drums(124, 4, seed=3)
    for extra in (-100, -3, 3, 200):
        samples = np.resize(loop.samples, (len(loop) + extra, 1))
        found = find_tempo(Waveform(samples, loop.rate))
        assert (found.bpm, found.whole, found.used_bars) == (124, True, 4)
        assert found.exact_bpm != 124


@given(
    tenths=st.integers(550, 2000), bars=st.sampled_from([1, 2, 4, 8]), beats=st.integers(3, 5), error=st.integers(-1, 1)
)
def test_a_length_cut_to_the_sample_gives_its_decimal_tempo_back(
    tenths: int, bars: int, beats: int, error: int
) -> None:
    bpm = Fraction(tenths, 10)
    length = bar_samples(bars, beats, bpm, 44_100) + error
    found = snapped_tempo(Waveform(np.zeros((length, 1), np.float32), 44_100), bars, beats)
    assert found == bpm or abs(found / bpm - 1) < 1e-4  # a rounder tempo may give the same length


@given(length=st.integers(60_000, 900_000), bars=st.integers(1, 8))
def test_snapping_never_moves_a_tempo_by_more_than_a_thousandth_or_20_ms(length: int, bars: int) -> None:
    wave = Waveform(np.zeros((length, 1), np.float32), 44_100)
    exact = Fraction(bars * 240 * 44_100, length)
    bpm = exact
    if 20 <= exact <= 400:
        bpm = snapped_tempo(wave, bars, 4)
    assert abs(bpm / exact - 1) <= Fraction(1, 1000)
    assert abs(Fraction(bars * 240, 1) / bpm - Fraction(length, 44_100)) <= Fraction(20, 1000)


# What is given, and what the file says


def test_a_given_tempo_wins_and_only_bars_are_counted() -> None:
    loop = drums(120, 4)
    found = find_tempo(loop, path="loop_90bpm.wav", bpm=60)
    assert (found.bpm, found.used_bars, found.whole, found.confidence) == (60, 2, True, 1.0)
    assert found.source == "given" and found.candidates == ()
    uneven = find_tempo(loop, bpm="100")
    assert (uneven.used_bars, uneven.whole) == (3, False)
    assert uneven.bars == pytest.approx(10 / 3)


def test_a_given_tempo_that_leaves_no_whole_bar_is_refused() -> None:
    with pytest.raises(BadAudio, match=r"shorter than one bar: 2.00 s, and 4 beats at 60 bpm are 4.00 s"):
        find_tempo(drums(120, 1), bpm=60)


@pytest.mark.parametrize(("bpm", "beats"), [(0, 4), (1000, 4), (120, 0), (120, 33)])
def test_impossible_wishes_are_refused(bpm: int, beats: int) -> None:
    with pytest.raises(InvalidOption):
        find_tempo(drums(120, 1), bpm=bpm, beats_per_bar=beats)


def test_a_sound_without_room_for_a_bar_is_refused() -> None:
    with pytest.raises(BadAudio, match="too short"):
        find_tempo(noise(0.5))


def test_the_file_name_comes_before_the_tag_and_the_tag_before_the_onsets(tmp_path: Path) -> None:
    loop = drums(120, 4, rate=22_050)
    named, tagged = tmp_path / "groove_60bpm.wav", tmp_path / "groove.wav"
    for path in (named, tagged):
        files.save(path, loop, tempo=240.0, beats=32)
    assert find_tempo(loop, path=named).bpm == 60
    by_name, by_tag = find_tempo(loop, path=named), find_tempo(loop, path=tagged)
    assert (by_name.bpm, by_name.source, by_name.used_bars) == (60, "file name", 2)
    assert (by_tag.bpm, by_tag.source, by_tag.used_bars) == (240, "file tag", 8)
    assert by_name.candidates[0].bpm == 120


def test_a_stated_tempo_with_no_room_for_a_bar_is_passed_over() -> None:
    assert find_tempo(drums(120, 1), path="60bpm.wav").bpm == 120


def test_a_stated_tempo_is_trusted_more_when_the_length_agrees() -> None:
    loop = drums(120, 4)
    agreed, doubtful = (find_tempo(loop, path=name).confidence for name in ("a_120bpm.wav", "a_97bpm.wav"))
    assert doubtful < agreed == 1.0


@pytest.mark.parametrize(
    ("name", "bpm"),
    [
        ("loop_120bpm.wav", 120),
        ("120_BPM.flac", 120),
        ("bpm=93.5.wav", 93.5),
        ("Bass-BPM_174-Am.wav", 174),
        ("beat 128 bpm (2).wav", 128),
        ("tr909_kick_126bpm.wav", 126),
        ("126.5bpm_take_3.wav", 126.5),
        ("x_darius_8bars_120bpm.wav", 120),
        ("loop_120.wav", None),
        ("bpm.wav", None),
        ("2020bpm.wav", None),
        ("999bpm.wav", None),
        ("19bpm.wav", None),
        ("rpm120.wav", None),
        ("120bpmish.wav", None),
        ("arovane_beat_c.flac", None),
    ],
)
def test_tempi_in_file_names(name: str, bpm: float | None) -> None:
    found = hints.name_tempo(f"folder_77bpm/{name}")
    assert (None if found is None else float(found)) == bpm


@given(name=st.text(max_size=40))
def test_any_file_name_is_read_without_fuss(name: str) -> None:
    found = hints.name_tempo("/".join(("a", name)))
    assert found is None or 20 <= found <= 400
    assert all(60 <= number <= 200 for number in hints.bare_numbers("/".join(("a", name))))


def test_a_bare_number_counts_only_if_the_length_agrees() -> None:
    loop = drums(128, 2)
    assert hints.bare_numbers("drums_128_Am_909_07.wav") == (128,)
    found = find_tempo(loop, path="drums_128_Am.wav")
    assert (found.bpm, found.source) == (128, "file name")
    assert find_tempo(loop, path="drums_111_Am.wav").source == "length and onsets"


@settings(max_examples=12, deadline=None)
@given(bpm=st.integers(70, 160), bars=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99))
def test_any_drum_loop_is_whole_bars_of_its_tempo_or_of_a_simple_ratio(bpm: int, bars: int, seed: int) -> None:
    found = find_tempo(drums(bpm, bars, seed=seed, rate=16_000))
    assert found.whole
    assert float(found.bpm / bpm) in (0.5, 1.0, 2.0)
