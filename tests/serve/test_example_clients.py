"""The example clients, run as their first lines say, against a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile as sf
from serving import ROOT, Server

CLIENTS = ROOT / "examples" / "clients"


def run(name: str, *args: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, CLIENTS / name, *args], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sounds(path: Path, *, least: float = 0.01) -> np.ndarray:
    samples = np.asarray(sf.read(path, dtype="float32")[0])
    assert np.abs(samples).max() > least
    return samples


def test_generate_writes_the_bars_it_was_asked_for(server: Server, loop: Path, tmp_path: Path) -> None:
    told = run("http_generate.py", loop, "--server", server.url, "--bars", "2", cwd=tmp_path)
    assert "2 bars at 120 bpm, 176400 samples" in told
    assert len(sounds(tmp_path / "continued.wav")) == 176_400


def test_a_jam_over_http_is_a_file_a_chunk(server: Server, loop: Path, tmp_path: Path) -> None:
    told = run("http_jam.py", loop, "--server", server.url, "--chunks", "2", "--bars-per-chunk", "1", cwd=tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["jam_000.wav", "jam_001.wav"]
    assert "88200 samples from 88200" in told
    assert all(len(sounds(path)) == 88_200 for path in tmp_path.iterdir())


def test_words_alone_are_two_second_chunks(server: Server, tmp_path: Path) -> None:
    run("websocket_rt.py", "--server", server.ws_url, "--seconds", "3", cwd=tmp_path)
    assert len(sounds(tmp_path / "words.wav", least=0)) == 3 * 48_000  # a small model may begin very quietly


def test_a_jam_over_the_websocket_is_whole_bars(server: Server, loop: Path, tmp_path: Path) -> None:
    run("websocket_bar.py", loop, "--server", server.ws_url, "--chunks", "2", cwd=tmp_path)
    samples, rate = sf.read(tmp_path / "jam.wav", dtype="float32")
    assert len(samples) == 2 * 4 * rate


def test_a_refusal_is_the_servers_own_sentence(server: Server, loop: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, CLIENTS / "http_generate.py", loop, "--server", server.url, "--bars", "1000"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "bars" in done.stderr and "Traceback" not in done.stderr
