"""`darius generate`, run as a user runs it."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from known_loops import LOOPS
from typer.testing import CliRunner, Result

from darius_cli.main import app

SHORT = ["--bars", "1", "--seed", "7", "--topk", "8"]


def darius(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def run(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "darius_cli", *map(str, args)], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def test_the_result_is_named_after_the_loop_and_has_exactly_its_bars(loop: Path, tmp_path: Path) -> None:
    done = run("generate", loop, "--bars", "2", "--seed", "7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "loop_garzul_darius_2bars_120bpm.wav"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    info = sf.info(path)
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (4 * 44100, 44100, 2, "FLOAT")
    assert path.name in done.stdout and "2 bars of 4 at 120 bpm" in done.stdout


def test_the_same_seed_gives_the_same_file_and_another_seed_another(loop: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert (
            darius("generate-file", loop, "--bars", "1", "--seed", seed, "--out", tmp_path / f"{name}.wav").exit_code
            == 0
        )
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_json_tells_everything_in_one_line(loop: Path, tmp_path: Path) -> None:
    result = darius("generate", loop, *SHORT, "--out", tmp_path / "x.flac", "--sample-rate", "48000", "--json")
    told = json.loads(result.stdout)
    assert told["outputs"] == [str(tmp_path / "x.flac")]
    assert (told["samples"], told["sample_rate"], told["bpm"], told["seeds"]) == (96000, 48000, 120.0, [7])
    assert told["loop"]["candidates"] and 0 <= told["loop"]["confidence"] <= 1
    assert sf.info(tmp_path / "x.flac").frames == 96000


def test_variations_differ_and_the_loop_can_come_first(loop: Path, tmp_path: Path) -> None:
    result = darius("generate", loop, *SHORT, "--variations", "2", "--include-loop", "--out", tmp_path / "x.wav")
    assert result.exit_code == 0, result.output
    first, second = (sf.read(tmp_path / f"x_{i}.wav")[0] for i in (1, 2))
    assert len(first) == len(second) == 8 * 44100 + 2 * 44100
    assert not np.array_equal(first[-44100:], second[-44100:])
    original = sf.read(loop)[0]
    assert np.allclose(first[: 7 * 44100], original[: 7 * 44100], atol=1e-6)


def test_a_picture_is_drawn(loop: Path, tmp_path: Path) -> None:
    assert darius("generate", loop, *SHORT, "--out", tmp_path / "x.wav", "--plot", tmp_path / "x.png").exit_code == 0
    assert (tmp_path / "x.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_wav_carries_its_tempo(loop: Path, tmp_path: Path) -> None:
    from darius.audio.files import tempo_tag

    assert darius("generate", loop, *SHORT, "--bpm", "60", "--out", tmp_path / "x.wav", "--bits", "24").exit_code == 0
    assert tempo_tag(tmp_path / "x.wav") == 60.0
    assert (sf.info(tmp_path / "x.wav").subtype, sf.info(tmp_path / "x.wav").frames) == ("PCM_24", 4 * 44100)


def test_an_existing_file_is_kept_unless_forced(loop: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.wav"
    path.write_bytes(b"mine")
    refused = darius("generate", loop, *SHORT, "--out", path)
    assert refused.exit_code == 2 and "--force" in refused.output
    assert path.read_bytes() == b"mine"
    assert darius("generate", loop, *SHORT, "--out", path, "--force").exit_code == 0
    assert sf.info(path).frames == 2 * 44100


OUT_OF_RANGE = [
    "--bars=0",
    "--bars=10000",
    "--bpm=0",
    "--bpm=1000",
    "--bpm=nan",
    "--temperature=-1",
    "--topk=2000",
    "--guidance=99",
    "--seed=-1",
    "--variations=0",
    "--sample-rate=1",
    "--loudness=loud",
    "--timing=late",
    "--bits=8",
    "--style=x:-1",
    "--loop-weight=nan",
]


@pytest.mark.parametrize("option", OUT_OF_RANGE)
def test_an_option_out_of_range_is_one_sentence_and_exit_code_2(loop: Path, tmp_path: Path, option: str) -> None:
    result = darius("generate", loop, option, "--out", tmp_path / "x.wav")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and result.output.strip()
    assert not list(tmp_path.iterdir())


def bad_audio(folder: Path) -> dict[str, Path]:
    def wav(name: str, samples: np.ndarray) -> Path:
        sf.write(folder / name, samples, 44100, subtype="FLOAT")
        return folder / name

    text, empty, hours = folder / "text.wav", folder / "empty.wav", folder / "hours.wav"
    text.write_text("this is no sound")
    empty.write_bytes(b"")
    size = 3 * 3600 * 44100 * 2
    wave_format = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 44100, 88200, 2, 16)
    header = struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE") + wave_format + struct.pack("<4sI", b"data", size)
    with hours.open("wb") as file:
        file.write(header)
        file.truncate(44 + size)  # a sparse file: three hours of silence that take no room
    return {
        "text": text,
        "empty": empty,
        "hours": hours,
        "silence": wav("silence.wav", np.zeros(88200)),
        "nan": wav("nan.wav", np.full(88200, np.nan)),
        "short": wav("short.wav", np.ones(132) * 0.1),
        "missing": folder / "missing.wav",
    }


@pytest.mark.parametrize("kind", ["text", "empty", "hours", "silence", "nan", "short", "missing"])
def test_bad_audio_is_one_sentence_and_exit_code_5(tmp_path: Path, kind: str) -> None:
    path = bad_audio(tmp_path)[kind]
    result = darius("generate", path, "--out", tmp_path / "out.wav")
    assert result.exit_code == 5, result.output
    assert path.name in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--model", "no-such-model"], 3),
        (["--device", "gpu:7"], 4),
        (["--device", "abacus"], 2),
        (["--out", "no/such/folder/x.wav"], 1),
        (["--out", "x.aiff"], 2),
    ],
)
def test_what_is_not_there_has_its_own_exit_code(loop: Path, args: list[str], code: int, tmp_path: Path) -> None:
    out = [] if "--out" in args else ["--out", str(tmp_path / "x.wav")]
    result = darius("generate", loop, *SHORT, *args, *out)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


def heeds_ctrl_c() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_nothing_behind(loop: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "darius_cli", "generate", str(loop), "--bars", "400", "--out", "x.wav"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heeds_ctrl_c)
    try:
        time.sleep(10)  # well inside the 800 s of music
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr and "stopped" in stderr
    assert not list(tmp_path.iterdir())


def test_words_reach_the_language_model(loop: Path, tmp_path: Path) -> None:
    for name, words in (("a", "dark techno"), ("b", "jazz trio, swing, piano")):
        args = ["--style", words, "--loop-weight", "0.3", "--out", tmp_path / f"{name}.wav"]
        assert darius("generate", loop, *SHORT, *args).exit_code == 0
    assert not np.array_equal(sf.read(tmp_path / "a.wav")[0], sf.read(tmp_path / "b.wav")[0])


def test_the_loops_are_all_here() -> None:
    assert len(LOOPS) == 6
