"""`darius jam`, run as a user runs it: typed at, written, piped into a player."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner, Result

from darius.errors import MissingDependency
from darius_cli.jamming import outlets
from darius_cli.main import app

QUICK = ["--seed", "7", "--topk", "8", "--mute"]


def darius(*args: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=typed)


def samples(path: Path) -> np.ndarray:
    return np.asarray(sf.read(path, dtype="float32")[0])


def test_a_jam_of_so_many_bars_is_that_long_to_the_sample(loop: Path, tmp_path: Path) -> None:
    result = darius(
        "jam", loop, *QUICK, "--bars", "3", "--bars-per-chunk", "2", "--bpm", "97.5", "--out", tmp_path / "j.wav"
    )
    assert result.exit_code == 0, result.output
    info = sf.info(tmp_path / "j.wav")
    assert (info.frames, info.samplerate, info.subtype) == (round(3 * 4 * 60 / 97.5 * 44100), 44100, "FLOAT")
    assert np.abs(samples(tmp_path / "j.wav")).max() > 0.01
    assert "3 bars of 4 at 97.5 bpm" in result.output


def test_the_same_seed_is_the_same_jam_and_typing_changes_it(loop: Path, tmp_path: Path) -> None:
    args = ["jam", loop, *QUICK, "--seconds", "3"]
    assert darius(*args, "--out", tmp_path / "a.wav").exit_code == 0
    assert darius(*args, "--out", tmp_path / "b.wav").exit_code == 0
    steered = darius(*args, "--out", tmp_path / "c.flac", typed="?\nt 3\ndub techno, piano:0.5\nt much\nk 1.5\n")
    assert np.array_equal(samples(tmp_path / "a.wav"), samples(tmp_path / "b.wav"))
    assert not np.allclose(samples(tmp_path / "a.wav"), samples(tmp_path / "c.flac"), atol=1e-3)
    assert "dub techno:1, piano:0.5 | loop 1 | temperature 3 | topk 8" in steered.output
    assert "topk" in steered.output and "needs a whole number from 0 to 1024" in steered.output


def test_quit_ends_a_jam_and_keeps_the_file(loop: Path, tmp_path: Path) -> None:
    result = darius("jam", loop, *QUICK, "--bars", "500", "--out", tmp_path / "j.wav", typed="quit\n")
    assert result.exit_code == 0, result.output
    assert sf.info(tmp_path / "j.wav").frames % 88_200 == 0
    assert sf.info(tmp_path / "j.wav").frames < 20 * 88_200


def heeds_ctrl_c() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_is_the_usual_end(loop: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "darius_cli", "jam", str(loop), *QUICK, "--bars", "4000", "--out", "j.wav"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heeds_ctrl_c
    )
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and not any(p.stat().st_size > 100_000 for p in tmp_path.glob(".*.wav")):
            time.sleep(0.2)  # until bars have been written
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert [p.name for p in tmp_path.iterdir()] == ["j.wav"]
    assert np.abs(samples(tmp_path / "j.wav")).max() > 0.01


def player(folder: Path, script: str) -> None:
    """A program called aplay that does this instead."""
    path = folder / "aplay"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_is_heard_is_what_is_written(loop: Path, tmp_path: Path) -> None:
    """Without a loudspeaker's package a player of the system gets the sound as it is made."""
    (tmp_path / "bin").mkdir()
    player(tmp_path / "bin", f'echo "$@" > {tmp_path}/args; exec cat > {tmp_path}/heard')
    hide = "import sys; sys.modules['sounddevice'] = None; from darius_cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hide, "jam", loop, *QUICK[:-1], "--bars", "2", "--out", tmp_path / "j.wav"],
        env=os.environ | {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    heard = np.frombuffer((tmp_path / "heard").read_bytes(), "<f4").reshape(-1, 2)
    assert np.array_equal(heard, samples(tmp_path / "j.wav"))
    assert "-f FLOAT_LE -r 44100 -c 2" in (tmp_path / "args").read_text()
    assert "Playing on j.wav and aplay" in done.stderr


def test_a_player_that_fails_is_one_sentence(tmp_path: Path) -> None:
    player(tmp_path, "echo no card >&2; exit 1")
    outlet = outlets.Background(outlets.Program(8_000, search_path=str(tmp_path)), 8_000)
    with pytest.raises(MissingDependency, match="aplay cannot play here: no card"):
        for _ in range(100):
            outlet.write(np.zeros((8_000, 2), np.float32))
    outlet.close()


def test_without_any_player_a_jam_needs_an_end(loop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "loudspeaker", lambda rate: None)  # a machine without sound
    result = darius("jam", loop, "--out", tmp_path / "j.wav")
    assert result.exit_code == 1
    assert "--bars" in result.output and "darius[play]" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["--bars", "0"], 2, "bars"),
        (["--loudness", "loud", "--bars", "1"], 2, "loudness"),
        (["--out", "x.mp4", "--bars", "1"], 2, "suffix"),
        (["--server", "http://127.0.0.1:9", "--bars", "1"], 3, "cannot be reached"),
        (["--server", "no address", "--bars", "1"], 3, "cannot be reached"),
        (["--style", "dub:-1", "--bars", "1"], 2, "weight"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    loop: Path, tmp_path: Path, args: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = darius("jam", loop, *QUICK, *args)
    assert result.exit_code == code, result.output
    assert told in re.sub(r"\s+", " ", result.output) and "Traceback" not in result.output
    assert not list(tmp_path.iterdir())
