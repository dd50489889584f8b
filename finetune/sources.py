"""The audio files of a folder: which there are, what each one is, which are the same. Knows no clips and no models."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from darius.audio import files, hints
from darius.audio.candidates import rate_tempi
from darius.audio.files import Header
from darius.audio.tempo import find_tempo
from darius.errors import BadAudio, InvalidOption

EXTENSIONS = ("wav", "flac", "ogg", "opus", "mp3", "aiff", "aif", "m4a")
MOST_SECONDS = 100 * 3600.0
"""Files may be whole nights long; a header that says more lies."""

_LOOP_SECONDS = 60.0  # up to here a file is taken for a loop, whose length tells its tempo
_LISTEN_SECONDS = 30.0
_SURE_LOOP, _SURE_SONG = 0.5, 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """An audio file: where it is, and its name, which is its path inside the folder with "/"."""

    path: Path
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspected:
    """What an audio file is. `bpm` is its tempo where there is hardly a doubt."""

    sha256: str
    header: Header
    bpm: float | None = None


def find(folder: Path, extensions: Sequence[str] = EXTENSIONS, *, outside: Path | None = None) -> list[Source]:
    """The audio files in a folder and its folders, by name. Hidden ones are left out, and everything in `outside`.

    Raises:
      InvalidOption: the folder cannot be read, or there are no such files in it.
    """
    if not folder.is_dir():
        raise InvalidOption(f"There is no folder '{folder}'.", "Give the folder with your audio files.")
    suffixes = {f".{extension.strip().lstrip('.').lower()}" for extension in extensions}
    avoid = outside.resolve() if outside else None
    found = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".") and (here / name).resolve() != avoid]
        wanted = [name for name in names if Path(name).suffix.lower() in suffixes and not name.startswith(".")]
        found += [Source(path=here / name, name=(here / name).relative_to(folder).as_posix()) for name in wanted]
    if not found:
        kinds = ", ".join(sorted(suffix.lstrip(".") for suffix in suffixes))
        raise InvalidOption(f"There are no audio files in '{folder}' ({kinds}).", "See --extensions.")
    return sorted(found, key=lambda source: source.name)


def inspect(path: Path) -> Inspected:
    """What a file is; reads all of it once, for its hash, and decodes at most a minute of it.

    Raises:
      BadAudio: it cannot be used.
    """
    header = files.header(path, max_seconds=MOST_SECONDS)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadAudio(f"'{path.name}' cannot be read ({error.strerror}).", "Check its permissions.") from None
    return Inspected(sha256=digest, header=header, bpm=_tempo(path, header))


def _tempo(path: Path, header: Header) -> float | None:
    """What the file says, else what is heard."""
    said = hints.name_tempo(path) or hints.tag_tempo(path)
    if said is not None:
        return float(said)
    if header.duration <= _LOOP_SECONDS:
        return _loop_tempo(path, header)
    part = files.load_part(path, header.frames // 3, round(_LISTEN_SECONDS * header.rate))
    free = next((tempo for tempo in rate_tempi(part, 4) if not tempo.whole), None) if part.peak else None
    return float(free.bpm) if free is not None and free.fit >= _SURE_SONG else None


def _loop_tempo(path: Path, header: Header) -> float | None:
    loop = files.load_part(path, 0, header.frames)
    if loop.peak < files.SILENCE:
        return None
    try:
        found = find_tempo(loop, path=path)
    except BadAudio:  # not even one bar
        return None
    return float(found.bpm) if found.confidence >= _SURE_LOOP else None
