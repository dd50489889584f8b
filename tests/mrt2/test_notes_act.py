"""Notes and drums act on the music: from the frame that they begin in, each in its own way, and nothing before it.

The weights are random, so a note is not heard as its pitch. What is shown is that it decides: after one and the same
forced past, with the likeliest code always taken, the codes are others.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from darius import session
from darius.engine import Model
from darius.jam import Jam, JamSettings, KeyStroke
from darius.mrt2 import conditioning
from darius.mrt2.sampling import Draws
from darius.notes import SILENT, SOUNDING, STRUCK
from darius.session import Knobs
from mrt2.small_mrt2 import LEVELS, small_engine, small_model
from serve.ws_protocol import Conversation, Notes, State

LIKELIEST = {"temperature": 0.0, "top_k": 40}


def after_the_same_past(**controls: Any) -> np.ndarray:
    """The likeliest codes of 8 frames [8, levels] under these controls, after 20 that are forced."""
    decoder = small_engine().decoder
    known = np.random.default_rng(3).integers(0, 1024, (1, 28, LEVELS), np.int32)
    known[:, 20:] = -1  # these are drawn
    knobs = Knobs(style=np.arange(12, dtype=np.int32), guidance=3.0, **controls)
    told = conditioning.tokens(decoder.architecture, [knobs], 28)
    draws = Draws(np.zeros(1, np.float32), np.array([40], np.int32))
    codes, _ = decoder.play(decoder.begin(np.array([1], np.uint32)), told, draws, forced=known)
    assert np.array_equal(codes[:, :20], known[:, :20])
    return np.asarray(codes)[0, 20:]


def pressed(pitch: int, state: int = STRUCK) -> np.ndarray:
    """[28, 128]: one key down in all frames."""
    notes = np.full((28, conditioning.PITCHES), SILENT, np.int8)
    notes[:, pitch] = state
    return notes


def test_every_pitch_has_codes_of_its_own_after_the_same_past() -> None:
    free = after_the_same_past()
    found = [after_the_same_past(notes=pressed(pitch)) for pitch in (36, 60, 61, 84)]
    assert all(not np.array_equal(free, codes) for codes in found)
    assert all(not np.array_equal(one, other) for one, other in itertools.combinations(found, 2))


def test_striking_a_key_is_not_holding_it() -> None:
    assert not np.array_equal(
        after_the_same_past(notes=pressed(60, STRUCK)), after_the_same_past(notes=pressed(60, SOUNDING))
    )


def test_drums_on_off_and_free_are_three_things() -> None:
    found = [after_the_same_past(drums=drums) for drums in (True, False, None)]
    assert all(not np.array_equal(one, other) for one, other in itertools.combinations(found, 2))


@pytest.mark.parametrize("control", ["notes_guidance", "drums_guidance"])
def test_how_strictly_they_are_followed_counts(control: str) -> None:
    told = {"notes": pressed(60), "drums": True}
    assert not np.array_equal(
        after_the_same_past(**told, **{control: -1.0}), after_the_same_past(**told, **{control: 7.0})
    )


def test_nothing_changes_before_the_frame_in_which_a_key_goes_down() -> None:
    model = small_model()
    notes = np.full((10, conditioning.PITCHES), -1, np.int8)
    notes[6:] = pressed(60, SOUNDING)[:4]
    notes[6, 60] = STRUCK
    stream = session.start(model, model.nothing(), 11)
    found = []
    for roll in (None, notes):
        knobs = Knobs(guidance=3.0, notes=roll, **LIKELIEST)  # type: ignore[arg-type]
        samples, codes, _ = session.advance(model, stream, [knobs], frames=10)
        found.append((samples[0], codes[0]))
    (plain, codes), (played, others) = found
    assert np.array_equal(codes[:6], others[:6]) and not np.array_equal(codes[6], others[6])
    changed = np.flatnonzero(np.any(plain != played, axis=1))[0]
    frame = model.codec.frame_samples
    assert 6 * frame <= changed < 8 * frame  # the codec hears a frame ahead
    assert np.abs(plain - played).max() > 0.1 * np.abs(plain).max()


def test_how_hard_a_key_is_struck_changes_nothing_and_velocity_0_releases_it() -> None:
    model = small_model()
    rolls = []
    for velocity in (1, 127, 0):
        jam = Jam.start(model, JamSettings(bpm=None, rate=8000, loudness="none"), seed=3)
        jam.play_keys([KeyStroke(60, True)] + [KeyStroke(60, down) for down in _downs(velocity)])
        rolls.append(jam.call()[1].notes)
    assert rolls[0] is not None and rolls[1] is not None
    assert np.array_equal(rolls[0], rolls[1])
    assert rolls[2] is not None and (rolls[2][0, 60], rolls[2][1, 60]) == (STRUCK, -1)


def _downs(velocity: int) -> list[bool]:
    """Keys that go down or up, of a message as it comes over the socket."""
    conversation = Conversation()
    conversation.state = State.STREAM
    message = conversation.accept({"type": "notes", "keys": [{"pitch": 60, "velocity": velocity}]})
    assert isinstance(message, Notes)
    return [key.velocity > 0 for key in message.keys]


def test_a_model_of_v1_has_neither(tiny: Model) -> None:
    assert not {"notes", "drums"} & tiny.supports
