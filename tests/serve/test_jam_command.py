"""`darius jam --server`: the terminal as a client of a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf
from serving import Server
from typer.testing import CliRunner, Result

from darius_cli.main import app


def jam(*args: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["jam", *map(str, args)], input=typed)


def test_a_servers_jam_is_as_long_as_it_was_asked_for(server: Server, loop: Path, tmp_path: Path) -> None:
    path = tmp_path / "j.wav"
    result = jam(
        loop, "--server", server.url, "--mute", "--bars", "2", "--seed", "3", "--out", path, typed="t 1.5\npiano\n"
    )
    assert result.exit_code == 0, result.output
    samples, rate = sf.read(path, dtype="float32")
    assert (len(samples), rate) == (176_400, 44_100)
    assert np.abs(samples).max() > 0.01
    assert "piano:1" in result.output
    assert server.get("/health").json()["active_jams"] == 0


def test_a_full_server_is_exit_code_6(server: Server, loop: Path, tmp_path: Path) -> None:
    taken = []
    while len(taken) < 64:
        started = server.post("/jam/start", data={"bpm": "120"}, files={"loop_audio": loop.read_bytes()})
        if started.status_code == 429:
            break
        taken.append(started.json()["session_id"])
    result = jam(loop, "--server", server.url, "--mute", "--bars", "1", "--out", tmp_path / "j.wav")
    for session in taken:
        server.post("/jam/stop", json={"session_id": session})
    assert result.exit_code == 6, result.output
    assert "places" in result.output and "Traceback" not in result.output
    assert not (tmp_path / "j.wav").exists()


def test_a_refused_loop_is_exit_code_5(server: Server, loop: Path, tmp_path: Path) -> None:
    from darius.errors import BadAudio
    from darius_cli.jamming.sources import OnServer, Wish

    text = tmp_path / "text.wav"
    text.write_text("no sound")
    wish = Wish(bpm="120", beats_per_bar=4, bars_per_chunk=1, rate=44_100, seed=1, loudness="auto")
    try:
        OnServer(server.url, text, wish)
    except BadAudio as refused:
        assert refused.exit_code == 5
    else:
        raise AssertionError("the server took a text file for a loop")
