"""Notes in frames: of a MIDI file on the beats of the music, of someone who plays at the moment they are played."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darius import notes
from darius.errors import BadAudio
from darius.notes import FREE, SILENT, SOUNDING, STRUCK, Key, Keyboard, Note, Score

mido = pytest.importorskip("mido")


def write_midi(path: Path, events: list[tuple[str, int, int, int, int]], *, ticks: int = 480) -> Path:
    """Events: (type, channel, pitch, velocity, ticks since the last)."""
    file = mido.MidiFile(ticks_per_beat=ticks)
    track = mido.MidiTrack(mido.Message(k, channel=c, note=p, velocity=v, time=t) for k, c, p, v, t in events)
    file.tracks.append(track)
    file.save(path)
    return path


def test_a_midi_file_in_beats_without_its_drums(tmp_path: Path) -> None:
    events = [
        ("note_on", 0, 60, 90, 0),
        ("note_on", 9, 36, 127, 0),  # the drum channel
        ("note_on", 0, 64, 90, 240),
        ("note_on", 0, 60, 0, 240),  # velocity 0 is a release
        ("note_off", 9, 36, 0, 0),
        ("note_off", 0, 64, 0, 480),
        ("note_on", 0, 67, 1, 0),  # never released
        ("note_on", 1, 67, 1, 480),
    ]
    score = notes.read_midi(write_midi(tmp_path / "a.mid", events))
    half = Fraction(1, 2)
    assert sorted(score.notes) == [
        Note(60, Fraction(0), Fraction(1)),
        Note(64, half, Fraction(2)),
        Note(67, Fraction(2), Fraction(3)),
        Note(67, Fraction(3), Fraction(1441, 480)),
    ]
    assert score.beats == 4
    assert notes.read_midi(tmp_path / "a.mid", beats_per_bar=3).beats == 6


@pytest.mark.parametrize("content", [b"", b"RIFFnot midi", b"MThd\0\0\0\6\0\1"])
def test_what_is_no_midi_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(BadAudio, match="cannot be read as a MIDI file"):
        notes.read_midi(tmp_path / "a.mid")
    with pytest.raises(BadAudio, match="cannot be read"):
        notes.read_midi(tmp_path / "absent.mid")


def test_a_file_without_notes_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="no notes"):
        notes.read_midi(write_midi(tmp_path / "a.mid", [("note_on", 9, 36, 90, 0)]))


def test_a_roll_strikes_holds_and_rests_and_leaves_the_rest_to_the_model() -> None:
    score = Score(notes=(Note(60, Fraction(1), Fraction(2)),), beats=Fraction(4))
    roll = score.roll(Fraction(0), 20, Fraction(4))
    assert roll[:, 60].tolist() == [SILENT] * 4 + [STRUCK] + [SOUNDING] * 3 + [SILENT] * 8 + [FREE] * 4
    assert roll[:16, 61].tolist() == [SILENT] * 16


@given(
    first=st.integers(-20, 60),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    rate=st.fractions(min_value=2, max_value=30, max_denominator=97),
    starts=st.lists(st.fractions(min_value=0, max_value=3, max_denominator=24), min_size=1, max_size=4),
)
def test_a_roll_in_pieces_is_the_roll(first: int, cuts: list[int], rate: Fraction, starts: list[Fraction]) -> None:
    score = Score(notes=tuple(Note(60 + i, s, s + Fraction(1, 3)) for i, s in enumerate(starts)), beats=Fraction(4))
    parts, place = [], first
    for frames in cuts:
        parts.append(score.roll(Fraction(place), frames, rate))
        place += frames
    assert np.array_equal(np.concatenate(parts), score.roll(Fraction(first), sum(cuts), rate))


def test_keys_act_from_their_frame_and_at_once_when_late() -> None:
    board = Keyboard().after(10).play([Key(3, 60, True), Key(12, 64, True), Key(13, 60, False), Key(15, 64, False)])
    roll = board.roll(8)
    assert roll is not None
    assert roll[:, 60].tolist() == [STRUCK, SOUNDING, SOUNDING, SILENT, SILENT, FREE, FREE, FREE]
    assert roll[:, 64].tolist() == [SILENT, SILENT, STRUCK, SOUNDING, SOUNDING, FREE, FREE, FREE]


def test_without_keys_all_is_the_models_choice() -> None:
    assert Keyboard().roll(5) is None
    assert Keyboard().play([Key(5, 60, True)]).roll(5) is None


def test_a_key_touched_within_a_frame_is_heard() -> None:
    board = Keyboard().play([Key(0, 60, True), Key(0, 60, False)])
    roll = board.roll(2)
    assert roll is not None and roll[:, 60].tolist() == [STRUCK, FREE]


def test_a_key_struck_again_is_struck_again() -> None:
    roll = Keyboard().play([Key(0, 60, True), Key(2, 60, True)]).roll(4)
    assert roll is not None and roll[:, 60].tolist() == [STRUCK, SOUNDING, STRUCK, SOUNDING]


@given(
    keys=st.lists(st.builds(Key, st.integers(0, 12), st.integers(60, 62), st.booleans()), max_size=10),
    cut=st.integers(1, 14),
)
def test_frames_made_in_two_calls_are_those_of_one(keys: list[Key], cut: int) -> None:
    board = Keyboard().play(keys)
    whole, first, rest = (b.roll(n) for b, n in ((board, 15), (board, cut), (board.after(cut), 15 - cut)))
    free = np.full((15, 128), FREE, np.int8)
    joined = np.concatenate([free[:cut] if first is None else first, free[cut:] if rest is None else rest])
    assert np.array_equal(free if whole is None else whole, joined)
    assert board.after(15) == board.after(cut).after(15 - cut)
