"""Which audio files a folder has, and what each one is."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from known_loops import LOOPS, TEMPI

from darius.errors import BadAudio, InvalidOption
from finetune import sources


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_audio_is_found_in_all_folders_by_ending_in_the_order_of_names(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b.WAV", "a/c.flac", "a/d.txt", "a/e.mp3", "notes.md")))
    assert [source.name for source in sources.find(tmp_path)] == ["a/c.flac", "a/e.mp3", "b.WAV"]
    assert [source.name for source in sources.find(tmp_path, [".flac", " MP3 "])] == ["a/c.flac", "a/e.mp3"]


def test_hidden_files_and_the_output_folder_are_not_audio(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.wav", "._a.wav", ".git/b.wav", "out/style_report/c.wav")))
    assert [source.name for source in sources.find(tmp_path, outside=tmp_path / "out")] == ["a.wav"]


def test_no_folder_and_no_audio_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="There is no folder"):
        sources.find(tmp_path / "none")
    touch(tmp_path / "a.txt")
    with pytest.raises(InvalidOption, match=r"There are no audio files in .* \(flac, wav\)"):
        sources.find(tmp_path, ["wav", "flac"])


@pytest.mark.parametrize("name", ["loop_garzul", "loop_electric"])
def test_a_real_loop_is_known_with_its_tempo(name: str) -> None:
    found = sources.inspect(LOOPS[name])
    assert (found.header.rate, found.header.channels) == (44_100, 2)
    assert found.bpm == TEMPI[name]
    assert len(found.sha256) == 64


def test_a_tempo_in_the_name_is_believed_and_noise_has_none(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((70 * 8000, 1))
    for name in ("pad 93.5 bpm.wav", "pad.wav"):
        soundfile.write(tmp_path / name, noise, 8000)
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000), 8000)
    assert sources.inspect(tmp_path / "pad 93.5 bpm.wav").bpm == 93.5
    assert sources.inspect(tmp_path / "pad.wav").bpm is None
    assert sources.inspect(tmp_path / "silence.wav").bpm is None


def test_what_is_no_audio_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "song.m4a")
    with pytest.raises(BadAudio, match=r"'song\.m4a' is not an audio file that Darius can read") as caught:
        sources.inspect(tmp_path / "song.m4a")
    assert "ffmpeg" in caught.value.hint
