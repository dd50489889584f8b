"""A whole Magenta RealTime 2: from a release's files, continuing a loop to the exact sample, jamming."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import darius
from darius import session
from darius.audio import files
from darius.audio.waveform import Waveform
from darius.batching import Advance, Conductor
from darius.continuation import ContinuationOptions
from darius.engine import Model
from darius.errors import BadAudio, BadCheckpoint, InvalidOption
from darius.hub import mrt2 as release
from darius.jam import Jam, JamSettings, KeyStroke
from darius.mrt2 import style
from darius.notes import Note, Score
from darius.piece import Piece, plan
from darius.session import Knobs
from darius.style.interface import StyleModel
from mrt2.small_mrt2 import CODEC, small_engine, small_model, write_release

LOOPS = Path(__file__).parent.parent / "loops"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def musiccoca(checkpoint: Path) -> StyleModel:
    return style.load(release.style_folder(release.resources_beside(checkpoint)))


def test_a_release_plays_what_its_weights_play(checkpoint: Path) -> None:
    model = darius.load(str(checkpoint), keep_programs=False)
    assert (model.levels, model.frame_rate, model.codec.sample_rate) == (4, 25, CODEC.sample_rate)
    knobs = Knobs(style=model.style.tokenize(model.style.embed_text(["acid house"])[0]))
    _, codes, _ = session.advance(model, session.start(model, model.nothing(), 5), [knobs], frames=4)
    engine = small_engine()
    _, wanted, _ = session.advance(engine, session.start(engine, engine.nothing(), 5), [knobs], frames=4)
    assert np.array_equal(codes, wanted)


def test_a_damaged_or_foreign_checkpoint_is_told(checkpoint: Path, tmp_path: Path) -> None:
    from darius.checkpoints import safetensors_io

    other = write_release(tmp_path)
    tensors = dict(safetensors_io.load(checkpoint))
    dropped = tensors.pop("params/depthformer/decoder/depth_body/final_ln/bias")
    safetensors_io.save(other, tensors, overwrite=True)
    with pytest.raises(BadCheckpoint, match="lacks the tensor params/depthformer/decoder/depth_body/final_ln/bias"):
        darius.load(str(other), keep_programs=False)
    safetensors_io.save(other, {"weights": dropped}, overwrite=True)
    with pytest.raises(BadCheckpoint, match="not a checkpoint of Magenta RealTime 2"):
        darius.load(str(other), keep_programs=False)


def test_a_damaged_style_file_is_told(tmp_path: Path) -> None:
    folder = release.style_folder(write_release(tmp_path).parent.parent / release.RESOURCES)
    (folder / "text_encoder.tflite").write_bytes(b"not a model")
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        style.load(folder)


def test_the_style_model_is_the_packages(musiccoca: StyleModel, checkpoint: Path) -> None:
    from magenta_rt import audio
    from magenta_rt.musiccoca import MusicCoCa

    theirs = MusicCoCa(resource_dir=release.style_folder(release.resources_beside(checkpoint)))
    texts = ["Acid House", "warm piano strings"]
    ours = musiccoca.embed_text(texts)
    assert np.array_equal(ours, theirs.embed_batch_text(texts))
    assert not np.array_equal(ours[0], ours[1])
    assert np.array_equal(musiccoca.tokenize(ours), theirs.tokenize(ours))
    assert musiccoca.tokenize(ours[0]).shape == (12,) and ours.dtype == np.float32
    loop = files.load(LOOPS / "loop_mika.flac")
    wanted = theirs.embed(audio.Waveform(loop.samples, loop.rate))
    np.testing.assert_allclose(musiccoca.embed_audio(loop), wanted, rtol=1e-6)
    with pytest.raises(BadAudio):
        musiccoca.embed_audio(Waveform(np.zeros((0, 2), np.float32), 48_000))


def test_threads_may_share_the_style_model(musiccoca: StyleModel) -> None:
    texts = [f"{a} {b}" for a in ("acid", "dub", "funk") for b in ("house", "techno")]
    wanted = {text: musiccoca.embed_text([text])[0] for text in texts}
    wrong: list[str] = []

    def ask(text: str) -> None:
        for _ in range(20):
            if not np.array_equal(musiccoca.embed_text([text])[0], wanted[text]):
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_real_loop_is_continued_by_exact_bars(tmp_path: Path) -> None:
    music = small_model().continue_loop(LOOPS / "loop_mika.flac", bars=3, seed=7, style="acid house", variations=2)
    loop = files.load(LOOPS / "loop_mika.flac")
    bar = Fraction(4 * 60) / music.bpm
    assert [len(w) for w in music.waveforms] == [round(3 * bar * loop.rate)] * 2
    assert music.waveforms[0].rate == loop.rate and music.waveforms[0].peak > 0.01
    assert not np.array_equal(music.waveforms[0].samples, music.waveforms[1].samples)
    again = small_model().continue_loop(LOOPS / "loop_mika.flac", bars=3, seed=8, style="acid house")
    assert np.array_equal(again.codes[0], music.codes[1])  # the second variation's seed
    music.save(tmp_path / "more.wav")
    assert len(files.load(tmp_path / "more.wav")) == len(music.waveforms[0])


def test_a_jam_is_cut_on_exact_bar_lines_and_takes_another_loop_while_it_plays() -> None:
    model = small_model()
    loop = files.load(LOOPS / "loop_mika.flac")
    settings = JamSettings(bpm="133.5", bars_per_chunk=1, rate=44_100)
    jam = Jam.start(model, settings, loop=loop, seed=3)
    conductor = Conductor(model, buckets=(1,))
    chunks = []
    try:
        while len(chunks) < 3:
            if (chunk := jam.cut()) is not None:
                chunks.append(chunk)
                jam.reseed(loop)
                jam.settle()
                continue
            jam.feed(conductor.advance(*jam.call()).result(300))
    finally:
        conductor.close()
    for chunk in chunks:
        length = settings.chunk_start(chunk.index + 1) - settings.chunk_start(chunk.index)
        assert len(chunk.samples) == length and np.abs(chunk.samples).max() > 0.001


def test_keys_played_in_a_jam_are_told_to_the_model_at_their_frame() -> None:
    model = small_model()
    jam = Jam.start(model, JamSettings(bpm=None, rate=8000, loudness="none"), seed=3)
    assert jam.call()[1].notes is None
    jam.play_keys([KeyStroke(60, True), KeyStroke(64, True, after=3 / 25), KeyStroke(60, False, after=6 / 25)])
    streams, knobs = jam.call()
    assert knobs.notes is not None
    assert knobs.notes[:8, 60].tolist() == [2, 1, 1, 1, 1, 1, 0, 0]
    assert knobs.notes[:8, 64].tolist() == [0, 0, 0, 2, 1, 1, 1, 1]
    samples, codes, after = session.advance(model, streams, [knobs])
    jam.feed(Advance(samples[0], codes[0], after))
    later = jam.call()[1].notes
    assert later is not None and later[0, [60, 64]].tolist() == [0, 1]  # the second key is still down


def test_a_score_follows_the_music_from_its_first_kept_downbeat() -> None:
    score = Score(notes=(Note(60, Fraction(0), Fraction(1)),), beats=Fraction(4))
    options = ContinuationOptions(bars=2, bpm=120, notes=score, intro_bars_to_drop=1)
    model = small_model()
    playing = Piece.start(model, plan(model, options), options, style=None, seeds=[1])
    rolls = []
    for made in range(8):
        playing.made = made
        rolls.append(playing.call()[1].notes)
    states = np.concatenate(rolls)[:, 60]  # 50 frames of intro, then 12.5 frames a beat
    assert (states[:50] == -1).all() and states[50] == 2 and (states[51:62] == 1).all() and states[63] == 0


def test_v1_is_told_apart_by_what_it_supports(tiny: Model) -> None:
    with pytest.raises(InvalidOption, match="cannot be told drums"):
        tiny.continue_loop(LOOPS / "loop_mika.flac", bars=1, drums=True)
