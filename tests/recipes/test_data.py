"""Generated clips: the same from the same seed, in time, within bounds, and described by words that fit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recipes.tiny.data import clip as clip_module
from recipes.tiny.data.captions import INSTRUMENT_WORDS, draw_phrases, full_caption, spoken, words_of
from recipes.tiny.data.clip import make_clip, make_switch
from recipes.tiny.data.drums import HARD, ROLES, hit
from recipes.tiny.data.genres import GENRES, SCALES, STEP_CHANCE
from recipes.tiny.data.groove import is_validation, make_groove
from recipes.tiny.data.parts import Harmony
from recipes.tiny.data.patches import make_patch
from recipes.tiny.data.render import render_shard
from recipes.tiny.data.shards import ClipSet, to_int16, write_shard
from recipes.tiny.data.sounds import Sounds, load_sounds
from recipes.tiny.data.synth import RATE, add_circular, convolve_circular, oscillator, rms, swept_lowpass
from recipes.tiny.data.timing import FRAME, Grid, draw_grid


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return load_sounds(None)


def spectral_peak(x: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(x * np.hanning(len(x))))) * RATE / len(x))


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("hertz", [55.0, 440.0, 3520.0])
def test_an_oscillator_sounds_at_its_pitch(hertz):
    assert spectral_peak(oscillator("saw", hertz, RATE)) == pytest.approx(hertz, abs=1)


def test_an_oscillator_has_no_aliases():
    hertz = 3000.0
    spectrum = np.abs(np.fft.rfft(oscillator("saw", hertz, RATE)))
    harmonic = np.zeros(len(spectrum), bool)
    for k in range(1, 9):
        harmonic[int(hertz * k) - 5 : int(hertz * k) + 6] = True
    assert spectrum[~harmonic].max() < 0.01 * spectrum.max()


def test_what_runs_past_the_end_of_a_loop_wraps_to_its_start():
    loop = np.zeros((10, 2), np.float32)
    add_circular(loop, 8, np.arange(1, 6, dtype=np.float32))
    np.testing.assert_array_equal(loop[:, 0], [3, 4, 5, 0, 0, 0, 0, 0, 1, 2])


def test_circular_convolution_wraps_a_tail_longer_than_the_loop():
    loop, impulse = np.zeros((4, 2), np.float32), np.zeros((11, 2), np.float32)
    loop[1], impulse[10] = 1, 2  # a delay of ten samples: two whole rounds and two more
    np.testing.assert_allclose(convolve_circular(loop, impulse)[:, 0], [0, 0, 0, 2], atol=1e-6)


def test_a_swept_lowpass_opens_and_closes():
    bright = swept_lowpass(oscillator("saw", 110, RATE), 200, 8000, 0.1, 0.8)

    def treble(x):
        return rms(np.diff(x)) / rms(x)

    assert treble(bright[:4800]) > 3 * treble(bright[-4800:])


@pytest.mark.parametrize("role", ROLES)
def test_every_drum_is_short_finite_and_loud_enough(role):
    sound = hit(role, HARD, np.random.default_rng(0))
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert 0.2 < np.abs(sound).max() < 4
    assert len(sound) < RATE


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("name", sorted(GENRES))
def test_a_genre_is_complete(name, sounds):
    genre = GENRES[name]
    patterns = [p for group in genre.drums.values() for p in group] + [*genre.bass_patterns, *genre.chord_patterns]
    assert all(len(p) == 16 and set(p) <= set(STEP_CHANCE) for p in patterns)
    assert set(genre.drums) <= set(ROLES)
    assert len(genre.words.split(",")) >= 4
    for family in f"{genre.bass} {genre.chords} {genre.lead}".split():
        make_patch(family, np.random.default_rng(0), sounds)
        assert family in INSTRUMENT_WORDS


def test_harmony_stays_in_the_scale():
    harmony = Harmony(key=2, scale="dorian", degrees=[0])
    played = {(harmony.midi(degree, 40) - 2) % 12 for degree in range(14)}
    assert played == set(SCALES["dorian"])
    assert all(harmony.midi(degree, 40) >= 40 for degree in range(14))


def test_most_loops_are_whole_frames_and_all_are_whole_bars():
    grids = [draw_grid(np.random.default_rng(i), (80, 170), 0.1) for i in range(400)]
    whole = np.mean([grid.frames == int(grid.frames) for grid in grids])
    assert 0.8 < whole < 0.93
    for grid in grids:
        assert grid.length == pytest.approx(grid.bars * 240 / grid.bpm * RATE, abs=0.51)
        assert 79 < grid.bpm < 172
    bars = np.array([grid.bars for grid in grids])
    shares = [float(np.mean(bars == b)) for b in (1, 2, 4)]
    np.testing.assert_allclose(shares, [0.3, 0.4, 0.3], atol=0.07)


# ---------------------------------------------------------------- grooves and clips


def test_a_groove_is_its_seed(sounds):
    one, two = make_groove(11, sounds, bars=1), make_groove(11, sounds, bars=1)
    assert one.stems.keys() == two.stems.keys()
    for name, stem in one.stems.items():
        np.testing.assert_array_equal(stem, two.stems[name])
        assert stem.shape == (one.grid.length, 2)
    other = make_groove(12, sounds, bars=1)
    assert (other.genre, other.grid.bpm) != (one.genre, one.grid.bpm)


def test_drum_onsets_lie_on_the_sixteenth_grid(sounds):
    groove = make_groove(5, sounds, genre="techno", bars=2)
    hop = 240
    energy = np.sum(groove.stems["drums"] ** 2, axis=1)[: groove.grid.length // hop * hop].reshape(-1, hop).sum(axis=1)
    onset = np.maximum(np.diff(np.log(energy + 1e-4), prepend=0), 0)
    phase = np.arange(len(onset)) * hop / groove.grid.length * groove.grid.bars

    def concentration(steps: int) -> float:
        return abs(np.sum(onset * np.exp(2j * np.pi * phase * steps))) / np.sum(onset)

    assert concentration(16) > 3 * max(concentration(15), concentration(17), concentration(19))


def test_a_strict_clip_repeats_to_the_sample_before_the_master(sounds):
    clip = next(c for c in (make_clip(seed, 10, sounds, bars=1, genre="electro") for seed in range(20)) if c.strict)
    length = clip.groove.grid.length
    first, second = clip.samples[length : 2 * length], clip.samples[2 * length : 3 * length]
    assert rms(first - second) < 1e-3 * rms(first)  # only the ringing of the filters differs


def test_clips_are_bounded_and_described(sounds):
    clips = [make_clip(seed, 2, sounds, bars=1) for seed in range(8)]
    for clip in clips:
        assert clip.samples.shape == (2 * RATE, 2)
        assert clip.samples.dtype == np.float32
        assert np.abs(clip.samples).max() <= 0.98
        assert 0.003 < rms(clip.samples) < 0.4
        record = json.loads(json.dumps(clip.record()))
        assert record["loop_frames"] * FRAME == record["loop_samples"]
        assert set(record["stems"]) >= {stem for stems in record["passes"] for stem in stems}
    assert len({clip.groove.genre for clip in clips}) > 4


def test_a_fill_changes_the_end_of_a_round_and_nothing_else(sounds):
    groove = make_groove(4, sounds, genre="rock", bars=1)
    added = [clip_module._fill(groove.stems["drums"], groove.grid, np.random.default_rng(n)) for n in range(6)]
    half = groove.grid.length // 2
    assert all(not change[: half - 1].any() and change[half:].any() for change in added)
    rests = [np.allclose(change, -groove.stems["drums"] * (change != 0), atol=1e-6) for change in added]
    assert not all(rests)


def test_fills_come_every_four_bars_in_half_of_the_clips():
    grid, passes = Grid(bpm=120, bars=2, length=192_000, swing=0), [["drums"]] * 8 + [["bass"]] * 4
    found = [clip_module._fill_rounds(grid, passes, np.random.default_rng(n)) for n in range(200)]
    assert {n for fills in found for n in fills} == {1, 3, 5, 7}
    assert 0.35 < np.mean([bool(fills) for fills in found]) < 0.65


def test_a_clip_that_turns_does_so_after_a_whole_context_and_mostly_at_a_bar(sounds):
    turned = [make_switch(seed, 20.0, sounds) for seed in range(1, 4)]
    for clip in turned:
        assert 258 <= clip.switch_frame < 450
        assert clip.before != clip.groove.genre
        beat = clip.groove.grid.step_seconds * 4 * 25
        assert abs(clip.switch_frame / beat - round(clip.switch_frame / beat)) * beat <= 0.51  # whole frames
    assert np.abs(turned[0].samples[: turned[0].switch_frame * FRAME] - turned[0].past).max() == 0


def test_a_tenth_of_the_seeds_is_for_validation():
    assert [seed for seed in range(21) if is_validation(seed)] == [0, 10, 20]


def test_validation_hears_recorded_hits_that_training_never_does(sounds):
    kicks = sounds.hits["kick"]
    assert len(sounds.hits_for("kick", validation=False)) < len(kicks)
    assert len(sounds.hits_for("kick", validation=True)) == len(kicks)


# ---------------------------------------------------------------- words


@pytest.fixture
def record() -> dict:
    return {"genre": "techno", "instruments": {}, "stems": ["drums"], "bpm": 130.0, "tilt_db": -4.0, "tape": 0.0}


def test_words_fit_the_clip(record):
    words = words_of(record, ["kick", "clap"])
    assert words["stems"] == ["drums only"]
    assert words["tempo"] == ["fast", "130 bpm"]
    assert words["sound"] == ["muffled"]
    assert "claps" in words["instruments"]
    assert full_caption(words).startswith("techno, driving")


def test_drawn_phrases_are_one_to_six_of_the_clips_words(record):
    words = words_of(record, ["kick", "clap"])
    everything = {phrase for aspect in words.values() for phrase in aspect}
    rng = np.random.default_rng(0)
    drawn = [draw_phrases(words, rng) for _ in range(300)]
    assert all(1 <= len(phrases) <= 6 and set(phrases) <= everything for phrases in drawn)
    assert {phrase for phrases in drawn for phrase in phrases} == everything


def test_a_spoken_caption_may_use_other_words():
    rng = np.random.default_rng(0)
    assert {spoken(["drum and bass"], rng) for _ in range(50)} >= {"drum and bass", "dnb"}


# ---------------------------------------------------------------- shards


def test_a_shard_comes_back_as_it_was_written(tmp_path):
    audio = [to_int16(np.full((100, 2), level, np.float32)) for level in (0.5, -1.0)]
    write_shard(tmp_path, 3, audio, [{"seed": 1, "split": "train"}, {"seed": 10, "split": "validation"}])
    clips = ClipSet.open(tmp_path)
    assert [record["seed"] for record in clips.records] == [1, 10]
    np.testing.assert_allclose(clips.window(0, 10, 5), 0.5, atol=1e-4)
    held_out = ClipSet.open(tmp_path, split="validation")
    assert len(held_out) == 1
    np.testing.assert_array_equal(held_out.clip(0), audio[1])


def test_a_shard_without_its_records_is_not_there_yet(tmp_path):
    np.save(tmp_path / "clips-00000.npy", np.zeros((1, 10, 2), np.int16))
    assert len(ClipSet.open(tmp_path)) == 0


def test_rendering_writes_clips_that_the_set_can_cut_anywhere(tmp_path):
    render_shard(0, range(20, 22), 2.0, tmp_path, None)
    clips = ClipSet.open(tmp_path)
    assert [record["split"] for record in clips.records] == ["validation", "train"]
    index, window = clips.random_window(np.random.default_rng(0), 1.5)
    assert window.shape == (int(1.5 * RATE), 2)
    assert clips.records[index]["caption"]
