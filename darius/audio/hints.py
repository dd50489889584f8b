"""What a loop says of its own tempo: in its file name, in its ACID chunk, in the comment of a FLAC or OGG."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path

from darius.audio.bars import exact_bpm
from darius.audio.files import tempo_tag
from darius.errors import InvalidOption

_NUMBER = r"(\d{2,3}(?:[.,]\d{1,3})?)"
_BEFORE = re.compile(rf"(?<![\d.]){_NUMBER}[ _-]*bpm(?![a-z])", re.IGNORECASE)
_AFTER = re.compile(rf"(?<![a-z])bpm[ _=:-]*{_NUMBER}(?!\d)", re.IGNORECASE)
_BARE = re.compile(r"(?:^|[ _\-(\[])(\d{2,3}(?:\.\d{1,2})?)(?=$|[ _\-)\]])")
_BARE_RANGE = (60, 200)


def _tempo(text: str) -> Fraction | None:
    try:
        return exact_bpm(text.replace(",", "."))
    except InvalidOption:
        return None


def name_tempo(path: str | os.PathLike[str]) -> Fraction | None:
    """The tempo in a file name that says so: "loop_120bpm.wav", "120_BPM", "bpm=93.5"; None if there is none."""
    stem = Path(path).stem
    for pattern in (_BEFORE, _AFTER):
        for match in pattern.finditer(stem):
            if tempo := _tempo(match[1]):
                return tempo
    return None


def bare_numbers(path: str | os.PathLike[str]) -> tuple[Fraction, ...]:
    """Numbers from 60 to 200 standing alone in a file name ("drums_128_Am"): perhaps a tempo, if the length agrees."""
    found = (_tempo(match[1]) for match in _BARE.finditer(Path(path).stem))
    return tuple(tempo for tempo in found if tempo and _BARE_RANGE[0] <= tempo <= _BARE_RANGE[1])


def tag_tempo(path: str | os.PathLike[str]) -> Fraction | None:
    """The tempo in the file's own metadata, to four decimals (an ACID chunk holds a 32-bit float)."""
    tempo = tempo_tag(path)
    return _tempo(f"{tempo:.4f}") if tempo else None
