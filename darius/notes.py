"""Notes in time, from a MIDI file or from someone who plays: what every pitch does in each frame. Knows no model.

Source of the states: `PIANOROLL_WITH_ONSETS` in `magenta_rt.config`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darius.errors import BadAudio, MissingDependency

FREE, SILENT, SOUNDING, STRUCK = -1, 0, 1, 2
"""What a pitch does in a frame: the model's choice, nothing, sounds, is struck."""
PITCHES = 128
DRUM_CHANNEL = 9

Roll = NDArray[np.int8]
"""States of every pitch in some frames, int8 [frames, 128]."""


class Note(NamedTuple):
    """A note of a score: MIDI pitch, and its place in beats from the beginning."""

    pitch: int
    start: Fraction
    end: Fraction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """Notes, and how many beats they are meant to last, rests at the end included."""

    notes: tuple[Note, ...]
    beats: Fraction

    def roll(self, first: Fraction, frames: int, frames_per_beat: Fraction) -> Roll:
        """The states in `frames` frames; before the score begins and after its end all is the model's choice.

        Args:
          first: the first frame's place in the score, in frames; may be negative, or between two frames.
        """
        states = np.full((frames, PITCHES), FREE, np.int8)
        begin, end = _frame(-first), _frame(self.beats * frames_per_beat - first)
        states[max(begin, 0) : max(end, 0)] = SILENT
        for note in sorted(self.notes, key=lambda note: note.start):
            struck = _frame(note.start * frames_per_beat - first)
            released = max(_frame(note.end * frames_per_beat - first), struck + 1)
            states[max(struck, 0) : max(released, 0), note.pitch] = SOUNDING
            if 0 <= struck < frames:
                states[struck, note.pitch] = STRUCK
        return states


def read_midi(path: str | Path, *, beats_per_bar: int = 4) -> Score:
    """The notes of a MIDI file on the beats of its own bars; its tempo is left out, and so are its drums.

    Raises:
      BadAudio: the file is absent, is no MIDI file, counts in frames of film, or holds no notes.
      MissingDependency: the package mido is not installed.
    """
    mido = _mido()
    try:
        file = mido.MidiFile(str(path))
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        message = f"{path} cannot be read as a MIDI file ({error})."
        raise BadAudio(message, "Export it as a standard MIDI file.") from None
    if file.ticks_per_beat <= 0:
        raise BadAudio(f"{path} counts in frames of film, not in beats.", "Export it with ticks per quarter note.")
    notes = tuple(note for track in file.tracks for note in _of_track(track, file.ticks_per_beat))
    if not notes:
        raise BadAudio(f"There are no notes in {path} (drums are not counted).", "Choose another file.")
    bars = -(-max(note.end for note in notes) // beats_per_bar)
    return Score(notes=notes, beats=Fraction(bars * beats_per_bar))


def _mido() -> Any:
    try:
        import mido
    except ImportError:
        raise MissingDependency(
            "Reading MIDI files needs the package mido, which is not installed.", "Run `pip install 'darius[mrt2]'`."
        ) from None
    return mido


def _of_track(track: Iterable[Any], ticks_per_beat: int) -> list[Note]:
    notes: list[Note] = []
    begun: dict[tuple[int, int], int] = {}
    ticks = 0
    for message in track:
        ticks += message.time
        if message.type not in ("note_on", "note_off") or message.channel == DRUM_CHANNEL:
            continue
        key = (message.channel, message.note)
        if key in begun:
            notes.append(Note(message.note, Fraction(begun.pop(key), ticks_per_beat), Fraction(ticks, ticks_per_beat)))
        if message.type == "note_on" and message.velocity > 0:
            begun[key] = ticks
    # What is never released ends with the track.
    for (_, pitch), start in begun.items():
        notes.append(Note(pitch, Fraction(start, ticks_per_beat), Fraction(max(ticks, start + 1), ticks_per_beat)))
    return notes


class Key(NamedTuple):
    """A key that goes down or up at a frame of the music."""

    frame: int
    pitch: int
    down: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keyboard:
    """Keys as someone plays them. A value; while none is down, all is the model's choice.

    Attributes:
      frame: up to which music was made.
      down: pitches that sound there.
      coming: keys that go down or up there or later, in order.
    """

    frame: int = 0
    down: frozenset[int] = frozenset()
    coming: tuple[Key, ...] = ()

    def play(self, keys: Sequence[Key]) -> Keyboard:
        """With more keys; those for frames that are made already act at once."""
        late = [key._replace(frame=max(key.frame, self.frame)) for key in keys]
        return dataclasses.replace(self, coming=tuple(sorted([*self.coming, *late], key=lambda key: key.frame)))

    def roll(self, frames: int) -> Roll | None:
        """The states in the next frames; None if all of them are the model's choice."""
        if not self.down and all(key.frame >= self.frame + frames for key in self.coming):
            return None
        return self._run(frames)[0]

    def after(self, frames: int) -> Keyboard:
        """Once so many frames are made."""
        return self._run(frames)[1]

    def _run(self, frames: int) -> tuple[Roll, Keyboard]:
        states, down = np.full((frames, PITCHES), FREE, np.int8), set(self.down)
        coming = list(self.coming)
        for index in range(frames):
            struck: set[int] = set()
            later: list[Key] = []
            while coming and coming[0].frame <= self.frame + index:
                key = coming.pop(0)
                if key.down:
                    struck.add(key.pitch)
                    down.add(key.pitch)
                elif key.pitch in struck:  # it has to sound for a frame at least
                    later.append(key._replace(frame=self.frame + index + 1))
                else:
                    down.discard(key.pitch)
            coming = sorted([*later, *coming], key=lambda key: key.frame)
            if down:
                states[index] = SILENT
                states[index, list(down)] = SOUNDING
                states[index, list(struck)] = STRUCK
        after = Keyboard(frame=self.frame + frames, down=frozenset(down), coming=tuple(coming))
        return states, after


def _frame(place: Fraction) -> int:
    return round(place)
