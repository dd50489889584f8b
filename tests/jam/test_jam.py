"""A jam with a small real model: exact cuts of one continuous sound, steered without a seam."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest

from darius import session
from darius.audio.waveform import Waveform
from darius.batching import Advance
from darius.context import loop_codes
from darius.errors import BadAudio, InvalidOption
from darius.jam import Chunk, Dials, Jam, JamSettings
from darius.jam.resampling import StreamResampler
from darius.model import Model
from darius.style.mix import StyleRequest, WeightedText
from darius.style.steering import Assets
from jam.small_model import LAYOUT, small_model

DUB = StyleRequest(texts=(WeightedText("dub"),), loop_weight=0.0)
TECHNO = StyleRequest(texts=(WeightedText("techno"),), loop_weight=0.0)


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model(prefers_frame_grid=True)


def loop(seconds: float = 4.0, rate: int = 44_100, level: float = 0.1) -> Waveform:
    rng = np.random.default_rng(2)
    return Waveform(rng.normal(0, level, (round(seconds * rate), 2)).astype(np.float32), rate)


def start(model: Model, seed: int = 1, **options) -> Jam:
    settings = JamSettings(**({"bpm": "240", "bars_per_chunk": 1, "rate": 8000, "loudness": "none"} | options))
    sound = None if settings.bpm is None else loop(float(4 * settings.seconds_per_bar))
    return Jam.start(model, settings, loop=sound, style=DUB, seed=seed)


def step(jam: Jam) -> np.ndarray:
    """One device call; the model's own samples."""
    if jam.pending:
        jam.settle()
    streams, knobs = jam.call()
    samples, codes, after = session.advance(jam.model, streams, [knobs])
    jam.feed(Advance(samples[0], codes[0], after))
    return samples[0]


def play(jam: Jam, chunks: int) -> tuple[list[Chunk], np.ndarray]:
    """The next chunks, and the model's samples that were made for them."""
    cut, raw = [], []
    while len(cut) < chunks:
        while jam.frames_needed():
            assert jam.cut() is None
            raw.append(step(jam))
        chunk = jam.cut()
        assert chunk is not None
        cut.append(chunk)
    return cut, np.concatenate(raw)


@pytest.mark.parametrize(
    ("bpm", "beats", "rate", "timing"),
    [
        ("240", 4, 8000, "free"),
        ("233.7", 4, 11_025, "grid"),
        ("197.531", 3, 44_100, "grid"),
        ("301.01", 5, 44_100, "free"),
        ("127.3", 2, 48_000, "auto"),
    ],
)
def test_chunks_are_exact_cuts_of_the_whole_resampled_sound(
    model: Model, bpm: str, beats: int, rate: int, timing: str
) -> None:
    jam = start(model, bpm=bpm, beats_per_bar=beats, rate=rate, timing=timing)
    chunks, raw = play(jam, 4)
    exact = beats * 60 / Fraction(bpm) * rate
    assert [len(chunk.samples) for chunk in chunks] == [round((k + 1) * exact) - round(k * exact) for k in range(4)]
    assert [(chunk.index, chunk.start) for chunk in chunks] == [(k, round(k * exact)) for k in range(4)]
    # The first lookahead frames are the context's end; the downbeat comes after them.
    lag = model.codec.lookahead_frames * model.codec.frame_samples
    whole = StreamResampler(8000 * jam.stretch, rate, origin=lag).push(raw)
    sound = np.concatenate([chunk.samples for chunk in chunks])
    assert np.abs(sound - whole[: len(sound)]).max() < 1e-4


def test_on_the_frame_grid_bars_are_whole_frames_of_the_model(model: Model) -> None:
    jam = start(model, bpm="97", timing="grid")
    assert 4 * 60 / Fraction(97) * jam.stretch * LAYOUT.frame_rate == 62
    assert start(model, bpm="97", timing="free").stretch == 1


def test_it_asks_for_as_many_calls_as_it_needs(model: Model) -> None:
    jam = start(model)
    needed = jam.calls_needed()
    for left in range(needed, 0, -1):
        assert jam.calls_needed() == left and jam.cut() is None
        step(jam)
    assert jam.frames_needed() == jam.calls_needed() == 0
    assert jam.cut() is not None and jam.frames_needed() > 0


def test_without_bars_chunks_repeat_the_end_of_the_one_before(model: Model) -> None:
    """As for clients that overlap and add: 40 ms of 2 s at 48 kHz, here of 0.8 s at the model's 8 kHz."""
    jam = start(model, bpm=None, chunk_seconds=Fraction(4, 5), overlap_seconds=Fraction(1, 25))
    chunks, raw = play(jam, 3)
    assert [len(chunk.samples) for chunk in chunks] == [6400 + 320] * 3
    assert [chunk.start for chunk in chunks] == [0, 6400, 12_800]
    for one, other in itertools.pairwise(chunks):
        assert np.array_equal(one.samples[-320:], other.samples[:320])
    assert not chunks[0].samples[:320].any()  # nothing was before it
    new = np.concatenate([chunk.samples[320:] for chunk in chunks])
    lag = model.codec.lookahead_frames * model.codec.frame_samples
    assert np.array_equal(new, raw[lag : lag + len(new)])


def test_a_stream_without_bars_can_be_cut_into_another_length_while_it_plays(model: Model) -> None:
    jam = start(model, bpm=None, chunk_seconds=Fraction(4, 5), overlap_seconds=Fraction(1, 25), rate=11_025)
    chunks, _ = play(jam, 2)
    jam.recut(Fraction(7, 25))
    chunks += play(jam, 3)[0]
    jam.recut(Fraction(4, 5))
    chunks += play(jam, 1)[0]
    place, lengths = Fraction(0), [20, 20, 7, 7, 7, 20]
    for chunk, frames in zip(chunks, lengths, strict=True):
        assert chunk.start == round(place * 11_025)
        place += Fraction(frames, 25)
        assert len(chunk.samples) == jam.settings.overlap + round(place * 11_025) - chunk.start
    whole, _ = play(start(model, bpm=None, chunk_seconds=Fraction(4, 5), rate=11_025), 5)
    sound = np.concatenate([chunk.samples[chunk.overlap :] for chunk in chunks])
    assert np.abs(sound - np.concatenate([chunk.samples for chunk in whole])[: len(sound)]).max() < 1e-5
    with pytest.raises(InvalidOption):
        jam.recut(Fraction(0))
    with pytest.raises(InvalidOption):
        start(model).recut(Fraction(1))


def test_the_same_seed_plays_the_same_and_jams_do_not_hear_each_other(model: Model) -> None:
    alone = [chunk.samples for chunk in play(start(model, seed=5), 2)[0]]
    one, other = start(model, seed=5), start(model, seed=6)
    together = []
    for _ in range(2):
        together.append(play(one, 1)[0][0].samples)
        play(other, 1)
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_one_gain_is_found_on_the_first_bar_and_kept(model: Model) -> None:
    plain = np.concatenate([chunk.samples for chunk in play(start(model), 3)[0]])
    jam = start(model, loudness="rms")
    chunks, _ = play(jam, 3)
    sound = np.concatenate([chunk.samples for chunk in chunks])
    assert jam.gain is not None and np.abs(sound).max() <= np.float32(jam.settings.ceiling)
    untouched = np.abs(plain * jam.gain).max(axis=1) < 0.05  # far from any peak the gain is all there is
    ratio = sound[untouched] / np.where(plain[untouched] == 0, 1, plain[untouched])
    assert np.median(ratio) == pytest.approx(jam.gain, rel=1e-3)


def test_dials_act_from_the_next_call_and_are_told_with_the_chunk(model: Model) -> None:
    jam = start(model)
    play(jam, 1)
    jam.update(dials=Dials(guidance=3.0, temperature=0.0, top_k=7))
    assert not jam.pending
    knobs = jam.call()[1]
    assert (knobs.guidance, knobs.temperature, knobs.top_k) == (3.0, 0.0, 7)
    assert play(jam, 1)[0][0].dials == Dials(guidance=3.0, temperature=0.0, top_k=7)


def test_a_new_style_glides_in_over_its_seconds(model: Model) -> None:
    jam = start(model)
    step(jam)
    jam.update(style=TECHNO, ramp_seconds=1.6)  # four calls
    assert jam.pending
    jam.settle()
    dub, techno = (model.style.tokenize(model.style.embed_text([word])[0]) for word in ("dub", "techno"))
    heard = []
    for _ in range(5):
        heard.append(jam.call()[1].style)
        step(jam)
    assert not np.array_equal(heard[0], techno)
    assert np.array_equal(heard[3], techno) and np.array_equal(heard[4], techno)
    assert not np.array_equal(dub, techno)


def test_a_style_can_change_at_once_or_to_none_or_lean_on_what_is_heard_now(model: Model) -> None:
    jam = start(model)
    step(jam)
    jam.update(style=TECHNO, ramp_seconds=0.0)
    jam.settle()
    techno = model.style.tokenize(model.style.embed_text(["techno"])[0])
    assert np.array_equal(jam.call()[1].style, techno)
    jam.update(style=StyleRequest(loop_weight=1.0), current_mix=True, ramp_seconds=0.0)
    jam.settle()
    assert not np.array_equal(jam.call()[1].style, techno)
    jam.update(style=StyleRequest(loop_weight=0.0), ramp_seconds=0.0)
    jam.settle()
    assert jam.call()[1].style is None


def test_steering_follows_the_assets_it_is_given(model: Model) -> None:
    mean = model.style.embed_text(["bossa nova"])[0]
    jam = start(model)
    jam.update(style=StyleRequest(loop_weight=0.0, mean=1.0), ramp_seconds=0.0, assets=Assets(mean=mean))
    jam.settle()
    assert np.array_equal(jam.call()[1].style, model.style.tokenize(mean))


def test_a_reseed_changes_the_context_only_and_bar_on_bar(model: Model) -> None:
    jam = start(model)
    for _ in range(3):
        step(jam)
    before = jam.call()[0]
    other = loop(2.0)
    jam.reseed(other)
    assert jam.call()[0] is before  # not yet
    jam.settle()
    after = jam.call()[0]
    # 30 frames are 1.2 s of music: 1.2 bars of a loop of 2 bars.
    wanted = loop_codes(model, other, stretch=jam.stretch, end=Fraction(30, 25) / jam.stretch)
    assert np.array_equal(after.context[0], wanted)
    assert after.codec is before.codec and after.chunk is before.chunk  # what sounds goes on sounding


def test_a_reseed_from_what_was_played_undoes_another(model: Model) -> None:
    jam = start(model)
    for _ in range(6):
        step(jam)
    played = jam.call()[0].context
    jam.reseed(loop(2.0))
    jam.settle()
    assert not np.array_equal(jam.call()[0].context, played)
    jam.reseed()
    jam.settle()
    assert np.array_equal(jam.call()[0].context, played)


def test_a_splice_puts_the_last_bars_in_their_place_and_leaves_the_rest(model: Model) -> None:
    jam = start(model)  # bars of 25 frames
    for _ in range(6):
        step(jam)
    played = jam.call()[0].context[0]
    anchor = loop(5.0)
    assert jam.splice(anchor, anchor_bars=1.2) == 1.0
    jam.settle()
    spliced = jam.call()[0].context[0]
    assert np.array_equal(spliced[:25], played[:25])
    last = Waveform(anchor.samples[4 * 44_100 :], 44_100)
    wanted = loop_codes(model, last, stretch=jam.stretch, end=Fraction(60, 25) / jam.stretch)
    assert np.array_equal(spliced[25:], wanted[-25:])


def test_a_splice_never_takes_more_than_there_is(model: Model) -> None:
    jam = start(model)
    assert jam.splice(loop(3.0), anchor_bars=8.0) == 3.0
    assert jam.splice(anchor_bars=2.0) == 2.0
    jam.settle()
    step(jam)


def test_steering_leaves_no_seam(model: Model) -> None:
    """The sound across it is what one decode of all the codes gives, the context's end before them."""
    jam, codec = start(model), model.codec
    codes, sound = [jam.call()[0].context[0, -codec.history_frames :]], []
    for change in (None, lambda: jam.splice(loop(2.0)), lambda: jam.reseed(loop(3.0))):
        if change is not None:
            change()
        sound.append(step(jam))
        codes.append(jam.call()[0].context[0, -LAYOUT.chunk_frames :])
    whole, _ = codec.step(codec.start(1), np.concatenate(codes)[None])
    made = np.concatenate(sound)
    assert np.abs(np.asarray(whole)[0, -len(made) :] - made).max() < 1e-4


@pytest.mark.parametrize("change", [Jam.reseed, Jam.splice])
def test_audio_that_is_no_sound_is_refused_at_once_and_changes_nothing(model: Model, change) -> None:
    jam = start(model)
    with pytest.raises(BadAudio):
        change(jam, Waveform(np.zeros((0, 2), np.float32), 8000))
    assert not jam.pending


def test_a_stream_without_bars_cannot_be_spliced(model: Model) -> None:
    with pytest.raises(InvalidOption):
        start(model, bpm=None).splice(loop())
    with pytest.raises(InvalidOption):
        start(model).splice(loop(), anchor_bars=float("nan"))


def test_a_change_that_fails_ends_alone(model: Model) -> None:
    class Deaf:
        """A style model whose ears break; its words still work."""

        dim, embed_text, tokenize = 768, model.style.embed_text, model.style.tokenize

        def embed_audio(self, waveform: Waveform) -> np.ndarray:
            raise BadAudio("The style model cannot hear this.")

    jam = start(dataclasses.replace(model, style=model.style))
    jam.model = dataclasses.replace(model, style=Deaf())
    jam.update(style=StyleRequest(loop_weight=1.0), current_mix=True)
    jam.update(style=TECHNO, ramp_seconds=0.0)
    with pytest.raises(BadAudio):
        jam.settle()
    assert jam.pending
    jam.settle()
    techno = model.style.tokenize(model.style.embed_text(["techno"])[0])
    assert not jam.pending and np.array_equal(jam.call()[1].style, techno)
