"""Audio files in and out: loading that refuses bad input in one sentence, saving that never leaves half a file.

Knows file formats by suffix; the WAV format itself is in `riff`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darius.audio import riff
from darius.audio.bars import MAX_BPM, MIN_BPM
from darius.audio.waveform import Samples, Waveform
from darius.errors import BadAudio, InvalidOption, OutputExists, OutputFailed

MIN_SECONDS = 0.1
MAX_SECONDS = 600.0
RATES = (4_000, 384_000)
MAX_CHANNELS = 8
SILENCE = 1e-4
"""A file whose loudest sample is below this (-80 dBFS) is silence."""
LOUDEST = 100.0
"""A float file beyond this (+40 dBFS) holds something else than audio."""

_BLOCK = 1 << 16
_EXPORT = "Export it again from the program that made it."
_SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24", ".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}
SUFFIXES = tuple(_SUBTYPES)
_FORMATS = {".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}

_COMMENT = re.compile(r"\bbpm=(\d{2,3}(?:\.\d+)?)\b")

StrPath = str | os.PathLike[str]


def load(path: StrPath, *, max_seconds: float = MAX_SECONDS, silence: bool = False) -> Waveform:
    """Reads an audio file at its own rate and channels.

    Args:
      silence: a file without sound is no error.

    Raises:
      BadAudio: the file is missing, a folder, unreadable, not audio, damaged, empty, silent, shorter than 0.1 s,
        longer than `max_seconds` (judged by its header, before anything is read), or holds NaN or infinity.
    """
    path = Path(path)
    samples, rate = _read(path, max_seconds)
    _check_samples(path.name, samples, rate, silence)
    return Waveform(samples, rate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """What an audio file says of itself; `frames` are samples per channel."""

    rate: int
    channels: int
    frames: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.rate


def header(path: StrPath, *, max_seconds: float = MAX_SECONDS) -> Header:
    """Rate, channels and length of a file, without its samples. Raises BadAudio as `load` does of a header."""
    with _opened(Path(path), max_seconds) as sound:
        return Header(rate=int(sound.samplerate), channels=int(sound.channels), frames=int(sound.frames))


def load_part(path: StrPath, start: int, frames: int) -> Waveform:
    """Samples `start` to `start + frames` of a file of any length, at its own rate and channels.

    Raises:
      BadAudio: as `load`; or the file ends before that. Silence is no error here.
    """
    path = Path(path)
    with _opened(path, float("inf")) as sound:
        rate = int(sound.samplerate)
        start = sound.seek(min(start, sound.frames))
        samples = _read_blocks(sound, frames)
    if len(samples) < frames:
        end = (start + len(samples)) / rate
        raise BadAudio(f"'{path.name}' is damaged: it ends after {_spoken(end)}, before its header says.", _EXPORT)
    _check_numbers(path.name, samples)
    return Waveform(samples, rate)


def _check_readable(path: Path) -> None:
    hint = "Give the path of an audio file (WAV, FLAC, OGG, MP3 or AIFF)."
    try:
        if path.is_dir():
            raise BadAudio(f"'{path}' is a folder, not an audio file.", hint)
        if not path.exists():
            raise BadAudio(f"There is no file '{path}'.", hint)
        if not path.is_file():
            raise BadAudio(f"'{path}' is not a regular file.", hint)
        if path.stat().st_size == 0:
            raise BadAudio(f"'{path.name}' is empty (0 bytes).", "Export or download it again.")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadAudio(f"'{path}' cannot be read: {reason}.", "Check its name and permissions.") from error


def _read(path: Path, max_seconds: float) -> tuple[Samples, int]:
    with _opened(path, max_seconds) as sound:
        return _read_blocks(sound, int(max_seconds * sound.samplerate)), int(sound.samplerate)


@contextlib.contextmanager
def _opened(path: Path, max_seconds: float) -> Iterator[Any]:
    """The file open for reading, its header checked: a soundfile.SoundFile."""
    import soundfile

    _check_readable(path)
    try:
        # By descriptor: a name such as "loop.raw" would make soundfile ask for a format.
        with path.open("rb") as handle, soundfile.SoundFile(handle.fileno(), closefd=False) as sound:
            _check_header(path.name, sound, max_seconds)
            yield sound
    except soundfile.SoundFileError as error:
        raise BadAudio(
            f"'{path.name}' is not an audio file that Darius can read, or it is damaged.",
            f"Convert it to WAV or FLAC, for example: ffmpeg -i '{path.name}' loop.wav",
        ) from error


def _check_header(name: str, sound: Any, max_seconds: float) -> None:
    rate, channels, frames = sound.samplerate, sound.channels, sound.frames
    if not RATES[0] <= rate <= RATES[1]:
        raise BadAudio(f"'{name}' has a sample rate of {rate} Hz.", f"Use {RATES[0]} to {RATES[1]} Hz.")
    if channels > MAX_CHANNELS:
        raise BadAudio(f"'{name}' has {channels} channels.", "Mix it down to stereo first.")
    if frames <= 0:
        raise BadAudio(f"'{name}' holds no audio.", "Export it again; a loop of a few bars is best.")
    if frames > max_seconds * rate:
        raise BadAudio(
            f"'{name}' is {_spoken(frames / rate)} long; at most {_spoken(max_seconds)} can be used.",
            "Cut a loop of a few bars out of it.",
        )


def _spoken(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"


def _read_blocks(sound: Any, most: int) -> Samples:
    """Block by block: a header that lies about the length must not make us allocate it."""
    blocks = []
    count = 0
    while count < most:
        block = sound.read(min(_BLOCK, most - count), dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block)
        count += len(block)
    return np.concatenate(blocks) if blocks else np.zeros((0, sound.channels), np.float32)


def _check_samples(name: str, samples: Samples, rate: int, silence: bool) -> None:
    if len(samples) < MIN_SECONDS * rate:
        raise BadAudio(
            f"'{name}' is only {1000 * len(samples) / rate:.3g} ms long.",
            "Use a loop of at least one beat; one to eight bars are best.",
        )
    if _check_numbers(name, samples) < SILENCE and not silence:
        raise BadAudio(f"'{name}' is silent.", "Use a loop with sound in it.")


def _check_numbers(name: str, samples: Samples) -> float:
    """The largest of the samples."""
    if not np.isfinite(samples).all():
        raise BadAudio(f"'{name}' holds NaN or infinite samples.", _EXPORT)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > LOUDEST:
        raise BadAudio(
            f"'{name}' has samples as large as {peak:.3g} where full scale is 1.", "Normalise it, or export it again."
        )
    return peak


def check_output(path: StrPath, *, overwrite: bool = False, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Refuses an output path early, before long work is done for it.

    Raises:
      InvalidOption: the suffix is none of `suffixes`.
      OutputExists: there is a file, and `overwrite` is false.
      OutputFailed: the folder is missing or cannot be written to, or the path is a folder.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise InvalidOption(f"'{path.name}' does not end in a known suffix.", f"Use {' or '.join(suffixes)}.")
    with _as_output_failed(path):
        if path.is_dir():
            raise OutputFailed(f"'{path}' is a folder.", "Give the name of a file.")
        if not path.parent.is_dir():
            raise OutputFailed(f"There is no folder '{path.parent}'.", "Create it, or give another place.")
        if path.exists() and not overwrite:
            raise OutputExists(f"'{path}' exists already.", "Give another name, or replace it with --force.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OutputFailed(f"The folder '{path.parent}' cannot be written to.", "Give another place.")
    return path


@contextlib.contextmanager
def _as_output_failed(path: Path) -> Iterator[None]:
    """What the system refuses becomes one sentence."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputFailed(
            f"'{path}' could not be written: {reason}.", "Free some space, or give another name or place."
        ) from error


@contextlib.contextmanager
def atomic(path: StrPath) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place only when the block succeeds.

    Whatever ends the block early (an error, Ctrl-C) leaves neither a half file nor the temporary one.

    Raises:
      OutputFailed: the system refused (no space, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}{path.suffix}")
    with _as_output_failed(path):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def save(
    path: StrPath,
    waveform: Waveform,
    *,
    tempo: float | None = None,
    beats: int | None = None,
    beats_per_bar: int = 4,
    subtype: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes WAV (float32), FLAC (24-bit), OGG (Vorbis) or MP3, by the suffix; whole or not at all.

    The same samples give the same bytes, except in OGG, whose stream number the library draws by the clock.

    Args:
      tempo, beats: stated in the file when given: an ACID chunk in a WAV, a comment "bpm=120 beats=32" elsewhere.
      subtype: "FLOAT", "PCM_24" or "PCM_16" for WAV; "PCM_24" or "PCM_16" for FLAC.
      overwrite: replace a file that exists.

    Raises:
      InvalidOption, OutputExists, OutputFailed: see `check_output`; also a rate or subtype the format cannot hold.
    """
    path = check_output(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    subtype = subtype or _SUBTYPES[suffix]
    with atomic(path) as temporary:
        if suffix == ".wav":
            loop = riff.LoopInfo(tempo=tempo, beats=beats or 0, beats_per_bar=beats_per_bar) if tempo else None
            temporary.write_bytes(riff.wav_bytes(waveform, subtype=subtype, loop=loop))
        else:
            comment = f"bpm={tempo:.10g} beats={beats or 0}" if tempo else ""
            _write_with_library(temporary, waveform, subtype, comment)
    return path


def _write_with_library(path: Path, waveform: Waveform, subtype: str, comment: str) -> None:
    import soundfile

    kind = _FORMATS[path.suffix.lower()]
    try:
        with soundfile.SoundFile(path, "w", waveform.rate, waveform.channels, subtype, format=kind) as sound:
            if comment:
                sound.comment = comment
            # In blocks: one long write overflows the Vorbis encoder's stack.
            for start in range(0, len(waveform), _BLOCK):
                sound.write(waveform.samples[start : start + _BLOCK])
    except (soundfile.SoundFileError, ValueError) as error:
        raise OutputFailed(
            f"{kind} cannot hold {waveform.channels} channels at {waveform.rate} Hz as {subtype}, "
            "or the disk refused it.",
            "Write a .wav instead.",
        ) from error


def tempo_tag(path: StrPath) -> float | None:
    """The tempo that a file states: the ACID chunk of a WAV, or the comment that `save` writes elsewhere.

    In bpm, from 20 to 400; None where there is none, whatever the file is.
    """
    try:
        with Path(path).open("rb") as handle:
            info = riff.read_loop_info(handle)
            if info:
                return info.tempo
            handle.seek(0)
            return _comment_tempo(handle.read(4), Path(path))
    except (OSError, ValueError):
        return None


def _comment_tempo(magic: bytes, path: Path) -> float | None:
    if magic == b"RIFF":
        return None
    import soundfile

    try:
        with path.open("rb") as handle, soundfile.SoundFile(handle.fileno(), closefd=False) as sound:
            comment = _COMMENT.search(sound.comment)
    except (soundfile.SoundFileError, UnicodeDecodeError):
        return None
    tempo = float(comment[1]) if comment else 0.0
    return tempo if MIN_BPM <= tempo <= MAX_BPM else None
