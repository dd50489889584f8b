"""Where a jam's music goes: a loudspeaker, another program, a file. Knows samples and devices; knows no jam."""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from darius.audio import files
from darius.audio.waveform import Samples
from darius.errors import MissingDependency, OutputFailed

STREAMS = {
    "pacat": "--playback --format=float32le --rate={rate} --channels=2 --client-name=darius",
    "aplay": "-q -t raw -f FLOAT_LE -r {rate} -c 2",
    "play": "-q -t raw -e floating-point -b 32 -r {rate} -c 2 -",
    "ffplay": "-nodisp -autoexit -loglevel error -f f32le -ar {rate} -ch_layout stereo -i -",
    "mpv": "--no-video --really-quiet --demuxer=rawaudio --demuxer-rawaudio-format=floatle"
    " --demuxer-rawaudio-rate={rate} --demuxer-rawaudio-channels=2 -",
}
"""Programs that play what comes in, and their arguments; those that wait least before they sound come first."""


BLOCK_SECONDS = 0.1


class Outlet(Protocol):
    """Takes sound at the pace at which it is heard or written."""

    name: str

    def write(self, samples: Samples) -> None:
        """Takes float32 [n, 2]; waits until there is room."""
        ...

    def close(self, *, now: bool = False) -> None:
        """Plays out what it has, or is silent at once."""
        ...


class Speaker:
    """The system's sound device, through the package `sounddevice` (extra `play`).

    Raises (from its start): MissingDependency: the package, its library or a sound device is missing.
    """

    def __init__(self, rate: int) -> None:
        try:
            import sounddevice
        except (ImportError, OSError) as error:  # OSError: the PortAudio library is missing
            raise MissingDependency(
                f"Sound needs the package sounddevice and PortAudio: {error}.",
                "Install them: pip install 'darius[play]'",
            ) from error
        try:
            self._stream = sounddevice.OutputStream(samplerate=rate, channels=2, dtype="float32", latency="high")
            self._stream.start()
        except sounddevice.PortAudioError as error:
            raise MissingDependency(
                f"No sound device can be used here: {error}.", "Write to a file with --out."
            ) from error
        self.name = "the loudspeaker"

    def write(self, samples: Samples) -> None:
        self._stream.write(samples)

    def close(self, *, now: bool = False) -> None:
        if now:
            self._stream.abort()
        else:
            self._stream.stop()  # after what is in it
        self._stream.close()


class Program:
    """A player of this system that takes raw sound on its standard input.

    Args:
      search_path: folders to look in, as in PATH (which is the default).

    Raises (from its start): MissingDependency: there is none.
    """

    def __init__(self, rate: int, *, search_path: str | None = None) -> None:
        found = next((p for name in STREAMS if (p := shutil.which(name, path=search_path))), None)
        if found is None:
            raise MissingDependency(f"No player was found: {', '.join(STREAMS)}.", "Install one of them.")
        self.name = Path(found).name
        arguments = STREAMS[self.name].format(rate=rate).split()
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [found, *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def write(self, samples: Samples) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(samples.astype("<f4").tobytes())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def close(self, *, now: bool = False) -> None:
        assert self._process.stdin is not None
        if now:
            self._process.terminate()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _ended(self) -> MissingDependency:
        _, told = self._process.communicate()
        complaint = (told.decode(errors="replace").strip().splitlines() or ["it ended"])[-1]
        return MissingDependency(f"{self.name} cannot play here: {complaint}.", "Write to a file with --out.")


def loudspeaker(rate: int) -> Outlet | None:
    """The best way to be heard on this system; None if there is none."""
    for kind in (Speaker, Program):
        with contextlib.suppress(MissingDependency):
            outlet: Outlet = kind(rate)
            return outlet
    return None


class Background:
    """Feeds an outlet from a thread of its own, so that the next bars are made while these are heard.

    One chunk waits at most: more would only make the knobs slow. The outlet is given small blocks, so that it can be
    silenced quickly, and by this one thread only.
    """

    def __init__(self, outlet: Outlet, rate: int) -> None:
        self.name = outlet.name
        self._outlet, self._block = outlet, max(1, round(BLOCK_SECONDS * rate))
        self._waiting: queue.Queue[Samples | None] = queue.Queue(maxsize=1)
        self._silent = threading.Event()
        self._error: MissingDependency | None = None
        self._thread = threading.Thread(target=self._run, name="darius-sound", daemon=True)
        self._thread.start()

    def write(self, samples: Samples) -> None:
        """Waits for room. Raises what went wrong in the outlet."""
        self._put(samples)
        if self._error is not None:
            raise self._error

    def close(self, *, now: bool = False) -> None:
        if now:
            self._silent.set()
        self._put(None)
        self._thread.join()

    def _put(self, samples: Samples | None) -> None:
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                return self._waiting.put(samples, timeout=0.1)

    def _run(self) -> None:
        try:
            while (samples := self._waiting.get()) is not None:
                for at in range(0, len(samples), self._block):
                    if self._silent.is_set():
                        return self._outlet.close(now=True)
                    self._outlet.write(samples[at : at + self._block])
            self._outlet.close(now=self._silent.is_set())
        except MissingDependency as error:
            self._error = error


class SoundFile:
    """A file that grows while the jam plays. Made by `opened`."""

    def __init__(self, sound: Any, name: str) -> None:
        self._sound, self.name = sound, name

    def write(self, samples: Samples) -> None:
        self._sound.write(samples)

    def close(self, *, now: bool = False) -> None:
        """Nothing to do: the file is closed where it was opened."""


@contextlib.contextmanager
def opened(path: Path, rate: int) -> Iterator[SoundFile]:
    """A sound file under a temporary name that takes its place when the block ends well.

    Raises:
      OutputFailed: the system refused.
    """
    import soundfile

    subtype = "FLOAT" if path.suffix.lower() == ".wav" else None
    with files.atomic(path) as temporary:
        try:
            with soundfile.SoundFile(temporary, "w", rate, 2, subtype=subtype) as sound:
                yield SoundFile(sound, path.name)
        except soundfile.LibsndfileError as error:
            raise OutputFailed(f"'{path}' could not be written: {error}.", "Is there space left?") from error
