"""Pictures are PNGs with the music in them; playing needs a player that works."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from darius.audio import files, player
from darius.audio.plot import plot_waveform
from darius.errors import BadAudio, InvalidOption, MissingDependency, OutputExists

from .sounds import clicks, sine


def test_a_picture_shows_the_end_of_the_loop(tmp_path: Path) -> None:
    from matplotlib.image import imread

    loop = clicks(120, 2)
    plain = imread(plot_waveform(loop, tmp_path / "plain.png"))
    barred = imread(plot_waveform(loop, tmp_path / "barred.png", bpm=120, title="clicks"))
    joined = imread(plot_waveform(loop, tmp_path / "joined.png", bpm=120, title="clicks", loop_samples=88_200))
    assert plain.shape == barred.shape == joined.shape == (800, 1600, 4)
    assert not np.array_equal(plain, barred)
    red = (joined[..., 0] > 0.7) & (joined[..., 1] < 0.4) & (joined[..., 2] < 0.3)
    before = (barred[..., 0] > 0.7) & (barred[..., 1] < 0.4) & (barred[..., 2] < 0.3)
    column = (red & ~before).sum(axis=0).argmax()
    assert 0.45 < column / 1600 < 0.55  # the loop ends in the middle


def test_one_short_sound_and_many_bars_can_be_drawn(tmp_path: Path) -> None:
    assert plot_waveform(sine(0.1, channels=1), tmp_path / "short.png", bpm=120).stat().st_size > 5000
    assert plot_waveform(clicks(180, 64, rate=8_000), tmp_path / "many.png", bpm="180").stat().st_size > 5000


def test_pictures_are_png_and_kept_if_asked(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="suffix"):
        plot_waveform(sine(0.5), tmp_path / "a.gif")
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OutputExists):
        plot_waveform(sine(0.5), tmp_path / "a.png", overwrite=False)
    assert plot_waveform(sine(0.5), tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_without_matplotlib_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match="matplotlib") as caught:
        plot_waveform(sine(0.5), tmp_path / "a.png")
    assert "darius[plot]" in caught.value.hint


def _program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_no_player_at_all(tmp_path: Path) -> None:
    files.save(tmp_path / "a.wav", sine(0.2))
    with pytest.raises(MissingDependency, match="No audio player") as caught:
        player.play(tmp_path / "a.wav", search_path=str(tmp_path))
    assert "ffplay" in caught.value.hint


def test_the_best_player_gets_the_file(tmp_path: Path) -> None:
    files.save(tmp_path / "-odd name.wav", sine(0.2))
    _program(tmp_path, "aplay", "exit 1")
    _program(tmp_path, "ffplay", f'for last; do :; done; test -f "$last" && echo "$last" > "{tmp_path}/played"')
    player.play(tmp_path / "-odd name.wav", search_path=str(tmp_path))
    assert (tmp_path / "played").read_text().strip() == str(tmp_path / "-odd name.wav")


def test_a_player_that_fails_is_quoted(tmp_path: Path) -> None:
    files.save(tmp_path / "a.wav", sine(0.2))
    _program(tmp_path, "aplay", 'echo "ALSA: no sound card" >&2; exit 1')
    with pytest.raises(MissingDependency, match="no sound card"):
        player.play(tmp_path / "a.wav", search_path=str(tmp_path))


def test_nothing_to_play(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="to play"):
        player.play(tmp_path / "a.wav")
