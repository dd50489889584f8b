"""`darius analyze` tells people a table and programs one JSON object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from darius.audio import files
from darius.errors import BadAudio
from darius_cli.commands.analyze import analyze

from .sounds import EXAMPLES, LOOPS, drums

app = typer.Typer()
app.command()(analyze)


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_one_json_object_of_plain_numbers() -> None:
    told = json.loads(run(EXAMPLES / "arovane_beat_c.flac", "--json"))
    assert (told["bpm"], told["exact_bpm"]) == (130.0, 129.9747)
    assert (told["samples"], told["sample_rate"], told["channels"]) == (325_725, 44_100, 2)
    assert (told["used_bars"], told["whole_bars"], told["source"]) == (4, True, "length and onsets")
    assert told["lufs"] == pytest.approx(-11.0, abs=0.2)
    assert 0.5 < told["confidence"] <= 1 and told["candidates"][0]["bpm"] == 130.0


def test_a_table_for_people() -> None:
    told = run(EXAMPLES / "loop_tabla.flac")
    for words in ("loop_tabla.flac", "10.674 s", "44,100 Hz, stereo", "LUFS", "90 bpm", "89.94", "4 bars of 4 beats"):
        assert words in told
    assert "\x1b" not in told  # no colours when not on a terminal


def test_a_given_tempo_that_does_not_fit_is_explained() -> None:
    told = " ".join(run(LOOPS / "loop_electric.flac", "--bpm", "100").split())
    assert "100 bpm (as given)" in told
    assert "1.03: not cut to whole bars; the first 1 bar of 4 beats would be used" in told


def test_our_own_files_tell_their_tempo(tmp_path: Path) -> None:
    files.save(tmp_path / "mine.wav", drums(97, 2, rate=22_050), tempo=97.0, beats=8)
    told = json.loads(run(tmp_path / "mine.wav", "--json"))
    assert (told["bpm"], told["source"], told["confidence"]) == (97.0, "file tag", 0.95)


def test_bad_audio_is_an_error_of_the_table(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="no file"):
        run(tmp_path / "missing.wav")
