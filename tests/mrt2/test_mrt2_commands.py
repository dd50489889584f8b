"""Magenta RealTime 2 on the command line, from a release's files: a real loop to the exact sample, notes, drums."""

from __future__ import annotations

import json
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf
from known_loops import LOOPS
from typer.testing import CliRunner, Result

from darius_cli.main import app
from mrt2.small_mrt2 import write_release


def darius(*args: str | Path, **env: str) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env=env)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("home") / "magenta-rt-v2")


@pytest.fixture(scope="module")
def chords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file, track = mido.MidiFile(ticks_per_beat=480), mido.MidiTrack()
    for pitch in (60, 64, 67, 72):
        track.append(mido.Message("note_on", note=pitch, velocity=80, time=0))
        track.append(mido.Message("note_off", note=pitch, time=960))
    file.tracks.append(track)
    path = tmp_path_factory.mktemp("midi") / "chords.mid"
    file.save(str(path))
    return path


def test_a_loop_goes_on_for_eight_bars_to_the_sample_with_notes_and_drums(
    checkpoint: Path, chords: Path, tmp_path: Path
) -> None:
    """As `--model mrt2-small` does with a MAGENTA_HOME that other programs have filled."""
    fixed = ("--bars", "8", "--seed", "3", "--json", "--loudness", "none")
    home, heard = {"MAGENTA_HOME": str(checkpoint.parents[2])}, {}
    for name, more in (
        ("plain", ()),
        ("told", ("--notes", chords, "--guidance-notes", "3", "--drums", "on", "--guidance-drums", "2")),
    ):
        path = tmp_path / f"{name}.wav"
        done = darius("generate", LOOPS["loop_garzul"], "--model", "mrt2-small", *fixed, *more, "--out", path, **home)
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout.splitlines()[-1])
        heard[name], rate = sf.read(path)
        assert (len(heard[name]), rate) == (told["samples"], told["sample_rate"]) == (8 * 2 * 44_100, 44_100)
    assert not np.array_equal(heard["plain"], heard["told"])


def test_what_cannot_be_is_one_sentence(checkpoint: Path, chords: Path, tmp_path: Path) -> None:
    loop = LOOPS["loop_garzul"]
    for args, words in (
        ((loop, "--model", checkpoint, "--drums", "loud"), "Choose on, off or auto"),
        ((loop, "--model", checkpoint, "--notes", tmp_path / "none.mid"), "cannot be read as a MIDI file"),
        ((loop, "--model", checkpoint, "--notes", loop), "cannot be read as a MIDI file"),
    ):
        done = darius("generate", *args, "--out", tmp_path / "x.wav")
        assert done.exit_code != 0 and words in done.output, done.output
        assert len([line for line in done.output.splitlines() if line.strip()]) <= 3
    assert not (tmp_path / "x.wav").exists()


def test_without_a_network_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "MAGENTA_HOME": str(tmp_path)}
    done = darius("models", "pull", "mrt2-small", "--offline", **nowhere)
    assert done.exit_code != 0
    assert "google/magenta-realtime-2" in done.output and "Go online once" in done.output
    assert len([line for line in done.output.splitlines() if line.strip()]) == 2


@pytest.mark.acceptance
def test_speed_can_be_measured_without_weights() -> None:
    done = darius("bench", "--model", "random:mrt2-tiny", "--chunks", "1", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["results"][0]["batch"] == 1
